"""A build as FINN's own configuration asks for it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labd.design import bundle_folder
from labd.folding_requests import DEFAULT_CLOCK_MHZ, FoldingRequest, chosen_folding
from labd.shown import Shown, terminal

if TYPE_CHECKING:
    from rich.console import Console

    from labd.built_bundle import Bundle
    from labd.design import Design
    from labd.network import Network
    from labd_host.dataflow.folding import FoldingSource
    from labd_host.interchange.build_config import BuildConfig, FieldDifference
    from labd_host.machine.listener import Listener


class FinnBuild(Shown):
    """A build that a configuration of FINN or finn-plus asks for: cfg.yaml, cfg.json, build.py.

    Attributes:
        network: What it builds.
        clock_mhz: Of the accelerator.
    """

    def __init__(self, config: BuildConfig, network: Network) -> None:
        self._config, self.network = config, network
        self.clock_mhz = config.clock_mhz or DEFAULT_CLOCK_MHZ

    @property
    def path(self) -> Path:
        """The configuration."""
        return self._config.path

    @property
    def out(self) -> Path | None:
        """Where it wants the bundle; None where it does not say."""
        return self._config.out

    @property
    def differences(self) -> tuple[FieldDifference, ...]:
        """What labd does otherwise than FINN would, or not at all: a field each."""
        return self._config.differences

    @property
    def verifies(self) -> bool:
        """Whether it has inputs with the answers that it expects."""
        return self._config.verification is not None

    def summary(self) -> str:
        return (
            f"{self.path.name}: {self.network.name} at {self.clock_mhz:g} MHz, "
            f"{len(self.differences)} fields followed otherwise"
        )

    @property
    def record(self) -> dict[str, Any]:
        asked = self._config
        return {
            "configuration": str(self.path),
            "network": self.network.name,
            "model": str(asked.model) if asked.model else None,
            "dataset": self.network.dataset,
            "folding": str(asked.folding) if asked.folding else None,
            "target_fps": asked.target_fps,
            "clock_mhz": self.clock_mhz,
            "out": str(asked.out) if asked.out else None,
            "differences": [
                {"field": each.field, "asked": each.asked, "done": each.done} for each in self.differences
            ],
        }

    def show(self, console: Console | None = None) -> None:
        console = console or terminal()
        console.print(self.summary(), markup=False, soft_wrap=True)
        for each in self.differences:
            console.print(f"  {each.line}", markup=False, soft_wrap=True)

    def folding(self, *, clock_mhz: float | None = None) -> FoldingSource:
        """The folding that it asks for: a file, the cheapest for a rate, or the one over the other.

        Args:
            clock_mhz: Another clock than its own.

        Raises:
            ArtifactError: the folding file is missing or damaged.
        """
        from labd_host.dataflow.folding import FoldingOver, read_folding

        clock, asked = clock_mhz or self.clock_mhz, self._config
        if asked.folding is None:
            return chosen_folding(None, asked.target_fps, clock, network=self.network.name)
        own = read_folding(asked.folding)
        if asked.target_fps is None:
            return own
        return FoldingOver(chosen_folding(None, asked.target_fps, clock, network=self.network.name), own)

    def compile(
        self,
        folding: FoldingRequest = None,
        *,
        clock_mhz: float | None = None,
        ignored: Collection[str] = (),
        out: str | Path | None = None,
        listener: Listener | None = None,
    ) -> Design:
        """Compile its network, and compare the answers that it expects.

        Args:
            folding: Another folding than its own.
            clock_mhz: Another clock.
            ignored: Checks of the proof that may fail.
            out: The folder of the stages; beside the bundle's, with .stages, when None.
            listener: Told what happens; a person at a terminal or notebook when None.

        Raises:
            GoldenMismatch: the network answers its verification inputs otherwise.
            LabdError: as of `labd.network.Network.compile`.
        """
        from labd.network import heard

        clock = clock_mhz or self.clock_mhz
        source = self.folding(clock_mhz=clock) if folding is None else folding
        folder = bundle_folder(self.network.name, "emu", self.out)
        stages = Path(out) if out is not None else folder.with_name(folder.name + ".stages")
        with heard(listener) as told:
            design = self.network.compile(source, clock_mhz=clock, ignored=ignored, out=stages, listener=told)
            if self._config.verification is not None:
                from labd_host.judge.expected_answers import check_answers

                wanted = self._config.verification
                answers = check_answers(design.compiled.golden, wanted.inputs, wanted.expected)
                told.say(f"verification: {answers} of {answers} answers as {wanted.expected.name} has them")
        return design

    def build(self, *, out: str | Path | None = None, listener: Listener | None = None) -> Bundle:
        """Compile its network and write a bundle for virtual boards; for a real board: ``labd build --target hw``.

        Args:
            out: The bundle's folder; the configuration's output_dir when None.
            listener: Told what happens; a person at a terminal or notebook when None.

        Raises:
            LabdError: as of `compile` and `labd.design.Design.build`.
        """
        from labd_host.bundles.bundle_writer import check_replaceable

        folder = bundle_folder(self.network.name, "emu", out or self.out)
        check_replaceable(folder.absolute())  # now, not when all else is done
        design = self.compile(out=folder.with_name(folder.name + ".stages"), listener=listener)
        return design.build(out=folder)


def load_finn_build(path: Path, *, dataset: str = "", model: Path | str | None = None) -> FinnBuild:
    """The build that the configuration *path* asks for.

    Args:
        path: cfg.yaml, cfg.json or build.py.
        dataset: Instead of its validation_dataset.
        model: The network, in place of the one that it names.

    Raises:
        UsageError: nobody names a network.
        ArtifactError: a file is damaged; UnknownName: a field is misspelt.
    """
    from labd.loading import load_network
    from labd_host.interchange.build_config import read_build_config
    from labd_shared.errors import UsageError

    config = read_build_config(path, Path(model).stem if model else "")
    named = model or config.model
    if named is None:
        raise UsageError(f"{path} does not name the network to build", fix=f"labd build {path} MODEL.onnx")
    return FinnBuild(config, load_network(named, dataset=dataset or config.dataset or ""))
