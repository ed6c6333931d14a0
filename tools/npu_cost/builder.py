"""Builds networks as lists of hardware operations, from the shapes of their layers."""

from __future__ import annotations

from typing import Literal

from synap_delegate_npu.cost.layers import (
    Dtype,
    Kind,
    Map,
    Operation,
    convolution,
    deconvolution,
    elementwise,
    fully_connected,
)

Activation = Literal["relu", "none", "swish", "lookup"]
"""``relu`` stands for all that is fused, ``lookup`` for what takes a pass of its own, such as a sigmoid."""

Padding = Literal["same", "valid"]


class Network:
    """Operations of a network; its methods take and return the shapes of tensors.

    Args:
        source: Shape of the input.
        batch: Items of the batch.
        dtype: Type of all tensors.
        split_swish: Swish is two operations, a sigmoid and a product. So it is in graphs that came quantized; when the
            official compiler quantizes a float graph, it makes one operation of it.
        nchw: The input is stored as the unit wants it, and not transposed first.
    """

    def __init__(
        self,
        source: Map,
        *,
        batch: int = 1,
        dtype: Dtype = "uint8",
        split_swish: bool = True,
        nchw: bool = False,
    ) -> None:
        self.source = source
        self.operations: list[Operation] = []
        self._batch = batch
        self._dtype: Dtype = dtype
        self._split_swish = split_swish
        if source.channels in (1, 3) and not nchw:
            self._elementwise("input_transpose", source.elements)

    @property
    def macs(self) -> int:
        """Products of one inference, those of the whole batch."""
        return sum(operation.macs * operation.batch for operation in self.operations)

    @property
    def weights(self) -> int:
        """Weights of all layers, without biases."""
        return sum(operation.weights for operation in self.operations)

    def _elementwise(self, kind: Kind, elements: int, *, inputs: int = 1, read: int | None = None) -> None:
        self.operations.append(
            elementwise(kind, elements, inputs=inputs, read=read, batch=self._batch, dtype=self._dtype)
        )

    def conv(
        self,
        x: Map,
        channels: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        *,
        padding: Padding = "same",
        act: Activation = "relu",
        groups: int = 1,
    ) -> Map:
        """Convolution with bias and activation."""
        window = (kernel, kernel) if isinstance(kernel, int) else kernel
        y = Map(_size(x.height, window[0], stride, padding), _size(x.width, window[1], stride, padding), channels)
        self.operations.append(
            convolution(
                x,
                y,
                kernel=window,
                stride=(stride, stride),
                groups=groups,
                batch=self._batch,
                dtype=self._dtype,
            )
        )
        if act == "swish":
            self.swish(y)
        elif act == "lookup":
            self.lookup(y.elements)
        return y

    def depthwise(self, x: Map, kernel: int = 3, stride: int = 1, *, act: Activation = "relu") -> Map:
        """Convolution of each channel by itself."""
        return self.conv(x, x.channels, kernel, stride, act=act, groups=x.channels)

    def deconv(self, x: Map, channels: int, scale: int = 2) -> Map:
        """Transposed convolution whose window is as large as its step."""
        y = Map(x.height * scale, x.width * scale, channels)
        window = (scale, scale)
        self.operations.append(deconvolution(x, y, kernel=window, stride=window, batch=self._batch, dtype=self._dtype))
        return y

    def dense(self, x: Map, outputs: int) -> Map:
        """Fully connected layer."""
        self.operations.append(fully_connected(x.elements, outputs, batch=self._batch, dtype=self._dtype))
        return Map(1, 1, outputs)

    def pool(self, x: Map, window: int, stride: int, *, padding: Padding = "valid") -> Map:
        """Largest or mean element of each window."""
        y = Map(_size(x.height, window, stride, padding), _size(x.width, window, stride, padding), x.channels)
        self._elementwise("pool", y.elements, read=x.elements)
        return y

    def global_pool(self, x: Map) -> Map:
        """Mean of each channel."""
        self._elementwise("pool", x.channels, read=x.elements)
        return Map(1, 1, x.channels)

    def add(self, x: Map) -> Map:
        """Sum with a tensor of the same shape."""
        self._elementwise("addition", x.elements, inputs=2)
        return x

    def multiply(self, elements: int) -> None:
        """Product with a tensor, also one that is broadcast."""
        self._elementwise("programmable", elements, inputs=2)

    def scale(self, x: Map) -> Map:
        """Product with a factor for each channel."""
        self.multiply(x.elements)
        return x

    def lookup(self, elements: int) -> None:
        """Sigmoid or another function of single elements."""
        self._elementwise("tensor", elements)

    def swish(self, x: Map) -> None:
        """Product with its own sigmoid."""
        self.lookup(x.elements)
        if self._split_swish:
            self._elementwise("programmable", x.elements)

    def softmax(self, elements: int) -> None:
        """Softmax, whatever its axis."""
        self._elementwise("softmax", elements)

    def concat(self, *parts: Map) -> Map:
        """Concatenation of the channels."""
        y = Map(parts[0].height, parts[0].width, sum(part.channels for part in parts))
        self._elementwise("copy", y.elements, inputs=len(parts), read=y.elements)
        return y

    def copy(self, elements: int) -> None:
        """Slice, or concatenation of something that is no map."""
        self._elementwise("copy", elements)

    def rearrange(self, elements: int) -> None:
        """Transpose or reshape."""
        self._elementwise("tensor", elements)

    def enlarge(self, x: Map) -> Map:
        """Resize to twice the height and width."""
        y = Map(x.height * 2, x.width * 2, x.channels)
        self._elementwise("tensor", y.elements, read=x.elements)
        return y

    def depth_to_space(self, x: Map, block: int) -> Map:
        """Rearrange channels to pixels."""
        self.rearrange(x.elements)
        return Map(x.height * block, x.width * block, x.channels // block**2)


def _size(size: int, window: int, stride: int, padding: Padding) -> int:
    return -(-size // stride) if padding == "same" else (size - window) // stride + 1


def rounded(channels: float, divisor: int = 8) -> int:
    """Number of channels rounded to a multiple, but not down by more than a tenth, as the MobileNet papers do."""
    near = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return near + divisor if near < 0.9 * channels else near
