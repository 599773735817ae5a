"""Rows of bit fields to bytes and back: the arithmetic behind a packing plan.

A row begins as *lanes*: an element each, in the smallest integer that holds it. numpy moves no bits from
one element of an array to its neighbour, but lanes side by side can be looked at as one machine word, and
shifted together in it. A row that does not fill its last word is moved into one that does as a single
item of numpy's void type, several times as fast as a copy of two-dimensional slices.

Values are not checked here: `labd_shared.packing` does that.
"""

from abc import ABC, abstractmethod
from math import gcd
from typing import Iterator, List, Tuple

import numpy as np

from labd_shared.datatypes import Datatype

WORD_BITS = 64
SLOW_ITEMS = (3, 5)  # bytes: such are moved faster byte by byte, each down all rows
# packbits(bitorder=) came with numpy 1.17; PYNQ 2.5 and 2.6 have 1.16. A table reverses each byte there.
_HAS_BITORDER = tuple(int(part) for part in np.__version__.split(".")[:2]) >= (1, 17)
_REVERSED = np.array([int("{:08b}".format(byte)[::-1], 2) for byte in range(256)], np.uint8)


def container(datatype: Datatype) -> np.dtype:
    """The smallest numpy integer that holds every value of *datatype*, little endian."""
    width = 1 if datatype.bits <= 8 else 2 if datatype.bits <= 16 else 4
    return np.dtype("<{}{}".format("u" if datatype.low >= 0 else "i", width))


def fields(datatype: Datatype, inner: int) -> "Fields":
    """What packs rows of *inner* elements of *datatype*."""
    if container(datatype).itemsize * 8 == datatype.bits:
        return NativeFields(datatype, inner, container(datatype))
    if datatype.bits in (1, 2, 4):
        return ByteFields(datatype, inner)
    return MergedFields(datatype, inner)


class Fields(ABC):
    """Rows of *inner* elements of *datatype*.

    An object keeps scratch memory between calls, so two threads must not use one at once.

    Attributes:
        lane: The integer in which `pack` takes an element.
        row_bytes: What a row becomes.
    """

    def __init__(self, datatype: Datatype, inner: int, lane: np.dtype) -> None:
        self.datatype = datatype
        self.inner = inner
        self.lane = lane
        self.row_bytes = (inner * datatype.bits + 7) // 8

    @abstractmethod
    def pack(self, values: np.ndarray, out: np.ndarray) -> None:
        """Pack *values*, `lane` of shape ``(rows, inner)``, into *out*, uint8 ``(rows, row_bytes)``.

        Both C-contiguous, of at least one row.
        """

    @abstractmethod
    def unpack(self, packed: np.ndarray, out: np.ndarray) -> None:
        """Unpack *packed*, uint8 ``(rows, row_bytes)``, into *out*, `container` of shape ``(rows, inner)``.

        Both C-contiguous, of at least one row.
        """


class NativeFields(Fields):
    """Elements that fill their container: the bytes are the values."""

    def pack(self, values: np.ndarray, out: np.ndarray) -> None:
        np.copyto(out.view(self.lane), values)

    def unpack(self, packed: np.ndarray, out: np.ndarray) -> None:
        np.copyto(out, packed.view(self.lane))


