"""The learning curve of a training as a picture: accuracy and loss over the epochs, the best one marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labd_host.networks.training_log import LOG_FILE, Epoch, best_epoch, read_log
from labd_shared.files import replacing

CURVE_FILE = "learning-curve.svg"
TRAINING, VALIDATION, BEST = "#1f63c4", "#d9730d", "#12733a"
STYLE = {
    "svg.hashsalt": "labd",  # with no date in it, the same log gives the same bytes
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
MARKED_EPOCHS = 20  # up to here every epoch is a dot, too


def write_learning_curve(folder: Path, name: str) -> Path | None:
    """Draw the log of the training of *name* in *folder* beside it.

    Returns:
        The picture, or None where no epoch has ended yet.

    Raises:
        ArtifactError: the log is damaged.
    """
    if not (folder / LOG_FILE).is_file() or not (epochs := read_log(folder / LOG_FILE)):
        return None
    path = folder / CURVE_FILE
    with replacing(path) as making:
        draw(epochs, name, making)
    return path


def draw(epochs: list[Epoch], name: str, path: Path) -> None:
    """Write the curve of *epochs*, at least one, to *path* as SVG."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 5.5), layout="constrained")
        accuracy, loss = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        _accuracy(accuracy, epochs)
        numbers = [epoch.number for epoch in epochs]
        loss.plot(numbers, [epoch.loss for epoch in epochs], color=TRAINING, marker=_marker(epochs))
        loss.axvline(best_epoch(epochs).number, color=BEST, linestyle=":", linewidth=1.2)
        loss.set_ylim(bottom=0)
        loss.set_ylabel("training loss\n(cross-entropy)")
        loss.set_xlabel("epoch")
        loss.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.suptitle(f"Training of {name}")
        FigureCanvasSVG(figure).print_svg(path, metadata={"Date": None, "Creator": None})


def _accuracy(axes: Any, epochs: list[Epoch]) -> None:
    numbers = [epoch.number for epoch in epochs]
    best = best_epoch(epochs)
    axes.plot(numbers, [epoch.train_percent for epoch in epochs],
              color=TRAINING, marker=_marker(epochs), label="training images, while they are learnt from")  # fmt: skip
    axes.plot(numbers, [epoch.validation_percent for epoch in epochs],
              color=VALIDATION, marker=_marker(epochs), label="validation images, never learnt from")  # fmt: skip
    axes.axvline(best.number, color=BEST, linestyle=":", linewidth=1.2)
    axes.plot([best.number], [best.validation_percent], color=BEST, marker="o", markersize=8, linestyle="",
              label=f"best: epoch {best.number}, {best.validation_percent:.2f} % (exported)")  # fmt: skip
    axes.set_ylabel("accuracy in %")
    axes.legend(loc="lower right", frameon=False)


def _marker(epochs: list[Epoch]) -> str:
    return "." if len(epochs) <= MARKED_EPOCHS else ""
