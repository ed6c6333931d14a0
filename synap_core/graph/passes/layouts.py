"""How operators work when their operands are transposed: axes renumbered, one-per-axis parameters rearranged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from synap_core.graph.build import constant_of
from synap_core.graph.passes.permutations import Permutation, inverse, permuted
from synap_core.graph.passes.values import integer_of, integers, operand, word_of
from synap_core.graph.types import shape_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaid:
    """An operator whose operands are in another layout.

    Attributes:
        data: Positions of the operands that are.
        outputs: For each output, the permutation that gives the old value from the new one.
        attributes: Those that change.
        parameters: Constants that change or come in addition, by position of the operand.
    """

    data: tuple[int, ...]
    outputs: tuple[Permutation, ...]
    attributes: Mapping[str, int] = field(default_factory=dict)
    parameters: Mapping[int, np.ndarray] = field(default_factory=dict)


Relayer = Callable[[ir.Node, Permutation], Relaid | str]

ELEMENTWISE = frozenset(
    word
    for line in (
        "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast Ceil Celu Clip Cos Cosh Elu Erf Exp Floor",
        "HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Sigmoid",
        "Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh ThresholdedRelu",
    )
    for word in line.split()
)
BROADCASTING = frozenset(
    word
    for line in (
        "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual",
        "Max Mean Min Mod Mul Or PRelu Pow Sub Sum Where Xor",
    )
    for word in line.split()
)
AXIS_LAST = frozenset({"Hardmax", "LogSoftmax", "LpNormalization", "Softmax"})
REDUCTIONS = frozenset(
    f"Reduce{kind}" for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
)


def relaid(node: ir.Node, permutation: Permutation) -> Relaid | str | None:
    """Find out how an operator works on operands of which the present ones are transpositions.

    Args:
        node: The node.
        permutation: Transposing the new operands with it gives the present ones.

    Returns:
        How; a reason why it cannot be done; None for an operator that needs its operands as they are.
    """
    relayer = _RELAYERS.get(node.op_type) if node.domain == "" else None
    return None if relayer is None else relayer(node, permutation)


def _elementwise(_: ir.Node, permutation: Permutation) -> Relaid:
    return Relaid(data=(0,), outputs=(permutation,))


def _broadcasting(node: ir.Node, permutation: Permutation) -> Relaid | str:
    if len(shape_of(node.outputs[0])) != len(permutation):
        return "an operand has more dimensions"
    return Relaid(data=tuple(range(len(node.inputs))), outputs=(permutation,))


def _axis(default: int, *, operands: int | None = 1) -> Relayer:
    """For operators with one axis that they keep; ``operands`` first operands change, or all of them."""

    def relay(node: ir.Node, permutation: Permutation) -> Relaid:
        axis = permutation[integer_of(node, "axis", default) % len(permutation)]
        data = tuple(range(len(node.inputs) if operands is None else operands))
        return Relaid(data=data, outputs=(permutation,) * len(node.outputs), attributes={"axis": axis})

    return relay


def _arg(node: ir.Node, permutation: Permutation) -> Relaid:
    axis = integer_of(node, "axis", 0) % len(permutation)
    output = permutation if integer_of(node, "keepdims", 1) else without(permutation, {axis})
    return Relaid(data=(0,), outputs=(output,), attributes={"axis": permutation[axis]})


def _reduction(node: ir.Node, permutation: Permutation) -> Relaid | str:
    value = operand(node, 1)
    axes = integers(value)
    if value is not None and axes is None:
        return "its axes are computed"
    if not axes:
        return _reduction_of_all(node, permutation)
    old = [axis % len(permutation) for axis in axes]
    output = permutation if integer_of(node, "keepdims", 1) else without(permutation, set(old))
    return Relaid(data=(0,), outputs=(output,), parameters={1: np.asarray(permuted(permutation, tuple(old)), np.int64)})


def _reduction_of_all(node: ir.Node, permutation: Permutation) -> Relaid:
    same_rank = integer_of(node, "keepdims", 1) or integer_of(node, "noop_with_empty_axes", 0)
    return Relaid(data=(0,), outputs=(permutation if same_rank else (),))


def without(permutation: Permutation, axes: set[int]) -> Permutation:
    """The permutation that is left when some dimensions, numbered as behind it, go."""
    left = [place for axis, place in enumerate(permutation) if axis not in axes]
    ranks = {place: position for position, place in enumerate(sorted(left))}
    return tuple(ranks[place] for place in left)


def _pad(node: ir.Node, permutation: Permutation) -> Relaid | str:
    pads, axes = integers(operand(node, 1)), integers(operand(node, 3))
    if operand(node, 3) is not None:
        return _renumbered(axes, 3, permutation)
    if pads is None:
        return "its paddings are computed"
    rank = len(permutation)
    order = inverse(permutation)
    changed = permuted(pads[:rank], order) + permuted(pads[rank:], order)
    return Relaid(data=(0,), outputs=(permutation,), parameters={1: np.asarray(changed, np.int64)})


def _slice(node: ir.Node, permutation: Permutation) -> Relaid | str:
    starts, axes = node.inputs[1], integers(operand(node, 3))
    if operand(node, 3) is None and starts is not None:
        axes = tuple(range(shape_of(starts)[0]))
    # All parameters are of one type.
    dtype = ir.DataType.INT64 if starts is None or starts.dtype is None else starts.dtype
    return _renumbered(axes, 3, permutation, dtype.numpy())


def _renumbered(
    axes: tuple[int, ...] | None, position: int, permutation: Permutation, dtype: np.dtype | None = None
) -> Relaid | str:
    if axes is None:
        return "its axes are computed"
    changed = np.asarray([permutation[axis % len(permutation)] for axis in axes], dtype or np.int64)
    return Relaid(data=(0,), outputs=(permutation,), parameters={position: changed})


def _sizes(node: ir.Node, permutation: Permutation) -> Relaid | str:
    sizes = integers(operand(node, 1))
    if sizes is None or len(sizes) != len(permutation):
        return "its sizes are computed, or have another rank"
    changed = np.asarray(permuted(sizes, inverse(permutation)), np.int64)
    return Relaid(data=(0,), outputs=(permutation,), parameters={1: changed})


def _resize(node: ir.Node, permutation: Permutation) -> Relaid | str:
    order = inverse(permutation)
    source = operand(node, 0)
    before = () if source is None else permuted(shape_of(source), order)
    if before[:2] != permuted(shape_of(node.outputs[0]), order)[:2]:
        return "it would resize other dimensions than the last ones"
    if word_of(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize":
        return "it crops"
    if "axes" in node.attributes:
        return "it names its axes"
    parameters = {}
    for position in (2, 3):
        array = constant_of(operand(node, position))
        if operand(node, position) is not None and array is None:
            return "its sizes are computed"
        if array is not None and array.size:
            parameters[position] = array[list(order)]
    return Relaid(data=(0,), outputs=(permutation,), parameters=parameters)


_RELAYERS: dict[str, Relayer] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(BROADCASTING, _broadcasting),
    **dict.fromkeys(AXIS_LAST, _axis(-1)),
    **dict.fromkeys(REDUCTIONS, _reduction),
    "ArgMax": _arg,
    "ArgMin": _arg,
    "Concat": _axis(0, operands=None),
    "Expand": _sizes,
    "Pad": _pad,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _axis(0),
    "Tile": _sizes,
}
"""Others, such as convolutions, Reshape and DepthToSpace, need their operands as they are."""

MOVABLE = frozenset(_RELAYERS)
"""Operators that `relaid` knows."""
