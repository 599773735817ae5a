"""``python -m labd_host.networks.ship_state``: a trained state dictionary as a network that comes with labd.

Train environment only. For networks that `labd train` did not make itself: exports them, measures the
export on the whole test split with its own arithmetic, and ships it (`networks.ship`).
"""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch

from labd_host import datasets
from labd_host.networks import network as find_network
from labd_host.networks.brevitas_model import build, load_weights
from labd_host.networks.checkpoint import DAMAGED
from labd_host.networks.export import export
from labd_host.networks.exported import ExportedModel
from labd_host.networks.ship import ship
from labd_host.networks.table import NetworkSpec, Recipe
from labd_host.networks.trained import INPUT_CONTRACT, TRAINED, TrainedRecord
from labd_shared.digest import file_sha256
from labd_shared.errors import ArtifactError, LabdError

Images = npt.NDArray[np.uint8]
TOOLS = ("brevitas", "numpy", "onnx", "onnxruntime", "torch")


def ship_state(
    network: NetworkSpec,
    state: dict[str, Any],
    test_set: tuple[Images, Images],
    out: Path,
    *,
    recipe: Recipe,
    how: str,
    command: str,
) -> TrainedRecord:
    """Write *network* with the weights *state* and its record into *out*.

    Args:
        network: Its structure.
        state: Parameters by name, as the model of `networks.model` has them.
        test_set: uint8 images (n, height, width, channels) and labels (n,) to measure it on.
        out: Folder for NAME.onnx.xz and NAME.json.
        recipe: How it was trained; what has no place there stands in *how*.
        how: For people.
        command: What makes it again.

    Raises:
        ArtifactError: *state* is of another network.
    """
    model = build(network)
    load_weights(model, network, state)
    with tempfile.TemporaryDirectory(prefix="labd-ship-") as folder:
        path = Path(folder) / f"{network.name}.onnx"
        export(model, network, path)
        images, labels = test_set
        correct = int((ExportedModel(path).run(images).argmax(axis=1) == labels).sum())
        record = TrainedRecord(
            network=network.name,
            dataset=network.dataset,
            onnx_sha256=file_sha256(path),
            input=INPUT_CONTRACT,
            split="test",
            samples=len(labels),
            correct=correct,
            validation_samples=0,
            validation_correct=0,
            best_epoch=recipe.epochs,
            seed=0,
            threads=0,
            recipe=recipe,
            tools={
                "python": platform.python_version(),
                **{name: importlib.metadata.version(name) for name in TOOLS},
            },
            command=command,
            how=how,
        )
        return ship(path, record, test_set, out)


@click.command()
@click.argument("name", metavar="NETWORK")
@click.argument("state", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="STATE.pt")
@click.option("--epochs", type=click.IntRange(1), required=True, help="Passes over the training set.")
@click.option("--batch", type=click.IntRange(1), required=True, help="Images a step.")
@click.option("--learning-rate", type=float, required=True, help="Adam's, at its highest.")
@click.option("--latent-scale", type=float, required=True, help="Of the weights before training.")
@click.option("--augment", is_flag=True, help="The images were shifted and mirrored at random.")
@click.option("--how", required=True, help="How it was trained, for people.")
@click.option("-o", "--out", default=TRAINED, type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
def main(
    name: str,
    state: Path,
    epochs: int,
    batch: int,
    learning_rate: float,
    latent_scale: float,
    augment: bool,
    how: str,
    out: Path,
) -> None:
    """Ship NETWORK with the weights in STATE.pt, a file with the entry state_dict."""
    network = find_network(name)
    try:
        content = torch.load(state, map_location="cpu", weights_only=True)["state_dict"]
    except DAMAGED as error:
        raise ArtifactError(
            f"{state} holds no state_dict: {type(error).__name__}", fix="give the file torch.save wrote"
        ) from error
    record = ship_state(
        network,
        content,
        datasets.load(network.dataset, "test"),
        out,
        recipe=Recipe(
            epochs=epochs,
            batch=batch,
            learning_rate=learning_rate,
            latent_scale=latent_scale,
            dropout=0.0,
            augment=augment,
            precision="float32",
            validation=0,
        ),  # fmt: skip
        how=how,
        command=(
            f"python -m labd_host.networks.ship_state {name} {state.name} --epochs {epochs} --batch {batch} "
            f"--learning-rate {learning_rate:g} --latent-scale {latent_scale:g} "
            f"{'--augment ' if augment else ''}--how {shlex.quote(how)}"
        ),
    )
    click.echo(f"{name}: {record.correct} of {record.samples} right ({record.accuracy_percent:.2f} %)")


if __name__ == "__main__":
    try:
        main()
    except LabdError as error:
        sys.exit(str(error))
