"""Several tensors made one."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from synap_core.api import quant_of, shape_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.operands import axis_of, single_integer
from synap_frontend_tensorflow.importer.ops.reshaping import keeps_quant, reshaped
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator


@operator("Concat")
def concat(call: Call) -> ir.Value:
    """Tensors behind each other along a dimension, which is operand 0."""
    return _joined(call, call.inputs[1:], single_integer(call, 0))


@operator("ConcatV2")
def concat_v2(call: Call) -> ir.Value:
    """Tensors behind each other along a dimension, which is the last operand."""
    return _joined(call, call.inputs[:-1], single_integer(call, max(len(call.inputs) - 1, 0)))


@operator("Pack")
def pack(call: Call) -> ir.Value:
    """Tensors of one shape along a new dimension."""
    shape = shape_of(call.input(0))
    axis = axis_of(call.integer("axis", 0), len(shape) + 1)
    if any(shape_of(value) != shape for value in call.inputs):
        msg = f"tensors of the shapes {', '.join(str(list(shape_of(value))) for value in call.inputs)} made one"
        raise UnsupportedError(msg)
    return _joined(call, [reshaped(call, value, [*shape[:axis], 1, *shape[axis:]]) for value in call.inputs], axis)


def _joined(call: Call, values: Sequence[ir.Value], axis: int) -> ir.Value:
    """Join at least one value; the result has their quantization if it is the same."""
    if not values:
        msg = "no tensors to join"
        raise UnsupportedError(msg)
    axis = axis_of(axis, len(shape_of(values[0])))
    if len(values) == 1:
        return values[0]
    joined = call.emit("Concat", *values, axis=axis)
    alike = all(quant_of(value) == quant_of(values[0]) for value in values)
    return keeps_quant(values[0], joined) if alike else joined
