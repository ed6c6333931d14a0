"""Tensors of integers with other numbers of items along their axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import reduce

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.arithmetic.grids import COORDINATES, Grid, Side, float32_grids, grids_for
from synap_delegate_npu.arithmetic.pairs import cut_to
from synap_delegate_npu.arithmetic.products import FLOAT32_INTEGERS
from synap_delegate_npu.arithmetic.rescaling import Window, loaded, stored
from synap_delegate_npu.operators.integers import is_narrow, largest_of, same_integers
from synap_delegate_npu.operators.interpolation import averaged, multiplied
from synap_delegate_npu.program.body import Attributes, Body
from synap_delegate_npu.program.operation import Form, Lowering, Request, Tensor
from synap_delegate_npu.program.registry import operator

UNUSUAL = {"antialias": 0, "exclude_outside": 0}
"""Attributes that must have this value."""

IMAGE = (2, 3)
"""Axes of an image of rank 4."""


@operator(
    "Resize",
    "Resize",
    "MatMul",
    attributes={
        "mode": "STRING: `nearest`, `linear`, `linear_float32` for real weights, or `matrices`",
        "axes": "INTS: axes that are interpolated along",
        "lower": "INTS: item in front of each place, for all places along the first of these axes, then along the next",
        "upper": "INTS: item behind each place, likewise",
        "weight": "INTS: weight of the latter, likewise",
        "unit": "INTS: sum of both weights, along each axis",
        "real_weight": "FLOATS: weight of the latter in mode `linear_float32`",
        "coordinate_transformation_mode": "STRING: as the standard operator Resize has it; mode `nearest` only",
        "nearest_mode": "STRING: likewise",
        "sizes": "INTS: shape of the output",
    },
)
def resize(request: Request) -> Form | None:
    """Items at other places of a tensor; input and output have the same quantization.

    ``nearest``: the stored integers that the standard operator Resize names. ``linear``: ``y = round(sum / n)``, ties
    away from zero, ``sum`` that of the stored integers around a place, each times the product of its weights along all
    axes, ``n`` the product of the units. ``linear_float32``, ``v`` the weight: ``y = floor(x00 * (1 - v0) * (1 - v1) +
    x10 * v0 * (1 - v1) + x01 * (1 - v0) * v1 + x11 * v0 * v1 + 0.5)``, from the left to the right in float32.
    ``matrices``: ``y = round(sum / n)`` as above, ``sum`` the items multiplied from the left by constant matrices of
    weights, one for each axis, and reshaped in between; ``n`` the product of the units, which all rows add up to.

    Source: TFLite ``ResizeBilinearInteger`` and ``ResizeBilinear`` (kernels/internal/reference/resize_bilinear.h).
    """
    if request.node.op_type == "MatMul":
        return multiplied(request)
    source, target, node = request.operand(0), request.output, request.node
    if source is None or request.tail or source.constant is not None or not is_narrow(source):
        return None
    if not same_integers(source, target):
        return None
    mode = node.attributes.get_string("mode", "nearest")
    if mode == "nearest":
        return _nearest(request, source)
    sides = _sides(request, source) if mode == "linear" else None
    return None if sides is None else _linear(source, target, sides)


def _nearest(request: Request, source: Tensor) -> Form | None:
    """The operator itself on stored integers; runtimes lack it for 16 bits."""
    node, first = request.node, request.operands[0]
    if any(value.const_value is None for value in request.operands[1:]):
        return None

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        wide = np.dtype(source.dtype).itemsize > 1
        value = body.cast(inputs[0], np.float32) if wide else inputs[0]
        found = body.inline([node], {first: value})[node.outputs[0]]
        return [body.cast(found, source.dtype) if wide else found]

    attributes: Attributes = {
        "mode": "nearest",
        "coordinate_transformation_mode": node.attributes.get_string("coordinate_transformation_mode", "half_pixel"),
        "nearest_mode": node.attributes.get_string("nearest_mode", "round_prefer_floor"),
        "sizes": request.output.shape,
    }
    return Form(inputs=(source,), attributes=attributes, lower=lower)


def _sides(request: Request, source: Tensor) -> list[Side] | None:
    """Axes that change; None where places are not known here."""
    node, sizes = request.node, request.output.shape
    mode = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    unusual = any(node.attributes.get_int(name, usual) != usual for name, usual in UNUSUAL.items())
    if mode not in COORDINATES or unusual or 0 in (*source.shape, *sizes):
        return None
    scales = _scales(node, source.shape, sizes)
    if scales is None:
        return None
    items = enumerate(zip(source.shape, sizes, scales, strict=True))
    changed = ((axis, side) for axis, side in items if side[2] != 1 or side[0] != side[1])
    return [
        Side(axis=axis, before=before, after=after, scale=scale, mode=mode) for axis, (before, after, scale) in changed
    ]


def _scales(node: ir.Node, before: tuple[int, ...], after: tuple[int, ...]) -> list[float] | None:
    """Items after for each one before, along all axes: as the node gives them, or as the shapes do."""
    plain = [new / old for old, new in zip(before, after, strict=True)]
    given = node.inputs[2] if len(node.inputs) > 2 else None
    if given is None or (given.const_value is not None and not given.const_value.size):
        return plain
    if given.const_value is None:
        return None
    axes = node.attributes.get_ints("axes", tuple(range(len(before))))
    for axis, scale in zip(axes, given.const_value.numpy().reshape(-1), strict=True):
        old, new = before[axis], after[axis]
        # A scale in float32 that means the quotient of both sizes is that quotient.
        plain[axis] = new / old if np.float32(new / old) == scale else float(scale)
    return plain


def _linear(source: Tensor, target: Tensor, sides: list[Side]) -> Form | None:
    is_image = len(source.shape) == len(IMAGE) + 2 and all(side.axis in IMAGE for side in sides)
    if source.dtype == "uint8" and is_image and all(side.is_litert for side in sides):
        grids = float32_grids(sides)
        if grids is None:
            return _real(source, sides)
    else:
        grids = grids_for(sides, source.dtype)
    attributes: Attributes = {
        "mode": "linear",
        "axes": [grid.axis for grid in grids],
        "lower": _all(grid.lower for grid in grids),
        "upper": _all(grid.upper for grid in grids),
        "weight": _all(grid.weight for grid in grids),
        "unit": [grid.unit for grid in grids],
        "sizes": target.shape,
    }
    return Form(inputs=(source,), attributes=attributes, lower=_interpolation(source, grids))


def _all(arrays: Iterable[np.ndarray]) -> list[int]:
    return [int(item) for array in arrays for item in array]


def _interpolation(source: Tensor, grids: list[Grid]) -> Lowering:
    rank, zero_point, bound_of_one = len(source.shape), int(source.zero_point), largest_of(source)
    items = math.prod(grid.unit for grid in grids)

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        value, bound = loaded(body, inputs[0], zero_point), bound_of_one
        wide = False
        # The last axis at the end: the tensor is turned for it, as long rows are gathered and single items are not.
        for grid in grids:
            bound *= grid.unit
            if bound >= FLOAT32_INTEGERS and not wide:
                value, wide = body.cast(value, np.float64), True
            value = _along(body, value, grid, rank, np.float64 if wide else np.float32)
        return [averaged(body, value, source, items, wide=wide)]

    return lower


def _along(body: Body, value: ir.Value, grid: Grid, rank: int, dtype: type[np.floating]) -> ir.Value:
    """Interpolate along one axis; the sum of the weights is not divided by."""
    if grid.axis == rank - 1 and rank > 1:
        order = [*range(rank - 2), rank - 1, rank - 2]
        turned = body.op("Transpose", value, perm=order)
        return body.op("Transpose", _between(body, turned, grid, rank - 2, rank, dtype), perm=order)
    return _between(body, value, grid, grid.axis, rank, dtype)


def _between(body: Body, value: ir.Value, grid: Grid, axis: int, rank: int, dtype: type[np.floating]) -> ir.Value:
    shape = (-1, *(1,) * (rank - 1 - axis))
    below = body.op("Gather", value, body.constant(grid.lower, np.int64), axis=axis)
    if grid.unit == 1:
        return below
    above = body.op("Gather", value, body.constant(grid.upper, np.int64), axis=axis)
    weights = [(grid.unit - grid.weight).reshape(shape), grid.weight.reshape(shape)]
    products = (
        body.op("Mul", part, body.constant(weight, dtype)) for part, weight in zip((below, above), weights, strict=True)
    )
    return reduce(lambda one, other: body.op("Add", one, other), products)


def _real(source: Tensor, sides: list[Side]) -> Form:
    """Interpolate images in float32, in the order of the reference kernel."""
    by_axis = {side.axis: side for side in sides}
    height, width = (
        by_axis.get(axis)
        or Side(axis=axis, before=source.shape[axis], after=source.shape[axis], scale=1, mode="asymmetric")
        for axis in IMAGE
    )
    (y0, y1, dy), (x0, x1, dx) = _neighbours(height), _neighbours(width)
    turn, one = (0, 1, 3, 2), np.float32(1)

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        value = body.cast(inputs[0], np.float32)

        def part(operand: ir.Value, places: np.ndarray, weights: np.ndarray) -> ir.Value:
            rows = body.op("Gather", operand, body.constant(places, np.int64), axis=2)
            return body.op("Mul", rows, body.constant(weights[:, None], np.float32))

        above, below = (
            body.op("Transpose", part(value, places, weights), perm=turn)
            for places, weights in ((y0, one - dy), (y1, dy))
        )
        terms = [part(above, x0, one - dx), part(below, x0, one - dx), part(above, x1, dx), part(below, x1, dx)]
        total = reduce(lambda left, right: body.op("Add", left, right), [*terms, body.constant(0.5, np.float32)])
        result = body.op("Transpose", body.op("Floor", total), perm=turn)
        low, high = source.limits
        return [stored(body, cut_to(body, result, Window(zero_point=0, low=low, high=high)), 0, source.dtype)]

    attributes: Attributes = {
        "mode": "linear_float32",
        "axes": IMAGE,
        "lower": _all((y0, x0)),
        "upper": _all((y1, x1)),
        "real_weight": [float(item) for item in (*dy, *dx)],
        "sizes": (*source.shape[:2], height.after, width.after),
    }
    return Form(inputs=(source,), attributes=attributes, lower=lower)


def _neighbours(side: Side) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items around each place, and the weight of the second in float32; it is below 0 in front of the first item."""
    places = side.single()
    lower = np.maximum(np.floor(places), 0).astype(np.int64)
    upper = np.minimum(np.ceil(places), side.before - 1).astype(np.int64)
    return lower, upper, places - lower.astype(np.float32)
