"""Activations of integers with a slope of their own below zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.arithmetic.integers import Scaling, lower_products, lower_scaled, scaling_of
from synap_delegate_npu.arithmetic.multiplier import Integers, Rounding
from synap_delegate_npu.arithmetic.pairs import MOST_CASES, Cases, Steps, fit, lower_steps
from synap_delegate_npu.arithmetic.rescaling import Window, loaded, stored
from synap_delegate_npu.operators.integers import (
    ROUNDED,
    described,
    is_narrow,
    largest_of,
    range_of,
    rounding_into,
    values_of,
    window_behind,
)
from synap_delegate_npu.program.body import Body
from synap_delegate_npu.program.operation import Form, Request, Tensor
from synap_delegate_npu.program.registry import operator

SLOPES = {
    "multiplier": "INTS: what integers above zero and below zero are multiplied by, 31 bits behind the point",
    "shift": "INTS: bits that the products are shifted to the left by; to the right when negative",
    **ROUNDED,
}

DEFAULT_SLOPE = 0.01
"""Of LeakyRelu in the canonical graph."""


@operator("LeakyRelu", "LeakyRelu", attributes=SLOPES)
def leaky_relu(request: Request) -> Form | None:
    """Integers with one slope below zero.

    ``y = clamp(y_zero_point + rescale(x - x_zero_point, multiplier[i], shift[i]), low, high)``, ``i`` is 1 below the
    zero point and 0 otherwise.

    Only in models that are defined by TFLite's kernels: the products of an 8-bit integer are so small that rounding
    twice gives another integer than the real number for one in twenty.

    Source: TFLite ``LeakyReluPrepare`` (kernels/activations.cc), which computes the multipliers in float32.
    """
    data = request.operand(0)
    if not request.kernels or data is None or data.constant is not None or not is_narrow(data):
        return None
    alpha = np.float32(request.node.attributes.get_float("alpha", DEFAULT_SLOPE))
    scale = np.float32(data.scale) * alpha
    return _form(request, data, None, float(scale))


@operator("Prelu", "PRelu", attributes=SLOPES)
def prelu(request: Request) -> Form | None:
    """Integers with constant slopes below zero, which broadcast to them.

    As LeakyRelu, with ``(x - x_zero_point) * (slope - slope_zero_point)`` below the zero point; rounded once in models
    that are not defined by TFLite's kernels.

    Source: TFLite ``PreluPrepare`` (kernels/activations.cc).
    """
    data, slope = request.operand(0), request.operand(1)
    if data is None or slope is None or data.constant is not None or slope.constant is None:
        return None
    if not is_narrow(data) or not is_narrow(slope):
        return None
    return _form(request, data, slope, float(np.float32(data.scale) * np.float32(slope.scale)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bend:
    """Two straight lines that meet at zero.

    Attributes:
        above: Scaling of the integers above zero.
        below: Scaling of those below, or of their products with the slopes.
        slopes: Slopes, counted from their zero point; None for the integers themselves.
    """

    above: Scaling
    below: Scaling
    slopes: Integers | None

    def factor(self, slopes: Integers | None) -> np.ndarray:
        """Steps of the result that one below zero is."""
        return self.below.real if slopes is None else self.below.real * slopes

    def fitted(self, values: Integers, window: Window) -> Steps | None:
        """One formula for both sides, where all cases can be tried and there is one."""
        slopes = None if self.slopes is None else np.unique(self.slopes)[:, None]
        if values.size * (1 if slopes is None else slopes.size) > MOST_CASES:
            return None
        above, below = np.maximum(values, 0), np.minimum(values, 0)
        wanted = self.above(above) + self.below(below if slopes is None else below * slopes)
        cases = Cases(terms=[above, below], factors=[self.above.real, self.factor(slopes)], sides=values)
        return fit(cases, wanted, window)


def _form(request: Request, data: Tensor, slope: Tensor | None, below_scale: float) -> Form | None:
    window = window_behind(request, request.tail)
    if window is None:
        return None
    bend = _bend(data, slope, request.output, below_scale, rounding_into(request))
    if bend is None:
        return None
    dtype = request.output.dtype

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        value = loaded(body, inputs[0], int(data.zero_point))
        above = body.op("Relu", value)
        below = body.op("Sub", value, above)
        values = range_of(data)
        steps = bend.fitted(values, window)
        if steps is not None:
            result = lower_steps(
                body, [above, below], [bend.above.real, bend.factor(bend.slopes)], steps, window, value
            )
        else:
            result = body.op(
                "Add",
                lower_scaled(body, above, np.maximum(values, 0), bend.above, window),
                _below(body, inputs, below, bend, (data, slope), window),
            )
        return [stored(body, result, window.zero_point, dtype)]

    return Form(
        inputs=(data,) if slope is None else (data, slope),
        attributes=described([bend.above, bend.below], window),
        lower=lower,
    )


def _bend(data: Tensor, slope: Tensor | None, output: Tensor, below_scale: float, rounding: Rounding) -> Bend | None:
    scale = np.float32(output.scale)
    slopes = None
    largest = largest_of(data)
    if slope is not None and slope.constant is not None:
        slopes = slope.constant.astype(np.int64) - int(slope.zero_point)
    above = scaling_of(float(np.float32(data.scale) / scale), largest, rounding)
    steepest = 1 if slope is None else int(np.abs(values_of(slope)).max(initial=0))
    below = scaling_of(float(np.float32(below_scale) / scale), largest * steepest, rounding)
    return None if above is None or below is None else Bend(above=above, below=below, slopes=slopes)


def _below(
    body: Body,
    inputs: Sequence[ir.Value],
    below: ir.Value,
    bend: Bend,
    tensors: tuple[Tensor, Tensor | None],
    window: Window,
) -> ir.Value:
    """What is below zero, rescaled; zero elsewhere."""
    data, slope = tensors
    values = np.minimum(range_of(data), 0)
    if slope is not None:
        factor = loaded(body, inputs[1], int(slope.zero_point))
        return lower_products(body, (below, factor), (values, values_of(slope)), bend.below, window)
    if bend.below.real > 0:
        return lower_scaled(body, below, values, bend.below, window)
    # Both factors with the other sign have the same product.
    return lower_scaled(body, body.op("Neg", below), -values, bend.below.opposite, window)