class _LanesInWords(Fields):
    """Rows looked at as machine words of *lanes* lanes each, a power of two."""

    def __init__(self, datatype: Datatype, inner: int, lane: np.dtype, lanes: int) -> None:
        super(_LanesInWords, self).__init__(datatype, inner, lane)
        self._lanes = lanes
        self._row_words = -(-inner // lanes)
        self._word = np.dtype("<u{}".format(lanes * lane.itemsize))
        self._row_item = _item(inner * lane.itemsize)
        self._rows = 0  # that there is scratch memory for

    def _need(self, rows: int) -> None:
        if rows > self._rows:
            self._allocate(rows)
            self._rows = rows

    def _allocate(self, rows: int) -> None:
        """Scratch memory for so many rows."""
        # The padding behind each row is zero, and nobody writes to it.
        self._padded = np.zeros((rows, self._row_words * self._lanes), self.lane)
        self._words = np.empty((rows, self._row_words), self._word)

    def _in_whole_words(self, values: np.ndarray) -> np.ndarray:
        """*values* as lanes of whole words, zeros behind each row."""
        if self.inner % self._lanes == 0:
            return values
        padded = self._padded[: len(values)]
        _move_rows(values, padded, self._row_item)
        return padded

    def _in_words(self, values: np.ndarray) -> np.ndarray:
        """*values* as words. In those of rows that are shorter than one, the lanes behind hold anything.

        Such rows are short and many: each is read as a whole word, and the beginning of the next with it.
        """
        if self._row_words > 1 or self.inner == self._lanes:
            return self._in_whole_words(values).view(self._word)
        words = self._words[: len(values)]
        reaching_over = np.ndarray((len(values) - 1,), self._word, values, 0, (self._row_item.itemsize,))
        np.copyto(words[:-1, 0], reaching_over)
        words.view(self.lane)[-1, : self.inner] = values[-1]  # behind the last one is nothing to be read
        return words


class ByteFields(_LanesInWords):
    """One, two or four bits: a byte holds whole elements."""

    def __init__(self, datatype: Datatype, inner: int) -> None:
        bits = datatype.bits
        lanes = 8 if bits == 1 else min(8 // bits, _power_of_two(inner))
        super(ByteFields, self).__init__(datatype, inner, container(datatype), lanes)
        byte = self._word.itemsize * 8 - 8  # where the last byte of a word begins
        mask = (1 << bits) - 1
        present = range(min(inner, lanes))
        self._mask = self._word.type(sum(mask << (8 * place) for place in present))
        # One product adds up each lane moved to its place in the last byte. Whatever else it moves there
        # falls beside the others or out of the word, because all fields together are no wider than a lane.
        self._gather = self._word.type(sum(1 << (byte + (bits - 8) * place) for place in range(lanes)))
        every_byte = (np.arange(256).reshape(256, 1) >> (bits * np.arange(lanes))) & mask
        if datatype.signed:
            sign = 1 << (bits - 1)
            every_byte = (every_byte ^ sign) - sign
        elif datatype.low < 0:  # BIPOLAR
            every_byte = 2 * every_byte - 1
        self._unpacked = every_byte.astype(self.lane).view(self._word).reshape(256)

    def pack(self, values: np.ndarray, out: np.ndarray) -> None:
        self._need(len(values))
        if self.datatype.bits == 1:
            lanes = self._in_whole_words(values).reshape(-1)
            out.reshape(-1)[...] = _pack_bits(lanes > 0 if self.datatype.low < 0 else lanes)
            return
        words = self._words[: len(values)]
        np.bitwise_and(self._in_words(values), self._mask, out=words)
        np.multiply(words, self._gather, out=words)
        out.reshape(-1)[...] = words.reshape(-1).view(np.uint8)[self._lanes - 1 :: self._lanes]

    def unpack(self, packed: np.ndarray, out: np.ndarray) -> None:
        if self.inner % self._lanes == 0:
            np.take(self._unpacked, packed, out=out.view(self._word), mode="clip")
            return
        self._need(len(packed))
        words = self._words[: len(packed)]
        np.take(self._unpacked, packed, out=words, mode="clip")
        _move_rows(words, out, self._row_item)


class MergedFields(_LanesInWords):
    """Any other width: neighbours become pairs, pairs fours, until the elements of a word lie side by side;
    then a row's words are laid behind each other."""

    def __init__(self, datatype: Datatype, inner: int) -> None:
        lane = container(datatype)
        lanes = min(WORD_BITS // 8 // lane.itemsize, _power_of_two(inner))
        merged = lanes * datatype.bits
        if inner > lanes and merged + 8 - gcd(merged, 8) > WORD_BITS:
            # Two of 31 bits, and the bits of a byte before them, are more than a word: one in each, then.
            lane, lanes, merged = np.dtype("<{}8".format(lane.kind)), 1, datatype.bits
        super(MergedFields, self).__init__(datatype, inner, lane, lanes)
        self._mask = self._word.type((1 << datatype.bits) - 1)
        self._merges = self._plan_merges()
        self._in_bytes = self._row_words == 1 or merged % 8 == 0
        self._merged_bits = merged
        self._packed_item = _item(self.row_bytes)
        self._pieces = self._plan_pieces(self.row_bytes if self._row_words == 1 else merged // 8)

    def _plan_merges(self) -> List[Tuple[np.generic, np.generic, np.generic]]:
        """For each merge: how far the upper one of two neighbours moves, where the lower ones are, and where
        the upper ones come to."""
        merges = []
        bits, span, present = self.datatype.bits, 8 * self.lane.itemsize, min(self.inner, self._lanes)
        while span < 8 * self._word.itemsize:
            field = (1 << bits) - 1
            lower = sum(field << (span * place) for place in range(0, present, 2))
            upper = sum(field << (span * (place - 1) + bits) for place in range(1, present, 2))
            merges.append((self._word.type(span - bits), self._word.type(lower), self._word.type(upper)))
            bits, span, present = 2 * bits, 2 * span, (present + 1) // 2
        return merges

    def _plan_pieces(self, size: int) -> List[Tuple[int, int, int, np.dtype]]:
        """How a row's words of *size* bytes lie in its bytes: how many, from which byte of the words, to which
        of the packed row, as what item. The last one may be cut short."""
        whole, rest = divmod(self.row_bytes, size)
        pieces = [(whole, 0, 0, _item(size))]
        if rest:
            pieces.append((1, whole * self._word.itemsize, whole * size, _item(rest)))
        return pieces

    def _allocate(self, rows: int) -> None:
        super(MergedFields, self)._allocate(rows)
        self._moved = np.empty((rows, self._row_words), self._word)
        if not self._in_bytes:
            self._columns = np.empty((self._row_words, rows), self._word)
            # A word that begins within a byte shares it with the word before: every other one is laid on a
            # sheet of its own, whose gaps stay zero. The third sheet is both together.
            sheet_words = self._merged_bits * (self._row_words - 1) // 8 // self._word.itemsize + 2
            self._sheets = np.zeros((3, rows, sheet_words), self._word)

    def pack(self, values: np.ndarray, out: np.ndarray) -> None:
        self._need(len(values))
        words, moved = self._words[: len(values)], self._moved[: len(values)]
        source = self._in_words(values)
        for shift, lower, upper in self._merges:
            np.right_shift(source, shift, out=moved)
            np.bitwise_and(moved, upper, out=moved)
            np.bitwise_and(source, lower, out=words)
            np.bitwise_or(words, moved, out=words)
            source = words
        if not self._merges:
            np.bitwise_and(source, self._mask, out=words)
        if self._in_bytes:
            for of_words, of_bytes in self._in_pieces(words, out):
                np.copyto(of_bytes, of_words)
        else:
            self._lay_out(words, out)

    def unpack(self, packed: np.ndarray, out: np.ndarray) -> None:
        self._need(len(packed))
        words, moved = self._words[: len(packed)], self._moved[: len(packed)]
        if self._in_bytes:
            for of_words, of_bytes in self._in_pieces(words, packed):
                np.copyto(of_words, of_bytes)
        else:
            self._pick_up(packed, words)
        for shift, lower, upper in reversed(self._merges):
            np.bitwise_and(words, upper, out=moved)
            np.left_shift(moved, shift, out=moved)
            np.bitwise_and(words, lower, out=words)
            np.bitwise_or(words, moved, out=words)
        if not self._merges:
            np.bitwise_and(words, self._mask, out=words)
        lanes = words.view(self.lane)
        if self.datatype.signed:
            sign = self.lane.type(1 << (self.datatype.bits - 1))
            np.bitwise_xor(lanes, sign, out=lanes)
            np.subtract(lanes, sign, out=lanes)
        if self.lane == out.dtype:
            _move_rows(lanes, out, self._row_item)
        else:
            np.copyto(out, lanes, casting="same_kind")

    def _in_pieces(self, words: np.ndarray, packed: np.ndarray) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
        """Each of the pieces in *words* and in *packed*."""
        for number, word_byte, packed_byte, item in self._pieces:
            of_words = np.ndarray(
                (len(words), number), item, words, word_byte, (words.strides[0], self._word.itemsize)
            )
            of_bytes = np.ndarray(
                (len(packed), number), item, packed, packed_byte, (self.row_bytes, item.itemsize)
            )
            yield of_words, of_bytes

    def _lay_out(self, words: np.ndarray, out: np.ndarray) -> None:
        """The words of each row behind each other in *out*."""
        sheets = self._sheets[:, : len(words)]
        np.copyto(self._columns[:, : len(words)], words.T)
        for place, (columns, byte, shift, strides) in enumerate(self._places(sheets[0])):
            if shift:
                np.left_shift(columns, self._word.type(shift), out=columns)
            np.copyto(np.ndarray(columns.shape, self._word, sheets[place % 2], byte, strides), columns)
        np.bitwise_or(sheets[0], sheets[1], out=sheets[2])
        _move_rows(sheets[2], out, self._packed_item)

    def _pick_up(self, packed: np.ndarray, words: np.ndarray) -> None:
        """The reverse; above its own bits a word then holds those of the next."""
        sheet = self._sheets[2, : len(packed)]
        _move_rows(packed, sheet, self._packed_item)
        for columns, byte, shift, strides in self._places(sheet):
            np.copyto(columns, np.ndarray(columns.shape, self._word, sheet, byte, strides))
            if shift:
                np.right_shift(columns, self._word.type(shift), out=columns)
        np.copyto(words, self._columns[:, : len(words)].T)

    def _places(self, sheet: np.ndarray) -> Iterator[Tuple[np.ndarray, int, int, Tuple[int, int]]]:
        """Columns of words that begin at the same bit of a byte, the byte and the bit at which the first of
        them begins in a row of *sheet*, and their strides there.

        Where rows are many, a column each: numpy is fast along the rows then. Where a row's words are more,
        all that begin at the same bit: they repeat their place in a byte. Of 31 bits two lie too near for
        that: a word that is laid late would reach over one that is there already.
        """
        step = self._row_words
        if len(sheet) < self._row_words and 2 * self._merged_bits >= WORD_BITS:
            step = 8 // gcd(self._merged_bits, 8)
        for place in range(min(step, self._row_words)):
            byte, shift = divmod(self._merged_bits * place, 8)
            columns = self._columns[place::step, : len(sheet)]
            yield columns, byte, shift, (self._merged_bits * step // 8, sheet.strides[0])


def _power_of_two(number: int) -> int:
    """The least one that is not less than *number*."""
    return 1 << (number - 1).bit_length()


def _item(size: int) -> np.dtype:
    """*size* bytes that numpy moves as one."""
    return np.dtype("V{}".format(size))


def _move_rows(source: np.ndarray, target: np.ndarray, item: np.dtype) -> None:
    """The first *item* of each row of *source* to the beginning of *target*'s, both C-contiguous."""
    if item.itemsize in SLOW_ITEMS:
        for byte in range(item.itemsize):
            np.copyto(target.view(np.uint8)[:, byte], source.view(np.uint8)[:, byte])
        return
    np.copyto(
        np.ndarray((len(target),), item, target, 0, (target.shape[1] * target.itemsize,)),
        np.ndarray((len(source),), item, source, 0, (source.shape[1] * source.itemsize,)),
    )


def _pack_bits(bits: np.ndarray) -> np.ndarray:
    """``(8 * n,)`` booleans or bytes, non-zero counting as 1, to ``(n,)`` bytes, lowest bit first."""
    if _HAS_BITORDER:
        return np.packbits(bits, bitorder="little")
    return _REVERSED[np.packbits(bits)]
