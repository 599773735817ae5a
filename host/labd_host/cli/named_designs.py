"""What estimate, simulate and their like work on: a network's name, or what a compile or build left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labd_shared.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from labd_host.dataflow.design import Design

WHAT = "NETWORK|MY.toml|BUNDLE|DIR|FOLDED.onnx"


def named_design(what: str, folding: str | None) -> Design:
    """The design that *what* names, folded as *folding* says or as it is.

    Args:
        what: A network of the table or one's own (MY.toml), a compiled folder, a bundle, a network.npz, or a
            folded dataflow graph.
        folding: A preset or a file; a network of the table has no folding of its own and needs one.

    Raises:
        UsageError: there is no such design, or a folding is missing.
        ArtifactError: a file is damaged.
        IllegalFolding: the folding does not fit.
    """
    from labd_host.dataflow.folding import load_folding
    from labd_host.networks import DEFINITION, NETWORKS

    design = unfolded_design(what)
    if folding is not None:
        return design.folded(load_folding(folding, design.name))
    if what in NETWORKS or what.endswith(DEFINITION):
        raise UsageError(
            f"no folding was given for {what}", fix=f"add --folding lab, or a JSON file, to {what}"
        )
    return design


def unfolded_design(what: str) -> Design:
    """The same in the folding it has; a network of the table has the one that FINN begins with."""
    from labd_host.dataflow.design import design_of, read_design
    from labd_host.networks import DEFINITION, NETWORKS, network

    path = Path(what)
    if what in NETWORKS or what.endswith(DEFINITION):
        return design_of(network(what))
    if path.suffix == ".onnx" and path.is_file():
        return _folded_graph(path)
    if path.suffix == ".zip" and path.is_file():
        from labd_shared.bundle import open_bundle

        bundle = open_bundle(path)  # its files go when it goes
        return read_design(bundle.folder)
    if path.exists():
        return read_design(path)
    raise unknown_name("network or folder", what, NETWORKS, fix="labd networks lists the networks")


def _folded_graph(path: Path) -> Design:
    """The dataflow graph of the compile's last stage, through FINN."""
    from labd_host.dataflow.design import Design
    from labd_host.flow.describe import describe
    from labd_host.flow.finn_door import Finn

    with Finn() as finn:
        model = finn.load(path)
        network = describe(finn.graph(model), path.stem, finn.edges(model))
    return Design(network.name, network.layers, network.inputs, network.outputs)
