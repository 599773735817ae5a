"""How good a network is. No folding changes it, so it is found once a network, not once an experiment."""

from __future__ import annotations

from labd_host import datasets, networks
from labd_host.experiments.study_model import NetworkAccuracy
from labd_host.machine import places
from labd_host.machine.listener import Listener
from labd_host.machine.typed_records import find_record, write_record
from labd_shared.digest import json_sha256
from labd_shared.errors import DataMissing

GOLDEN, RECORD = "golden model here", "record of the training"
MAX_FILE_BYTES = 1 << 16


def accuracy_of(name: str, listener: Listener, dataset: str = "") -> NetworkAccuracy | None:
    """Top-1 of the network *name* on its data set's test split; None where nobody trained it or knows its data set.

    Where the data set is on this machine the golden model counts, and what it found is kept in the cache;
    else the record that lies beside the trained network tells. Nothing is downloaded.

    Args:
        name: Of the table, or anything else that `labd_host.judge.classifiers.golden` takes.
        listener: Told what happens.
        dataset: What it is for, where *name* does not say.

    Raises:
        UnknownName: no such network.
        LabdError: as the golden model raises it.
    """
    if not networks.is_table_name(name):
        return _counted(name, listener, dataset)
    entry = networks.network(name)
    try:
        record = networks.trained_record(entry.name, networks.find_trained(entry))
    except DataMissing:
        return None
    if datasets.present(entry.dataset) is None:
        return NetworkAccuracy(record.correct, record.samples, record.dataset, RECORD)
    return _counted(name, listener, entry.dataset)


def _counted(name: str, listener: Listener, dataset: str) -> NetworkAccuracy | None:
    from labd_host.flow.stage_records import code_sha256
    from labd_host.judge.classifiers import golden
    from labd_host.judge.scoring import scored

    classifier = golden(name, listener, dataset)
    if classifier.dataset is None or datasets.present(classifier.dataset) is None:
        return None
    digest = json_sha256([classifier.arithmetic_sha256, classifier.dataset, code_sha256()])
    kept = places.cache() / "accuracy" / f"{digest}.json"
    if (known := find_record(NetworkAccuracy, kept, MAX_FILE_BYTES)) is not None:
        return known
    if kept.is_file():
        listener.say(f"{kept} is damaged and made again")
    report = scored(classifier).report
    found = NetworkAccuracy(report["correct"], report["samples"], report["dataset"], GOLDEN)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_record(kept, found)
    return found
