"""What follows a sum in its operation: a window that cuts it, or a function of real numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.arithmetic.rescaling import Window
from synap_delegate_npu.program.body import Body
from synap_delegate_npu.program.operation import Tensor

CUTS = frozenset({"Relu", "Clip", "Identity"})
"""Operators that only cut a result."""


def window_of(tail: Sequence[ir.Node], output: Tensor) -> Window | None:
    """Stored integers that the nodes behind a sum leave; None when they do more than cut.

    Source: TFLite ``CalculateActivationRangeQuantized`` (kernels/kernel_util.cc): the ends of an activation are
    divided in float32 and rounded with ties away from zero.
    """
    if any(node.op_type not in CUTS for node in tail):
        return None
    low, high = -np.inf, np.inf
    for node in tail:
        ends = _ends(node)
        if ends is None:
            return None
        low, high = (min(max(end, ends[0]), ends[1]) for end in (low, high))
    zero_point = int(output.zero_point)
    least, largest = output.limits
    return Window(
        zero_point=zero_point,
        low=least if low == -np.inf else _stored(low, output),
        high=largest if high == np.inf else _stored(high, output),
    )


def is_cut(node: ir.Node) -> bool:
    """Whether a node does nothing but cut its first operand at constant ends."""
    return node.op_type in CUTS and _ends(node) is not None


def _ends(node: ir.Node) -> tuple[float, float] | None:
    if node.op_type == "Identity":
        return -np.inf, np.inf
    if node.op_type == "Relu":
        return 0.0, np.inf
    ends = [-np.inf, np.inf]
    for position, operand in enumerate(node.inputs[1:3]):
        if operand is None:
            continue
        if operand.const_value is None:
            return None
        ends[position] = float(operand.const_value.numpy())
    return ends[0], ends[1]


def _stored(real: float, output: Tensor) -> int:
    with np.errstate(over="ignore"):  # an end that is out of all reach is cut to the limits below
        steps = np.float64(np.float32(real) / np.float32(output.scale))
    least, largest = output.limits
    return int(np.clip(int(output.zero_point) + np.sign(steps) * np.floor(np.abs(steps) + 0.5), least, largest))


def to_real(body: Body, value: ir.Value, tensor: Tensor) -> ir.Value:
    """Real numbers of a tensor in memory, float32; what is neither quantized nor a real number stays as it is."""
    if tensor.dtype == "float16":
        return body.cast(value, np.float32)
    if tensor.quant is None:
        return value
    real = body.cast(value, np.float32)
    axes = 0 if tensor.quant.axis is None else len(tensor.shape) - 1 - tensor.quant.axis
    if np.any(tensor.zero_point):
        real = body.op("Sub", real, body.constant(spread(tensor.zero_point, axes), np.float32))
    return body.op("Mul", real, body.constant(spread(tensor.scale, axes), np.float32))


def to_memory(body: Body, value: ir.Value, tensor: Tensor) -> ir.Value:
    """Real numbers as a tensor has them in memory: divided by the step, rounded with ties to even, and cut."""
    if tensor.dtype == "float16":
        return body.cast(value, np.float16)
    if tensor.quant is None:
        return value
    low, high = tensor.limits
    steps = body.op("Round", body.op("Div", value, body.constant(tensor.scale, np.float32)))
    if np.any(tensor.zero_point):
        steps = body.op("Add", steps, body.constant(tensor.zero_point, np.float32))
    cut = body.op("Clip", steps, body.constant(low, np.float32), body.constant(high, np.float32))
    return body.cast(cut, tensor.dtype)


def spread(array: np.ndarray, axes: int) -> np.ndarray:
    """Shape one value per channel such that it broadcasts over axes behind that of the channels."""
    return array.reshape(-1, *(1,) * axes) if array.ndim else array
