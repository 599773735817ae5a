"""The compiled golden model's innermost loops, written as vectors for LLVM; numba's own loops call them.

That is the way to say what stays in a register: a product holds ROWS windows times LANES channels of
sums there while it goes through the words of the windows. LLVM turns each vector into what the
processor has: one register of 512 bits, two of 256 with AVX2, four of 128 bits without.

A word is 32 bits of a window: 32 values of one bit, or two of 16 bits. Weights stand beside each other
as (block of LANES channels, word, channel of the block).
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

LANES = 32  # channels at once: as many as a word of the result has bits
WIDE = 16  # 32-bit lanes of a vector
VECTORS = LANES // WIDE
FEATURES = frozenset(cpu_target.target_context.codegen().magic_tuple()[2].split(","))
COUNTS_WORDS = "+avx512vpopcntdq" in FEATURES
ROWS = 4 if "+avx512f" in FEATURES else 2  # windows at once, by how many vectors the processor can hold
BYTE_COUNTS = 31  # popcounts of a byte that a byte can add up: 31 * 8 < 256

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_SUMS = ir.VectorType(_I32, WIDE)
_BYTES = ir.VectorType(_I8, 4 * WIDE)
_HALVES = ir.VectorType(_I16, 2 * WIDE)
_PAIRS = ir.VectorType(_I32, 2 * WIDE)

Builder = Any  # llvmlite's, which has no types
Value = Any


def _data(context: Any, builder: Builder, kind: Any, array: Value) -> Value:
    """The address of an array's first byte."""
    return builder.bitcast(context.make_array(kind)(context, builder, array).data, _I8.as_pointer())


def _at(builder: Builder, data: Value, index: Value, kind: Any, size: int) -> Value:
    """The address of entry *index*, of *size* bytes, as a pointer to *kind*."""
    place = builder.gep(data, [builder.mul(index, _I64(size))])
    return builder.bitcast(place, kind.as_pointer())


def _repeated(kind: Any, value: int) -> Value:
    return ir.Constant(kind, [value] * kind.count)


def _everywhere(builder: Builder, word: Value) -> Value:
    """*word* in every lane."""
    undefined = ir.Constant(_SUMS, ir.Undefined)
    first = builder.insert_element(undefined, word, _I32(0))
    return builder.shuffle_vector(first, undefined, _repeated(_SUMS, 0))


def _set_bits(builder: Builder, vector: Value) -> Value:
    """How many bits of each element are set."""
    kind = vector.type
    name = f"llvm.ctpop.v{kind.count}i{kind.element.width}"
    return builder.call(
        cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind]), name), [vector]
    )


def _add_differing(builder: Builder, total: Value, word: Value, weights: Value) -> Value:
    """*total* and the bits in which *word* and *weights* differ."""
    return builder.add(total, _set_bits(builder, builder.xor(word, weights)))


def _add_differing_bytes(builder: Builder, total: Value, word: Value, weights: Value) -> Value:
    """The same, counted byte by byte, which processors without a popcount of words do faster."""
    differing = builder.bitcast(builder.xor(word, weights), _BYTES)
    return builder.bitcast(builder.add(builder.bitcast(total, _BYTES), _set_bits(builder, differing)), _SUMS)


def _sum_of_bytes(builder: Builder, total: Value) -> Value:
    """The four bytes of each lane, added."""
    for shift, mask in ((8, 0x00FF00FF), (16, 0x0000FFFF)):
        upper = builder.lshr(total, _repeated(_SUMS, shift))
        mask_all = _repeated(_SUMS, mask)
        total = builder.add(builder.and_(total, mask_all), builder.and_(upper, mask_all))
    return total


def _add_products(builder: Builder, total: Value, word: Value, weights: Value) -> Value:
    """*total* and both products of 16-bit halves; LLVM knows this as one instruction."""
    ones, others = (builder.sext(builder.bitcast(each, _HALVES), _PAIRS) for each in (word, weights))
    product = builder.mul(ones, others)
    undefined = ir.Constant(_PAIRS, ir.Undefined)
    even, odd = (
        builder.shuffle_vector(product, undefined, ir.Constant(_SUMS, list(range(first, 2 * WIDE, 2))))
        for first in (0, 1)
    )
    return builder.add(total, builder.add(even, odd))


Add = Callable[[Builder, Value, Value, Value], Value]


