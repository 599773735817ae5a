"""``labd train``: train a network, export it, measure the export."""

from __future__ import annotations

from pathlib import Path

import click

from labd_host.cli.completion import networks_or_files
from labd_host.networks.table import DEVICES, PRECISIONS
from labd_shared.errors import BuildError


@click.command()
@click.argument("network", metavar="NETWORK|MY.toml", shell_complete=networks_or_files)
@click.option(
    "--epochs", type=click.IntRange(1), help="Passes over the training set (default: the recipe's)."
)
@click.option("--resume", is_flag=True, help="Take up the training that was stopped in DIR.")
@click.option("--finish", is_flag=True, help="With --resume: train no further, export the best epoch so far.")
@click.option("--pretrained", is_flag=True,
              help="Begin with the weights Brevitas' authors published; without --epochs, just take them.")  # fmt: skip
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Of torch.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Decides weights and order (default: 0).")
@click.option("--precision", type=click.Choice(PRECISIONS),
              help="Of the arithmetic (default: the recipe's); bfloat16 is fast where the CPU has it.")  # fmt: skip
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True,
              help="Where to train; auto: on a GPU where there is one.")  # fmt: skip
@click.option("--recipe", multiple=True, metavar="KEY=VALUE",
              help="Another value of the recipe (host/labd_host/networks/table.toml); can be repeated.")  # fmt: skip
@click.option("--start", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE",
              help="Begin with these weights: a .pt of labd or Brevitas, or an export (.onnx).")  # fmt: skip
@click.option("--dataset", default="", metavar="DATA",
              help="Another data set than the network's own, with a training split: NAME.toml, npz:FILE.")  # fmt: skip
@click.option("--teacher", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR",
              help="Learn also from the network trained in DIR: with --recipe distillation=0.5.")  # fmt: skip
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Its folder (default: training/NETWORK in the user's data folder).")  # fmt: skip
def train(
    network: str,
    epochs: int | None,
    resume: bool,
    finish: bool,
    pretrained: bool,
    threads: int,
    seed: int | None,
    precision: str | None,
    device: str,
    recipe: tuple[str, ...],
    start: Path | None,
    dataset: str,
    teacher: Path | None,
    out: Path | None,
) -> None:
    """Train NETWORK on its data set, export the best epoch as QONNX and measure the export.

    NETWORK is a name of the table (labd networks) or a file that describes a network of your own
    (docs/own-network.md). The test split is used once, at the end, to measure. Ctrl-C leaves a checkpoint in DIR that
    --resume goes on from. The learning curve is drawn in either case.
    """
    from labd.progress import shown
    from labd_host.networks import launch
    from labd_host.networks import network as find_network
    from labd_host.networks.learning_curve import write_learning_curve
    from labd_host.networks.trained import training_folder

    wanted = find_network(network)
    folder = (out or training_folder(wanted.name)).absolute()
    with shown() as listener:
        try:
            record = launch.train(
                wanted,
                folder,
                epochs=epochs,
                seed=seed,
                precision=precision,
                threads=threads,
                resume=resume,
                pretrained=pretrained,
                start=start,
                teacher=teacher,
                recipe=recipe,
                device=device,
                finish=finish,
                dataset=dataset,
                listener=listener,
            )
        except (KeyboardInterrupt, BuildError):
            listener.say(f"stopped; go on with: labd train {network} --resume -o {folder}")
            if curve := write_learning_curve(folder, wanted.name):
                listener.say(f"learning curve so far: {curve}")
            raise
    came = f"epoch {record.best_epoch} of {record.recipe.epochs}" if record.recipe.epochs else record.how
    if record.validation_samples:
        came = f"validation {100.0 * record.validation_correct / record.validation_samples:.2f} %, {came}"
    click.echo(
        f"{record.network}: {record.accuracy_percent:.2f} % of {record.samples} {record.split} images, measured on the "
        f"export ({came})"
    )
    for suffix in ("onnx", "json"):
        click.echo(f"{folder / record.network}.{suffix}")
    if curve := write_learning_curve(folder, wanted.name):
        click.echo(str(curve))
