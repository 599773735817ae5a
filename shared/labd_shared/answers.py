"""What a network says, as a class."""

import numpy as np

from labd_shared.tensors import count


def predicted_classes(answers: np.ndarray) -> np.ndarray:
    """The class of each frame, int64 ``(n,)``.

    Args:
        answers: ``(n, ...)``: one value a frame is the label itself (FINN's LabelSelect); several are
            scores, of which the highest wins, the lower index where two are equal.

    >>> predicted_classes(np.array([[1, 5, 5], [9, 0, 0]])).tolist()
    [1, 0]
    """
    flat = answers.reshape(len(answers), count(answers.shape[1:]))
    return np.asarray(flat[:, 0] if flat.shape[1] == 1 else flat.argmax(axis=1), np.int64)
