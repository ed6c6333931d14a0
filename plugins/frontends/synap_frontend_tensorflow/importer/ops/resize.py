"""Images of another size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.operands import converted
from synap_frontend_tensorflow.importer.ops.reshaping import keeps_quant, moved, reshaped, within_limit
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator

HEIGHT, WIDTH = 1, 2
"""Dimensions of an image in the source layout."""

STEPS = 1 << 10
"""Places between two pixels that bicubic interpolation has weights for; others are rounded to them."""


@operator("ResizeNearestNeighbor")
def resize_nearest(call: Call) -> ir.Value:
    """Every pixel that of the nearest place in the input.

    Where the place is so near to the middle between two pixels that rounding decides, the pixels are named one by one.
    """
    x, sides = call.input(0), _sides(call)
    if type_of(x).dtype == ir.DataType.FLOAT and all(side.nearest_is_clear() for side in sides):
        mode = "floor" if sides[0].coordinates == "asymmetric" else "round_prefer_ceil"
        return _resize(call, x, sides, mode="nearest", nearest_mode=mode)
    for axis, side in zip((HEIGHT, WIDTH), sides, strict=True):
        x = moved(call, "Gather", x, call.build.constant(side.nearest()), axis=axis)
    return x


@operator("ResizeBilinear")
def resize_bilinear(call: Call) -> ir.Value:
    """Every pixel interpolated between the four around its place in the input; the result is float32."""
    return _resize(call, _real(call), _sides(call), mode="linear")


@operator("ResizeBicubic")
def resize_bicubic(call: Call) -> ir.Value:
    """Every pixel interpolated between the sixteen around its place in the input, with weights written out as matrices.

    The weights are rounded to those of `STEPS` places. With centres at halves, pixels beyond the edge have none;
    otherwise those at the edge take their place.
    """
    x, sides = _real(call), _sides(call)
    batch, height, width, depth = shape_of(x)
    new_height, new_width = (side.after for side in sides)
    rows = reshaped(call, x, [batch, height, width * depth])
    tall = call.emit("MatMul", call.build.constant(sides[0].cubic_weights()), rows)
    pixels = reshaped(call, tall, [batch * new_height, width, depth])
    wide = call.emit("MatMul", call.build.constant(sides[1].cubic_weights()), pixels)
    return reshaped(call, wide, [batch, new_height, new_width, depth])


@dataclass(frozen=True, slots=True)
class _Side:
    """Height or width before and after, and where the pixels of the result lie between those of the input."""

    before: int
    after: int
    corners: bool
    centres: bool

    @property
    def coordinates(self) -> str:
        """The same in the words of Resize."""
        return "align_corners" if self.corners else "half_pixel" if self.centres else "asymmetric"

    def _lengths(self) -> tuple[int, int]:
        """Numerator and denominator of the step from one place to the next."""
        return (self.before - 1, self.after - 1) if self.corners and self.after > 1 else (self.before, self.after)

    def _scaled(self) -> np.ndarray:
        """Places in the input, counted from the edge or from the middle of the first pixel, as float32 has them."""
        length, count = self._lengths()
        half = np.float32(0.5 if self.centres else 0)
        return (np.arange(self.after, dtype=np.float32) + half) * (np.float32(length) / np.float32(count))

    def nearest(self) -> np.ndarray:
        """Indices of the nearest pixels; a place in the middle between two corners belongs to the second."""
        places = self._scaled()
        # NumPy would round halves to even.
        found = np.floor(places.astype(np.float64) + 0.5) if self.corners else np.floor(places)
        return np.clip(found, 0, self.before - 1).astype(np.int64)

    def nearest_is_clear(self) -> bool:
        """Whether Resize names the same pixels, however a runtime rounds the places."""
        length, count = self._lengths()
        half = 0.5 if self.centres else 0.0
        places = (np.arange(self.after) + half) * length / count + (0.5 if self.corners else 0.0)
        found = np.clip(np.floor(places + 1e-9), 0, self.before - 1)
        # Float32 has an error of some 1e-7; on the border itself there is none if the factor is exact.
        exact = length > 0 and float(np.float32(count / length)) == count / length
        margin = np.abs(places - np.rint(places))
        clear = (margin > 1e-6 * (1 + places)) | ((margin < 1e-9) & exact)
        return bool(np.all(found == self.nearest()) and np.all(clear))

    def cubic_weights(self) -> np.ndarray:
        """Weights ``[after, before]`` of pixels of the input for those of the result.

        Source: R. Keys, Cubic convolution interpolation for digital image processing, 1981, equation 3, with the
        parameter -0.5 where centres are at halves and -0.75 elsewhere.
        """
        within_limit(self.after * self.before)
        places = self._scaled() - np.float32(0.5 if self.centres else 0)
        first = np.floor(places)
        offset = np.rint((places - first) * STEPS) / STEPS
        weight = _keys(-0.5 if self.centres else -0.75)
        found = np.zeros((self.after, self.before))
        for tap in range(-1, 3):
            pixels = first.astype(np.int64) + tap
            bounded = np.clip(pixels, 0, self.before - 1)
            share = np.where(self.centres & (pixels != bounded), 0, weight(np.abs(offset - tap)))
            np.add.at(found, (np.arange(self.after), bounded), share)
        if self.centres:
            found /= found.sum(axis=1, keepdims=True)
        return found.astype(np.float32)


def _keys(a: float) -> Callable[[np.ndarray], np.ndarray]:
    """The cubic kernel of a parameter: weight of a pixel at some distance below 2."""

    def weight(x: np.ndarray) -> np.ndarray:
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return np.asarray(np.where(x <= 1, near, far))

    return weight


def _sides(call: Call) -> tuple[_Side, _Side]:
    shape, sizes = shape_of(call.input(0)), call.integers(1)
    corners, centres = call.flag("align_corners", default=False), call.flag("half_pixel_centers", default=False)
    if len(shape) != 4 or len(sizes) != 2 or min(*sizes, *shape) < 1 or (corners and centres):
        modes = f"align_corners={corners}, half_pixel_centers={centres}"
        msg = f"the shape {list(shape)} resized to {list(sizes)} pixels, {modes}"
        raise UnsupportedError(msg)
    within_limit(max(sizes))
    return _Side(shape[HEIGHT], sizes[0], corners, centres), _Side(shape[WIDTH], sizes[1], corners, centres)


def _real(call: Call) -> ir.Value:
    """The image as float32, which the result is, whatever the operand."""
    return converted(call, call.input(0), ir.DataType.FLOAT)


def _resize(call: Call, value: ir.Value, sides: Sequence[_Side], **attributes: str) -> ir.Value:
    x = keeps_quant(value, call.channels_first(value))
    sizes = call.build.constant([*shape_of(x)[:2], *(side.after for side in sides)])
    mode = {"coordinate_transformation_mode": sides[0].coordinates, **attributes}
    found = keeps_quant(x, call.build.emit("Resize", [x, None, None, sizes], mode))
    return keeps_quant(x, call.channels_last(found))
