"""Two runs matched image by image: counted by hand, and by brute force over random runs."""

import random

import numpy as np
import pytest

from labd_host.judge.agreement import class_name, compare
from labd_shared.dataset_table import UNKNOWN_LABEL
from labd_shared.errors import UsageError
from labd_shared.predictions import Predictions


def run_of(digests, labels, predicted, dataset="mnist", scores=None):
    about = {"network": "net", "dataset": dataset, "split": "test", "target": "host", "source": "a test"}
    return Predictions(
        about=about,
        row=np.arange(len(digests)),
        digest=np.array(digests, np.uint64),
        label=np.array(labels, np.int32),
        predicted=np.array(predicted, np.int32),
        scores=scores,
    )


A = run_of([11, 12, 13, 14, 15, 16], [0, 0, 1, 1, 2, 2], [0, 0, 1, 0, 1, 2])
B = run_of([16, 15, 14, 13, 12, 99], [2, 2, 1, 1, 0, 0], [1, 0, 1, 0, 0, 0])  # the other way round


def test_images_are_matched_by_digest_and_counted():
    found = compare(A, B)
    assert (found.matched, found.alone) == (5, (1, 1))
    said = {each.digest: (each.row, each.label, each.said) for each in found.differences}
    assert said == {13: (2, 1, (1, 0)), 14: (3, 1, (0, 1)), 15: (4, 2, (1, 0)), 16: (5, 2, (2, 1))}
    assert [each.digest for each in found.differences] == [13, 14, 15, 16], "in A's order"
    assert (found.labelled, found.correct, found.right_alone, found.both_wrong) == (5, (3, 2), (2, 1), 1)
    assert [(each.label, each.samples, each.correct, each.change) for each in found.classes] == [
        (0, 1, (1, 1), 0),
        (1, 2, (1, 1), 0),
        (2, 2, (1, 0), -1),
    ]


def test_a_run_does_not_differ_from_itself_in_another_order():
    order = [3, 1, 5, 0, 2, 4]
    again = run_of(A.digest[order], A.label[order], A.predicted[order])
    assert compare(A, again).differences == ()
    assert compare(A, again).chance == 1.0


def test_a_picture_that_is_there_twice_is_matched_twice():
    found = compare(run_of([7, 7, 8], [1, 1, 1], [0, 1, 1]), run_of([7, 8, 7], [1, 1, 1], [0, 1, 0]))
    assert found.matched == 3
    assert [(each.row, each.said) for each in found.differences] == [(1, (1, 0))]


def test_an_unknown_label_is_taken_from_the_other_run_or_not_counted():
    unknown = run_of([1, 2], [UNKNOWN_LABEL, UNKNOWN_LABEL], [4, 5])
    found = compare(unknown, run_of([1, 2], [4, UNKNOWN_LABEL], [3, 6]))
    assert [each.label for each in found.differences] == [4, UNKNOWN_LABEL]
    assert (found.labelled, found.right_alone, found.both_wrong) == (1, (1, 0), 0)


@pytest.mark.parametrize(
    "alone, chance",
    [((2, 8), 2 * (1 + 10 + 45) / 1024), ((0, 6), 2 / 64), ((5, 5), 1.0), ((1, 0), 1.0)],
)
def test_the_test_of_chance_is_the_exact_one(alone, chance):
    first, second = alone
    digests = list(range(first + second))
    said = [1] * first + [0] * second, [0] * first + [1] * second
    found = compare(*(run_of(digests, [1] * len(digests), each) for each in said))
    assert found.right_alone == alone
    assert found.chance == pytest.approx(chance)
    assert (
        f"as uneven as {first} to {second} would come about with probability {chance:.2g}." in found.verdict
    )


def test_a_thousand_differences_overflow_nothing():
    digests = list(range(4000))
    found = compare(run_of(digests, [0] * 4000, [0] * 4000), run_of(digests, [0] * 4000, [1] * 4000))
    assert found.right_alone == (4000, 0)
    assert found.verdict.endswith("4000 to 0 would come about with probability less than 1e-12.")
    assert compare(A, A).verdict == ""


def test_random_runs_against_counting_one_by_one():
    draw = random.Random(4)
    for _ in range(50):
        digests = draw.sample(range(1000), 40)
        truth = {digest: draw.randrange(3) for digest in digests}
        runs, said = [], []
        for _run in range(2):
            chosen = draw.sample(digests, draw.randrange(25, 40))
            answers = {digest: draw.randrange(3) for digest in chosen}
            runs.append(run_of(chosen, [truth[each] for each in chosen], list(answers.values())))
            said.append(answers)
        common = set(said[0]) & set(said[1])
        found = compare(*runs)
        assert found.matched == len(common)
        assert {each.digest for each in found.differences} == {
            digest for digest in common if said[0][digest] != said[1][digest]
        }
        assert found.correct == tuple(
            sum(each[digest] == truth[digest] for digest in common) for each in said
        )
        record = found.record()
        parts = record["right_only_in_a"] + record["right_only_in_b"] + record["both_wrong"]
        assert parts == record["different"]


@pytest.mark.parametrize(
    "other, words",
    [
        (run_of([11], [0], [0], dataset="cifar10"), "A is about mnist, B about cifar10"),
        (run_of([77], [0], [0]), "A has 6 images, B 1, and none is in both"),
        (run_of([11], [5], [0]), "image 000000000000000b is of class 0 in A and of 5 in B"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(other, words):
    with pytest.raises(UsageError, match=words):
        compare(A, other)


def test_a_class_is_called_by_its_name_where_it_has_one():
    assert [class_name(label, ("cat", "dog")) for label in (1, 2, UNKNOWN_LABEL)] == [
        "dog",
        "class 2",
        "unknown",
    ]
