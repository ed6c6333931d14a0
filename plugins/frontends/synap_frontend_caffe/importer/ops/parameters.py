"""What the parameters of several layer types have in common: windows, and weights in their number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from synap_core.api import Attribute, InputError, shape_of, type_of
from synap_frontend_caffe.importer.call import WEIGHTS_HINT, Call, Parameters
from synap_frontend_caffe.importer.registry import UnsupportedError

LARGEST = float(np.finfo(np.float32).max)
"""Number that float32 holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A window that moves over the spatial axes; one number for each of them.

    Attributes:
        kernel: Items of the window.
        strides: Items from one position to the next.
        pads: Zeros in front, and as many behind.
        dilations: Distance of the items of the window.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]

    def attributes(self) -> dict[str, Attribute]:
        """Attributes of a convolution in the canonical graph."""
        return {
            "kernel_shape": self.kernel,
            "strides": self.strides,
            "pads": (*self.pads, *self.pads),
            "dilations": self.dilations,
        }


def convolution_window(parameters: Parameters, axes: int) -> Window:
    """The window of a convolution: a number for all axes, one for each, or those of height and width by name.

    Args:
        parameters: A ``ConvolutionParameter``.
        axes: How many spatial axes there are.

    Raises:
        UnsupportedError: The parameters do not fit the axes, contradict each other, or are zero where they must not be.
    """
    return _checked(
        Window(
            kernel=_sizes(parameters, "kernel", "kernel_size", axes),
            strides=_sizes(parameters, "stride", "stride", axes),
            pads=_sizes(parameters, "pad", "pad", axes, least=0),
            dilations=_spread(parameters.dilation, axes, "dilation", 1),
        )
    )


def _sizes(parameters: Parameters, name: str, repeated: str, axes: int, least: int = 1) -> tuple[int, ...]:
    named = (f"{name}_h", f"{name}_w")
    given = getattr(parameters, repeated)
    if not any(parameters.HasField(field) for field in named):
        return _spread(given, axes, repeated, None if name == "kernel" else least)
    if len(given) or axes != 2:
        msg = f"{named[0]} and {named[1]} beside {repeated}, or for {axes} spatial axes"
        raise UnsupportedError(msg)
    return tuple(int(getattr(parameters, field)) for field in named)


def _spread(given: Sequence[int], axes: int, name: str, default: int | None) -> tuple[int, ...]:
    """One number for each axis."""
    found = tuple(given) or (() if default is None else (default,))
    if len(found) == 1:
        return found * axes
    if len(found) != axes:
        msg = f"{len(found)} numbers in {name} for {axes} spatial axes"
        raise UnsupportedError(msg)
    return found


def pooling_window(parameters: Parameters) -> Window:
    """The window of a pool over height and width.

    Raises:
        UnsupportedError: The parameters contradict each other, or are zero where they must not be.
    """
    return _checked(
        Window(
            kernel=_pair(parameters, "kernel", "kernel_size"),
            strides=_pair(parameters, "stride", "stride"),
            pads=_pair(parameters, "pad", "pad"),
            dilations=(1, 1),
        )
    )


def _pair(parameters: Parameters, name: str, single: str) -> tuple[int, int]:
    named = (f"{name}_h", f"{name}_w")
    if not any(parameters.HasField(field) for field in named):
        return (int(getattr(parameters, single)),) * 2
    if parameters.HasField(single):
        msg = f"{named[0]} and {named[1]} beside {single}"
        raise UnsupportedError(msg)
    return int(getattr(parameters, named[0])), int(getattr(parameters, named[1]))


def _checked(window: Window) -> Window:
    for name in ("kernel", "strides", "dilations"):
        found = getattr(window, name)
        if min(found, default=1) < 1:
            msg = f"{name} of {list(found)}; each must be 1 or more"
            raise UnsupportedError(msg)
    return window


def weights(call: Call, **shapes: Sequence[int] | None) -> list[np.ndarray]:
    """The blobs of a layer.

    Args:
        call: The layer.
        **shapes: Wanted shapes by what they are, in the order of the file; None for a blob that the layer has not.

    Raises:
        InputError: One is missing or has another shape, or there are more of them.
    """
    wanted = [(what, shape) for what, shape in shapes.items() if shape is not None]
    found = [call.blob(place, shape, what.replace("_", " ")) for place, (what, shape) in enumerate(wanted)]
    if len(call.blobs) > len(wanted):
        msg = f"layer {call.name!r} ({call.type}) has {len(call.blobs)} blobs in the weights file, not {len(wanted)}"
        raise InputError(msg, hint=WEIGHTS_HINT)
    return found


def reshaped(call: Call, value: ir.Value, shape: Sequence[int]) -> ir.Value:
    """Give a value another shape.

    Raises:
        UnsupportedError: It has another number of items.
    """
    tensor = type_of(value)
    if tensor.shape == tuple(shape):
        return value
    if min(shape, default=1) < 0 or math.prod(shape) != tensor.size:
        msg = f"the shape {list(shape)} for the {tensor.size} items of the shape {list(tensor.shape)}"
        raise UnsupportedError(msg)
    # A dimension of 0 would mean the one of the input.
    allow = {"allowzero": 1} if 0 in shape else {}
    return call.emit("Reshape", value, call.constant(list(shape)), **allow)


def linear(call: Call, x: ir.Value, scale: float, shift: float) -> ir.Value:
    """``scale * x + shift``, without what changes nothing.

    Raises:
        UnsupportedError: A number is none, or out of the range of float32.
    """
    for number in (scale, shift):
        if not abs(number) <= LARGEST:
            msg = f"the number {number:g}, which float32 does not hold"
            raise UnsupportedError(msg)
    scaled = x if scale == 1 else call.emit("Mul", x, call.constant(float(scale)))
    return scaled if shift == 0 else call.emit("Add", scaled, call.constant(float(shift)))


def same_shapes(values: Sequence[ir.Value]) -> None:
    """Refuse operands of different shapes: no layer of Caffe repeats items along axes of length 1.

    Raises:
        UnsupportedError: They differ.
    """
    shapes = [list(shape_of(value)) for value in values]
    other = next((shape for shape in shapes if shape != shapes[0]), None)
    if other is not None:
        msg = f"bottoms of the shapes {shapes[0]} and {other}; they must be equal"
        raise UnsupportedError(msg)
