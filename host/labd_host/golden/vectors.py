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
Add = Callable[[Builder, Value, Value, Value], Value]


def _data(context: Any, builder: Builder, kind: Any, array: Value) -> Value:
    """The address of an array's first byte."""
    return builder.bitcast(context.make_array(kind)(context, builder, array).data, _I8.as_pointer())


def _at(builder: Builder, data: Value, index: Value, kind: Any, size: int) -> Value:
    """The address of entry *index*, of *size* bytes, as a pointer to *kind*."""
    place = builder.gep(data, [builder.mul(index, _I64(size))])
    return builder.bitcast(place, kind.as_pointer())


def _vector(builder: Builder, data: Value, index: Value) -> Value:
    """Vector *index* of 32-bit numbers."""
    return builder.load(_at(builder, data, index, _SUMS, 4 * WIDE), align=4)


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


def _slots(builder: Builder) -> list[Value]:
    """Where sums are kept, window by window; LLVM makes registers of them."""
    return [cgutils.alloca_once(builder, _SUMS) for _ in range(ROWS * VECTORS)]


def _clear(builder: Builder, slots: list[Value]) -> None:
    for slot in slots:
        builder.store(_repeated(_SUMS, 0), slot)


def _add_to(builder: Builder, slot: Value, value: Value) -> None:
    builder.store(builder.add(builder.load(slot), value), slot)


def _emit_product(
    context: Any, builder: Builder, signature: Any, arguments: Any, *, bits: bool
) -> list[Value]:
    """Sums of ROWS windows times LANES channels; see `_product_into` for the arguments."""
    x, starts, offsets, weights = (
        _data(context, builder, kind, array)
        for kind, array in zip(signature.args[:4], arguments[:4], strict=True)
    )
    words, block, row = arguments[4:7]
    first_word = builder.mul(block, words)

    def entry(table: Value, index: Value) -> Value:
        """A number of bytes from a table of int32."""
        return builder.sext(builder.load(_at(builder, table, index, _I32, 4)), _I64)

    windows = [builder.gep(x, [entry(starts, builder.add(row, _I64(each)))]) for each in range(ROWS)]

    def go_through(begin: Value, end: Value, add: Add, slots: list[Value]) -> None:
        """Add the words from *begin* to *end* of each window to its *slots*."""
        with cgutils.for_range_slice(builder, begin, end, _I64(1), intp=_I64) as (index, _):
            offset = entry(offsets, index)
            here = _at(builder, weights, builder.add(first_word, index), _I8, 4 * LANES)
            columns = [_vector(builder, here, _I64(each)) for each in range(VECTORS)]
            for each, window in enumerate(windows):
                place = builder.bitcast(builder.gep(window, [offset]), _I32.as_pointer())
                word = _everywhere(builder, builder.load(place, align=2))
                for slot, column in zip(slots[each * VECTORS :], columns, strict=False):
                    builder.store(add(builder, builder.load(slot), word, column), slot)

    sums = _slots(builder)
    _clear(builder, sums)
    if bits and not COUNTS_WORDS:
        parts = _slots(builder)
        with cgutils.for_range_slice(builder, _I64(0), words, _I64(BYTE_COUNTS), intp=_I64) as (begin, _):
            beyond = builder.add(begin, _I64(BYTE_COUNTS))
            end = builder.select(builder.icmp_signed("<", beyond, words), beyond, words)
            _clear(builder, parts)
            go_through(begin, end, _add_differing_bytes, parts)
            for total, part in zip(sums, parts, strict=True):
                _add_to(builder, total, _sum_of_bytes(builder, builder.load(part)))
    else:
        go_through(_I64(0), words, _add_differing if bits else _add_products, sums)
    return [builder.load(total) for total in sums]


def _product_into(*, bits: bool, compare: bool) -> Callable[..., Any]:
    """An intrinsic that computes sums and stores them, or the bits that say which reach their thresholds.

    Its arguments: what the windows are taken of; where each begins and where its words lie from there,
    in bytes, int32; weights, int32; how many words a window has; block and first window; thresholds,
    (blocks, LANES) int32, or anything where nothing is compared; the result, its entry for the first
    window's first channel, and from one window to the next.
    """

    # numba's intrinsics take their arguments one by one
    def typed(_: Any, x: Any, starts: Any, offsets: Any, weights: Any, words: Any, block: Any, row: Any,
              thresholds: Any, out: Any, first: Any, step: Any) -> Any:  # fmt: skip
        whole = types.intp
        signature = types.void(
            x, starts, offsets, weights, whole, whole, whole, thresholds, out, whole, whole
        )

        def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
            sums = _emit_product(context, builder, signature, arguments, bits=bits)
            block, first, step = arguments[5], arguments[9], arguments[10]
            limits = _data(context, builder, signature.args[7], arguments[7])
            out = _data(context, builder, signature.args[8], arguments[8])
            for index, total in enumerate(sums):
                each, vector = divmod(index, VECTORS)
                target = _at(builder, out, builder.add(first, builder.mul(step, _I64(each))), _I8, 4)
                if compare:
                    place = builder.add(builder.mul(block, _I64(VECTORS)), _I64(vector))
                    reach = builder.icmp_signed(">=", total, _vector(builder, limits, place))
                    half = _at(builder, target, _I64(vector), _I16, 2)
                    builder.store(builder.bitcast(reach, _I16), half, align=2)
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
