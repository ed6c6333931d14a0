"""Arithmetic of two tensors of integers, which broadcast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.arithmetic.integers import (
    Scaling,
    lower_products,
    lower_scaled,
    lower_shifted,
    lower_total,
    scaling_of,
)
from synap_delegate_npu.arithmetic.multiplier import Integers, Rounding
from synap_delegate_npu.arithmetic.pairs import MOST_CASES, Cases, cut_to, fit, lower_steps
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

LEFT_SHIFTS = {"int8": 20, "uint8": 20}
"""Bits by which operands of a sum are shifted to the left before they get a common step.

Source: TFLite ``PrepareGeneralSubOp`` (kernels/sub.cc) and ``Prepare`` (kernels/add.cc).
"""

WIDE_LEFT_SHIFT = 15
"""The same where an operand or the result has 16 bits."""

SUM = {
    "left_shift": "INT: bits that operands are shifted to the left by",
    "multiplier": "INTS: of the first operand, the second one and the sum, 31 bits behind the point",
    "shift": "INTS: bits that their products are shifted to the left by; to the right when negative",
    **ROUNDED,
}

PRODUCT = {
    "multiplier": "INTS: what products are multiplied by, 31 bits behind the point",
    "shift": "INTS: bits that the result is shifted to the left by; to the right when negative",
    **ROUNDED,
}

EXTREME = {
    "multiplier": "INTS: what the integers of each operand are multiplied by, 31 bits behind the point",
    "shift": "INTS: bits that the results are shifted to the left by; to the right when negative",
    **ROUNDED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """A sum or difference of integers with steps of their own.

    Attributes:
        left: Bits that operands are shifted to the left by.
        sign: 1 for a sum, -1 for a difference.
        operands: Scalings of operands to a common step.
        result: Scaling of the sum.
    """

    left: int
    sign: int
    operands: tuple[Scaling, Scaling]
    result: Scaling

    def __call__(self, one: Integers, other: Integers) -> Integers:
        """The definition, for integers counted from their zero points."""
        first, second = (scale(x << self.left) for x, scale in zip((one, other), self.operands, strict=True))
        return self.result(first + self.sign * second)

    @property
    def op_type(self) -> str:
        """The operator of real numbers."""
        return "Add" if self.sign > 0 else "Sub"

    @property
    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps of the result that one of each operand is."""
        one, other = (np.ldexp(scale.real, self.left) * self.result.real for scale in self.operands)
        return one, self.sign * other


@operator("Add", "Add", attributes=SUM)
def add(request: Request) -> Form | None:
    """Sum of two tensors of integers, with an activation that cuts.

    ``a = rescale((x0 - x0_zero_point) << left_shift, multiplier[0], shift[0])``, ``b`` likewise of the second operand;
    ``y = clamp(y_zero_point + rescale(a + b, multiplier[2], shift[2]), low, high)``. Operands are rounded twice.
    """
    return _sum(request, 1)


@operator("Subtract", "Sub", attributes=SUM)
def subtract(request: Request) -> Form | None:
    """Difference of two tensors of integers, with an activation that cuts; as a sum, with ``a - b``."""
    return _sum(request, -1)


@operator("Multiply", "Mul", attributes=PRODUCT)
def multiply(request: Request) -> Form | None:
    """Product of two tensors of integers, with an activation that cuts.

    ``y = clamp(y_zero_point + rescale((x0 - x0_zero_point) * (x1 - x1_zero_point), multiplier, shift), low, high)``.

    Source: TFLite ``Prepare`` (kernels/mul.cc), which computes the multiplier in float32.
    """
    operands = _operands(request)
    window = window_behind(request, request.tail)
    if window is None or operands is None or len(operands) != 2:
        return None
    scales = [np.float32(tensor.scale) for tensor in (*operands, request.output)]
    largest = largest_of(operands[0]) * largest_of(operands[1])
    scaling = scaling_of(float(scales[0] * scales[1] / scales[2]), largest, rounding_into(request))
    if scaling is None:
        return None
    dtype = request.output.dtype

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        one, other = _loaded(body, inputs, operands)
        values = values_of(operands[0]), values_of(operands[1])
        result = lower_products(body, (one, other), values, scaling, window)
        return [stored(body, result, window.zero_point, dtype)]

    return Form(inputs=operands, attributes=described([scaling], window), lower=lower)


@operator("Maximum", "Max", attributes=EXTREME)
def maximum(request: Request) -> Form | None:
    """The largest of the items of several tensors of integers.

    ``y = clamp(y_zero_point + max(rescale(x_i - x_i_zero_point, multiplier[i], shift[i])), low, high)``.
    """
    return _extreme(request)


@operator("Minimum", "Min", attributes=EXTREME)
def minimum(request: Request) -> Form | None:
    """The smallest of the items of several tensors of integers; as the maximum."""
    return _extreme(request)


