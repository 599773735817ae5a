"""``labd networks``: what can be trained and built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from labd_host.networks import NetworkSpec


@click.command()
@click.argument("files", nargs=-1, metavar="[MY.toml]...")
def networks(files: tuple[str, ...]) -> None:
    """The networks there are, and which come trained; or what is in the files of your own (MY.toml), checked."""
    from rich.table import Column, Table

    from labd.shown import terminal
    from labd_host.networks import NETWORKS, network

    table = Table("network", "data set", Column("layers", overflow="fold"), "trained")
    for entry in map(network, files) if files else NETWORKS.values():
        table.add_row(entry.name, entry.dataset, entry.layers, _measured(entry))
    console = terminal()
    console.print(table)
    console.print(
        "w1a2: weights of 1 bit, activations of 2; P: a max-pool; trained: accuracy on the test split, * by you.\n"
        "labd train NETWORK trains one, labd train MY.toml one of your own (docs/own-network.md).",
        soft_wrap=True,
    )


def _measured(entry: NetworkSpec) -> str:
    from labd_host.networks import find_trained, trained_record
    from labd_host.networks.trained import TRAINED
    from labd_shared.errors import DataMissing

    try:
        folder = find_trained(entry)
    except DataMissing:
        return "no"
    percent = trained_record(entry.name, folder).accuracy_percent
    return f"{percent:.2f} %{'' if folder == TRAINED else ' *'}"
