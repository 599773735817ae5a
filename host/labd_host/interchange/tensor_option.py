"""A tensor in one text, for a bitfile that nothing describes: ``UINT8 1,784 1,16,49 idma0``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from labd_shared.errors import UsageError
from labd_shared.tensors import Shape

FORM = "DATATYPE NORMAL FOLDED DMA, for example: UINT8 1,784 1,16,49 idma0"


@dataclass(frozen=True)
class TensorOption:
    """What --input or --output says; shapes for a batch of one."""

    datatype: str
    normal: Shape
    folded: Shape
    dma: str


def parse_tensor_option(text: str) -> TensorOption:
    """Read a tensor.

    Raises:
        UsageError: not of the form above.

    >>> parse_tensor_option("UINT8 1,784 1,16,49 idma0").folded
    (1, 16, 49)
    """
    words = text.split()
    if len(words) != 4 or not all(re.match(r"^\d{1,9}(,\d{1,9}){1,7}$", word) for word in words[1:3]):
        raise UsageError(f"{text!r} describes no tensor", fix=f"the form is {FORM}")
    if not re.match(r"^[A-Za-z_][A-Za-z0-9_]*$", words[3]):
        raise UsageError(f"{words[3]!r} in {text!r} is no name of a DMA", fix=f"the form is {FORM}")
    normal, folded = (tuple(int(axis) for axis in word.split(",")) for word in words[1:3])
    return TensorOption(words[0], normal, folded, words[3])
