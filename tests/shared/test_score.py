"""Scores against plain loops, and their text."""

import numpy as np
import pytest

from labd_shared.answers import best_classes, gives_scores, predicted_classes
from labd_shared.dataset_table import dataset_spec
from labd_shared.score import score, score_lines


def naive_best(answers, most):
    return [
        sorted(range(len(row)), key=lambda index: (-row[index], index))[:most] for row in answers.tolist()
    ]


def test_the_best_classes_are_those_of_sorting_each_row(rng):
    answers = rng.randint(-4, 4, (200, 12)).astype(np.int8)  # with many equal scores
    assert best_classes(answers, 12).tolist() == naive_best(answers, 5)
    assert np.array_equal(best_classes(answers, 12)[:, 0], predicted_classes(answers, 12))


def test_the_lowest_score_is_not_mistaken_for_the_highest():
    assert best_classes(np.array([[-128, 0, 127]], np.int8), 3).tolist() == [[2, 1, 0]]


def test_the_five_best_labels_of_a_label_select_are_taken_as_they_come():
    answers = np.array([[7, 3, 9, 1, 0], [2, 8, 4, 5, 6]], np.uint8)
    assert not gives_scores(5, 10) and gives_scores(5, 5) and gives_scores(64, 10) and not gives_scores(1, 10)
    assert predicted_classes(answers, 10).tolist() == [7, 2]
    assert best_classes(answers, 10).tolist() == answers.tolist()


@pytest.mark.parametrize("name", ["mnist", "cifar100"])
def test_every_count_is_that_of_a_plain_loop(rng, name):
    spec = dataset_spec(name)
    classes = len(spec.class_names)
    labels = rng.randint(0, classes, 500).astype(np.uint8)
    best = np.array([rng.permutation(classes)[:5] for _ in range(500)])
    best[::3, 0] = labels[::3]
    report = score(spec, labels, best)
    confusion = [[0] * classes for _ in range(classes)]
    correct = top5 = coarse = 0
    for label, row in zip(labels.tolist(), best.tolist()):
        confusion[label][row[0]] += 1
        correct += row[0] == label
        top5 += label in row
        coarse += bool(spec.coarse_of) and spec.coarse_of[row[0]] == spec.coarse_of[label]
    assert (report["samples"], report["correct"], report["top5_correct"]) == (500, correct, top5)
    assert report["confusion"] == confusion and report["no_class"] == 0
    assert report["coarse_correct"] == (coarse if spec.coarse_names else None)
    assert [entry["correct"] for entry in report["per_class"]] == [confusion[c][c] for c in range(classes)]
    assert [entry["samples"] for entry in report["per_class"]] == [sum(row) for row in confusion]
    assert report["accuracy_percent"] == 100.0 * correct / 500


def test_answers_outside_all_classes_are_wrong_and_counted_apart():
    report = score(dataset_spec("mnist"), np.array([1, 2, 3]), np.array([[1], [10], [-1]]))
    assert (report["correct"], report["no_class"], report["top5_correct"]) == (1, 2, None)
    assert sum(map(sum, report["confusion"])) == 1
    assert "  no class    2 answers are no class of the data set" in score_lines(report)


def test_the_text_shows_few_classes_all_and_of_many_the_worst():
    labels = np.array([3, 3, 3, 8, 8, 1])
    lines = score_lines(score(dataset_spec("mnist"), labels, np.array([[5], [5], [3], [8], [5], [1]])))
    assert lines == [
        "  images      6, 3 right",
        "  accuracy    50.00 %  (95 % interval 18.76 to 81.24)",
        "  by class",
        "    1  100.00 %  1 of 1",
        "    3   33.33 %  1 of 3",
        "    8   50.00 %  1 of 2",
        "  most often mistaken: 3 for 5 (2), 8 for 5 (1)",
    ]
    spec = dataset_spec("cifar100")
    lines = score_lines(score(spec, np.arange(100), np.arange(100)[:, np.newaxis]))
    assert "  the 5 worst of 100 classes" in lines and "    apple          100.00 %  1 of 1" in lines
    assert "  coarse      100.00 %, 100 right" in lines and not any("mistaken" in line for line in lines)
