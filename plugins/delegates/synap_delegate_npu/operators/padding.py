"""Integers around a tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from synap_core.api import QuantizedTensor
from synap_delegate_npu.operators.integers import is_narrow, same_integers
from synap_delegate_npu.program.body import Attributes, Body
from synap_delegate_npu.program.operation import Form, Request, Tensor
from synap_delegate_npu.program.registry import operator

WIDE = frozenset({"int16", "uint16"})
"""Types that runtimes have no Pad for; float32 holds their integers."""


@operator(
    "Pad",
    "Pad",
    attributes={
        "mode": "STRING: what lies around: `constant`, `reflect`, `edge` or `wrap`, as in the standard operator Pad",
        "pads": "INTS: items in front of all axes, then behind all of them; cut off where negative",
        "value": "INT: the stored integer around, in mode `constant`; absent where it is an input",
    },
)
def pad(request: Request) -> Form | None:
    """Stored items with others around them, of the same quantization.

    A number around that is constant is stored as ``clamp(round(number / x_scale) + x_zero_point)``, ties to even.
    """
    source, target, node = request.operand(0), request.output, request.node
    if source is None or request.tail or source.constant is not None or not is_narrow(source):
        return None
    if not same_integers(source, target):
        return None
    pads = _pads(node, len(source.shape))
    filler = request.operand(2)
    mode = node.attributes.get_string("mode", "constant")
    value = _stored_value(node, filler, source) if mode == "constant" else 0
    computed = filler if value is None else None
    if pads is None or (computed is not None and not (is_narrow(computed) and same_integers(computed, source))):
        return None

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        dtype = np.dtype(np.float32) if source.dtype in WIDE else np.dtype(source.dtype)
        given = [body.cast(item, dtype) if source.dtype in WIDE else item for item in inputs]
        around = given[1] if value is None else body.constant(value, dtype)
        operands = [given[0], body.constant(pads, np.int64), *([around] if mode == "constant" else [])]
        result = body.op("Pad", *operands, mode=mode)
        return [body.cast(result, source.dtype) if source.dtype in WIDE else result]

    attributes: Attributes = {"mode": mode, "pads": pads}
    if mode == "constant" and value is not None:
        attributes = {**attributes, "value": value}
    inputs = (source,) if computed is None else (source, computed)
    return Form(inputs=inputs, attributes=attributes, lower=lower)


def _pads(node: ir.Node, rank: int) -> list[int] | None:
    """Items in front of all axes, then behind them; None when they are computed."""
    numbers = node.inputs[1].const_value if len(node.inputs) > 1 and node.inputs[1] is not None else None
    if numbers is None:
        return None
    named = node.inputs[3] if len(node.inputs) > 3 else None
    if named is not None and named.const_value is None:
        return None
    axes = range(rank) if named is None or named.const_value is None else named.const_value.numpy().reshape(-1)
    found = np.zeros((2, rank), np.int64)
    found[:, [int(axis) % rank for axis in axes]] = numbers.numpy().reshape(2, -1)
    return [int(item) for item in found.reshape(-1)]


def _stored_value(node: ir.Node, filler: Tensor | None, source: Tensor) -> int | None:
    """The stored integer around; None when it is computed."""
    if filler is None:
        return int(source.zero_point)
    constant = node.inputs[2].const_value if node.inputs[2] is not None else None
    if constant is None:
        return None
    if isinstance(constant, QuantizedTensor) and is_narrow(filler) and same_integers(filler, source):
        return int(constant.integers.reshape(()))
    low, high = source.limits
    steps = np.rint(float(constant.numpy().reshape(())) / float(source.scale)) + int(source.zero_point)
    return int(np.clip(steps, low, high))
