"""Normalizations, recurrent layers and transforms of signals."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from synap_core.api import type_of
from synap_frontend_onnx.importer.call import Call
from synap_frontend_onnx.importer.ops.elementwise import cast_to
from synap_frontend_onnx.importer.registry import UnsupportedError, operator

MAX_GROUPS = 1 << 16
"""Of a group normalization."""


@operator("BatchNormalization", since=7)
@operator("BatchNormalization", since=9)
@operator("BatchNormalization", since=14)
def batch_normalization(call: Call) -> ir.Value:
    """With given statistics, for each channel or (before version 9) for each place."""
    if call.integer("training_mode", 0) or any(call.present[1:]):
        msg = "it computes statistics, as for training"
        raise UnsupportedError(msg)
    if call.version < 9 and not call.integer("spatial", 1):
        return _normalized_by_place(call)
    return call.only("BatchNormalization", *call.inputs[:5], **call.options("epsilon"))


def _normalized_by_place(call: Call) -> ir.Value:
    x, scale, bias, mean, variance = (call.input(place) for place in range(5))
    epsilon = call.scalar(call.number("epsilon", 1e-5), x)
    deviation = call.emit("Sqrt", call.emit("Add", variance, epsilon))
    normal = call.emit("Div", call.emit("Sub", x, mean), deviation)
    return call.emit("Add", call.emit("Mul", normal, scale), bias)


@operator("GroupNormalization", since=21)
def group_normalization_21(call: Call) -> ir.Value:
    """Each group as one channel, then scale and bias for each channel."""
    x, sizes, groups = call.input(0), call.shape(), call.integer("num_groups", 0)
    if len(sizes) < 2 or not 0 < groups <= MAX_GROUPS or sizes[1] % groups:
        msg = f"it has {groups} groups, and an operand of shape {list(sizes)}"
        raise UnsupportedError(msg)
    kind = type_of(x).dtype
    stash = call.element_type("stash_type", ir.DataType.FLOAT)
    inner = cast_to(call, x, stash)
    flat = call.emit("Reshape", inner, call.build.constant([sizes[0], groups, math.prod(sizes[1:]) // groups]))
    ones, zeros = (call.build.constant(np.full(groups, number, stash.numpy())) for number in (1, 0))
    normal = call.emit("InstanceNormalization", flat, ones, zeros, **call.options("epsilon"))
    normal = cast_to(call, call.emit("Reshape", normal, call.build.constant(list(sizes))), kind)
    shape = call.build.constant([-1, *[1] * (len(sizes) - 2)])
    scale, bias = (call.emit("Reshape", call.input(place), shape) for place in (1, 2))
    return call.emit("Add", call.emit("Mul", normal, scale), bias)


@operator("GRU", since=14)
@operator("LSTM", since=14)
@operator("RNN", since=14)
def recurrent_14(call: Call) -> list[ir.Value]:
    """Runtimes have no layout with the batch in front: operands and results are transposed."""
    operands = list(call.inputs)
    if not call.integer("layout", 0):
        return call.final(call.op_type, operands, call.options())
    for place in (0, 5, 6):
        value = call.optional(place)
        if value is not None:
            operands[place] = call.emit("Transpose", value, perm=[1, 0, 2])
    options = {name: value for name, value in call.options().items() if name != "layout"}
    found = call.build.emit_many(call.op_type, operands, options, results=len(call.results))
    # The sequences of results are [length, directions, batch, items], the last states [directions, batch, items].
    orders = ([2, 0, 1, 3], [1, 0, 2], [1, 0, 2])
    return [call.emit("Transpose", value, perm=order) for value, order in zip(found, orders, strict=False)]


@operator("DFT", since=20)
def dft_20(call: Call) -> ir.Value:
    """The axis is an operand, by default the last one in front of the pair of a complex number."""
    rank = len(call.shape())
    axis = -2 if call.optional(2) is None else int(call.constant(2, "axes").reshape(-1)[0])
    if not -rank <= axis < rank:
        msg = f"its axis is {axis}; the operand has {rank} dimensions"
        raise UnsupportedError(msg)
    return call.only("DFT", *call.inputs[:2], axis=axis % rank, **call.options("inverse", "onesided"))
