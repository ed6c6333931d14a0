"""What the cost model knows of a hardware operation: its kind, its shapes and its data type."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

Kind = Literal[
    "convolution",
    "deconvolution",
    "fully_connected",
    "addition",
    "tensor",
    "copy",
    "pool",
    "input_transpose",
    "programmable",
    "softmax",
    "preprocess",
    "preprocess_scaled",
]
"""What an operation does, as far as its cost depends on it.

- ``convolution``: also depthwise (as many groups as input channels) and grouped; what is fused to it costs nothing
- ``deconvolution``: transposed convolution
- ``addition``: of two tensors, also subtraction
- ``tensor``: one pass over the tensors by the tensor processor: activation, transpose, resize, space to depth and back
- ``copy``: concatenation, slice, split; ``pool``: pooling that is not fused, also global
- ``input_transpose``: an input of one or three channels is brought from NHWC to NCHW
- ``programmable``: whatever the programmable unit does: products, reductions, gathering
- ``preprocess``: an image is converted to the format of the network; ``preprocess_scaled``: it is also resized
"""

Dtype = Literal["uint8", "int8", "int16", "float16", "float32"]
"""Type of the tensors of an operation."""

SIZES: dict[Dtype, int] = {"uint8": 1, "int8": 1, "int16": 2, "float16": 2, "float32": 4}
"""Bytes of an element."""

_CONVOLUTIONS = ("convolution", "deconvolution")


class Map(NamedTuple):
    """Shape of one item of a batch."""

    height: int
    width: int
    channels: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        return self.height * self.width * self.channels


ONE = Map(1, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation of the hardware; the functions below make the usual ones.

    All counts are those of one item of the batch, and at least 1, but for `weights` and `macs`, which may be 0.

    Attributes:
        kind: What it does.
        dtype: Type of its tensors.
        batch: Items of the batch.
        input: Map that a convolution reads; of no meaning for others.
        output: Map that a convolution writes; of no meaning for others.
        kernel: Height and width of a convolution's window.
        stride: Vertical and horizontal step of it; of a deconvolution, the enlargement.
        groups: Groups of channels of a convolution.
        input_count: Number of tensors it reads that are not constant; taken to be equally large.
        input_elements: Elements of all of these together.
        output_elements: Elements it writes.
        weights: Constant elements it reads.
        macs: Products that are summed up.
    """

    kind: Kind
    dtype: Dtype = "uint8"
    batch: int = 1
    input: Map = ONE
    output: Map = ONE
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    groups: int = 1
    input_count: int = 1
    input_elements: int = 1
    output_elements: int = 1
    weights: int = 0
    macs: int = 0

    def __post_init__(self) -> None:
        """Check all fields.

        Raises:
            ValueError: A field is out of range, or does not fit another one.
        """
        self._require(self.kind in get_args(Kind), f"kind {self.kind!r} is not one of {', '.join(get_args(Kind))}")
        self._require(self.dtype in SIZES, f"dtype {self.dtype!r} is not one of {', '.join(SIZES)}")
        for name in ("input", "output", "kernel", "stride"):
            self._require(min(getattr(self, name)) >= 1, f"{name} {tuple(getattr(self, name))} has a size below 1")
        for name in ("batch", "groups", "input_count", "input_elements", "output_elements"):
            self._require(getattr(self, name) >= 1, f"{name} {getattr(self, name)} is below 1")
        for name in ("weights", "macs"):
            self._require(getattr(self, name) >= 0, f"{name} {getattr(self, name)} is negative")
        divides = not self.input.channels % self.groups and not self.output.channels % self.groups
        self._require(divides, f"groups {self.groups} do not divide {self.input.channels} and {self.output.channels}")
        if self.kind in _CONVOLUTIONS:
            fits = (self.input.elements, self.output.elements) == (self.input_elements, self.output_elements)
            self._require(fits, "input and output of a convolution have other numbers of elements than their maps")

    def _require(self, condition: bool, problem: str) -> None:
        if not condition:
            raise ValueError(problem)

    @property
    def size_bytes(self) -> int:
        """Bytes of one element."""
        return SIZES[self.dtype]

    @property
    def depthwise(self) -> bool:
        """Whether it is a convolution of each channel by itself."""
        return self.kind == "convolution" and self.groups == self.input.channels > 1


def convolution(
    source: Map,
    output: Map,
    *,
    kernel: tuple[int, int] = (1, 1),
    stride: tuple[int, int] = (1, 1),
    groups: int = 1,
    batch: int = 1,
    dtype: Dtype = "uint8",
) -> Operation:
    """Describe a convolution, with bias and whatever is fused to it.

    Raises:
        ValueError: A size is below 1, or the groups do not divide the channels.
    """
    weights = output.channels * kernel[0] * kernel[1] * (source.channels // max(groups, 1))
    return Operation(
        kind="convolution",
        dtype=dtype,
        batch=batch,
        input=source,
        output=output,
        kernel=kernel,
        stride=stride,
        groups=groups,
        input_elements=source.elements,
        output_elements=output.elements,
        weights=weights,
        macs=output.height * output.width * weights,
    )


def deconvolution(
    source: Map,
    output: Map,
    *,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    groups: int = 1,
    batch: int = 1,
    dtype: Dtype = "uint8",
) -> Operation:
    """Describe a transposed convolution: every input element is multiplied with all weights of its channel.

    Raises:
        ValueError: A size is below 1, or the groups do not divide the channels.
    """
    forward = convolution(source, output, kernel=kernel, stride=stride, groups=groups, batch=batch, dtype=dtype)
    return replace(forward, kind="deconvolution", macs=source.height * source.width * forward.weights)


def fully_connected(inputs: int, outputs: int, *, batch: int = 1, dtype: Dtype = "uint8") -> Operation:
    """Describe a product with a constant matrix.

    Raises:
        ValueError: A size is below 1.
    """
    return Operation(
        kind="fully_connected",
        dtype=dtype,
        batch=batch,
        input_elements=inputs,
        output_elements=outputs,
        weights=inputs * outputs,
        macs=inputs * outputs,
    )


def elementwise(
    kind: Kind, elements: int, *, inputs: int = 1, read: int | None = None, batch: int = 1, dtype: Dtype = "uint8"
) -> Operation:
    """Describe an operation whose cost depends on the sizes of its tensors alone.

    Args:
        kind: Any but a convolution and a fully connected layer.
        elements: Number of elements it writes, and of those in each input.
        inputs: Number of inputs.
        read: Elements of all inputs together, if that is not ``elements * inputs``.
        batch: Items of the batch.
        dtype: Type of the tensors.

    Raises:
        ValueError: A number is below 1, or the kind is another one.
    """
    if kind in _CONVOLUTIONS or kind == "fully_connected":
        msg = f"kind {kind!r} is described by more than numbers of elements"
        raise ValueError(msg)
    return Operation(
        kind=kind,
        dtype=dtype,
        batch=batch,
        input_count=inputs,
        input_elements=elements * inputs if read is None else read,
        output_elements=elements,
    )
