"""Items around those of a tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.ops.reshaping import keeps_quant, moved, reshaped, widened, within_limit
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator

MODES = ("REFLECT", "SYMMETRIC")
"""Mirroring without the outermost items, and with them."""


@operator("Pad")
def pad(call: Call) -> ir.Value:
    """Zeros around a tensor."""
    return padded(call, call.input(0), *_paddings(call))


@operator("PadV2")
def pad_v2(call: Call) -> ir.Value:
    """Copies of one item, which is operand 2, around a tensor."""
    return padded(call, call.input(0), *_paddings(call), reshaped(call, call.input(2), ()))


@operator("MirrorPad")
def mirror_pad(call: Call) -> ir.Value:
    """Mirror images of a tensor around it, with or without its outermost items."""
    x, mode = call.input(0), call.text("mode")
    before, after = _paddings(call)
    reflect = mode == "REFLECT"
    pairs = list(zip(before, after, strict=True))
    if mode not in MODES or any(
        max(ends) > max(dim - reflect, 0) for ends, dim in zip(pairs, shape_of(x), strict=True)
    ):
        msg = f"mirror images ({mode}) of {before} and {after} items of the shape {list(shape_of(x))}"
        raise UnsupportedError(msg)
    if reflect and any(map(any, pairs)):
        pads = call.build.constant([*before, *after])
        return keeps_quant(x, widened(call, lambda value: call.emit("Pad", value, pads, mode="reflect"), x))
    for axis, ends in enumerate(pairs):
        if any(ends):
            within_limit(3 * shape_of(x)[axis])
            indices = np.pad(np.arange(shape_of(x)[axis], dtype=np.int64), ends, mode="symmetric")
            x = moved(call, "Gather", x, call.build.constant(indices), axis=axis)
    return x


def _paddings(call: Call) -> tuple[list[int], list[int]]:
    """Numbers of items before and after, for each dimension."""
    rank, found = len(shape_of(call.input(0))), call.integers(1)
    if shape_of(call.input(1)) != (rank, 2) or min(found, default=0) < 0:
        msg = f"the paddings {list(found)} of {rank} dimensions"
        raise UnsupportedError(msg)
    return list(found[::2]), list(found[1::2])


def padded(
    call: Call, value: ir.Value, before: Sequence[int], after: Sequence[int], filler: ir.Value | None = None
) -> ir.Value:
    """Put copies of a scalar, or zeros, around a value; it keeps its quantization."""
    if not any([*before, *after]):
        return value
    pads = call.build.constant([*before, *after])
    operands = [value] if filler is None else [value, filler]
    return keeps_quant(value, widened(call, lambda first, *rest: call.emit("Pad", first, pads, *rest), *operands))
