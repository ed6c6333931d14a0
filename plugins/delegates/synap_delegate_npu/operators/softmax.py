"""Softmax of integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.arithmetic.integers import scaling_of
from synap_delegate_npu.arithmetic.interpolation import LEAST_EXPONENT, LIMIT, RANGE, lower_softmax
from synap_delegate_npu.arithmetic.multiplier import Rounding
from synap_delegate_npu.arithmetic.rescaling import loaded, stored
from synap_delegate_npu.operators.integers import is_narrow
from synap_delegate_npu.program.body import Attributes, Body
from synap_delegate_npu.program.operation import Form, Request, Tensor
from synap_delegate_npu.program.registry import operator
from synap_delegate_npu.support.operation import number_of


@operator(
    "Softmax",
    "Softmax",
    "Mul",
    attributes={
        "axis": "INT: axis of the sum, from the front",
        "multiplier": "INTS: what differences are multiplied by, 31 bits behind the point; absent for real numbers",
        "shift": "INTS: bits that the products are shifted to the left by",
    },
)
def softmax(request: Request) -> Form | None:
    """Exponentials divided by their sum.

    With ``multiplier``, int16 to int16 with 15 bits behind the point: ``d = clamp(rescale(x - max(x), multiplier,
    shift), -65535, 0)`` stands for ``10 * d / 65535``; ``e(d)`` and the reciprocal of the sum of all ``e`` are
    interpolated between 513 samples of 15 bits, and ``y = (e * reciprocal + half) >> bits``, ``2**bits`` the largest
    power of two that is not above the sum; a factor in front of the exponentials is part of ``multiplier``. Without it,
    in real numbers.

    Source: TFLite ``SoftmaxInt16`` (kernels/internal/reference/softmax.h).
    """
    found = _scaled(request)
    if found is None:
        return None
    (source, factor), target = found, request.output
    if {source.dtype, target.dtype} != {"int16"} or float(target.scale) != 1 / LIMIT or int(target.zero_point):
        return None
    if source.quant is None or source.quant.fractional_length is not None or factor <= 0:
        return None
    step = float(np.float32(source.scale) * np.float32(factor))
    scaling = scaling_of(step / (-LEAST_EXPONENT / RANGE), RANGE, Rounding.TWICE)
    if scaling is None:
        return None
    axis = request.group.nodes[-1].attributes.get_int("axis", -1) % len(source.shape)

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        value = loaded(body, inputs[0], int(source.zero_point))
        return [stored(body, lower_softmax(body, value, scaling, axis, source.shape), 0, target.dtype)]

    attributes: Attributes = {
        "axis": axis,
        "multiplier": [int(scaling.by.multiplier)],
        "shift": [int(scaling.by.shift)],
    }
    return Form(inputs=(source,), attributes=attributes, lower=lower)


def _scaled(request: Request) -> tuple[Tensor, float] | None:
    """The integers that a group makes a softmax of, and the factor in front of it; None where it does anything else."""
    *scaling, last = request.group.nodes
    if last.op_type != "Softmax" or len(scaling) > 1 or any(node.op_type != "Mul" for node in scaling):
        return None
    computed = [value for value in request.operands if value.const_value is None]
    factors = [number_of(value) for value in request.operands if value.const_value is not None]
    source = request.tensors[computed[0]] if len(computed) == 1 else None
    factor = factors[0] if factors else 1.0
    if source is None or factor is None or len(factors) != len(scaling):
        return None
    return (source, factor) if is_narrow(source) and is_narrow(request.output) else None
