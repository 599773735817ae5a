"""The pickles of CIFAR's python distribution, read without running them.

A pickle is a program: Python's own reader calls whatever it names. This reader knows the few
opcodes that Python 2 wrote for these files (protocol 2), and builds numbers, byte strings, lists,
tuples, dictionaries and arrays of bytes; the few names such a file may mention are not imported
but played by stand-ins. Memory and time stay in proportion to the file.

Source: Lib/pickletools.py of CPython (what each opcode means).
"""

import struct
from typing import Any, Dict, List

import numpy as np

from labd_shared.errors import DataDamaged
from labd_shared.tensors import count

ENCODE, DTYPE, NDARRAY, RECONSTRUCT = "_codecs.encode", "numpy.dtype", "numpy.ndarray", "_reconstruct"
ALLOWED = {
    ("_codecs", "encode"): ENCODE,
    ("numpy", "dtype"): DTYPE,
    ("numpy", "ndarray"): NDARRAY,
    ("numpy.core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy.core._multiarray_umath", "_reconstruct"): RECONSTRUCT,  # what numpy 1.16 and 1.17 call it
    ("numpy._core.multiarray", "_reconstruct"): RECONSTRUCT,  # its name since numpy 2
}
MAX_NAME_BYTES = 256


def unpickle(data: bytes, name: str) -> Dict[str, Any]:
    """The dictionary in *data*, the content of file *name*; its arrays are uint8, strings stay bytes.

    Raises:
        DataDamaged: it asks for anything such a file does not need, ends early, or is no dictionary.
    """
    try:
        found = _Machine(data).run()
        if not isinstance(found, dict):
            raise ValueError("it holds no dictionary")
        return {_text(key): _plain(value) for key, value in found.items()}
    except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise DataDamaged(
            "{} is no pickle of this data set: {}".format(name, error), fix="fetch the file again"
        ) from error


class _Name(object):
    """Stands where the file names a function or a type; it can do nothing."""

    def __init__(self, what: str) -> None:
        self.what = what


class _Bytes(object):
    """Stands for numpy's uint8 data type."""


class _Array(object):
    """Stands for an array until its content comes."""

    def __init__(self) -> None:
        self.array = np.zeros(0, np.uint8)  # type: np.ndarray


def _text(key: Any) -> str:
    return key.decode("ascii") if isinstance(key, bytes) else str(key)


def _plain(value: Any) -> Any:
    return value.array if isinstance(value, _Array) else value


def _call(what: str, arguments: Any) -> Any:
    """What a call of the allowed name *what* gives."""
    if not isinstance(arguments, tuple):
        raise ValueError("a call without arguments")
    if what == ENCODE and len(arguments) == 2 and isinstance(arguments[0], str):
        if _text(arguments[1]) != "latin1":
            raise ValueError("bytes that are not spelled in latin1")
        return arguments[0].encode("latin1")
    if what == DTYPE and arguments and arguments[0] in (b"u1", "u1"):
        return _Bytes()
    if what == RECONSTRUCT and arguments and isinstance(arguments[0], _Name) and arguments[0].what == NDARRAY:
        return _Array()
    raise ValueError("a call of {} that no such file needs".format(what))


