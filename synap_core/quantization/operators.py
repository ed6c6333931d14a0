"""What quantization has to know about operators: which only move numbers, where they saturate, what they multiply."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from synap_core.graph.annotations import activation_of
from synap_core.graph.build import constant_of

Interval = tuple[float, float]

EVERYWHERE: Interval = (-math.inf, math.inf)

MOVING = frozenset(
    {
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "GlobalMaxPool",
        "Identity",
        "MaxPool",
        "ReduceMax",
        "ReduceMin",
        "Reshape",
        "ReverseSequence",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "TopK",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operators whose outputs hold only numbers that their first input holds."""

NATURAL_RANGES: dict[str, Interval] = {
    "Cos": (-1.0, 1.0),
    "HardSigmoid": (0.0, 1.0),
    "Sigmoid": (0.0, 1.0),
    "Sin": (-1.0, 1.0),
    "Softmax": (0.0, 1.0),
    "Softsign": (-1.0, 1.0),
    "Tanh": (-1.0, 1.0),
}
"""Range of the outputs of functions that have one whatever their input."""

SIGMOID_END = 8.0
"""Beyond ±8 a sigmoid is within 0.0004 of its limit, a tenth of a step of 8 bits."""

TANH_END = 5.0
"""Beyond ±5 a hyperbolic tangent is within 0.0001 of its limit."""

WRITTEN_OUT: dict[str, Interval] = {
    "HardSwish": (-3.0, math.inf),
    "SiLU": (-SIGMOID_END, math.inf),
    "GELU": (-4.0, math.inf),
}
"""Where activations that the graph writes out begin to matter; below they are 0, or within 0.003 of it."""

SATURATING: dict[str, Interval] = {
    "HardSwish": (-3.0, math.inf),
    "Relu": (0.0, math.inf),
    "Sigmoid": (-SIGMOID_END, SIGMOID_END),
    "Tanh": (-TANH_END, TANH_END),
}
"""Where operators without parameters begin, and cease, to depend on their input."""

OPERANDS = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu", "Where"})
"""Operators that take constants as they take computed tensors."""

RECURRENT = frozenset({"GRU", "LSTM", "RNN"})


def moved_inputs(node: ir.Node) -> tuple[ir.Value, ...]:
    """Computed tensors whose numbers the outputs of a node hold; none when it computes.

    A padding with another number than zero computes, and so does a resize that interpolates.
    """
    if node.domain:
        return ()
    if node.op_type == "Concat":
        found = node.inputs
    elif node.op_type in MOVING or _pads_with_zeros(node) or _repeats(node):
        found = node.inputs[:1]
    else:
        found = ()
    return tuple(value for value in found if value is not None and value.const_value is None)


def moves_constants(node: ir.Node) -> bool:
    """Whether a node that moves numbers moves those of constants, too."""
    return node.op_type == "Concat" and any(v is not None and v.const_value is not None for v in node.inputs)


def effective_bounds(node: ir.Node, position: int) -> Interval:
    """Interval outside of which the numbers of an input have the same effect as its nearer end."""
    activation = activation_of(node)
    if activation is not None:
        return WRITTEN_OUT.get(activation.name, EVERYWHERE)
    if node.domain or position:
        return EVERYWHERE
    if node.op_type == "HardSigmoid":
        alpha, beta = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
        return (-beta / alpha, (1 - beta) / alpha) if alpha > 0 else EVERYWHERE
    return _clip_bounds(node) if node.op_type == "Clip" else SATURATING.get(node.op_type, EVERYWHERE)


def channel_axis(node: ir.Node) -> int | None:
    """Axis of the output channels in the weights of a product; None when its channels are not along one axis."""
    weights = node.inputs[1]
    match node.op_type:
        case "Conv":
            return 0
        case "ConvTranspose":
            return 1 if node.attributes.get_int("group", 1) == 1 else None
        case "Gemm":
            return 0 if node.attributes.get_int("transB", 0) else 1
        case "MatMul" if weights is not None and weights.shape is not None and weights.shape.rank() == 2:
            return 1
    return None


def _pads_with_zeros(node: ir.Node) -> bool:
    if node.op_type != "Pad":
        return False
    if node.attributes.get_string("mode", "constant") != "constant" or len(node.inputs) < 3 or node.inputs[2] is None:
        return True
    value = constant_of(node.inputs[2])
    return value is not None and not np.any(value)


def _repeats(node: ir.Node) -> bool:
    if node.op_type != "Resize" or node.attributes.get_string("mode", "nearest") != "nearest":
        return False
    # Of a part that reaches beyond the input, what is outside gets a number of its own.
    cropped = node.attributes.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    return not cropped or node.attributes.get_float("extrapolation_value", 0.0) == 0


def _clip_bounds(node: ir.Node) -> Interval:
    ends = list(EVERYWHERE)
    for position, value in enumerate(node.inputs[1:3]):
        constant = constant_of(value)
        if constant is not None:
            ends[position] = float(constant)
        elif value is not None:
            return EVERYWHERE
    return ends[0], ends[1]
