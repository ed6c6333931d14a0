"""Axes of integers made one number: means, sums, extremes, and the places of extremes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.arithmetic.integers import WORD, Scaling, lower_scaled, lower_total, scaling_of
from synap_delegate_npu.arithmetic.multiplier import Multiplier
from synap_delegate_npu.arithmetic.products import FLOAT32_INTEGERS
from synap_delegate_npu.arithmetic.rescaling import loaded, stored
from synap_delegate_npu.operators.integers import (
    ROUNDED,
    described,
    is_narrow,
    largest_of,
    range_of,
    rounding_into,
    window_behind,
)
from synap_delegate_npu.program.body import Body
from synap_delegate_npu.program.operation import Form, Request, Tensor
from synap_delegate_npu.program.registry import operator

TYPES = {"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "max", "ReduceMin": "min"}

MULTIPLIER_BITS = 31
"""Bits behind the point of a multiplier."""

MOST_BITS_OF_COUNT = 32
"""Bits by which a multiplier is shifted before it is divided by a number of items, at the most."""


@operator(
    "Reduce",
    *TYPES,
    attributes={
        "type": "STRING: what is computed: `mean`, `sum`, `max` or `min`",
        "axes": "INTS: axes that become one number, from the front",
        "keepdims": "INT: 1 when these axes stay, with one item",
        "multiplier": "INTS: what the result is multiplied by, 31 bits behind the point",
        "shift": "INTS: bits that the product is shifted to the left by; to the right when negative",
        **ROUNDED,
    },
)
def reduce(request: Request) -> Form | None:
    """Means, sums or extremes of integers along axes.

    ``y = clamp(y_zero_point + rescale(r, multiplier, shift), low, high)``, ``r`` the sum or the extreme of ``x -
    x_zero_point``. The multiplier of a mean has the number of items in it: ``multiplier = (m << b) / items``, rounded
    down, and ``shift = s - b``, where ``m`` and ``s`` are those of ``x_scale / y_scale`` and ``2**b`` is the largest
    power of two that is not above the number, at most ``2**min(32, 31 + s)``.

    Source: TFLite ``QuantizedMeanOrSum`` (kernels/internal/reference/reduce.h) and ``EvalMean`` (kernels/reduce.cc).
    """
    source, axes = request.operand(0), axes_of(request)
    window = window_behind(request, request.tail)
    if source is None or axes is None or window is None or source.constant is not None or not is_narrow(source):
        return None
    kind, keep = TYPES[request.node.op_type], request.node.attributes.get_int("keepdims", 1)
    items = math.prod(source.shape[axis] for axis in axes)
    scaling = _scaling(request, source, kind, items)
    if scaling is None:
        return None
    target = request.output

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        value = loaded(body, inputs[0], int(source.zero_point))
        if kind in ("mean", "sum"):
            total = _summed(body, value, axes, items * largest_of(source), keep)
            result = lower_total(body, total, scaling, window)
        else:
            extreme = body.op(request.node.op_type, value, body.constant(axes, np.int64), keepdims=keep)
            result = lower_scaled(body, extreme, range_of(source), scaling, window)
        return [stored(body, result, window.zero_point, target.dtype)]

    return Form(
        inputs=(source,),
        attributes={"type": kind, "axes": axes, "keepdims": keep, **described([scaling], window)},
        lower=lower,
    )


def _scaling(request: Request, source: Tensor, kind: str, items: int) -> Scaling | None:
    """What results are multiplied by; None where the sums leave 32 bits, or there is nothing to sum up."""
    target, rounding, largest = request.output, rounding_into(request), largest_of(source)
    if not items:
        return None
    if kind in ("max", "min"):
        return scaling_of(float(source.scale) / float(target.scale), largest, rounding)
    if kind == "sum":
        return scaling_of(float(source.scale) / float(target.scale), largest * items, rounding)
    found = scaling_of(float(source.scale) / float(target.scale), 1, rounding)
    if found is None:
        return None
    by = _divided(found.by, items)
    fits = largest * items << max(int(by.shift), 0) < WORD
    return Scaling(by, rounding) if fits and int(by.multiplier) else None


def _divided(by: Multiplier, items: int) -> Multiplier:
    """A multiplier divided by a number of items."""
    bits = min(items.bit_length() - 1, MOST_BITS_OF_COUNT, MULTIPLIER_BITS + int(by.shift))
    return Multiplier(np.asarray((int(by.multiplier) << bits) // items), np.asarray(int(by.shift) - bits))


def _summed(body: Body, value: ir.Value, axes: tuple[int, ...], largest: int, keep: int) -> ir.Value:
    """Sums, float64, exactly."""
    wide = largest >= FLOAT32_INTEGERS
    total = body.op(
        "ReduceSum", body.cast(value, np.float64) if wide else value, body.constant(axes, np.int64), keepdims=keep
    )
    return total if wide else body.cast(total, np.float64)


def axes_of(request: Request) -> tuple[int, ...] | None:
    """Axes of a reduction, from the front, each once; None where they are computed, or there are none."""
    node, source = request.node, request.operand(0)
    rank = 0 if source is None else len(source.shape)
    given = node.inputs[1] if len(node.inputs) > 1 else None
    if given is not None and given.const_value is None:
        return None
    named = (
        [int(axis) for axis in given.const_value.numpy().reshape(-1)]
        if given is not None and given.const_value is not None
        else list(node.attributes.get_ints("axes", ()))
    )
    if not named and not node.attributes.get_int("noop_with_empty_axes", 0):
        named = list(range(rank))
    return tuple(sorted({axis % rank for axis in named})) if named and rank else None


@operator(
    "Argmax",
    "ArgMax",
    attributes={
        "axis": "INT: axis along which is searched, from the front",
        "keepdims": "INT: 1 when it stays, with one item",
        "select_last_index": "INT: 1 for the last of equal items, 0 for the first",
    },
)
def argmax(request: Request) -> Form | None:
    """Place of the largest of the stored integers along an axis, int64."""
    return _place(request)


@operator(
    "Argmin",
    "ArgMin",
    attributes={
        "axis": "INT: axis along which is searched, from the front",
        "keepdims": "INT: 1 when it stays, with one item",
        "select_last_index": "INT: 1 for the last of equal items, 0 for the first",
    },
)
def argmin(request: Request) -> Form | None:
    """Place of the smallest of the stored integers along an axis, int64."""
    return _place(request)


def _place(request: Request) -> Form | None:
    source, node = request.operand(0), request.node
    if source is None or request.tail or source.constant is not None or not is_narrow(source):
        return None
    found = node.attributes
    attributes = {
        "axis": found.get_int("axis", 0) % max(len(source.shape), 1),
        "keepdims": found.get_int("keepdims", 1),
        "select_last_index": found.get_int("select_last_index", 0),
    }

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        value = loaded(body, inputs[0], int(source.zero_point))
        return [body.op(node.op_type, value, **attributes)]

    return Form(inputs=(source,), attributes=attributes, lower=lower)


RELATIONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")


@operator("RelationalOps", *RELATIONS, attributes={"type": "STRING: the relation, as the standard operator is named"})
def relation(request: Request) -> Form | None:
    """Relations of stored integers of the same type and quantization, which broadcast; bool."""
    node = request.node
    operands = [request.operand(position) for position in range(2)]
    first, second = operands
    if first is None or second is None or request.tail or not is_narrow(first) or not is_narrow(second):
        return None
    known = (first, second)
    if not _same(first, second) or all(tensor.constant is not None for tensor in known):
        return None

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        pairs = zip(inputs, known, strict=True)
        return [body.op(node.op_type, *(loaded(body, value, int(tensor.zero_point)) for value, tensor in pairs))]

    return Form(inputs=known, attributes={"type": node.op_type}, lower=lower)


def _same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.quant == other.quant
