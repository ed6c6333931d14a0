"""Operators that work on each item by itself, or keep the shape for another reason."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.graph.rules.registry import Operands, broadcast, rule
from synap_core.graph.types import TensorType

UNARY = frozenset(
    word
    for line in (
        "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Celu Cos Cosh Elu Erf Exp Floor HardSigmoid HardSwish",
        "Identity LRN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid Sign",
        "Sin Sinh Softplus Softsign Sqrt Tan Tanh ThresholdedRelu",
    )
    for word in line.split()
)
BINARY = frozenset({"Add", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Mul", "Pow", "Sub"})
VARIADIC = frozenset({"Max", "Mean", "Min", "Sum"})
COMPARISON = frozenset({"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Or", "Xor"})


@rule(*UNARY)
def unary(node: Operands) -> list[TensorType]:
    """As the input."""
    return [node.type(0)]


@rule("Hardmax", "LogSoftmax", "LpNormalization", "Softmax")
def along_axis(node: Operands) -> list[TensorType]:
    """As the input, which has the axis."""
    first = node.type(0)
    node.axis(first.rank, -1)
    return [first]


@rule(*BINARY)
def binary(node: Operands) -> list[TensorType]:
    """Broadcast, of the first input's element type."""
    first, second = node.type(0), node.type(1)
    return [TensorType(first.dtype, broadcast(node.op_type, first.shape, second.shape))]


@rule("BitShift")
def shift(node: Operands) -> list[TensorType]:
    """Broadcast; the direction has no default."""
    node.word("direction", None, ("LEFT", "RIGHT"))
    return binary(node)


@rule("Mod")
def modulo(node: Operands) -> list[TensorType]:
    """Broadcast; real numbers have only the remainder with the sign of the dividend."""
    whole = node.type(0).dtype.numpy().kind in "iu"
    node.require(node.flag("fmod") or whole, "attribute fmod must be 1 for real numbers")
    return binary(node)


@rule(*VARIADIC)
def variadic(node: Operands) -> list[TensorType]:
    """All broadcast, of the first input's element type."""
    found = node.all_types()
    return [TensorType(found[0].dtype, broadcast(node.op_type, *(each.shape for each in found)))]


@rule(*COMPARISON)
def comparison(node: Operands) -> list[TensorType]:
    """Broadcast, bool."""
    return [TensorType(ir.DataType.BOOL, broadcast(node.op_type, node.type(0).shape, node.type(1).shape))]


@rule("IsInf", "IsNaN")
def classification(node: Operands) -> list[TensorType]:
    """Of the input's shape, bool."""
    return [TensorType(ir.DataType.BOOL, node.type(0).shape)]


@rule("Clip")
def clip(node: Operands) -> list[TensorType]:
    """As the first input; the limits are scalars."""
    node.shaped(1)
    node.shaped(2)
    return [node.type(0)]


@rule("PRelu")
def prelu(node: Operands) -> list[TensorType]:
    """As the first input, to which the slope broadcasts."""
    node.spread(1, node.type(0).shape)
    return [node.type(0)]


@rule("Where")
def where(node: Operands) -> list[TensorType]:
    """All three broadcast, of the second input's element type."""
    shapes = (node.type(position).shape for position in range(3))
    return [TensorType(node.type(1).dtype, broadcast(node.op_type, *shapes))]


@rule("Cast")
def cast(node: Operands) -> list[TensorType]:
    """Of the input's shape and the attribute's element type."""
    return [TensorType(node.dtype("to"), node.type(0).shape)]


@rule("CastLike")
def cast_like(node: Operands) -> list[TensorType]:
    """Of the input's shape and the second input's element type."""
    return [TensorType(node.type(1).dtype, node.type(0).shape)]


@rule("Dropout")
def dropout(node: Operands) -> list[TensorType]:
    """As the input, and a mask."""
    node.shaped(1)
    node.shaped(2)
    first = node.type(0)
    return [first, TensorType(ir.DataType.BOOL, first.shape)]


@rule("Bernoulli", "RandomNormalLike", "RandomUniformLike")
def random_like(node: Operands) -> list[TensorType]:
    """Of the input's shape, and of its element type where no other is given."""
    first = node.type(0)
    return [TensorType(node.dtype("dtype", first.dtype), first.shape)]


@rule("CumSum")
def cumulative(node: Operands) -> list[TensorType]:
    """As the input; the axis is one item."""
    first = node.type(0)
    node.require(node.type(1).size == 1, f"an axis of shape {list(node.type(1).shape)}, which must be one item")
    found = node.constant(1)
    if found is not None:
        node.axis_of(int(found.reshape(-1)[0]), first.rank)
    return [first]


@rule("Trilu")
def triangle(node: Operands) -> list[TensorType]:
    """As the input, a stack of matrices; the diagonal is one item."""
    first = node.ranked(0, 2)
    if node.has(1):
        node.require(node.type(1).size == 1, f"a diagonal of shape {list(node.type(1).shape)}, which must be one item")
    return [first]


@rule("ReverseSequence")
def reverse_sequence(node: Operands) -> list[TensorType]:
    """As the input; there is one length per item of the batch."""
    first = node.ranked(0, 2)
    batch, time = node.integer("batch_axis", 1), node.integer("time_axis", 0)
    node.require({batch, time} == {0, 1}, f"batch axis {batch} and time axis {time}, which must be 0 and 1")
    node.shaped(1, first.shape[batch])
    return [first]
