"""Stores that LLVM would not make wide by itself: runs of one colour, and pixels without their fourth byte.

Pixels are uint32, red in the lowest byte, then green, blue and a byte that nobody reads: one store paints 16 of them in
whatever SIMD the processor has, which three bytes a pixel do not allow. Neither function checks bounds.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

RUN = 16
"""Pixels that :func:`fill` paints; what it is given must reach as far beyond the place."""

_RUN = ir.VectorType(ir.IntType(32), RUN)
_PIXELS = ir.VectorType(ir.IntType(8), 4 * RUN)


_PART = 16
"""Lanes of 16 bits, four pixels with their channels, that :func:`mean_columns` divides at once: a register of AVX2."""
_SUMS = ir.VectorType(ir.IntType(16), _PART)
_LEVELS = ir.VectorType(ir.IntType(8), _PART)


def _constants(numbers):
    return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), numbers)


def _address(context, builder, array_type, array, index):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


@intrinsic
def fill(typingctx, pixels, at, colour):
    """Write the uint32 ``colour`` to ``RUN`` pixels of the uint32 array ``pixels`` [N], from ``at`` on."""

    def codegen(context, builder, sig, args):
        address = _address(context, builder, sig.args[0], args[0], args[1])
        empty = ir.Constant(_RUN, ir.Undefined)
        one = builder.insert_element(empty, args[2], ir.Constant(ir.IntType(32), 0))
        run = builder.shuffle_vector(one, empty, _constants([0] * RUN))
        builder.store(run, builder.bitcast(address, _RUN.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(pixels, types.intp, types.uint32), codegen


def _everywhere(builder, value):
    """A vector of ``_PART`` times the uint16 ``value``."""
    first = builder.insert_element(ir.Constant(_SUMS, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, _constants([0] * _PART))


def _store_without_fourth(builder, four, target):
    """Store the first three of every four bytes of the vector ``four``."""
    kept = _constants([4 * (byte // 3) + byte % 3 for byte in range(3 * four.type.count // 4)])
    three = builder.shuffle_vector(four, ir.Constant(four.type, ir.Undefined), kept)
    builder.store(three, builder.bitcast(target, three.type.as_pointer()), align=1)


@intrinsic
def drop_fourth(typingctx, pixels, at, out, to):
    """Write ``RUN`` pixels of the uint8 array ``pixels`` [4 N], from byte ``at`` on, to the uint8 array ``out``, from
    byte ``to`` on, as three bytes each.
    """

    def codegen(context, builder, sig, args):
        source = _address(context, builder, sig.args[0], args[0], args[1])
        four = builder.load(builder.bitcast(source, _PIXELS.as_pointer()), align=1)
        _store_without_fourth(builder, four, _address(context, builder, sig.args[2], args[2], args[3]))
        return context.get_dummy_value()

    return types.void(pixels, types.intp, out, types.intp), codegen


@intrinsic
def mean_columns(typingctx, line, at, by, out, to):
    """Make 16 pixels of 24: three neighbours become two, each twice the outer one plus the middle one, divided.

    ``line`` is uint64, four uint16 a pixel, read from ``at`` on; ``out`` is written as ``drop_fourth`` does.  ``by`` is
    (reciprocal, half, shift), all uint16: a sum becomes ``(sum + half) * reciprocal >> 16 >> shift``.  In SIMD lanes the
    upper half of a product is one instruction, but only where LLVM is told by ``umul.fix`` that this is what is meant: two
    shifts in a row become one, of 32 bits.  Neighbours are picked out of two registers by one.
    """

    def codegen(context, builder, sig, args):
        eight = ir.VectorType(ir.IntType(64), 8)
        address = _address(context, builder, sig.args[0], args[0], args[1])
        blocks = [
            builder.load(
                builder.bitcast(builder.gep(address, [ir.Constant(ir.IntType(64), 8 * number)]), eight.as_pointer()), align=8
            )
            for number in range(3)
        ]
        halves = []
        for number in range(2):
            first, second = blocks[number], blocks[number + 1]
            begin = 4 * number  # pixel 12 is number 4 of the second block
            outer = builder.shuffle_vector(first, second, _constants([begin + 3 * (i // 2) + 2 * (i % 2) for i in range(8)]))
            middle = builder.shuffle_vector(first, second, _constants([begin + 3 * (i // 2) + 1 for i in range(8)]))
            halves.append(builder.add(builder.shl(outer, ir.Constant(eight, [1] * 8)), middle))
        upper_half = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_SUMS, [_SUMS, _SUMS, ir.IntType(32)]), f"llvm.umul.fix.v{_PART}i16"
        )
        reciprocal, half, shift = (_everywhere(builder, builder.extract_value(args[2], number)) for number in range(3))
        target = _address(context, builder, sig.args[3], args[3], args[4])
        for part in range(4 * RUN // _PART):
            pixels = _constants([4 * part + pixel for pixel in range(4)])
            sums = builder.add(builder.bitcast(builder.shuffle_vector(*halves, pixels), _SUMS), half)
            means = builder.lshr(builder.call(upper_half, [sums, reciprocal, ir.Constant(ir.IntType(32), 16)]), shift)
            place = builder.gep(target, [ir.Constant(ir.IntType(64), 3 * _PART // 4 * part)])
            _store_without_fourth(builder, builder.trunc(means, _LEVELS), place)
        return context.get_dummy_value()

    return types.void(line, types.intp, by, out, types.intp), codegen


@intrinsic
def changes(typingctx, words, at):
    """Which of the 64 words of the int64 array ``words`` [N], from ``at`` on, are not 0: bit i for word ``at + i``."""

    def codegen(context, builder, sig, args):
        address = _address(context, builder, sig.args[0], args[0], args[1])
        block = ir.VectorType(ir.IntType(64), 64)
        loaded = builder.load(builder.bitcast(address, block.as_pointer()), align=8)
        bits = builder.icmp_unsigned("!=", loaded, ir.Constant(block, None))
        return builder.bitcast(bits, ir.IntType(64))

    return types.uint64(words, types.intp), codegen
