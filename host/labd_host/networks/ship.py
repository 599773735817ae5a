"""``python -m labd_host.networks.ship FOLDER``: what `labd train` left in FOLDER as a network that comes with labd.

Keeps the signs of 1-bit weights, packs the export as ``NAME.onnx.xz`` and writes the training's record with
the digest of what is packed. Nothing is written before the packed export gave the same logits as the
trained one on every image of the test split, and as many right answers as the record says.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt

from labd_host import datasets
from labd_host.exports import load_onnx
from labd_host.networks.compact import SUFFIX, keep_signs, pack
from labd_host.networks.exported import ExportedModel
from labd_host.networks.launch import read_run
from labd_host.networks.trained import TRAINED, TrainedRecord, read_record
from labd_shared.digest import file_sha256
from labd_shared.errors import ArtifactError, DigestMismatch, LabdError, StageMismatch, UsageError
from labd_shared.files import replacing

Images = npt.NDArray[np.uint8]


def ship(model: Path, record: TrainedRecord, test_set: tuple[Images, Images], out: Path) -> TrainedRecord:
    """Write the export *model*, packed, and its record into *out*.

    Args:
        model: As `networks.export` wrote it.
        record: Its own.
        test_set: uint8 images (n, height, width, channels) and labels (n,) that *record* was measured on.
        out: Folder for NAME.onnx.xz and NAME.json.

    Returns:
        The record of what was shipped.

    Raises:
        DigestMismatch: *record* is of another export.
        StageMismatch: the packed export computes something else, or is not as good as *record* says.
        UsageError: *out* is where *model* lies, whose record would be replaced.
    """
    if out.resolve() == model.parent.resolve():
        raise UsageError(f"{out} holds the training itself", fix="choose another folder: -o DIR")
    if (found := file_sha256(model)) != record.onnx_sha256:
        raise DigestMismatch(
            f"{model} has sha256 {found[:12]}..., its record says {record.onnx_sha256[:12]}...",
            fix="train again, or export again: labd train --resume",
        )
    images, labels = test_set
    with tempfile.TemporaryDirectory(prefix="labd-ship-") as folder:
        path = Path(folder) / f"{record.network}.onnx"
        graph = load_onnx(model)
        keep_signs(graph)
        path.write_bytes(graph.SerializeToString(deterministic=True))
        wanted, logits = ExportedModel(model).run(images), ExportedModel(path).run(images)
        if differ := int((wanted != logits).any(axis=1).sum()):
            raise StageMismatch(
                f"with signs for weights {model.name} has other logits on {differ} of {len(images)} images",
                fix="report it: only the sign of a 1-bit weight may count",
                stage="ship",
            )
        correct = int((logits.argmax(axis=1) == labels).sum())
        if (correct, len(labels)) != (record.correct, record.samples):
            raise StageMismatch(
                f"{model.name} classifies {correct} of {len(labels)} images right, its record says "
                f"{record.correct} of {record.samples}",
                fix="measure it on the data set it was trained for: labd evaluate",
                stage="ship",
            )
        made = replace(record, onnx_sha256=file_sha256(path))
        packed = pack(path)
        with replacing(out / packed.name) as making:
            making.write_bytes(packed.read_bytes())
    made.write(out / f"{record.network}.json")
    return made


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="FOLDER")
@click.option("-o", "--out", default=TRAINED, type=click.Path(path_type=Path, exists=True, file_okay=False),
              metavar="DIR", help="Where it goes (default: among those that come with labd).")  # fmt: skip
def main(folder: Path, out: Path) -> None:
    """Ship the network that `labd train` left in FOLDER."""
    name = read_run(folder).network
    model = folder / f"{name}.onnx"
    if not model.is_file():
        raise ArtifactError(
            f"the training of {name} in {folder} has not ended: there is no {model.name}",
            fix=f"labd train {name} --resume -o {folder}",
        )
    record = read_record(model.with_suffix(".json"))
    ship(model, record, datasets.load(record.dataset, "test"), out)
    click.echo(
        f"{name}: {record.correct} of {record.samples} right ({record.accuracy_percent:.2f} %), packed and trained "
        f"export give the same logits on them"
    )
    for path in (out / f"{model.name}{SUFFIX}", out / f"{name}.json"):
        click.echo(f"{path} ({path.stat().st_size} bytes)")


if __name__ == "__main__":
    try:
        main()
    except LabdError as error:
        sys.exit(str(error))
