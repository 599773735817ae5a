import numpy as np
import pytest

from labd_shared.answers import check_judged_by_classes, predicted_classes
from labd_shared.errors import UsageError


@pytest.mark.parametrize(
    "answers, classes",
    [
        (np.array([[[7]], [[0]]], np.uint8), [7, 0]),
        (np.array([[1, 5, 5], [9, 0, 0], [0, 0, 0]]), [1, 0, 0]),
        (np.array([[-3], [-1]]), [-3, -1]),
        (np.zeros((0, 1), np.uint8), []),
    ],
)
def test_a_label_is_itself_and_of_equal_scores_the_lower_index_wins(answers, classes):
    predicted = predicted_classes(answers)
    assert predicted.dtype == np.int64 and predicted.tolist() == classes


@pytest.mark.parametrize("answer, values, classes", [("class", 1, 10), ("sign", 1, 2), ("values", 10, 10)])
def test_classes_signs_and_a_score_for_each_class_are_judged_by_labels(answer, values, classes):
    check_judged_by_classes("mine", answer, values, classes)


@pytest.mark.parametrize(
    "answer, values, words",
    [
        (
            "values",
            784,
            "mine gives 784 values for an image, not a class: the labels of a data set with 10 classes",
        ),
        (
            "sign",
            1,
            "mine gives one yes or no for an image: the labels of a data set with 10 classes cannot judge it",
        ),
    ],
)
def test_other_answers_are_not_judged_by_labels(answer, values, words):
    with pytest.raises(UsageError) as raised:
        check_judged_by_classes("mine", answer, values, 10)
    assert words in raised.value.what
