"""The golden models of exports, compiled once and kept in the user's cache."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

from labd_host import datasets
from labd_host.dataflow.folding import FoldingSource, load_folding
from labd_host.dataflow.network_file import VERSION
from labd_host.dataflow.presets import LAB, PRESETS
from labd_host.explore.for_a_rate import CheapestFolding
from labd_host.exports import network_sha256
from labd_host.flow.compiler import compile_network
from labd_host.flow.finn_door import tool_versions
from labd_host.machine import places
from labd_host.machine.listener import Listener
from labd_host.networks import TrainedExport
from labd_host.networks.input_form import input_form
from labd_host.proof.proof import MANY_IMAGES, proof_images
from labd_shared.digest import json_sha256
from labd_shared.errors import ArtifactError, UsageError
from labd_shared.files import replacing
from labd_shared.manifest import NETWORK_NAME


def golden_file(export: TrainedExport, listener: Listener) -> Path:
    """The ``network.npz`` of *export*; compiled and proven first where the cache lacks it.

    The proof runs on images of its data set; on drawn ones where nobody knows it.

    Raises:
        DataMissing: there are no images to prove it on.
        ArtifactError: the export cannot be read, or the network cannot be built.
        BuildError: a stage failed or changed a result.
        UsageError: the cache cannot be written.
    """
    if not export.file.is_file():
        raise ArtifactError(f"there is no model {export.file}", fix="give the path of an exported network")
    folding = _folding(export.name)
    dataset, form = export.dataset or datasets.RANDOM, input_form(export)
    spec = datasets.describe(dataset, form)
    entering = datasets.Entering.of(spec)
    classes = datasets.classes_of(spec, form.classes)
    made_from = {
        "classes": classes,
        "onnx": network_sha256(export.file),
        "folding": folding.key,
        "tools": tool_versions(),
        "version": VERSION,
        **({} if entering.is_pixels else asdict(entering)),
    }
    target = places.cache() / "golden" / f"{export.name}-{json_sha256(made_from)[:16]}"
    if (target / NETWORK_NAME).is_file():
        return target / NETWORK_NAME
    images, _ = datasets.load(dataset, "test", form)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{target.parent} cannot be written: {error.strerror}", fix="set LABD_CACHE to another folder"
        ) from error
    listener.say(f"{export.name} is compiled once for its golden model")
    with tempfile.TemporaryDirectory(prefix=".making-", dir=target.parent) as stages:
        compiled = compile_network(
            export.file,
            folding=folding,
            out=Path(stages),
            images=images[: proof_images(export.kind)],
            many_images=images[:MANY_IMAGES],
            classes=classes,
            entering=entering,
            listener=listener,
        )
        with replacing(target / NETWORK_NAME) as making:
            shutil.copyfile(compiled.network_file, making)
    return target / NETWORK_NAME


def _folding(name: str) -> FoldingSource:
    """No answer depends on it, so it is the one that a compile most likely proved already."""
    return load_folding(LAB, name) if LAB in PRESETS.get(name, {}) else CheapestFolding()
