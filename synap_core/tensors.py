"""Descriptions of tensors: as the source model has them, and as the bundle's metadata has them."""

from __future__ import annotations

import math
from dataclasses import dataclass

ITEM_SIZES = {
    "byte": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
}
"""Bytes per item of every data type that the metadata of a bundle can name."""

BOUNDARY_DTYPES = ("float32", "float16", "int32", "uint8", "int16", "int8")
"""Data types that may cross the boundary of a cpu or gpu subgraph (bundle format, section 4)."""

LAYOUTS = ("nhwc", "nchw", "none")

ASYMMETRIC_AFFINE = "asymmetric_affine"
DYNAMIC_FIXED_POINT = "dynamic_fixed_point"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantParams:
    """How the integers of a tensor stand for real numbers.

    Attributes:
        dtype: Integer type the values are stored in, or ``float16``.
        scheme: ``asymmetric_affine`` (``real = scale * (q - zero_point)``), ``dynamic_fixed_point``
            (``real = q / 2**fractional_length``), ``perchannel_symmetric_affine``, or ``float16`` for real numbers.
        scale: One value, or one per channel of ``axis``; empty for dynamic fixed point and float16.
        zero_point: As many values as ``scale``.
        axis: Channel axis of per-channel parameters; None when they hold for the whole tensor.
        fractional_length: Bits behind the binary point (may be negative); dynamic fixed point only.
    """

    dtype: str
    scheme: str
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()
    axis: int | None = None
    fractional_length: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """A dynamic (not constant) tensor of a source model.

    Attributes:
        id: Unique within the model; becomes the label in the bundle's metadata.
        name: As a model viewer shows it; need not be unique.
        shape: Static, batch 1, in the model's own layout; ``()`` for a scalar.
        dtype: Element type; may be one that a bundle cannot describe (``int64``, ``bool``, ``string``).
        layout: ``nhwc``, ``nchw`` or ``none``.
        quant: Quantization parameters, when the model is quantized already.
        static: The model fixes every dimension; otherwise ``shape`` is a placeholder.
    """

    id: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str
    static: bool = True
    quant: QuantParams | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorMeta:
    """An input or output tensor of a subgraph, as its metadata in the bundle describes it.

    Attributes:
        label: Key in the metadata; only a label, position decides.
        name: Display name.
        shape: Dimensions, all positive; ``()`` for one item.
        dtype: Type of the items in memory, one of `ITEM_SIZES`.
        layout: ``nhwc``, ``nchw`` or ``none``.
        data_format: Format string, ``<type> [<key>=<value>]...``.
        quant: Quantization of the items, None when they are plain numbers.
        mean: Subtracted before dividing by ``scale`` when an image is assigned; None when not given,
            otherwise one value or one per channel.
        scale: Divisor of the normalisation; None when not given.
        security: Memory policy of the tensor.
    """

    label: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str = "none"
    data_format: str = ""
    quant: QuantParams | None = None
    mean: tuple[float, ...] | None = None
    scale: float | None = None
    security: str = "none"

    @property
    def item_count(self) -> int:
        """Number of items; 1 for a rank-0 tensor."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes the tensor takes in memory."""
        return self.item_count * ITEM_SIZES[self.dtype]

    @property
    def channels(self) -> int:
        """Channel count of a 4-D tensor with a layout; 1 for any other tensor."""
        if len(self.shape) != 4 or self.layout == "none":
            return 1
        return self.shape[1] if self.layout == "nchw" else self.shape[3]

    @property
    def is_scalar(self) -> bool:
        """Whether the device API treats it as a scalar: shape exactly ``(1,)``."""
        return self.shape == (1,)


def format_shape(shape: tuple[int, ...]) -> str:
    """Write a shape as ``1x224x224x3``, a rank-0 shape as ``scalar``."""
    return "x".join(map(str, shape)) or "scalar"


def samples_hint(given: tuple[int, ...], wanted: tuple[int, ...]) -> str | None:
    """What to do about several samples for a tensor that takes one.

    Args:
        given: Shape of what is there.
        wanted: Shape of the tensor.

    Returns:
        A hint, or None when the shapes differ in anything else than in the batch.
    """
    if len(wanted) < 2 or wanted[0] != 1 or given[:1] <= (1,) or given[1:] != wanted[1:]:
        return None
    return f"conversions set the batch of a model to 1, so give the {given[0]} samples one at a time"
