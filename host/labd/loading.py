"""What a user names, told apart by its content: a network, an export, a folder, a bundle, FINN's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from labd.built_bundle import Bundle, load_bundle
from labd.finn_build import FinnBuild, load_finn_build
from labd.folding_requests import DEFAULT_CLOCK_MHZ, chosen_folding
from labd.network import Network
from labd.progress import shown
from labd_shared.errors import ArtifactError, UsageError, unknown_name
from labd_shared.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    from labd.design import Design
    from labd_host.dataflow.folded_chain import FoldedChain

WHAT = "NETWORK|MY.toml|MODEL.onnx|DIR|BUNDLE"
FINN_DIRECTORY = "dataflow_build_config.json"  # in the folder of a build_dataflow_directory
FINN_CONFIGS = (".yaml", ".yml", ".json", ".py")


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


def load(
    what: str | Path, *, dataset: str = "", model: str | Path | None = None
) -> Network | Design | Bundle | FinnBuild:
    """What *what* is, told apart by its content.

    Args:
        what: A network's name or its own file (MY.toml), an exported model (MODEL.onnx), a folder that
            `labd compile` left, a bundle (folder or .zip), or a build configuration of FINN's (cfg.yaml,
            cfg.json, build.py, the folder of a directory build).
        dataset: What a model that labd does not know was trained for.
        model: The network of a build configuration, in place of the one that it names.

    Raises:
        UnknownName: there is neither a network nor a file of that name; the fix offers the nearest.
        ArtifactError: it is damaged.
        UsageError: nobody names the network of a build configuration.
    """
    from labd_host.networks import NETWORKS, ONNX, is_table_name, spec_beside

    text, path = str(what), Path(what)
    if is_table_name(text):
        return network(text)
    if path.suffix == ONNX:
        if not path.is_file():
            raise ArtifactError(f"there is no file {path}", fix="give the path of an exported network")
        spec = spec_beside(path)
        return Network(spec.name if spec else path.stem, text, spec, dataset)
    if path.suffix == ".zip" or (path / MANIFEST_NAME).is_file():
        return load_bundle(path)
    if (path / FINN_DIRECTORY).is_file():
        return load_finn_build(path / FINN_DIRECTORY, dataset=dataset, model=model)
    if path.is_dir():
        from labd.design import load_design

        return load_design(path, dataset)
    if path.is_file() and path.suffix.lower() in FINN_CONFIGS:
        return load_finn_build(path, dataset=dataset, model=model)
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
    if isinstance(found, FinnBuild):
        raise UsageError(f"{what} is a build configuration, not a network", fix=f"labd build {what}")
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


def chain_of(
    what: str, folding: str | None = None, *, dataset: str = "", clock_mhz: float = DEFAULT_CLOCK_MHZ
) -> FoldedChain:
    """The folded layers of what *what* names: what can be estimated and simulated.

    Args:
        what: As of `load`; also a network.npz, and the folded dataflow graph of a compile (.onnx).
        folding: A preset, a file, or "auto" for the fastest that fits. None: what *what* is folded to; a network
            or an export, which has no folding yet, takes the lab's where there is one, else "auto".
        dataset: What a model that labd does not know was trained for.
        clock_mhz: For a rate.

    Raises:
        UnknownName: there is neither a network nor a file of that name.
        ArtifactError: a file is damaged, or the network cannot be built.
        IllegalFolding: the folding does not fit.
    """
    chain, is_folded = _named(what, dataset)
    if folding is None and is_folded:
        return chain
    chosen = chosen_folding(folding, None, clock_mhz, network=chain.name)
    if folding is None:
        with shown() as listener:
            listener.say(f"folding: {chosen.name}, as none was given")
    return chain.folded(chosen)


def unfolded_chain(what: str, *, dataset: str = "") -> FoldedChain:
    """The same in the folding it has; a network of the table has the one that FINN begins with."""
    return _named(what, dataset)[0]


def _named(what: str, dataset: str) -> tuple[FoldedChain, bool]:
    """The layers of *what*, and whether somebody chose their folding."""
    from labd_host.judge.chains import is_folded, named_chain

    with shown() as listener:
        return named_chain(what, listener, dataset), is_folded(what)