def _fill(target: Any, state: Any) -> None:
    """Give a stand-in its content."""
    if isinstance(target, _Bytes):
        return  # byte order and alignment, of which bytes have none
    if not isinstance(target, _Array):
        raise ValueError("content for something that takes none")
    _, shape, kind, fortran, content = state
    if not isinstance(kind, _Bytes) or not isinstance(content, bytes):
        raise ValueError("an array that is not of bytes")
    if not isinstance(shape, tuple) or not all(isinstance(axis, int) and axis >= 0 for axis in shape):
        raise ValueError("an array without a shape")
    if count(shape) != len(content):
        raise ValueError("an array of shape {} in {} bytes".format(shape, len(content)))
    target.array = np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Machine(object):
    """The stack, the memo and the opcodes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._stack = []  # type: List[Any]
        self._marks = []  # type: List[int]
        self._memo = {}  # type: Dict[int, Any]

    def run(self) -> Any:
        """What stands on the stack at the end."""
        while True:
            opcode = self._take(1)
            if opcode == b".":
                return self._stack.pop()
            if opcode not in OPCODES:
                raise ValueError("opcode {!r} at byte {}".format(opcode, self._at - 1))
            OPCODES[opcode](self)

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def number(self, form: str) -> int:
        """The next number, as `struct` spells its form."""
        return int(struct.unpack(form, self._take(struct.calcsize(form)))[0])

    def string(self, form: str) -> bytes:
        """The next string, whose length comes first."""
        return self._take(self.number(form))

    def protocol(self) -> None:
        version = self.number("<B")
        if version > 2:
            raise ValueError("protocol {}, these files have 2".format(version))

    def mark(self) -> None:
        self._marks.append(len(self._stack))

    def marked(self) -> List[Any]:
        """Everything above the last mark, taken off."""
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def last(self, number: int) -> List[Any]:
        """The last *number* values, taken off."""
        return [self._stack.pop() for _ in range(number)][::-1]

    def keep(self, form: str) -> None:
        self._memo[self.number(form)] = self._stack[-1]

    def again(self, form: str) -> None:
        self.push(self._memo[self.number(form)])

    def extend(self, items: List[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise ValueError("values for something that is no list")
        self._stack[-1].extend(items)

    def update(self, items: List[Any]) -> None:
        target = self._stack[-1]
        # Only strings are keys: a tuple of tuples of tuples would take for ever to hash.
        if not isinstance(target, dict) or not all(isinstance(key, (bytes, str)) for key in items[::2]):
            raise ValueError("keys that are no strings")
        target.update(zip(items[::2], items[1::2]))

    def name(self) -> None:
        module, what = self._line(), self._line()
        if (module, what) not in ALLOWED:
            raise ValueError("it asks for {}.{}".format(module, what))
        self.push(_Name(ALLOWED[module, what]))

    def call(self) -> None:
        function, arguments = self.last(2)
        if not isinstance(function, _Name):
            raise ValueError("a call of something that is no function")
        self.push(_call(function.what, arguments))

    def build(self) -> None:
        target, state = self.last(2)
        _fill(target, state)
        self.push(target)

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size] if size >= 0 else b""
        if len(taken) != size:
            raise ValueError("it ends early")
        self._at += size
        return taken

    def _line(self) -> str:
        end = self._data.find(b"\n", self._at, self._at + MAX_NAME_BYTES)
        if end < 0:
            raise ValueError("a name without an end")
        line = self._take(end + 1 - self._at)[:-1]
        return line.decode("ascii")


OPCODES = {
    b"\x80": lambda machine: machine.protocol(),
    b"(": lambda machine: machine.mark(),
    b"N": lambda machine: machine.push(None),
    b"\x88": lambda machine: machine.push(True),
    b"\x89": lambda machine: machine.push(False),
    b"K": lambda machine: machine.push(machine.number("<B")),
    b"M": lambda machine: machine.push(machine.number("<H")),
    b"J": lambda machine: machine.push(machine.number("<i")),
    b"\x8a": lambda machine: machine.push(int.from_bytes(machine.string("<B"), "little", signed=True)),
    b"U": lambda machine: machine.push(machine.string("<B")),
    b"T": lambda machine: machine.push(machine.string("<i")),
    b"X": lambda machine: machine.push(machine.string("<I").decode("utf-8")),
    b"]": lambda machine: machine.push([]),
    b"}": lambda machine: machine.push({}),
    b")": lambda machine: machine.push(()),
    b"t": lambda machine: machine.push(tuple(machine.marked())),
    b"\x85": lambda machine: machine.push(tuple(machine.last(1))),
    b"\x86": lambda machine: machine.push(tuple(machine.last(2))),
    b"\x87": lambda machine: machine.push(tuple(machine.last(3))),
    b"a": lambda machine: machine.extend(machine.last(1)),
    b"e": lambda machine: machine.extend(machine.marked()),
    b"s": lambda machine: machine.update(machine.last(2)),
    b"u": lambda machine: machine.update(machine.marked()),
    b"q": lambda machine: machine.keep("<B"),
    b"r": lambda machine: machine.keep("<I"),
    b"h": lambda machine: machine.again("<B"),
    b"j": lambda machine: machine.again("<I"),
    b"c": lambda machine: machine.name(),
    b"R": lambda machine: machine.call(),
    b"b": lambda machine: machine.build(),
}
