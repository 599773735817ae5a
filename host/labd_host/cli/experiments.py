"""``labd experiments``: a study of foldings, predicted, simulated and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from labd.loading import WHAT
from labd_host.cli.clock_option import CLOCKS_MHZ
from labd_shared.errors import BoardError, BuildError, LabdError, UsageError

if TYPE_CHECKING:
    from labd_host.experiments.builds import Builds
    from labd_host.experiments.request import Request
    from labd_host.experiments.slurm import Demand
    from labd_host.experiments.store import Store
    from labd_host.experiments.study_model import ExperimentOutcome, NetworkAccuracy, Study
    from labd_host.experiments.synthesis import Licences
    from labd_host.experiments.worker_pool import PoolLimits

OUT = Path("build/experiments")
TIMEOUT_S = 600.0


@click.command()
@click.argument("study", required=False, metavar="[STUDY.toml]",
                type=click.Path(path_type=Path, dir_okay=False, exists=True))  # fmt: skip
@click.option("-o", "--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Where results and the page go.  [default: build/experiments/STUDY]")  # fmt: skip
@click.option("--network", "networks", multiple=True, metavar=WHAT,
              help="Instead of the study's networks; may be given more than once.")  # fmt: skip
@click.option("--dataset", default="", metavar="NAME",
              help="What networks that labd does not know were trained for, instead of the study's.")  # fmt: skip
@click.option("--folding", "foldings", multiple=True, metavar="NAME|FILE.json",
              help="Instead of the study's experiments; may be given more than once.")  # fmt: skip
@click.option("--clock-mhz", "clocks_mhz", multiple=True, type=click.FloatRange(*CLOCKS_MHZ), metavar="MHZ",
              help="Instead of the study's clocks; may be given more than once.")  # fmt: skip
@click.option("--part", metavar="PART", help="Instead of the study's FPGA.")
@click.option("--frames", type=click.IntRange(2, 1000), help="Frames to simulate.")
@click.option("--board", metavar="NN", help="Also measure on this board; a virtual one is started for it.")
@click.option("--builds", multiple=True, type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="DIR",
              help="Finished builds and bundles, for cells and boards; may be given more than once.")  # fmt: skip
@click.option("--vivado", type=click.IntRange(min=1), metavar="N",
              help="Also build each folding with Vivado, N at once on this machine; an hour each.")  # fmt: skip
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", help="Workers at once.  [default: a core each]"
)
@click.option("--memory-gb", type=click.FloatRange(min=0.1), metavar="GB",
              help="Memory for all workers together.  [default: what is available]")  # fmt: skip
@click.option("--timeout-s", type=click.FloatRange(min=0.1), default=TIMEOUT_S, show_default=True,
              help="Longest time for one experiment.")  # fmt: skip
@click.option("--executor", type=click.Choice(["local", "slurm"]), default="local", show_default=True,
              help="Who does it: workers here, or jobs of a Slurm cluster; --jobs, --memory-gb and --timeout-s then "
              "go to Slurm, the last two for each job.")  # fmt: skip
@click.option("--slurm-licenses", default="", metavar="NAME:N", help="That each job takes, as vivado:1.")
@click.option("--slurm-partition", default="", metavar="NAME", help="Where the jobs run.")
@click.option("--slurm-account", default="", metavar="NAME", help="Who pays for them.")
@click.option("--status", is_flag=True, help="Only tell what is done, running, waiting and failed.")
@click.option("--again", is_flag=True, help="Try again what failed.")
@click.option("--example", is_flag=True, help="Print labd's own study, to be copied and changed.")
def experiments(
    study: Path | None, out: Path | None, networks: tuple[str, ...], dataset: str, foldings: tuple[str, ...],
    clocks_mhz: tuple[float, ...], part: str | None, frames: int | None, board: str | None,
    builds: tuple[Path, ...], vivado: int | None, jobs: int | None, memory_gb: float | None, timeout_s: float,
    executor: str, slurm_licenses: str, slurm_partition: str, slurm_account: str, status: bool, again: bool,
    example: bool,
) -> None:  # fmt: skip
    """Predict and simulate every experiment of a study, and compare them.

    Without a file: Part 3 of the lab, on TFC and CNV. What is known is kept in DIR by content: nothing is done
    twice, a study that was stopped goes on, and several may work on one.
    """
    from labd_host.dataflow.parts import part_of
    from labd_host.experiments.builds import read_builds
    from labd_host.experiments.outcomes import keys_of, outcomes
    from labd_host.experiments.request import PART3, check, read_request
    from labd_host.experiments.store import Store
    from labd_host.experiments.study_plan import plan
    from labd_host.experiments.synthesis import bundle_of, is_built, licences
    from labd_host.experiments.worker_pool import available_gb, limits
    from labd_host.remote import inventory

    if example:
        click.echo(PART3.read_text(encoding="utf-8"), nl=False)
        return
    written = read_request(study or PART3)
    request = _changed(written, networks, foldings, clocks_mhz, part, frames, board)
    request = replace(request, dataset=dataset or request.dataset)
    check(request)
    if request.board:
        inventory.load().board(request.board)  # now, not when everything else is done
    device = part_of(request.part)
    read_builds(builds, device)  # a damaged one is refused now, too
    planned = plan(request)
    store = Store(out or OUT / request.name)
    keys = keys_of(planned)
    on_slurm = _on_slurm(executor, jobs, memory_gb, timeout_s, slurm_licenses, slurm_partition, slurm_account)
    if status:
        _print_status(planned, store, _in_slurm(store, keys) if on_slurm else {})
        return
    allowed = on_slurm or limits(jobs, memory_gb, timeout_s)
    store.add(planned.experiments)
    if again:
        store.forget(keys)
    for key in keys:
        if store.is_damaged(key):
            click.echo(f"{store.folder}: the result {key[:12]} is damaged and is made again", err=True)
    accuracies = _accuracies(request)
    abandoned = _run(planned, store, allowed)
    unbuilt = _build(planned, store, licences(vivado, memory_gb or available_gb())) if vivado else []
    ours = [bundle_of(store.folder, each) for each in planned.experiments if is_built(store.folder, each)]
    built = read_builds([*builds, *dict.fromkeys(ours)], device)
    unmeasured = _measure(planned, store, built, again=again)
    source = written.text if request == written else ""
    _finish(planned, outcomes(planned, store, accuracies, built, abandoned), store.folder, source)
    if unbuilt:
        raise BuildError(f"not built: {', '.join(unbuilt)}", fix="read why above")
    if unmeasured:
        raise BoardError(
            f"board {request.board} gave no figure for {', '.join(unmeasured)}", fix="read why above"
        )


def _changed(
    request: Request, networks: Sequence[str], foldings: Sequence[str], clocks_mhz: Sequence[float],
    part: str | None, frames: int | None, board: str | None,
) -> Request:  # fmt: skip
    """*request* with what the options say instead."""
    from labd_host.experiments.request import FOR_A_RATE, Asked

    for wanted in set(foldings) & set(FOR_A_RATE):
        raise UsageError(
            f"the folding {wanted!r} is for a rate, and options give none",
            fix=f"write a study file: {wanted} with target_fps or as_fast_as; or labd explore, then its file",
        )
    if networks:
        request = replace(request, networks=tuple(dict.fromkeys(networks)))
    if foldings:
        asked = tuple(Asked(Path(wanted).stem, folding=wanted) for wanted in foldings)
        request = replace(request, experiments=asked, baseline=asked[0].name, folder=Path())
    if clocks_mhz:
        request = replace(request, clocks_mhz=tuple(dict.fromkeys(clocks_mhz)))
    return replace(
        request, part=part or request.part, frames=frames or request.frames, board=board or request.board
    )


def _accuracies(request: Request) -> dict[str, NetworkAccuracy | None]:
    from labd.progress import shown
    from labd_host.experiments.accuracy import accuracy_of

    with shown() as listener:
        return {name: accuracy_of(name, listener, request.dataset) for name in request.networks}


def _run(study: Study, store: Store, allowed: PoolLimits | Demand) -> dict[str, str]:
    """Do what is missing, here or on Slurm; key -> why nobody waits for it any longer."""
    from labd.progress import shown
    from labd_host.experiments.outcomes import keys_of
    from labd_host.experiments.slurm_pool import SlurmPool
    from labd_host.experiments.worker_pool import PoolLimits, WorkerPool

    names: dict[str, str] = {}
    for experiment in study.experiments:
        names.setdefault(experiment.key, f"{experiment.network} {experiment.name}")
    keys = keys_of(study)
    ended: list[str] = []
    with shown() as listener:

        def done(key: str) -> None:
            ended.append(key)
            listener.say(f"{names[key]}: {'failed' if store.failure(key) else 'done'}")
            listener.progress("experiments", len(ended), len(keys), names[key])

        if not isinstance(allowed, PoolLimits):
            return SlurmPool(store, allowed, done, listener).run(keys)
        try:
            return WorkerPool(store, allowed, done).run(keys)
        except KeyboardInterrupt:
            listener.say("The workers are stopped, results are kept. Run the same command again to resume.")
            raise


def _on_slurm(
    executor: str, jobs: int | None, memory_gb: float | None, timeout_s: float,
    licenses: str, partition: str, account: str,
) -> Demand | None:  # fmt: skip
    """What each job asks Slurm for; None where this machine does the work."""
    from labd_host.experiments.slurm import Demand

    if executor != "slurm":
        if licenses or partition or account:
            raise UsageError("only jobs of Slurm take --slurm-... options", fix="add --executor slurm")
        return None
    return Demand(
        memory_gb or Demand.memory_gb, minutes=ceil(timeout_s / 60) + 1, at_once=jobs or Demand.at_once,
        licenses=licenses, partition=partition, account=account,
    )  # fmt: skip


def _in_slurm(store: Store, keys: Sequence[str]) -> dict[str, str]:
    """Key -> why its job waits, or how it ended."""
    from labd_host.experiments.slurm_queue import SlurmQueue

    return {key: standing.text for key, standing in SlurmQueue(store.folder).standings(keys).items()}


def _build(study: Study, store: Store, allowed: Licences) -> list[str]:
    """Have Vivado build every folding that has no bundle yet; the experiments that were not built."""
    from labd_host.experiments.synthesis import build_all

    foldings = {each.key: each for each in study.experiments if store.result(each.key) is not None}
    _say(f"Vivado: {len(foldings)} foldings, {allowed.count} at once; logs in {store.folder}")
    failed = []
    for key, fault in build_all(list(foldings.values()), store.folder, allowed).items():
        name = f"{foldings[key].network} {foldings[key].name}"
        _say(f"{name} was not built: {fault}")
        failed.append(name)
    return failed


def _measure(study: Study, store: Store, builds: Builds, *, again: bool) -> list[str]:
    """Ask the board for what it did not tell yet; the experiments it told nothing of."""
    from labd_host.experiments.measure import board_at_hand, measure

    asked = {
        experiment.key: experiment
        for experiment in study.experiments
        if experiment.board and store.result(experiment.key) is not None
        if again or store.measured(experiment) is None
    }
    if not asked:
        return []
    failed = []
    with board_at_hand(study.experiments[0].board):
        for experiment in asked.values():
            name = f"{experiment.network} {experiment.name}"
            with store.claim(experiment.key) as claim:
                if claim is None:
                    _say(f"{name}: another process is measuring it")
                    failed.append(name)
                    continue
                _say(f"{name}: measured on board {experiment.board}")
                try:
                    store.keep_measured(experiment, measure(experiment, store.folder, builds))
                except LabdError as error:
                    _say(f"{name}: {error}")
                    failed.append(name)
    return failed


def _finish(study: Study, found: Sequence[ExperimentOutcome], folder: Path, source: str) -> None:
    """Print the tables, write the files; *source*: the study as TOML, "" where options changed it."""
    from labd.shown import terminal
    from labd_host.experiments.outcomes import write_json
    from labd_host.experiments.study_page import write_page
    from labd_host.experiments.study_table import terminal_tables

    console = terminal()
    console.print(terminal_tables(study, found, console.width))
    path = folder / f"{study.name}.json"
    write_json(study, found, path)
    page, markdown, figures = write_page(study, found, folder, source=source)
    click.echo(f"{page}: tables, plots, and why each folding is as it is", err=True)
    click.echo(f"{markdown}: the same without plots", err=True)
    click.echo(f"{figures}: every figure; {path.name}: and each layer", err=True)
    if failed := [outcome for outcome in found if outcome.result is None]:
        names = ", ".join(f"{each.experiment.network} {each.experiment.name}" for each in failed)
        raise LabdError(
            f"{len(failed)} of {len(found)} experiments have no result: {names}",
            fix="read why above; --again tries once more what failed",
        )


def _print_status(study: Study, store: Store, in_slurm: Mapping[str, str]) -> None:
    from rich.table import Table

    from labd.shown import terminal
    from labd_host.experiments.outcomes import WAITING, state_of

    table = Table("network", "experiment", "MHz", "state", "", box=None, pad_edge=False)
    for experiment in study.experiments:
        state = state_of(experiment, store)
        failure = None if experiment.fault else store.failure(experiment.key)
        why = experiment.fault or (failure.what if failure and state == "failed" else "")
        if state == WAITING:
            why = in_slurm.get(experiment.key, "")
        table.add_row(experiment.network, experiment.name, f"{experiment.clock_mhz:g}", state, why)
    terminal().print(table)


def _say(line: str) -> None:
    click.echo(line, err=True)
