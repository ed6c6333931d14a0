"""Tensors of integers behind each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.arithmetic.multiplier import Integers
from synap_delegate_npu.arithmetic.pairs import Cases, fit, lower_steps
from synap_delegate_npu.arithmetic.rescaling import Window, loaded, stored
from synap_delegate_npu.arithmetic.tables import looked_up, places
from synap_delegate_npu.operators.integers import is_narrow, range_of, same_integers, window_behind
from synap_delegate_npu.operators.movement import moved
from synap_delegate_npu.program.body import Body
from synap_delegate_npu.program.operation import Form, Request, Tensor
from synap_delegate_npu.program.registry import operator


@operator(
    "Concat",
    "Concat",
    attributes={
        "axis": "INT: axis along which they lie",
        "low": "INT: least stored integer of the output, where an activation or the type cuts; not where all are moved",
        "high": "INT: largest stored integer of the output",
    },
)
def concat(request: Request) -> Form | None:
    """Stored items behind each other along an axis.

    Items of an operand with the type and quantization of the output stay as they are. Others become
    ``clamp(y_zero_point + round(x * s + b), low, high)``, ``s = x_scale * (1 / y_scale)``, ``b = -x_zero_point * s``;
    each step in float32, ties away from zero.

    Source: TFLite ``ConcatenationWithScaling`` (kernels/internal/reference/concatenation.h).
    """
    return moved(request) or _rescaled(request)


@dataclass(frozen=True, slots=True)
class Change:
    """From the integers of one tensor to those of another."""

    source: Tensor
    target: Tensor

    @property
    def factor(self) -> np.ndarray:
        """Steps of the target that one of the source is, float32."""
        return np.asarray(np.float32(self.source.scale) * (np.float32(1) / np.float32(self.target.scale)), np.float32)

    def __call__(self, stored_integers: Integers) -> Integers:
        """The definition: integers counted from the zero point of the target, not cut."""
        factor = self.factor
        bias = np.float32(-int(self.source.zero_point)) * factor
        steps = (stored_integers.astype(np.float32) * factor + bias).astype(np.float64)
        return np.asarray(np.sign(steps) * np.floor(np.abs(steps) + 0.5), np.int64)

    def lower(self, body: Body, value: ir.Value, window: Window) -> ir.Value:
        """Change a tensor in memory; by a formula for all integers, or by a table."""
        dtype = self.target.dtype
        low, high = self.target.limits
        if same_integers(self.source, self.target) and (window.low, window.high) == (low, high):
            return value
        values = range_of(self.source)
        point = int(self.source.zero_point)
        steps = fit(Cases(terms=[values], factors=[self.factor], sides=values), self(values + point), window)
        if steps is not None:
            relative = loaded(body, value, point)
            result = lower_steps(body, [relative], [self.factor], steps, window, relative)
            return stored(body, result, window.zero_point, dtype)
        entries = np.clip(self(places(self.source.dtype)) + window.zero_point, window.low, window.high)
        return looked_up(body, body.constant(entries, dtype), value, self.source.shape)


def _rescaled(request: Request) -> Form | None:
    window = window_behind(request, request.tail)
    sources = [request.tensors[value] for value in request.node.inputs if value is not None]
    if window is None or not all(is_narrow(tensor) for tensor in sources):
        return None
    if all(tensor.constant is not None for tensor in sources):
        return None
    axis = request.node.attributes.get_int("axis", 0)
    changes = [Change(source, request.output) for source in sources]

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        parts = [change.lower(body, value, window) for change, value in zip(changes, inputs, strict=True)]
        return [body.op("Concat", *parts, axis=axis)]

    attributes = {"axis": axis, "low": window.low, "high": window.high}
    return Form(inputs=tuple(sources), attributes=attributes, lower=lower)
