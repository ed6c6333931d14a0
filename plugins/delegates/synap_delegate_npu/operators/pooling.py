"""The largest or the mean of the integers in windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.arithmetic.integers import lower_scaled, scaling_of
from synap_delegate_npu.arithmetic.means import mean_is_exact, rounded_mean, rounded_quotient
from synap_delegate_npu.arithmetic.multiplier import Integers
from synap_delegate_npu.arithmetic.pairs import cut_to
from synap_delegate_npu.arithmetic.products import FLOAT32_INTEGERS, Factors, exact_product
from synap_delegate_npu.arithmetic.rescaling import Window, loaded, stored
from synap_delegate_npu.operators.integers import (
    ROUNDED,
    described,
    is_narrow,
    largest_of,
    range_of,
    rounding_into,
    window_behind,
)
from synap_delegate_npu.program.body import Attributes, Body
from synap_delegate_npu.program.operation import Form, Lowering, Request, Tensor
from synap_delegate_npu.program.registry import operator

SAME_STEP = 1e-6
"""Relative difference of two steps below which they are taken for equal."""

MAXIMA = frozenset({"MaxPool", "GlobalMaxPool"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Where the windows of a pool are.

    Attributes:
        size: Items along each spatial axis.
        kernel: Items of a window along each.
        strides: Steps from one window to the next.
        dilations: Distance of the items of a window.
        begin: Items in front of each axis.
        end: Items behind it.
        counts_pads: Whether those around count as items.
        results: Windows along each axis.
    """

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    counts_pads: bool
    results: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        """Whether the only window is the whole map."""
        return self.kernel == self.size and not any((*self.begin, *self.end)) and set(self.results) <= {1}

    @property
    def tail(self) -> tuple[int, ...]:
        """Items behind each axis that the last window reaches; more than `end` where it is rounded up."""
        return tuple(
            max((count - 1) * stride + (kernel - 1) * dilation + 1 - size - begin, 0)
            for count, stride, kernel, dilation, size, begin in zip(
                self.results, self.strides, self.kernel, self.dilations, self.size, self.begin, strict=True
            )
        )

    @property
    def is_plain(self) -> bool:
        """Whether runtimes agree on it: nothing is dilated, and no window leaves the padded map."""
        return set(self.dilations) <= {1} and all(t <= e for t, e in zip(self.tail, self.end, strict=True))

    def items(self) -> Integers:
        """Number of items of each window: ``[*results]``."""
        counts = np.ones((), np.int64)
        for axis in range(len(self.size)):
            first, last = (
                (-self.begin[axis], self.size[axis] + self.end[axis]) if self.counts_pads else (0, self.size[axis])
            )
            starts = np.arange(self.results[axis]) * self.strides[axis] - self.begin[axis]
            places = starts[:, None] + np.arange(self.kernel[axis]) * self.dilations[axis]
            along = np.sum((places >= first) & (places < last), axis=1)
            counts = np.asarray(counts[..., None] * along)
        return counts

    def described(self) -> Attributes:
        """The attributes of an operation."""
        return {
            "kernel_shape": self.kernel,
            "strides": self.strides,
            "dilations": self.dilations,
            "pads": (*self.begin, *self.tail_or_end()),
        }

    def tail_or_end(self) -> tuple[int, ...]:
        """Items behind each axis that are given or reached."""
        return tuple(max(t, e) for t, e in zip(self.tail, self.end, strict=True))


def pooled(body: Body, value: ir.Value, node: ir.Node) -> ir.Value:
    """The largest item of each window of a MaxPool.

    Args:
        body: Where the operators go.
        value: Integers in float32, counted from any point: `MaxPool` of float32 is several times as fast as that of
            integers, which runtimes lack for 16 bits.
        node: The pool.
    """
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    return body.op(node.op_type, value, **attributes)


