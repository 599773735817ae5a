"""The network that a command line names."""

from __future__ import annotations

from pathlib import Path

from labd_host import networks
from labd_host.explore.design import Design, design_of, read_design


def design_named(network: str) -> Design:
    """The design of a network of the table, of a compiled folder, a bundle's folder or a network.npz.

    Raises:
        UnknownName: neither a file nor a network.
        ArtifactError: the file is damaged.
    """
    path = Path(network)
    if path.exists() or path.suffix == ".npz":
        return read_design(path)
    return design_of(networks.network(network))
