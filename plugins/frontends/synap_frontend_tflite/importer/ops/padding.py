"""Items around or between those of a tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.ops.elementwise import widened
from synap_frontend_tflite.importer.ops.reshaping import keeps_quant, moved, reshaped, same_meaning, within_limit
from synap_frontend_tflite.importer.ops.slicing import sliced
from synap_frontend_tflite.importer.registry import UnsupportedError, operator

REFLECT = 0
"""Number of the schema for mirroring without the outermost items; 1 repeats them, too."""


@operator("PAD")
def pad(op: Operator) -> ir.Value:
    """Zeros around a tensor, real ones of a quantized tensor."""
    same_meaning(op, 0)
    return padded(op, op.input(0), *_paddings(op))


@operator("PADV2")
def pad_v2(op: Operator) -> ir.Value:
    """Copies of one item, which is an operand, around a tensor."""
    same_meaning(op, 0, 2)
    return padded(op, op.input(0), *_paddings(op), reshaped(op, op.input(2), ()))


@operator("MIRROR_PAD")
def mirror_pad(op: Operator) -> ir.Value:
    """Mirror images of a tensor around it, with or without its outermost items."""
    same_meaning(op, 0)
    x = op.input(0)
    before, after = _paddings(op)
    reflect = op.integer("mode") == REFLECT
    if any(max(ends) > dim - reflect for *ends, dim in zip(before, after, shape_of(x), strict=True)):
        msg = f"mirror images of {list(before)} and {list(after)} items of the shape {list(shape_of(x))}"
        raise UnsupportedError(msg)
    if reflect:
        pads = op.build.constant([*before, *after])
        return keeps_quant(x, widened(op, lambda value: op.emit("Pad", value, pads, mode="reflect"), x))
    for axis, ends in enumerate(zip(before, after, strict=True)):
        if any(ends):
            within_limit(3 * shape_of(x)[axis])
            indices = np.pad(np.arange(shape_of(x)[axis], dtype=np.int64), ends, mode="symmetric")
            x = moved(op, "Gather", x, op.build.constant(indices), axis=axis)
    return x


def _paddings(op: Operator) -> tuple[list[int], list[int]]:
    """Numbers of items before and after, for each dimension."""
    rank, found = len(shape_of(op.input(0))), op.integers(1)
    if len(found) != 2 * rank or min(found, default=0) < 0:
        msg = f"the paddings {list(found)} of {rank} dimensions"
        raise UnsupportedError(msg)
    return list(found[::2]), list(found[1::2])


def padded(
    op: Operator, value: ir.Value, before: Sequence[int], after: Sequence[int], filler: ir.Value | None = None
) -> ir.Value:
    """Put copies of a scalar, or zeros, around a value; it keeps its quantization."""
    if not any([*before, *after]):
        return value
    pads = op.build.constant([*before, *after])
    operands = [value] if filler is None else [value, filler]
    return keeps_quant(value, widened(op, lambda first, *rest: op.emit("Pad", first, pads, *rest), *operands))


@operator("DILATE")
def dilate(op: Operator) -> ir.Value:
    """Copies of one item, operand 2, between those of a tensor.

    Each item gets a dimension of its own, which is padded at its end; what is behind the last item is cut off.
    """
    same_meaning(op, 0, 2)
    x, steps = op.input(0), op.integers(1)
    shape = shape_of(x)
    if len(steps) != len(shape) or min(steps, default=1) < 1 or 0 in shape:
        msg = f"steps of {list(steps)} for the shape {list(shape)}"
        raise UnsupportedError(msg)
    apart = reshaped(op, x, [length for dim in shape for length in (dim, 1)])
    around = [length for step in steps for length in (0, step - 1)]
    spread = padded(op, apart, [0] * len(around), around, reshaped(op, op.input(2), ()))
    pairs = list(zip(shape, steps, strict=True))
    joined = reshaped(op, spread, [dim * step for dim, step in pairs])
    return sliced(op, joined, [range((dim - 1) * step + 1) for dim, step in pairs])
