"""Conversions between quantizations and types, and activations that only cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.arithmetic.integers import lower_scaled, scaling_of
from synap_delegate_npu.arithmetic.pairs import cut_to
from synap_delegate_npu.arithmetic.rescaling import Window, loaded, stored
from synap_delegate_npu.operators.activations import is_cut
from synap_delegate_npu.operators.integers import (
    ROUNDED,
    described,
    is_narrow,
    largest_of,
    rounding_into,
    same_integers,
    values_of,
    window_behind,
)
from synap_delegate_npu.program.body import Body
from synap_delegate_npu.program.operation import Form, Request, Tensor
from synap_delegate_npu.program.registry import operator

RESCALING = {
    "multiplier": "INTS: what integers are multiplied by, 31 bits behind the point",
    "shift": "INTS: bits that the products are shifted to the left by; to the right when negative",
    **ROUNDED,
}

FLOATS = frozenset({"float32", "float16"})

HALF = float(np.nextafter(np.float32(0.5), np.float32(0)))
"""Added before rounding down so that halves go up: a whole half would take what is just below one along, in float32."""

Lower = Callable[[Body, Sequence[ir.Value]], list[ir.Value]]


@operator("Convert", "Identity", attributes=RESCALING)
def convert(request: Request) -> Form | None:
    """The same real numbers in another quantization or type.

    Integers to integers: ``y = clamp(y_zero_point + rescale(x - x_zero_point, multiplier, shift), low, high)``.
    To real numbers: ``y = x_scale * (x - x_zero_point)``, rounded to float32, and then to float16. From real numbers:
    ``y = clamp(y_zero_point + round(x / y_scale))``, the quotient in float32, ties away from zero. Between real
    numbers: rounded to the type, ties to even.

    Source: TFLite QUANTIZE (kernels/quantize.cc) and DEQUANTIZE (reference_ops::Dequantize).
    """
    source = request.operand(0)
    if source is None or source.constant is not None or len(request.outputs) != 1:
        return None
    lower = _to_type(request, source)
    if lower is not None:
        return Form(inputs=(source,), lower=lower)
    target = request.output
    if not is_narrow(source) or not is_narrow(target) or same_integers(source, target):
        return None
    return _rescaled(request, source, float(source.scale) / float(target.scale))


@operator("Relu", "Relu", "Clip", attributes=RESCALING)
def relu(request: Request) -> Form | None:
    """Integers cut at constant ends, in another quantization where the output has one.

    ``y = clamp(y_zero_point + rescale(x - x_zero_point, multiplier, shift), low, high)``.

    Source: TFLite ``ReluPrepare`` (kernels/activations.cc), which computes the multiplier in float32.
    """
    source = request.operand(0)
    if source is None or source.constant is not None or not is_narrow(source) or not is_narrow(request.output):
        return None
    return _rescaled(request, source, float(np.float32(source.scale) / np.float32(request.output.scale)))


def _rescaled(request: Request, source: Tensor, real: float) -> Form | None:
    """The form of a group that only rescales and cuts integers."""
    scaling = scaling_of(real, largest_of(source), rounding_into(request))
    if scaling is None or not all(is_cut(node) for node in request.group.nodes):
        return None
    window = window_behind(request, request.group.nodes)
    if window is None:
        return None
    dtype = request.output.dtype

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        value = loaded(body, inputs[0], int(source.zero_point))
        result = lower_scaled(body, value, values_of(source), scaling, window)
        return [stored(body, result, window.zero_point, dtype)]

    return Form(inputs=(source,), attributes=described([scaling], window), lower=lower)


def _to_type(request: Request, source: Tensor) -> Lower | None:
    """How numbers get from or to a type of real ones; None where both ends have integers, or nothing changes."""
    if any(node.op_type != "Identity" for node in request.group.nodes):
        return None
    target = request.output
    if source.dtype in FLOATS and is_narrow(target):
        return lambda body, inputs: [_quantized(body, inputs[0], source, target)]
    if is_narrow(source) and target.dtype in FLOATS:
        return lambda body, inputs: [_real(body, inputs[0], source, target)]
    if source.dtype in FLOATS and target.dtype in FLOATS and source.dtype != target.dtype:
        return lambda body, inputs: [body.cast(inputs[0], target.dtype)]
    return None


def _quantized(body: Body, value: ir.Value, source: Tensor, target: Tensor) -> ir.Value:
    real = body.cast(value, np.float32) if source.dtype != "float32" else value
    steps = body.op("Div", real, body.constant(target.scale, np.float32))
    size = body.op("Floor", body.op("Add", body.op("Abs", steps), body.constant(HALF, np.float32)))
    rounded = body.op("Mul", body.op("Sign", steps), size)
    zero_point = int(target.zero_point)
    low, high = target.limits
    window = Window(zero_point=zero_point, low=low, high=high)
    return stored(body, cut_to(body, rounded, window), zero_point, target.dtype)


def _real(body: Body, value: ir.Value, source: Tensor, target: Tensor) -> ir.Value:
    steps = loaded(body, value, int(source.zero_point))
    real = body.op("Mul", steps, body.constant(source.scale, np.float32))
    return real if target.dtype == "float32" else body.cast(real, target.dtype)
