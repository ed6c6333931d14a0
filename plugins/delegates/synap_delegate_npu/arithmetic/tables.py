"""Tables that hold the result for every integer of 8 or 16 bits."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.arithmetic.multiplier import Integers
from synap_delegate_npu.program.body import Body


def places(dtype: str) -> Integers:
    """The integer of a type that each place of a table is for: ``table[x]``, counted from the end below zero."""
    info = np.iinfo(dtype)
    count = int(info.max) - int(info.min) + 1
    return np.arange(count).astype(dtype).astype(np.int64)


def looked_up(body: Body, table: ir.Value, value: ir.Value, shape: tuple[int, ...]) -> ir.Value:
    """What a table holds for integers.

    The operator is GatherElements, 20 times as fast as Gather, which copies slices; it takes negative places, too.

    Args:
        body: Where the operators go.
        table: The table, of one axis.
        value: The integers, of 8 or 16 bits.
        shape: Their shape.
    """
    flat = len(shape) == 1
    one_axis = value if flat else body.op("Reshape", value, body.constant([-1], np.int64))
    found = body.op("GatherElements", table, body.cast(one_axis, np.int32), axis=0)
    return found if flat else body.op("Reshape", found, body.constant(shape, np.int64), allowzero=1)