def _emit_product(
    context: Any, builder: Builder, signature: Any, arguments: Any, *, bits: bool
) -> list[list[Value]]:
    """Sums of ROWS windows times LANES channels; see `_product_into` for the arguments."""
    x, starts, offsets, weights = (
        _data(context, builder, kind, array)
        for kind, array in zip(signature.args[:4], arguments[:4], strict=True)
    )
    words, block, row = arguments[4:7]
    bases = [
        builder.gep(
            x, [builder.sext(builder.load(_at(builder, starts, builder.add(row, _I64(each)), _I32, 4)), _I64)]
        )
        for each in range(ROWS)
    ]
    zero = _repeated(_SUMS, 0)
    totals = [[cgutils.alloca_once_value(builder, zero) for _ in range(VECTORS)] for _ in range(ROWS)]
    for row_totals in totals:
        for total in row_totals:
            builder.store(zero, total)
    by_bytes = bits and not COUNTS_WORDS
    add: Add = _add_products if not bits else _add_differing_bytes if by_bytes else _add_differing
    first_word = builder.mul(block, words)

    def go_through(begin: Value, end: Value, into: list[list[Value]]) -> None:
        with cgutils.for_range_slice(builder, begin, end, _I64(1), intp=_I64) as (index, _):
            offset = builder.sext(builder.load(_at(builder, offsets, index, _I32, 4)), _I64)
            at = _at(builder, weights, builder.add(first_word, index), _I8, 4 * LANES)
            columns = [
                builder.load(_at(builder, at, _I64(each), _SUMS, 4 * WIDE), align=4)
                for each in range(VECTORS)
            ]
            for base, row_totals in zip(bases, into, strict=True):
                place = builder.bitcast(builder.gep(base, [offset]), _I32.as_pointer())
                word = _everywhere(builder, builder.load(place, align=2))
                for total, column in zip(row_totals, columns, strict=True):
                    builder.store(add(builder, builder.load(total), word, column), total)

    if not by_bytes:
        go_through(_I64(0), words, totals)
    else:
        parts = [[cgutils.alloca_once_value(builder, zero) for _ in range(VECTORS)] for _ in range(ROWS)]
        with cgutils.for_range_slice(builder, _I64(0), words, _I64(BYTE_COUNTS), intp=_I64) as (begin, _):
            beyond = builder.add(begin, _I64(BYTE_COUNTS))
            end = builder.select(builder.icmp_signed("<", beyond, words), beyond, words)
            for row_parts in parts:
                for part in row_parts:
                    builder.store(zero, part)
            go_through(begin, end, parts)
            for row_totals, row_parts in zip(totals, parts, strict=True):
                for total, part in zip(row_totals, row_parts, strict=True):
                    counted = _sum_of_bytes(builder, builder.load(part))
                    builder.store(builder.add(builder.load(total), counted), total)
    return [[builder.load(total) for total in row_totals] for row_totals in totals]


def _product_into(*, bits: bool, compare: bool) -> Callable[..., Any]:
    """An intrinsic that computes sums and stores them, or the bits that say which reach their thresholds.

    Its arguments: what the windows are taken of; where each begins and where its words lie from there,
    in bytes, int32; weights, int32; how many words a window has; block and first row; thresholds, int32;
    the result and how many words of it a row has.
    """

    def typed(_: Any, x: Any, starts: Any, offsets: Any, weights: Any, words: Any, block: Any, row: Any,
              thresholds: Any, out: Any, out_words: Any) -> Any:  # fmt: skip
        whole = types.intp
        signature = types.void(x, starts, offsets, weights, whole, whole, whole, thresholds, out, whole)

        def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
            sums = _emit_product(context, builder, signature, arguments, bits=bits)
            block, row, out_words = arguments[5], arguments[6], arguments[9]
            limits = _data(context, builder, signature.args[7], arguments[7])
            out = _data(context, builder, signature.args[8], arguments[8])
            reached = []
            for vector in range(VECTORS):
                place = builder.add(builder.mul(block, _I64(VECTORS)), _I64(vector))
                reached.append(builder.load(_at(builder, limits, place, _SUMS, 4 * WIDE), align=4))
            for each, row_sums in enumerate(sums):
                first = builder.mul(builder.add(row, _I64(each)), out_words)
                column = block if compare else builder.mul(block, _I64(LANES))
                target = _at(builder, out, builder.add(first, column), _I8, 4)
                for vector, total in enumerate(row_sums):
                    if compare:
                        bit = builder.icmp_signed(">=", total, reached[vector])
                        half = builder.bitcast(bit, _I16)
                        builder.store(half, _at(builder, target, _I64(vector), _I16, 2), align=2)
                    else:
                        builder.store(total, _at(builder, target, _I64(vector), _SUMS, 4 * WIDE), align=4)
            return context.get_dummy_value()

        return signature, generate

    made: Callable[..., Any] = intrinsic(typed)
    return made


agreeing_bits_reach = _product_into(bits=True, compare=True)
agreeing_bits = _product_into(bits=True, compare=False)
products_reach = _product_into(bits=False, compare=True)
products = _product_into(bits=False, compare=False)


@intrinsic
def reached(_, x, first, thresholds, word):  # type: ignore[no-untyped-def]
    """The bits that say which of 32 neighbouring values reach their thresholds."""
    signature = types.uint32(x, types.intp, thresholds, types.intp)

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        kinds = [ir.IntType(signature.args[index].dtype.bitwidth) for index in (0, 2)]
        wanted = ir.VectorType(kinds[1], LANES)
        loaded = []
        for index, kind in zip((0, 2), kinds, strict=True):
            data = _data(context, builder, signature.args[index], arguments[index])
            vector = ir.VectorType(kind, LANES)
            scale = 1 if index == 0 else LANES
            place = builder.mul(arguments[index + 1], _I64(scale))
            loaded.append(builder.load(_at(builder, data, place, vector, kind.width // 8), align=1))
        values, limits = loaded
        if kinds[0] != kinds[1]:
            widen = builder.sext if signature.args[0].dtype.signed else builder.zext
            values = widen(values, wanted)
        return builder.bitcast(builder.icmp_signed(">=", values, limits), _I32)

    return signature, generate