@operator(
    "Pool",
    "MaxPool",
    "GlobalMaxPool",
    "AveragePool",
    "GlobalAveragePool",
    attributes={
        "type": "STRING: what is computed: `max` or `average`",
        "kernel_shape": "INTS: items of a window along each spatial axis",
        "strides": "INTS: steps from one window to the next",
        "dilations": "INTS: distance of the items of a window",
        "pads": "INTS: items in front of, then behind each spatial axis",
        "count_include_pad": "INT: 1 when the items around count in a mean, as zeros",
        "multiplier": "INTS: what maxima are multiplied by, 31 bits behind the point; 2**30 for no change",
        "shift": "INTS: bits that the products are shifted to the left by; to the right when negative",
        **ROUNDED,
    },
)
def pool(request: Request) -> Form | None:
    """The largest or the mean of the integers in windows, with an activation that cuts.

    ``max``: ``y = clamp(y_zero_point + rescale(max(x) - x_zero_point, multiplier, shift), low, high)``; ``rescale``
    rounds twice. ``average``, ``n`` the number of items of a window and ``sum`` that of ``x - x_zero_point``: where
    input and output have the same quantization, ``y = clamp(round(sum / n + x_zero_point), low, high)``, ties away
    from zero; otherwise ``y = clamp(y_zero_point + floor(sum * (x_scale / y_scale) / n + 0.5), low, high)`` in float64.

    Source: TFLite ``MaxPool`` and ``AveragePool`` (kernels/internal/reference/pooling.h and
    reference/integer_ops/pooling.h).
    """
    source = request.operand(0)
    window = window_behind(request, request.tail)
    if source is None or window is None or not is_narrow(source) or len(source.shape) < 3:
        return None
    if any(value.uses() or value.is_graph_output() for value in request.node.outputs[1:]):
        return None
    geometry = _geometry(request)
    if request.node.op_type in MAXIMA:
        return _largest(request, source, geometry, window)
    return _mean(request, source, geometry, window)


def _largest(request: Request, source: Tensor, geometry: Geometry, window: Window) -> Form | None:
    ratio = 1.0 if _same_step(source, request.output) else float(source.scale) / float(request.output.scale)
    scaling = scaling_of(ratio, largest_of(source), rounding_into(request))
    if scaling is None:
        return None
    node, target = request.node, request.output

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        largest = pooled(body, loaded(body, inputs[0], int(source.zero_point)), node)
        result = lower_scaled(body, largest, range_of(source), scaling, window)
        return [stored(body, result, window.zero_point, target.dtype)]

    attributes: Attributes = {"type": "max", **geometry.described(), **described([scaling], window)}
    return Form(inputs=(source,), attributes=attributes, lower=lower)


def _mean(request: Request, source: Tensor, geometry: Geometry, window: Window) -> Form | None:
    items = geometry.items()
    if items.size == 0 or items.min() < 1:
        return None
    same = _same_step(source, request.output) and source.zero_point == request.output.zero_point
    if same and source.dtype == request.output.dtype:
        lower = _rounded(source, geometry, window)
    else:
        lower = _rescaled(source, request.output, geometry, window)
    attributes: Attributes = {
        "type": "average",
        **geometry.described(),
        "count_include_pad": int(geometry.counts_pads),
        "low": window.low,
        "high": window.high,
    }
    return Form(inputs=(source,), attributes=attributes, lower=lower)


def _rounded(source: Tensor, geometry: Geometry, window: Window) -> Lowering:
    """Means of the same step and zero point."""
    items, largest = geometry.items(), largest_of(source)
    low, _ = source.limits
    zero_point = int(source.zero_point)

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        value = loaded(body, inputs[0], zero_point)
        if geometry.is_plain and mean_is_exact(int(items.max()), largest):
            mean = _averaged(body, value, geometry)
            result = rounded_mean(body, mean, int(items.max()), zero_point, low)
        else:
            result = rounded_quotient(body, _summed(body, value, source, geometry), items, zero_point)
        # Nothing is beyond the type, but a cut says so to what hands results on without storing them.
        result = cut_to(body, result, window)
        return [stored(body, result, zero_point, source.dtype)]

    return lower


