"""Images of another size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from synap_core.api import QuantParams, shape_of, type_of
from synap_frontend_tflite.importer.operator import Operator
from synap_frontend_tflite.importer.ops.reshaping import keeps_quant, moved, reshaped, same_meaning, within_limit
from synap_frontend_tflite.importer.registry import UnsupportedError, operator

UNIT = 1 << 10
"""Steps of a pixel that the integer kernels of bilinear interpolation count positions in."""

HEIGHT, WIDTH = 1, 2
"""Dimensions of an image in the source layout."""


@operator("RESIZE_NEAREST_NEIGHBOR")
def resize_nearest(op: Operator) -> ir.Value:
    """Every pixel that of the nearest place in the input.

    Where the place is so near to the middle between two pixels that rounding decides, the pixels are named one by one.
    """
    same_meaning(op, 0)
    x, sides = op.input(0), _sides(op)
    if type_of(x).dtype == ir.DataType.FLOAT and all(side.nearest_is_clear() for side in sides):
        mode = "floor" if sides[0].coordinates == "asymmetric" else "round_prefer_ceil"
        return _resize(op, sides, mode="nearest", nearest_mode=mode)
    for axis, side in zip((HEIGHT, WIDTH), sides, strict=True):
        x = moved(op, "Gather", x, op.build.constant(side.nearest()), axis=axis)
    return x


@operator("RESIZE_BILINEAR")
def resize_bilinear(op: Operator) -> ir.Value:
    """Every pixel interpolated between the four around its place in the input.

    The kernels of int8 and int16 round the places; where that shows in the result, weights are written out as matrices.
    """
    same_meaning(op, 0)
    sides, quant = _sides(op), op.outputs[0].quant
    if type_of(op.input(0)).dtype != ir.DataType.FLOAT:
        msg = f"an interpolation of {type_of(op.input(0)).dtype.name} without a quantization"
        raise UnsupportedError(msg)
    return _interpolated(op, sides) if _places_show(sides, quant) else _resize(op, sides, mode="linear")


def _places_show(sides: tuple[_Side, _Side], quant: QuantParams | None) -> bool:
    """Whether a kernel that rounds places can give another result than the exact places; that of uint8 does not."""
    if quant is None or quant.dtype not in ("int8", "int16"):
        return False
    # Neighbouring pixels differ at most by all that a type can hold; half a unit more or less is a rounding.
    return sum(side.deviation() for side in sides) * 2 * np.iinfo(quant.dtype).max > 0.5


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

    def _places(self) -> np.ndarray:
        """Places in the input, in pixels; that of the first pixel's middle is 0."""
        length, count = self._lengths()
        half = 0.5 if self.centres else 0.0
        return (np.arange(self.after) + half) * length / count - half

    def nearest(self) -> np.ndarray:
        """Indices of the nearest pixels, computed in float32 as the kernel does (its ``GetNearestNeighbor``)."""
        length, count = self._lengths()
        half = np.float32(0.5 if self.centres else 0)
        places = (np.arange(self.after, dtype=np.float32) + half) * (np.float32(length) / np.float32(count))
        # The kernel rounds halves up; NumPy would round them to even.
        found = np.floor(places.astype(np.float64) + 0.5) if self.corners else np.floor(places)
        return np.clip(found, 0, self.before - 1).astype(np.int64)

    def nearest_is_clear(self) -> bool:
        """Whether Resize names the same pixels, however a runtime rounds the places."""
        places = self._places() + (0.5 if self.corners or self.centres else 0.0)
        found = np.clip(np.floor(places + 1e-9), 0, self.before - 1)
        length, count = self._lengths()
        # Float32 has an error of some 1e-7; on the border itself there is none if the factor is exact.
        exact = length > 0 and float(np.float32(count / length)) == count / length
        margin = np.abs(places - np.rint(places))
        clear = (margin > 1e-6 * (1 + places)) | ((margin < 1e-9) & exact)
        return bool(np.all(found == self.nearest()) and np.all(clear))

    def _counted(self) -> np.ndarray:
        """Places as the integer kernels count them, in pixels, within the input."""
        length, count = self._lengths()
        step = (UNIT * length + count // 2) // count
        start = step // 2 - UNIT // 2 if self.centres else 0
        return np.clip((np.arange(self.after) * step + start) / UNIT, 0, self.before - 1)

    def deviation(self) -> float:
        """By how many pixels the integer kernels are off at most."""
        exact = np.clip(self._places(), 0, self.before - 1)
        return float(np.abs(self._counted() - exact).max(initial=0))

    def weights(self) -> np.ndarray:
        """Weights ``[after, before]`` of pixels of the input for those of the result, as integer kernels have them."""
        within_limit(self.after * self.before)
        places, rows = self._counted(), np.arange(self.after)
        lower = np.floor(places).astype(np.int64)
        found = np.zeros((self.after, self.before), np.float32)
        found[rows, lower] = 1 - (places - lower)
        found[rows, np.minimum(lower + 1, self.before - 1)] += places - lower
        return found


def _sides(op: Operator) -> tuple[_Side, _Side]:
    shape, sizes = shape_of(op.input(0)), op.integers(1)
    corners, centres = op.flag("alignCorners"), op.flag("halfPixelCenters")
    if len(shape) != 4 or len(sizes) != 2 or min(*sizes, *shape) < 1 or (corners and centres):
        modes = f"align_corners={corners}, half_pixel_centers={centres}"
        msg = f"the shape {list(shape)} resized to {list(sizes)} pixels, {modes}"
        raise UnsupportedError(msg)
    within_limit(max(sizes))
    return _Side(shape[HEIGHT], sizes[0], corners, centres), _Side(shape[WIDTH], sizes[1], corners, centres)


def _resize(op: Operator, sides: tuple[_Side, _Side], **attributes: str) -> ir.Value:
    x = op.channels_first(op.input(0))
    sizes = op.build.constant([*shape_of(x)[:2], *(side.after for side in sides)])
    mode = {"coordinate_transformation_mode": sides[0].coordinates, **attributes}
    return op.channels_last(keeps_quant(x, op.build.emit("Resize", [x, None, None, sizes], mode)))


def _interpolated(op: Operator, sides: tuple[_Side, _Side]) -> ir.Value:
    """Multiply by the weights of both sides; the layout stays as it is."""
    x = op.input(0)
    batch, height, width, depth = shape_of(x)
    new_height, new_width = (side.after for side in sides)
    rows = reshaped(op, x, [batch, height, width * depth])
    tall = op.emit("MatMul", op.build.constant(sides[0].weights()), rows)
    pixels = reshaped(op, tall, [batch * new_height, width, depth])
    wide = op.emit("MatMul", op.build.constant(sides[1].weights()), pixels)
    return reshaped(op, wide, [batch, new_height, new_width, depth])
