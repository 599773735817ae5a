"""``--dataset`` of commands that may be given a model which labd does not know."""

from __future__ import annotations

import click

dataset_option = click.option(
    "--dataset",
    default="",
    metavar="NAME",
    help="What a MODEL.onnx that labd does not know was trained for; its images prove the compile.",
)
