"""``labd train``: train a network, export it, measure the export."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from labd_host.networks.table import DEVICES, PRECISIONS
from labd_shared.errors import BuildError

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from labd_host.networks.training_progress import Progress

PLAIN_EVERY_S = 5.0  # a line for a log, not for every step


@click.command()
@click.argument("network", metavar="NETWORK|MY.toml")
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
    teacher: Path | None,
    out: Path | None,
) -> None:
    """Train NETWORK on its data set, export the best epoch as QONNX and measure the export.

    NETWORK is a name of the table (labd networks) or a file that describes a network of your own
    (docs/own-network.md). The test split is used once, at the end, to measure. Ctrl-C leaves a checkpoint in DIR that
    --resume goes on from. The learning curve is drawn in either case.
    """
    from labd_host.networks import launch
    from labd_host.networks import network as find_network
    from labd_host.networks.learning_curve import write_learning_curve
    from labd_host.networks.trained import training_folder

    wanted = find_network(network)
    folder = (out or training_folder(wanted.name)).absolute()
    with Display() as display:
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
                tell=display.tell,
                note=display.note,
            )
        except (KeyboardInterrupt, BuildError):
            display.note(f"stopped; go on with: labd train {network} --resume -o {folder}")
            if curve := write_learning_curve(folder, wanted.name):
                display.note(f"learning curve so far: {curve}")
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


class Display:
    """Progress on standard error: a bar on a terminal, a line every few seconds elsewhere.

    Args:
        now_s: The clock.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._began: tuple[float, int] | None = None  # when, and after how many steps
        self._line_at_s = -PLAIN_EVERY_S
        self._bar: Bar | None = None
        self._task: Any = None

    def __enter__(self) -> Display:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        if self._console.is_terminal:
            columns = (BarColumn(), TextColumn("{task.percentage:3.0f} %"), TextColumn("{task.description}"))
            self._bar = Bar(*columns, console=self._console)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def note(self, text: str) -> None:
        """A sentence, above the bar."""
        self._console.print(text, markup=False)

    def tell(self, progress: Progress) -> None:
        """Draw where the training stands."""
        now_s = self._now_s()
        if self._began is None:
            self._began = now_s, progress.done_steps
        text = f"{progress}{self._left(progress, now_s)}"
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(text, total=progress.all_steps)
            self._bar.update(self._task, completed=progress.done_steps, description=text)
        elif now_s - self._line_at_s >= PLAIN_EVERY_S or progress.done_steps == progress.all_steps:
            self._line_at_s = now_s
            self._console.print(text, markup=False)

    def _left(self, progress: Progress, now_s: float) -> str:
        began_s, began_steps = self._began or (now_s, progress.done_steps)
        steps = progress.done_steps - began_steps
        if not steps:
            return ""
        left_s = (now_s - began_s) / steps * (progress.all_steps - progress.done_steps)
        return f", {left_s / 60:.0f} min left" if left_s >= 90 else f", {left_s:.0f} s left"
