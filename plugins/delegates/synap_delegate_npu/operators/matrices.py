"""Products of two matrices of which no constant one has a step per channel: mostly both are computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.arithmetic.multiplier import Rounding, multiplier_of, wide_multiplier_of
from synap_delegate_npu.arithmetic.products import exact_matrix_product
from synap_delegate_npu.arithmetic.rescaling import Sums, loaded, stored
from synap_delegate_npu.operators.integers import is_narrow, window_behind
from synap_delegate_npu.operators.products import RESCALING, Addend, addend_of, lower_sums, ratio_of, rounding_of
from synap_delegate_npu.program.body import Attributes, Body
from synap_delegate_npu.program.operation import Form, Request, Tensor
from synap_delegate_npu.program.registry import operator

LONGEST_SUM = 1 << 22
"""Products in one sum, at the most."""


@operator("MatrixMultiply", "MatMul", "Gemm", attributes={"transB": "INT: 1 for a second matrix [N, K]", **RESCALING})
def matrix_multiply(request: Request) -> Form | None:
    """Product of two tensors of matrices ``[…, M, K]`` and ``[…, K, N]`` of integers, with an activation that cuts.

    ``sum = bias + sum((x0 - x0_zero_point) * (x1 - x1_zero_point))`` over K;
    ``y = clamp(y_zero_point + rescale(sum, multiplier, shift), low, high)``, rounded by the word in
    ``rounding`` as of a convolution.
    """
    pair = _factors(request)
    if pair is None or len(request.outputs) != 1:
        return None
    node, output = request.node, request.output
    added = addend_of(request, np.asarray(pair[0].scale * pair[1].scale), output.shape[-1])
    window = None if added is None else window_behind(request, added.tail)
    if added is None or window is None:
        return None
    transposed = node.attributes.get_int("transB", 0)
    rounding = rounding_of(request, *pair, added.tensor)
    by = (wide_multiplier_of if rounding is Rounding.REAL else multiplier_of)(ratio_of(request, *pair))

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        total, bound = _sums(body, inputs, pair, node, added)
        result = lower_sums(body, total, by, window, Sums(largest=bound), rounding)
        return [stored(body, result, window.zero_point, output.dtype)]

    attributes: Attributes = {
        "transB": transposed,
        "multiplier": [int(by.multiplier)],
        "shift": [int(by.shift)],
        "rounding": rounding.value,
        "low": window.low,
        "high": window.high,
    }
    return Form(inputs=(*pair, *(() if added.tensor is None else (added.tensor,))), attributes=attributes, lower=lower)


def _sums(
    body: Body, inputs: Sequence[ir.Value], pair: tuple[Tensor, Tensor], node: ir.Node, added: Addend
) -> tuple[ir.Value, int]:
    """The sums, and their bound."""
    one, other = ((low - int(t.zero_point), high - int(t.zero_point)) for t in pair for low, high in [t.limits])
    x, y = (loaded(body, value, int(t.zero_point)) for value, t in zip(inputs, pair, strict=False))
    attributes = {"transB": node.attributes.get_int("transB", 0)} if node.op_type == "Gemm" else {}
    count = pair[0].shape[-1]
    total = exact_matrix_product(
        body, (x, y), (one, other), count, lambda a, b: body.op(node.op_type, a, b, **attributes)
    )
    bound = count * max(map(abs, one)) * max(map(abs, other))
    if added.integers is None:
        return total, bound
    bound += int(np.abs(added.integers).max(initial=0))
    return body.op("Add", total, body.constant(added.integers, np.float64)), bound


def _factors(request: Request) -> tuple[Tensor, Tensor] | None:
    """The matrices; None where they hold no integers with one step each, or both are constants."""
    node, one, other = request.node, request.operand(0), request.operand(1)
    plain = node.attributes.get_float("alpha", 1.0) == node.attributes.get_float("beta", 1.0) == 1.0
    if one is None or other is None or not plain or node.attributes.get_int("transA", 0) != 0:
        return None
    if not (is_narrow(one) and is_narrow(other)) or (one.constant is not None and other.constant is not None):
        return None
    # A vector has no rows, whose places the bias and the step of each channel would be counted from.
    if min(len(one.shape), len(other.shape)) < 2 or one.shape[-1] > LONGEST_SUM:
        return None
    return one, other
