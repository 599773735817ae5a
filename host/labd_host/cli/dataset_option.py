"""``--dataset``: what may stand there, and the option of commands that take a model which labd does not know."""

from __future__ import annotations

import click

DATA = "mnist, cifar10, cifar100, npz:FILE, dir:FOLDER, NAME.toml or random"

dataset_option = click.option(
    "--dataset",
    default="",
    metavar="DATA",
    help=f"What a MODEL.onnx that labd does not know was trained for; its images prove the compile: {DATA}.",
)
