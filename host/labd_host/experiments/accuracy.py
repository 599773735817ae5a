"""How good a network is. No folding changes it, so it is found once a network, not once an experiment."""

from __future__ import annotations

from labd_host import datasets, networks
from labd_host.experiments.study_model import NetworkAccuracy
from labd_host.machine.listener import Listener
from labd_shared.dataset_table import UNKNOWN_LABEL
from labd_shared.errors import DataMissing

GOLDEN, RECORD = "golden model here", "record of the training"


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
    from labd_host.flow.kept_answers import kept_outputs
    from labd_host.judge.classifiers import golden
    from labd_shared.answers import predicted_classes

    classifier = golden(name, listener, dataset)
    if classifier.model is None or classifier.dataset is None:
        return None
    if not datasets.is_own(classifier.dataset) and datasets.present(classifier.dataset) is None:
        return None
    found = datasets.read(classifier.dataset, "test", classifier.form)
    judged = found.labels != UNKNOWN_LABEL
    if not judged.any():
        return None
    right = predicted_classes(kept_outputs(classifier.model, found.images)) == found.labels
    return NetworkAccuracy(int(right[judged].sum()), int(judged.sum()), classifier.dataset, GOLDEN)
