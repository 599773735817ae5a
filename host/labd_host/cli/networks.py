"""``labd networks``: what can be trained and built."""

from __future__ import annotations

import click


@click.command()
def networks() -> None:
    """The networks there are, and which come trained."""
    from rich.console import Console
    from rich.table import Column, Table

    from labd_host.networks import NETWORKS, trained_record
    from labd_shared.errors import DataMissing

    table = Table("network", "data set", Column("layers", overflow="fold"), "trained")
    for name, entry in NETWORKS.items():
        try:
            record = trained_record(name)
            measured = f"{record.accuracy_percent:.2f} %"
        except DataMissing:
            measured = "no"
        table.add_row(name, entry.dataset, entry.layers, measured)
    table.caption = (
        "w1a2: weights of 1 bit, activations of 2. P: a max-pool. Trained: what comes with labd, "
        "on the test split; labd train NETWORK makes the others."
    )
    Console(highlight=False).print(table)
