"""The golden models of trained networks, compiled once and kept in the user's cache."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from labd_host import datasets, networks
from labd_host.dataflow.network_file import VERSION
from labd_host.explore.for_a_rate import CheapestFolding
from labd_host.flow.compiler import compile_network
from labd_host.flow.finn_door import tool_versions
from labd_host.flow.proof import MANY_IMAGES, proof_images
from labd_host.machine import places
from labd_host.machine.listener import Listener
from labd_shared.digest import file_sha256, json_sha256
from labd_shared.errors import UsageError
from labd_shared.files import replacing
from labd_shared.manifest import NETWORK_NAME

FOLDING = CheapestFolding()  # no answer depends on it


def golden_file(name: str, listener: Listener) -> Path:
    """The ``network.npz`` of the trained network *name*; compiled and proven first where the cache lacks it.

    Raises:
        UnknownName: no such network.
        DataMissing: no trained network, or no images to prove it on.
        BuildError: a stage failed or changed a result.
        UsageError: the cache cannot be written.
    """
    entry = networks.network(name)
    onnx, _ = networks.resolve(name)
    made_from = {
        "onnx": file_sha256(onnx),
        "folding": FOLDING.key,
        "tools": tool_versions(),
        "version": VERSION,
    }
    target = places.cache() / "golden" / f"{entry.name}-{json_sha256(made_from)[:16]}"
    if (target / NETWORK_NAME).is_file():
        return target / NETWORK_NAME
    images, _ = datasets.load(entry.dataset, "test")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{target.parent} cannot be written: {error.strerror}", fix="set LABD_CACHE to another folder"
        ) from error
    listener.say(f"{entry.name} is compiled once for its golden model")
    with tempfile.TemporaryDirectory(prefix=".making-", dir=target.parent) as stages:
        compiled = compile_network(
            onnx,
            folding=FOLDING,
            out=Path(stages),
            images=images[: proof_images(entry.kind)],
            many_images=images[:MANY_IMAGES],
            listener=listener,
        )
        with replacing(target / NETWORK_NAME) as making:
            shutil.copyfile(compiled.network_file, making)
    return target / NETWORK_NAME