def _operands(request: Request) -> tuple[Tensor, ...] | None:
    """What the first node reads; None when one of them holds no integers of 8 or 16 bits, or all are constants."""
    found = tuple(request.tensors[value] for value in request.node.inputs if value is not None)
    if all(is_narrow(tensor) for tensor in found) and any(tensor.constant is None for tensor in found):
        return found
    return None


def _loaded(body: Body, inputs: Sequence[ir.Value], tensors: Sequence[Tensor]) -> list[ir.Value]:
    pairs = zip(inputs, tensors, strict=True)
    return [loaded(body, value, int(tensor.zero_point)) for value, tensor in pairs]


def _sum(request: Request, sign: int) -> Form | None:
    operands = _operands(request)
    window = window_behind(request, request.tail)
    if window is None or operands is None or len(operands) != 2:
        return None
    definition = _definition(operands, request.output, sign, rounding_into(request))
    if definition is None:
        return None
    scalings = (*definition.operands, definition.result)
    return Form(
        inputs=operands,
        attributes={"left_shift": definition.left, **described(scalings, window)},
        lower=_lower_sum(definition, operands, window, request.output),
    )


def _definition(operands: Sequence[Tensor], output: Tensor, sign: int, rounding: Rounding) -> Sum | None:
    """Multipliers of a sum; None where what is left of the operands' bits is too coarse for the result's step."""
    left = min(LEFT_SHIFTS.get(tensor.dtype, WIDE_LEFT_SHIFT) for tensor in (*operands, output))
    scales = [float(tensor.scale) for tensor in operands]
    common = 2 * max(scales)
    step = common / 2.0**left
    # Each operand may be off by half a step.
    if step / float(output.scale) > 1 / 4:
        return None
    # None of the multipliers is above a half, so nothing is shifted further to the left.
    one, other = (scaling_of(scale / common, 1, Rounding.TWICE) for scale in scales)
    result = scaling_of(step / float(output.scale), 1, rounding)
    if one is None or other is None or result is None:
        return None
    return Sum(left=left, sign=sign, operands=(one, other), result=result)


def _lower_sum(
    definition: Sum, operands: tuple[Tensor, ...], window: Window, output: Tensor
) -> Callable[[Body, Sequence[ir.Value]], list[ir.Value]]:
    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        terms = _loaded(body, inputs, operands)
        result = _plain(body, terms, definition, window)
        if result is None:
            result = _fitted(body, terms, definition, operands, window)
        if result is None:
            one, other = (
                lower_shifted(body, value, range_of(tensor), scaling, definition.left, tensor.shape)
                for value, tensor, scaling in zip(terms, operands, definition.operands, strict=True)
            )
            result = lower_total(body, body.op(definition.op_type, one, other), definition.result, window)
        return [stored(body, result, window.zero_point, output.dtype)]

    return lower


def _plain(body: Body, terms: Sequence[ir.Value], definition: Sum, window: Window) -> ir.Value | None:
    """The sum of integers of the result's step: all multipliers are powers of two and nothing is rounded."""
    if any(abs(factor) != 1 for factor in definition.factors):
        return None
    return cut_to(body, body.op(definition.op_type, *terms), window)


def _fitted(
    body: Body, terms: Sequence[ir.Value], definition: Sum, operands: Sequence[Tensor], window: Window
) -> ir.Value | None:
    """The sum by one formula, where all pairs can be tried and there is one."""
    first, second = values_of(operands[0])[:, None], values_of(operands[1])[None, :]
    if first.size * second.size > MOST_CASES:
        return None
    cases = Cases(terms=[first, second], factors=definition.factors)
    steps = fit(cases, definition(first, second), window)
    return None if steps is None else lower_steps(body, terms, definition.factors, steps, window)


def _extreme(request: Request) -> Form | None:
    operands = _operands(request)
    window = window_behind(request, request.tail)
    if window is None or operands is None:
        return None
    scale = float(request.output.scale)
    rounding = rounding_into(request)
    scalings = [scaling_of(float(tensor.scale) / scale, largest_of(tensor), rounding) for tensor in operands]
    known = [scaling for scaling in scalings if scaling is not None]
    if len(known) < len(operands):
        return None
    op_type, dtype = request.node.op_type, request.output.dtype

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        terms = zip(_loaded(body, inputs, operands), operands, known, strict=True)
        cut = [lower_scaled(body, value, values_of(tensor), scaling, window) for value, tensor, scaling in terms]
        result = cut[0] if len(cut) == 1 else reduce(lambda one, other: body.op(op_type, one, other), cut)
        return [stored(body, result, window.zero_point, dtype)]

    return Form(inputs=operands, attributes=described(known, window), lower=lower)
