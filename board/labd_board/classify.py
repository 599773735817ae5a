"""``python3 -m labd_board.classify``: what the deployed accelerator sees in pictures."""

import argparse
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from labd_board import session
from labd_board.accelerator import Accelerator
from labd_board.command import Arguments, Output, run
from labd_board.device import Device
from labd_shared.answers import best_classes, class_lines, class_name, gives_scores
from labd_shared.frame_form import frame_form
from labd_shared.manifest import check_gives_classes
from labd_shared.picture_files import pictures_in
from labd_shared.pictures import PictureNotes, read_picture
from labd_shared.tensors import count

BATCH = 100


def classify(
    accelerator: Accelerator,
    files: Sequence[Path],
    invert: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> List[Dict[str, Any]]:
    """The classes of the pictures in *files*.

    Args:
        accelerator: Open.
        files: Pictures of any size; they are resized to the network's.
        invert: Dark for light.
        say: Told what was done to pictures.

    Returns:
        JSON-able, one a file: ``file``, ``label``, ``class`` and ``best``, the five best classes with their
        scores (where the network gives scores).

    Raises:
        ArtifactError, ToolNotFound, ShapeError: a picture cannot be read; before any of its batch is run.
    """
    manifest = accelerator.manifest
    form, notes = frame_form(manifest), PictureNotes()
    names = manifest.class_names
    scored = gives_scores(count(manifest.outputs[0].normal), len(names))
    told = []
    for start in range(0, len(files), accelerator.batch_size):
        part = files[start : start + accelerator.batch_size]
        answers = accelerator.run(np.array([read_picture(path, form, notes, invert) for path in part]))
        for path, answer, best in zip(part, answers, best_classes(answers, len(names))):
            told.append(
                {
                    "file": str(path),
                    "label": int(best[0]),
                    "class": class_name(names, int(best[0])),
                    "best": [
                        {
                            "label": int(label),
                            "class": class_name(names, int(label)),
                            "score": int(answer.reshape(-1)[label]) if scored else None,
                        }
                        for label in best
                    ],
                }
            )
    for line in notes.lines(form):
        say(line)
    return told


def body(wanted: argparse.Namespace, device: Device, output: Output) -> None:
    """The command."""
    bundle = session.find_bundle(wanted.bundle)
    check_gives_classes(bundle.manifest)
    files = pictures_in(wanted.pictures)
    for path in files:  # what cannot work is said before hardware is touched
        read_picture(path, frame_form(bundle.manifest), PictureNotes(), wanted.invert)
    with session.held_board(), Accelerator(
        bundle, device, min(BATCH, len(files)), say=output.progress
    ) as open_one:
        told = classify(open_one, files, wanted.invert, output.progress)
    for line in class_lines(told):
        output.line(line)
    output.result({"network": bundle.manifest.network, "images": told})


def main(argv: Optional[List[str]] = None, device: Optional[Device] = None) -> int:
    """Run the command; the exit code."""
    parser = Arguments("classify", "What the deployed accelerator sees in pictures.")
    parser.add_argument(
        "pictures",
        nargs="+",
        metavar="FILE|FOLDER",
        help="PNG, JPEG, .npy, ... of any size, or folders of such",
    )
    parser.add_argument(
        "--invert", action="store_true", help="dark for light: MNIST's digits are light on dark"
    )
    return run(parser, body, argv, device)


if __name__ == "__main__":
    sys.exit(main())
