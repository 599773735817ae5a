import numpy as np
import pytest

from labd_shared.answers import predicted_classes


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
