"""Dimensions in another order, and items in reverse."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.operands import axis_of
from synap_frontend_tensorflow.importer.ops.reshaping import moved
from synap_frontend_tensorflow.importer.ops.slicing import sliced
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator, refuse

refuse("how many items it turns round depends on the data", "ReverseSequence")


@operator("Transpose")
def transpose(call: Call) -> ir.Value:
    """Dimensions in another order, which operand 1 gives."""
    order = call.integers(1)
    _check_order(order, len(shape_of(call.input(0))))
    return moved(call, "Transpose", call.input(0), perm=order)


@operator("InvertPermutation")
def invert_permutation(call: Call) -> ir.Value:
    """The order that undoes a constant one."""
    order = call.constant(0)
    _check_order(call.integers(0), order.size)
    return call.build.constant(np.argsort(order.reshape(-1)).astype(order.dtype))


def _check_order(order: tuple[int, ...], rank: int) -> None:
    if sorted(order) != list(range(rank)):
        msg = f"the order {list(order)} for {rank} dimensions"
        raise UnsupportedError(msg)


@operator("ReverseV2")
def reverse_v2(call: Call) -> ir.Value:
    """Items in reverse along some dimensions."""
    rank = len(shape_of(call.input(0)))
    return _reversed(call, {axis_of(axis, rank) for axis in call.integers(1)})


@operator("Reverse")
def reverse(call: Call) -> ir.Value:
    """Items in reverse along the dimensions that operand 1 says true for."""
    flags = call.constant(1)
    if flags.dtype != np.bool_ or flags.shape != (len(shape_of(call.input(0))),):
        msg = (
            f"{flags.dtype} {list(flags.shape)} for {len(shape_of(call.input(0)))} dimensions; one bool each is needed"
        )
        raise UnsupportedError(msg)
    return _reversed(call, {int(axis) for axis in np.flatnonzero(flags)})


def _reversed(call: Call, axes: set[int]) -> ir.Value:
    shape = shape_of(call.input(0))
    return sliced(call, call.input(0), [range(dim)[:: -1 if axis in axes else 1] for axis, dim in enumerate(shape)])
