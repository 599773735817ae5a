"""What a study's folder knows: each experiment with its result, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from labd_host.experiments.builds import Builds
from labd_host.experiments.store import Store
from labd_host.experiments.study_model import Experiment, ExperimentOutcome, NetworkAccuracy, Study
from labd_host.machine.typed_records import write_record

DONE, RUNNING, WAITING, FAILED = "done", "running", "waiting", "failed"


def keys_of(study: Study) -> list[str]:
    """What has to be found out, each thing once: two names for one folding have one key."""
    return list(dict.fromkeys(experiment.key for experiment in study.experiments if not experiment.fault))


def outcomes(
    study: Study,
    store: Store,
    accuracies: Mapping[str, NetworkAccuracy | None],
    builds: Builds,
    abandoned: Mapping[str, str],
) -> list[ExperimentOutcome]:
    """The study's experiments, in its order.

    Args:
        accuracies: Of each network.
        builds: What was built of them.
        abandoned: Key -> why nobody waits for it any longer.
    """
    return [_outcome(experiment, store, accuracies, builds, abandoned) for experiment in study.experiments]


def _outcome(
    experiment: Experiment,
    store: Store,
    accuracies: Mapping[str, NetworkAccuracy | None],
    builds: Builds,
    abandoned: Mapping[str, str],
) -> ExperimentOutcome:
    if experiment.fault:
        return ExperimentOutcome(experiment, None, experiment.fault)
    result = store.result(experiment.key)
    if result is not None:
        known = replace(
            result,
            accuracy=accuracies.get(experiment.network),
            built=builds.cells(experiment),
            measured=store.measured(experiment),
        )
        return ExperimentOutcome(experiment, known)
    failure = store.failure(experiment.key)
    return ExperimentOutcome(experiment, None, failure.what if failure else abandoned.get(experiment.key, ""))


def state_of(experiment: Experiment, store: Store) -> str:
    """Whether *experiment* is done, running, waiting or failed."""
    if experiment.fault:
        return FAILED
    if store.result(experiment.key) is not None:
        return DONE
    if store.failure(experiment.key) is not None:
        return FAILED
    return WAITING if store.holder(experiment.key) is None else RUNNING


def write_json(study: Study, found: Sequence[ExperimentOutcome], path: Path) -> None:
    """Everything that is known, for programs."""
    write_record(path, {"study": study, "outcomes": found})
