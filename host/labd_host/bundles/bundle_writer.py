"""Write a bundle: all or nothing, and the same bytes for the same input."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labd_shared.archive import add_member
from labd_shared.arrays import save_npz
from labd_shared.bundle import BundleFiles, open_bundle
from labd_shared.digest import file_sha256
from labd_shared.errors import ArtifactError, UsageError, WrongTarget
from labd_shared.files import replacing, replacing_folder
from labd_shared.manifest import GOLDEN_NAME, MANIFEST_NAME, NETWORK_NAME, Expected, FileEntry, Manifest
from labd_shared.tensors import Tensor
from labd_shared.weight_files import COPY_AGAIN, parse_layer_file, read_words

if TYPE_CHECKING:
    from labd_host.golden.golden_model import GoldenModel

Fill = Callable[[Path], Manifest]


def write_bundle(folder: Path, fill: Fill) -> BundleFiles:
    """Make a bundle in *folder*.

    Args:
        folder: New, empty, or a bundle, which is replaced.
        fill: Writes every file but the manifest into the folder it is given and returns the manifest,
            whose list of files it leaves empty.

    Raises:
        UsageError: *folder* holds something else.
    """
    folder = folder.absolute()
    check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as making:
        manifest = fill(making)
        files = {
            path.relative_to(making).as_posix(): FileEntry(file_sha256(path), path.stat().st_size)
            for path in sorted(making.rglob("*"))
            if path.is_file()
        }
        (making / MANIFEST_NAME).write_text(manifest._replace(files=files).to_json())
        open_bundle(making)  # reads back what a board will read
    return open_bundle(folder)


def check_replaceable(folder: Path) -> None:
    """Check that a bundle may be written to *folder*: it is not there, empty, or a bundle.

    Raises:
        UsageError: *folder* holds something else.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST_NAME).is_file():
        raise UsageError(
            f"{folder} holds something else than a bundle", fix="choose another folder with -o DIR"
        )


def zip_bundle(bundle: BundleFiles, archive: Path) -> Path:
    """The bundle as one .zip: names in order, fixed dates, so that equal bundles give equal bytes."""
    with replacing(archive) as making, zipfile.ZipFile(making, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in (MANIFEST_NAME, *sorted(bundle.manifest.files)):
            add_member(packed, name, bundle.path(name).read_bytes())
    return archive


def attach_network(bundle: BundleFiles, network: Path, folder: Path) -> BundleFiles:
    """The bundle with the golden model's file, so that a virtual board can run it.

    An imported bundle without golden samples is given this network's; its cycles, where they were
    unknown, become the cycle model's.

    Raises:
        WrongTarget: the network has other tensors, or answers the golden samples differently.
        UsageError: *folder* holds something else than a bundle.
    """
    from labd_host.bundles.golden_samples import draw_golden
    from labd_shared.bundle import load_golden

    model = golden_model(bundle.folder, bundle.manifest.files, network)
    manifest = bundle.manifest
    check_same_tensors(network.name, model, manifest.inputs, manifest.outputs)
    golden = load_golden(bundle)
    wrong = (
        (model.run(golden.images).outputs[0] != golden.outputs).reshape(len(golden.images), -1).any(axis=1)
        if len(golden.images)
        else np.zeros(0, bool)
    )
    if wrong.any():
        raise WrongTarget(
            f"{network.name} answers {int(wrong.sum())} of {len(wrong)} golden samples differently",
            fix="compile the network this bundle was built from: labd compile NETWORK -o DIR",
        )

    def fill(making: Path) -> Manifest:
        for name in manifest.files:
            (making / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path(name), making / name)
        shutil.copyfile(network, making / NETWORK_NAME)
        if not len(golden.images):
            save_npz(making / GOLDEN_NAME, draw_golden(model, manifest.dataset, manifest.input_contract))
        if not manifest.expected.known:
            return manifest._replace(files={}, expected=expected_of(model, manifest.clock_mhz))
        return manifest._replace(files={})

    return write_bundle(folder, fill)


def golden_model(folder: Path, files: Iterable[str], network: Path | None = None) -> GoldenModel:
    """The golden model of a bundle, with the weights that its driver writes.

    Args:
        folder: The bundle's.
        files: The names of its files.
        network: A network.npz beside it; the bundle's own when None.

    Raises:
        ArtifactError: a file is missing or damaged, or holds weights of another network.
    """
    from labd_host.dataflow.layers import Mvau
    from labd_host.dataflow.weight_memory import line_words, weights_of
    from labd_host.golden.golden_model import GoldenModel

    model = GoldenModel.load(network or folder / NETWORK_NAME)
    layers = {layer.name: layer for layer in model.network.layers if isinstance(layer, Mvau)}
    written = {}
    for file in filter(None, map(parse_layer_file, files)):
        words = read_words(folder / file.name, file.name)
        layer = layers.get(file.node)
        if layer is None or len(words) != layer.weight_words * line_words(layer):
            raise ArtifactError(
                f"{file.name} holds {len(words)} words, "
                + (
                    f"{model.network.name} has no MVAU {file.node}"
                    if layer is None
                    else f"{file.node} of {model.network.name} takes {layer.weight_words * line_words(layer)}"
                ),
                fix=COPY_AGAIN,
            )
        written[file.node] = weights_of(layer, words)
    return model.with_weights(written) if written else model


def check_same_tensors(
    name: str, model: GoldenModel, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> None:
    """Check that a network computes what a bundle moves; *name* stands in the error.

    Raises:
        WrongTarget: other datatypes or shapes.
    """
    for ours, theirs in ((model.inputs, inputs), (model.outputs, outputs)):
        if [(each.datatype, each.normal) for each in ours] != [
            (each.datatype, each.normal) for each in theirs
        ]:
            raise WrongTarget(
                f"{name} computes {ours[0].datatype.name} {ours[0].normal}, "
                f"the bundle moves {theirs[0].datatype.name} {theirs[0].normal}",
                fix="compile the network this bundle was built from: labd compile NETWORK -o DIR",
            )


def expected_of(model: GoldenModel, clock_mhz: float) -> Expected:
    """What the cycle model says of a network at *clock_mhz*."""
    from labd_host.dataflow.cycles import estimate

    cycles = estimate(model.network.layers, model.inputs, model.outputs)
    return Expected(
        cycles.cycles_per_frame, cycles.latency_cycles, cycles.frames_per_s(clock_mhz), cycles.bottleneck
    )
