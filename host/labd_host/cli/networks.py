"""``labd networks``: what can be trained and built."""

from __future__ import annotations

import click


@click.command()
def networks() -> None:
    """The networks there are, and which come trained."""
    from rich.console import Console
    from rich.table import Table

    from labd_host.networks import NETWORKS, trained_record
    from labd_shared.errors import LabdError

    table = Table("network", "dataset", "weights", "activations", "trained here, accuracy on the test split")
    for name, entry in sorted(NETWORKS.items()):
        try:
            record = trained_record(name)
            measured = f"{record.accuracy_percent:.2f} % of {record.samples} images"
        except LabdError:
            measured = "no"
        table.add_row(name, entry.dataset, f"{entry.weight_bits} bit", f"{entry.act_bits} bit", measured)
    Console(highlight=False).print(table)
