"""``labd compare``: the images on which two runs differ, with pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labd_host.cli.dataset_option import DATA
from labd_shared.errors import LabdError, UsageError

if TYPE_CHECKING:
    import numpy.typing as npt
    from rich.console import Group

    from labd_host.judge.agreement import Comparison
    from labd_shared.predictions import Predictions

LISTED = 20  # differing images in the terminal; the page shows more


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--dataset", metavar="DATA",
              help=f"Data set of a network that is run (default: the one it is for): {DATA}.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Run only the first N images.")
@click.option("-o", "--out", default="compare.html", show_default=True, metavar="FILE.html",
              type=click.Path(path_type=Path, dir_okay=False), help="The page with the pictures.")  # fmt: skip
@click.option("--pictures", default=500, show_default=True, type=click.IntRange(min=0), metavar="N",
              help="So many images on the page at most.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The comparison as JSON.")
def compare(
    first: str, second: str, dataset: str | None, limit: int | None, out: Path, pictures: int, as_json: bool
) -> None:
    """List the images of which A and B say different classes, and show them on a page.

    A and B are files of --predictions (of labd validate, or of a board's validate), or what can be
    run here: a bundle, a network, a network.npz (the golden model), a .onnx (onnxruntime). Images
    are matched by their digest.
    """
    from labd.shown import terminal
    from labd_host.judge.agreement import compare as compared
    from labd_host.judge.agreement_page import comparison_page

    found = compared(_predictions(first, dataset, limit), _predictions(second, dataset, limit))
    names = _class_names(found.about[0]["dataset"])
    page = comparison_page(found, (first, second), names, _pictures(found, pictures), pictures)
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{out} cannot be written: {error.strerror}", fix="choose another with -o"
        ) from error
    if as_json:
        click.echo(json.dumps({**found.record(), "page": str(out)}, indent=2, sort_keys=True))
        return
    terminal(markup=False).print(_report(found, (first, second), names), soft_wrap=True)
    click.echo(f"every difference with its picture: {out}")


def _predictions(text: str, dataset: str | None, limit: int | None) -> Predictions:
    """What *text* says of each image: read, or run."""
    from labd.progress import shown
    from labd_host.judge.classifiers import exported, golden, is_predictions
    from labd_host.judge.scoring import scored
    from labd_host.networks import ONNX, resolve
    from labd_shared.predictions import load_predictions

    if is_predictions(text):
        return load_predictions(text)
    is_export = text.endswith(ONNX)
    with shown() as listener:
        run = (
            exported(resolve(text, dataset or ""), listener) if is_export else golden(text, listener, dataset)
        )
    return scored(run, dataset, limit).predictions


def _say(line: str) -> None:
    click.echo(line, err=True)


def _class_names(dataset: str) -> Sequence[str]:
    """Of a data set that is on this machine; none of another."""
    from labd_host import datasets

    try:
        return datasets.describe(dataset).class_names
    except LabdError:
        return ()


def _pictures(found: Comparison, most: int) -> dict[int, npt.NDArray[Any]]:
    """The images that differ, by digest, as many as are shown and to be had."""
    from labd_host import datasets
    from labd_shared.digest import image_digest

    wanted = {each.digest for each in found.differences[:most]}
    if not wanted:
        return {}
    about = found.about[0]
    try:
        images, _ = datasets.load(about["dataset"], about["split"])
    except LabdError as error:
        _say(f"the page is without pictures: {error.what}")
        return {}
    digests = ((image_digest(image.tobytes()), image) for image in images)
    return {digest: image for digest, image in digests if digest in wanted}


def _report(found: Comparison, given: tuple[str, str], names: Sequence[str]) -> Group:
    from rich.console import Group
    from rich.table import Table

    from labd_host.judge.agreement import class_name

    lines: list[Any] = []
    for run, letter in enumerate("AB"):
        about, alone = found.about[run], found.alone[run]
        lines += [
            f"{letter}  {given[run]}",
            f"   {about['network']} on {about['dataset']}, {about['split']} split, target {about['target']}, "
            f"by {about['source']}",
            f"   {found.correct[run]} of {found.labelled} right, {found.right_alone[run]} of them right alone"
            + (f"; {alone} images that the other does not have" if alone else ""),
        ]
    lines += ["", f"{len(found.differences)} of {found.matched} images differ"]
    if found.both_wrong:
        lines.append(f"each says another wrong class of {found.both_wrong} of them")
    if found.verdict:
        lines.append(found.verdict)
    changed = sorted((each for each in found.classes if each.change), key=lambda entry: entry.change)
    if changed:
        classes = Table(
            "\nclass", "\nimages", "right\nin A", "right\nin B", "\nchange", box=None, pad_edge=False
        )
        for entry in changed:
            counts = (str(number) for number in (entry.samples, *entry.correct))
            classes.add_row(class_name(entry.label, names), *counts, f"{entry.change:+d}")
        lines += ["", classes]
    if found.differences:
        images = Table("image", "digest", "shows", "A says", "B says", box=None, pad_edge=False)
        for each in found.differences[:LISTED]:
            classes_said = (class_name(label, names) for label in (each.label, *each.said))
            images.add_row(str(each.row), f"{each.digest:016x}", *classes_said)
        lines += ["", images]
        if len(found.differences) > LISTED:
            lines.append(f"... and {len(found.differences) - LISTED} more")
    return Group(*lines)
