"""What a user names, as folded layers: what can be estimated, simulated and explored."""

from __future__ import annotations

from pathlib import Path

from labd_host.dataflow.folded_chain import FoldedChain, design_of, read_design
from labd_host.machine.listener import SILENT, Listener
from labd_host.networks import NETWORKS, ONNX, is_table_name, network, resolve
from labd_shared.bundle import open_bundle
from labd_shared.errors import unknown_name

HARDWARE_DOMAIN = "finn.custom_op.fpgadataflow"


def named_chain(what: str, listener: Listener = SILENT, dataset: str = "") -> FoldedChain:
    """The layers of what *what* names, in the folding it has.

    Args:
        what: A network of the table or of a file of its own, which has the folding that FINN begins with; an
            export (MODEL.onnx), which is compiled once for the user's cache; the dataflow graph of a compile
            (.onnx); a folder of `labd compile`, a bundle (folder or .zip), a network.npz.
        listener: Told what happens.
        dataset: What an export was trained for; its images prove the compile, drawn ones where nobody knows.

    Raises:
        UnknownName: there is neither a network nor a file of that name; the fix offers the nearest.
        ArtifactError: a file is damaged, or the network cannot be built.
        BuildError: a stage failed or changed a result.
    """
    from labd_host.judge.golden_cache import golden_file

    path = Path(what)
    if is_table_name(what):
        return design_of(network(what))
    if path.suffix == ONNX and path.is_file():
        if _is_dataflow_graph(path):
            return _dataflow_graph(path)
        return read_design(golden_file(resolve(what, dataset), listener))
    if path.suffix == ".zip" and path.is_file():
        bundle = open_bundle(path)  # its unpacked files go when it goes
        return read_design(bundle.folder)
    if path.exists():
        return read_design(path)
    raise unknown_name("network, file or folder", what, NETWORKS, fix="labd networks lists the networks")


def is_folded(what: str) -> bool:
    """Whether somebody chose the folding of what *what* names: of all but networks and exports."""
    path = Path(what)
    return not is_table_name(what) and (path.suffix != ONNX or _is_dataflow_graph(path))


def _is_dataflow_graph(path: Path) -> bool:
    """Whether *path* holds hardware layers of FINN's, not an export."""
    from labd_host.exports import load_onnx

    return any(node.domain.startswith(HARDWARE_DOMAIN) for node in load_onnx(path).graph.node)


def _dataflow_graph(path: Path) -> FoldedChain:
    """The dataflow graph of a compile's last stage, through FINN."""
    from labd_host.flow.describe import describe
    from labd_host.flow.finn_door import Finn

    with Finn() as finn:
        model = finn.load(path)
        described = describe(finn.graph(model), path.stem, finn.edges(model))
    return FoldedChain(described.name, described.layers, described.inputs, described.outputs)