def _rescaled(source: Tensor, target: Tensor, geometry: Geometry, window: Window) -> Lowering:
    """Means of another step or zero point."""
    ratio, items = float(source.scale) / float(target.scale), geometry.items()

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        total = _summed(body, loaded(body, inputs[0], int(source.zero_point)), source, geometry)
        steps = body.op(
            "Div", body.op("Mul", total, body.constant(ratio, np.float64)), body.constant(items, np.float64)
        )
        rounded = body.op("Floor", body.op("Add", steps, body.constant(0.5, np.float64)))
        result = cut_to(body, body.cast(rounded, np.float32), window)
        return [stored(body, result, window.zero_point, target.dtype)]

    return lower


def _averaged(body: Body, value: ir.Value, geometry: Geometry) -> ir.Value:
    if geometry.is_whole:
        return body.op("GlobalAveragePool", value)
    return body.op(
        "AveragePool",
        value,
        kernel_shape=geometry.kernel,
        strides=geometry.strides,
        pads=(*geometry.begin, *geometry.end),
        count_include_pad=int(geometry.counts_pads),
    )


def _summed(body: Body, value: ir.Value, source: Tensor, geometry: Geometry) -> ir.Value:
    """Sums of windows, float64, exactly: a convolution by ones, or a sum of the whole map."""
    if geometry.is_whole:
        wide = math.prod(geometry.size) * largest_of(source) >= FLOAT32_INTEGERS
        axes = body.constant(np.arange(2, 2 + len(geometry.size)), np.int64)
        total = body.op("ReduceSum", body.cast(value, np.float64) if wide else value, axes)
        return total if wide else body.cast(total, np.float64)
    channels = source.shape[1]
    ones = np.ones((channels, 1, *geometry.kernel), np.int64)
    values = range_of(source)
    factors = Factors(low=min(int(values[0]), 0), high=max(int(values[-1]), 0), weights=ones, axis=0)
    pads = (*geometry.begin, *geometry.tail_or_end())

    def apply(data: ir.Value, weights: ir.Value, bias: ir.Value | None) -> ir.Value:
        return body.op(
            "Conv",
            data,
            weights,
            bias,
            group=channels,
            kernel_shape=geometry.kernel,
            strides=geometry.strides,
            dilations=geometry.dilations,
            pads=pads,
        )

    return exact_product(body, value, body.constant(ones, np.float32), factors, apply, len(geometry.size))


def _same_step(one: Tensor, other: Tensor) -> bool:
    return bool(abs(one.scale / other.scale - 1) < SAME_STEP)


def _geometry(request: Request) -> Geometry:
    node = request.node
    size = request.tensors[node.inputs[0]].shape[2:]  # type: ignore[index]  # the operand is required
    results = request.tensors[node.outputs[0]].shape[2:]
    ones, zeros = (1,) * len(size), (0,) * len(size)
    if node.op_type.startswith("Global"):
        return Geometry(
            size=size,
            kernel=size,
            strides=ones,
            dilations=ones,
            begin=zeros,
            end=zeros,
            counts_pads=False,
            results=results,
        )
    found = node.attributes
    pads = tuple(found.get_ints("pads", (*zeros, *zeros)))
    plain = Geometry(
        size=size,
        kernel=tuple(found.get_ints("kernel_shape", ones)),
        strides=tuple(found.get_ints("strides", ones)),
        dilations=tuple(found.get_ints("dilations", ones)),
        begin=pads[: len(size)],
        end=pads[len(size) :],
        counts_pads=bool(found.get_int("count_include_pad", 0)),
        results=results,
    )
    return _placed(plain, found.get_string("auto_pad", "NOTSET"))


def _placed(geometry: Geometry, automatic: str) -> Geometry:
    """The same with the items around that ``auto_pad`` asks for."""
    if not automatic.startswith("SAME"):
        return geometry
    total = replace(geometry, begin=(0,) * len(geometry.size)).tail
    less, more = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    begin, end = (less, more) if automatic == "SAME_UPPER" else (more, less)
    return replace(geometry, begin=begin, end=end)
