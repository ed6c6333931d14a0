"""Pools over height and width. Caffe rounds their sizes up, and has rules of its own for windows that hang over."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from synap_core.api import Attribute, shape_of
from synap_frontend_caffe.importer.call import Call, Parameters
from synap_frontend_caffe.importer.ops.parameters import Window, pooling_window, reshaped
from synap_frontend_caffe.importer.registry import MAX_ITEMS, UnsupportedError, layer

MAX, AVE = 0, 1
"""Numbers of ``PoolMethod``."""

FLOOR = 1
"""Number of ``RoundMode``, which is younger than Caffe 1.0."""


@layer("Pooling")
def pooling(call: Call) -> ir.Value:
    """Largest item or mean of each window, or of the whole map."""
    options, x = call.parameters("pooling_param"), call.bottom()
    _map_sizes(x)
    _check_method(options)
    if call.tops > 1:
        msg = "its second top, the places of the largest items, is not imported"
        raise UnsupportedError(msg)
    if options.global_pooling:
        _check_global(options)
        return call.emit("GlobalMaxPool" if options.pool == MAX else "GlobalAveragePool", x)
    return pooled(call, x, options.pool, pooling_window(options), round_up=options.round_mode != FLOOR)


@layer("SPP")
def spatial_pyramid_pooling(call: Call) -> ir.Value:
    """Pools of the map in 1, 2x2, 4x4, ... windows behind each other, as one row; a single one stays a map."""
    options, x = call.parameters("spp_param"), call.bottom()
    sizes = _map_sizes(x)
    _check_method(options)
    found: list[ir.Value] = []
    for level in range(options.pyramid_height):
        bins = 1 << level
        kernel = tuple(-(-size // bins) for size in sizes)
        pads = tuple((k * bins - size + 1) // 2 for k, size in zip(kernel, sizes, strict=True))
        window = Window(kernel=kernel, strides=kernel, pads=pads, dilations=(1, 1))
        found.append(pooled(call, x, options.pool, window, round_up=True))
    if not found:
        msg = "a pyramid_height of 0"
        raise UnsupportedError(msg)
    if len(found) == 1:
        return found[0]
    rows = [reshaped(call, value, (shape_of(value)[0], math.prod(shape_of(value)[1:]))) for value in found]
    return call.emit("Concat", *rows, axis=1)


def _map_sizes(x: ir.Value) -> tuple[int, ...]:
    shape = shape_of(x)
    if len(shape) != 4 or min(shape) < 1:
        msg = f"a blob of shape {list(shape)}; pools need four axes"
        raise UnsupportedError(msg)
    return shape[2:]


def _check_method(options: Parameters) -> None:
    if options.pool not in (MAX, AVE):
        msg = "stochastic pooling; only MAX and AVE are imported"
        raise UnsupportedError(msg)


def _check_global(options: Parameters) -> None:
    """The window is the map, whatever its size says; it cannot move or hang over."""
    for what, neutral in (("pad", 0), ("stride", 1)):
        for field in (what, f"{what}_h", f"{what}_w"):
            if options.HasField(field) and getattr(options, field) != neutral:
                msg = f"global_pooling with {field} {getattr(options, field)}"
                raise UnsupportedError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """The windows along one axis.

    Attributes:
        kernel: Items of a window.
        pad: Zeros in front of the map; as many behind it count in means.
        end: Items behind the map that the last window reaches.
    """

    kernel: int
    pad: int
    end: int


def _placed(size: int, place: int, window: Window, *, round_up: bool) -> _Axis:
    """Place the windows along an axis.

    Where there is any padding, a last window must begin in front of what is behind the map.
    """
    kernel, stride, pad = window.kernel[place], window.strides[place], window.pads[place]
    if pad >= kernel:
        msg = f"padding {pad} beside a window of {kernel}"
        raise UnsupportedError(msg)
    room = size + 2 * pad - kernel
    count = (-(-room // stride) if round_up else room // stride) + 1
    if any(window.pads) and (count - 1) * stride >= size + pad:
        count -= 1
    if count < 1 or (count - 1) * stride >= size + pad:
        where = f"over {size} items and padding {pad}"
        msg = f"a window of {kernel} in steps of {stride} {where} fits nowhere, or has no items at the end"
        raise UnsupportedError(msg)
    if count == 1:
        # What hangs over the padding has no part in anything.
        kernel = min(kernel, size + 2 * pad)
    return _Axis(kernel=kernel, pad=pad, end=max((count - 1) * stride + kernel - size - pad, 0))


def pooled(call: Call, x: ir.Value, method: int, window: Window, *, round_up: bool) -> ir.Value:
    """Largest items or means of windows.

    A mean is that of the items of its window in the padded map: zeros of the padding count, what hangs over does not.

    Args:
        call: The layer.
        x: A map.
        method: `MAX` or `AVE`.
        window: The window.
        round_up: Count a last window that hangs over.

    Raises:
        UnsupportedError: A window has no items, or the padding is out of all proportion.
    """
    sizes = shape_of(x)[2:]
    axes = [_placed(size, place, window, round_up=round_up) for place, size in enumerate(sizes)]
    padded = [size + 2 * axis.pad for size, axis in zip(sizes, axes, strict=True)]
    if math.prod(padded) * shape_of(x)[1] > MAX_ITEMS:
        msg = f"a padded map of {padded} items; at most {MAX_ITEMS} in all channels are imported"
        raise UnsupportedError(msg)
    begins, ends = [axis.pad for axis in axes], [axis.end for axis in axes]
    options: dict[str, Attribute] = {"kernel_shape": [axis.kernel for axis in axes], "strides": window.strides}
    if method == MAX:
        return call.emit("MaxPool", x, pads=[*begins, *ends], **options)
    if any(begins) and any(axis.end > axis.pad for axis in axes):
        # Zeros that are items of the map count, those of the pool do not.
        x = call.emit("Pad", x, call.constant([0, 0, *begins, 0, 0, *begins]))
        begins, ends = [0, 0], [max(axis.end - axis.pad, 0) for axis in axes]
    return call.emit("AveragePool", x, pads=[*begins, *ends], count_include_pad=int(any(begins)), **options)
