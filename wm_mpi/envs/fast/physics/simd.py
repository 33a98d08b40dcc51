"""Vectors of 16 float32 lanes for Numba, one lane a car.

A ``Lanes`` value is an LLVM vector, so one expression computes 16 cars at once
in whatever SIMD the processor has (AVX-512, AVX2, SSE2, NEON). Each lane is
IEEE float32 with no contraction and no reordering: a lane holds the bits that
scalar code would have given, whatever stands in the other lanes.

Only what the solver needs is here: ``+ - * /``, unary minus, comparisons (which
give a ``Mask``), ``& | ~`` on masks, and the functions below. The other operand
of ``+ - * /`` and of a comparison may be a float32.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 16

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_BITS = ir.VectorType(ir.IntType(1), LANES)
_F32_ALIGN = 4


class _LanesType(types.Type):
    def __init__(self) -> None:
        super().__init__("Lanes16")


class _MaskType(types.Type):
    def __init__(self) -> None:
        super().__init__("Mask16")


lanes_type = _LanesType()
mask_type = _MaskType()


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, _VECTOR)


@register_model(_MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, _BITS)


def _splat(builder, value):
    """The LLVM vector with the scalar ``value`` in every lane."""
    undef = ir.Constant(_VECTOR, ir.Undefined)
    zero = ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
    first = builder.insert_element(undef, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undef, zero)


def _operands(builder, sig, args):
    return [
        arg if ty == lanes_type else _splat(builder, arg)
        for ty, arg in zip(sig.args, args, strict=True)
    ]


def _register(op, result, emit) -> None:
    """Give ``op`` a meaning for two operands of which at least one is ``Lanes``."""
    pairs = [
        (lanes_type, lanes_type),
        (lanes_type, types.float32),
        (types.float32, lanes_type),
    ]

    @infer_global(op)
    class _Template(ConcreteTemplate):
        cases = tuple(signature(result, *pair) for pair in pairs)

    for pair in pairs:

        @lower_builtin(op, *pair)
        def _lower(context, builder, sig, args):
            return emit(builder, *_operands(builder, sig, args))


_register(operator.add, lanes_type, lambda b, x, y: b.fadd(x, y))
_register(operator.sub, lanes_type, lambda b, x, y: b.fsub(x, y))
_register(operator.mul, lanes_type, lambda b, x, y: b.fmul(x, y))
_register(operator.truediv, lanes_type, lambda b, x, y: b.fdiv(x, y))
_register(operator.lt, mask_type, lambda b, x, y: b.fcmp_ordered("<", x, y))
_register(operator.le, mask_type, lambda b, x, y: b.fcmp_ordered("<=", x, y))
_register(operator.gt, mask_type, lambda b, x, y: b.fcmp_ordered(">", x, y))
_register(operator.ge, mask_type, lambda b, x, y: b.fcmp_ordered(">=", x, y))
_register(operator.eq, mask_type, lambda b, x, y: b.fcmp_ordered("==", x, y))
_register(operator.ne, mask_type, lambda b, x, y: b.fcmp_unordered("!=", x, y))


@infer_global(operator.neg)
class _Negative(ConcreteTemplate):
    cases = (signature(lanes_type, lanes_type),)


@lower_builtin(operator.neg, lanes_type)
def _lower_negative(context, builder, sig, args):
    return builder.fneg(args[0])


@infer_global(operator.and_)
class _And(ConcreteTemplate):
    cases = (signature(mask_type, mask_type, mask_type),)


@infer_global(operator.or_)
class _Or(ConcreteTemplate):
    cases = (signature(mask_type, mask_type, mask_type),)


@infer_global(operator.invert)
class _Invert(ConcreteTemplate):
    cases = (signature(mask_type, mask_type),)


@lower_builtin(operator.and_, mask_type, mask_type)
def _lower_and(context, builder, sig, args):
    return builder.and_(*args)


@lower_builtin(operator.or_, mask_type, mask_type)
def _lower_or(context, builder, sig, args):
    return builder.or_(*args)


@lower_builtin(operator.invert, mask_type)
def _lower_invert(context, builder, sig, args):
    return builder.not_(args[0])


def _row_pointer(context, builder, array_type, array, row):
    """Address of row ``row`` of a C-contiguous float32 [rows, 16] array, as a vector's."""
    data = context.make_array(array_type)(context, builder, array).data
    offset = builder.mul(row, ir.Constant(row.type, LANES))
    return builder.bitcast(builder.gep(data, [offset]), _VECTOR.as_pointer())


@intrinsic
def load(typingctx, rows, row):
    """Row ``row`` of the float32 [rows, 16] array ``rows``, as lanes."""
    sig = lanes_type(rows, types.intp)

    def codegen(context, builder, sig, args):
        pointer = _row_pointer(context, builder, sig.args[0], args[0], args[1])
        return builder.load(pointer, align=_F32_ALIGN)

    return sig, codegen


@intrinsic
def store(typingctx, rows, row, value):
    """Write lanes to row ``row`` of the float32 [rows, 16] array ``rows``."""
    sig = types.void(rows, types.intp, lanes_type)

    def codegen(context, builder, sig, args):
        pointer = _row_pointer(context, builder, sig.args[0], args[0], args[1])
        builder.store(args[2], pointer, align=_F32_ALIGN)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def splat(typingctx, value):
    """The float32 ``value`` in every lane."""

    def codegen(context, builder, sig, args):
        return _splat(builder, args[0])

    return lanes_type(types.float32), codegen


@intrinsic
def select(typingctx, mask, yes, no):
    """``yes`` where ``mask`` holds, else ``no``, lane by lane."""

    def codegen(context, builder, sig, args):
        return builder.select(*args)

    return lanes_type(mask_type, lanes_type, lanes_type), codegen


@intrinsic
def any_lane(typingctx, mask):
    """Whether ``mask`` holds in any lane: a bool."""

    def codegen(context, builder, sig, args):
        word = builder.bitcast(args[0], ir.IntType(LANES))
        return builder.icmp_unsigned("!=", word, ir.Constant(word.type, 0))

    return types.boolean(mask_type), codegen


@intrinsic
def mask_bits(typingctx, mask):
    """The mask as an integer: bit i is lane i."""

    def codegen(context, builder, sig, args):
        word = builder.bitcast(args[0], ir.IntType(LANES))
        return builder.zext(word, ir.IntType(64))

    return types.uint64(mask_type), codegen


@intrinsic
def bits_mask(typingctx, bits):
    """The mask whose lane i is bit i of an integer."""

    def codegen(context, builder, sig, args):
        word = builder.trunc(args[0], ir.IntType(LANES))
        return builder.bitcast(word, _BITS)

    return mask_type(types.uint64), codegen


@intrinsic
def sqrt(typingctx, value):
    """Correctly rounded square roots."""

    def codegen(context, builder, sig, args):
        fn = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(_VECTOR, [_VECTOR]),
            f"llvm.sqrt.v{LANES}f32",
        )
        return builder.call(fn, args)

    return lanes_type(lanes_type), codegen
