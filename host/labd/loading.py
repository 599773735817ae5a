"""What a user names, told apart by its content: a network, an export, a compiled folder, a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labd.built_bundle import Bundle, load_bundle
from labd.network import Network
from labd_shared.errors import ArtifactError, UsageError, unknown_name
from labd_shared.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    from labd.design import Design
    from labd_host.dataflow.folded_chain import FoldedChain

WHAT = "NETWORK|MY.toml|MODEL.onnx|DIR|BUNDLE"


def network(name: str) -> Network:
    """The network called *name*, or the one in the user's own file *name* (MY.toml).

    Raises:
        UnknownName: there is none; the fix offers the nearest name.
        ArtifactError: the file does not say what it must.
    """
    from labd_host.networks import network as find_network

    spec = find_network(name)
    return Network(spec.name, spec.typed, spec)


def networks() -> list[Network]:
    """All networks of the table, trained or not."""
    from labd_host.networks import NETWORKS

    return [Network(spec.name, spec.typed, spec) for spec in NETWORKS.values()]


def load(what: str | Path, *, dataset: str = "") -> Network | Design | Bundle:
    """What *what* is, told apart by its content.

    Args:
        what: A network's name or its own file (MY.toml), an exported model (MODEL.onnx), a folder that
            `labd compile` left, or a bundle (folder or .zip).
        dataset: What a model that labd does not know was trained for.

    Raises:
        UnknownName: there is neither a network nor a file of that name; the fix offers the nearest.
        ArtifactError: it is damaged.
    """
    from labd_host.networks import DEFINITION, NETWORKS, resolve

    text, path = str(what), Path(what)
    if text in NETWORKS or text.endswith(DEFINITION):
        return network(text)
    if path.suffix == ".onnx":
        _, spec = resolve(text)
        if not path.is_file():
            raise ArtifactError(f"there is no file {path}", fix="give the path of an exported network")
        return Network(spec.name if spec else path.stem, text, spec, dataset)
    if path.suffix == ".zip" or (path / MANIFEST_NAME).is_file():
        return load_bundle(path)
    if path.is_dir():
        from labd.design import load_design

        return load_design(path)
    raise unknown_name("network, file or folder", text, NETWORKS, fix="labd networks lists the networks")


def load_network(what: str | Path, *, dataset: str = "", model: Path | None = None) -> Network:
    """The network that *what* names: one to compile.

    Args:
        what: A network's name or own file, or an exported model.
        dataset: What a model that labd does not know was trained for.
        model: Another export of the network.

    Raises:
        UsageError: it is compiled already, or *model* was given for something that is an export itself.
        UnknownName, ArtifactError: as of `load`.
    """
    found = load(what, dataset=dataset)
    if isinstance(found, Bundle):
        raise UsageError(
            f"{what} is a bundle: it is compiled already", fix=f"labd deploy --board 03 --bundle {what}"
        )
    if not isinstance(found, Network):
        raise UsageError(
            f"{what} is compiled already, in its own folding",
            fix=f"labd build {what}, or name the network itself",
        )
    if model is None:
        return found
    if found.spec is None:
        raise UsageError(
            f"{what} is an export itself, and {model} was given beside it", fix="leave --model out"
        )
    return Network(found.name, found.typed, found.spec, found.dataset, model=model)


def chain_of(what: str, folding: str | None = None) -> FoldedChain:
    """The folded layers of what *what* names: what can be estimated, simulated and explored.

    Args:
        what: As of `load`; also a network.npz, and the folded dataflow graph of a compile (.onnx).
        folding: A preset or a file; a network without a folding of its own needs one.

    Raises:
        UsageError: a folding is missing, or there is no such file.
        ArtifactError: a file is damaged.
        IllegalFolding: the folding does not fit.
    """
    from labd_host.dataflow.folding import load_folding
    from labd_host.networks import DEFINITION, NETWORKS

    chain = unfolded_chain(what)
    if folding is not None:
        return chain.folded(load_folding(folding, chain.name))
    if what in NETWORKS or what.endswith(DEFINITION):
        raise UsageError(
            f"no folding was given for {what}", fix=f"add --folding lab, or a JSON file, to {what}"
        )
    return chain


def unfolded_chain(what: str) -> FoldedChain:
    """The same in the folding it has; a network of the table has the one that FINN begins with."""
    from labd_host.dataflow.folded_chain import design_of, read_design
    from labd_host.networks import DEFINITION, NETWORKS
    from labd_host.networks import network as find_network

    path = Path(what)
    if what in NETWORKS or what.endswith(DEFINITION):
        return design_of(find_network(what))
    if path.suffix == ".onnx" and path.is_file():
        return _dataflow_graph(path)
    if path.suffix == ".zip" and path.is_file():
        bundle = load_bundle(path)  # its unpacked files go when it goes
        return read_design(bundle.folder)
    if path.exists():
        return read_design(path)
    raise unknown_name("network or folder", what, NETWORKS, fix="labd networks lists the networks")


def _dataflow_graph(path: Path) -> FoldedChain:
    """The dataflow graph of a compile's last stage, through FINN; or the layers of a known network's export."""
    from labd_host.dataflow.folded_chain import FoldedChain
    from labd_host.flow.describe import describe
    from labd_host.flow.finn_door import Finn

    with Finn() as finn:
        model = finn.load(path)
        described = describe(finn.graph(model), path.stem, finn.edges(model))
    return FoldedChain(described.name, described.layers, described.inputs, described.outputs)
