"""Convolutions and matrix products as products of matrices: rows of weights, and what they are multiplied with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from synap_core.api import shape_of

Item = TypeVar("Item", bound=np.generic)
Real64 = NDArray[np.float64]

CONVOLUTIONS = ("Conv", "ConvTranspose")
PRODUCTS = (*CONVOLUTIONS, "Gemm", "MatMul")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A convolution or matrix product with constant weights.

    Its weights are ``rows``, ``(G, O, K)``: for each of ``G`` groups of channels, ``O`` sums of ``K`` terms. A
    transposed convolution has a row for each output channel and position in the kernel: its sums overlap, and errors
    of the overlapping ones are taken as independent.

    Attributes:
        node: The node.
        data: Name of the first factor.
        weight: Name of the weights.
        bias: Name of the bias constant; None when it has none.
        output: Name of the product.
        groups: ``G``.
    """

    node: ir.Node
    data: str
    weight: str
    bias: str | None
    output: str
    groups: int

    def rows(self, weights: NDArray[Item]) -> NDArray[Item]:
        """Weights, in the layout of the node, as ``(G, O, K)``."""
        match self.node.op_type:
            case "Conv":
                return weights.reshape(self.groups, weights.shape[0] // self.groups, -1)
            case "ConvTranspose":
                grouped = weights.reshape(self.groups, weights.shape[0] // self.groups, -1)
                return np.ascontiguousarray(grouped.transpose(0, 2, 1))
        return np.ascontiguousarray(weights if self._has("transB") else weights.T)[None]

    def weights(self, rows: NDArray[Item], shape: tuple[int, ...]) -> NDArray[Item]:
        """Undo `rows`."""
        match self.node.op_type:
            case "Conv":
                return rows.reshape(shape)
            case "ConvTranspose":
                return np.ascontiguousarray(rows.transpose(0, 2, 1)).reshape(shape)
        return rows[0] if self._has("transB") else np.ascontiguousarray(rows[0].T)

    def terms(self, data: np.ndarray, positions: NDArray[np.int64], zero: int = 0) -> np.ndarray:
        """What the rows are multiplied with at some positions of the output: ``(G, K, len(positions))``.

        Args:
            data: The first factor, for one sample, in the layout of the node.
            positions: Numbers of output positions, row by row; see `position_count`. Of a transposed convolution,
                numbers of input positions.
            zero: What stands for zero in the data, for the padding.
        """
        match self.node.op_type:
            case "Conv":
                return self._windows(data[0], positions, zero)
            case "ConvTranspose":
                flat = data[0].reshape(self.groups, data.shape[1] // self.groups, -1)
                picked: np.ndarray = flat[:, :, positions]
                return picked
        columns: np.ndarray = self._matrix(data)[positions].T
        return columns[None]

    def term_means(self, data: np.ndarray, zero: int = 0) -> Real64:
        """Mean of what each column of the rows is multiplied with, over all positions of the output.

        Args:
            data: The first factor, for one sample, in the layout of the node.
            zero: What stands for zero in the data; is taken from all numbers.

        Returns:
            ``(G, P, K)``, with as many ``P`` as the kernel of a transposed convolution has positions; 1 for others.
        """
        if self.node.op_type not in CONVOLUTIONS:
            return np.asarray(self._matrix(data).mean(axis=0, dtype=np.float64) - zero)[None, None]
        sums = data.mean(axis=0, dtype=np.float32) if len(data) > 1 else data[0].astype(np.float32)
        if zero:
            sums -= np.float32(zero)
        rank = data.ndim - 2
        for axis, meetings in reversed(list(enumerate(self._meetings(data.shape[2:]), start=1))):
            # A dimension in space goes, and one of the kernel comes last. Small products, for threads run this.
            sums = np.moveaxis(sums, axis, -1) @ meetings.astype(sums.dtype)
        sums = sums.transpose(0, *range(rank, 0, -1)).reshape(self.groups, data.shape[1] // self.groups, -1)
        means: Real64 = sums.astype(np.float64) / math.prod(shape_of(self.node.outputs[0])[2:])
        return means.transpose(0, 2, 1) if self.node.op_type == "ConvTranspose" else means.reshape(self.groups, 1, -1)

    def channel_means(self, rows: NDArray[np.floating], means: Real64) -> Real64:
        """Mean of each channel of the product over all positions, ``(channels,)``.

        Args:
            rows: The weights, ``(G, O, K)``.
            means: Of the terms; see `term_means`.
        """
        groups, offsets, terms = means.shape
        return np.asarray(np.einsum("gopk,gpk->go", rows.reshape(groups, -1, offsets, terms), means).reshape(-1))

    def term_count(self) -> int:
        """``K``, the number of terms of each sum."""
        weight = self.node.inputs[1]
        shape = () if weight is None else shape_of(weight)
        match self.node.op_type:
            case "Conv":
                return math.prod(shape[1:])
            case "ConvTranspose":
                return shape[0] // self.groups
        return shape[1] if self._has("transB") else shape[0]

    def position_count(self) -> int:
        """Number of positions that `terms` can be asked for."""
        if self.node.op_type == "Conv":
            return int(np.prod(shape_of(self.node.outputs[0])[2:]))
        data = self.node.inputs[0]
        shape = () if data is None else shape_of(data)
        if self.node.op_type == "ConvTranspose":
            return int(np.prod(shape[2:]))
        turned = self._has("transA")
        return shape[1] if turned else int(np.prod(shape[:-1]))

    def _has(self, flag: str) -> bool:
        return self.node.op_type == "Gemm" and self.node.attributes.get_int(flag, 0) != 0

    def _matrix(self, data: np.ndarray) -> np.ndarray:
        """The first factor of a matrix product: ``(positions, K)``."""
        turned = self._has("transA")
        return (data.T if turned else data).reshape(-1, data.shape[0] if turned else data.shape[-1])

    def _meetings(self, size: tuple[int, ...]) -> Iterator[NDArray[np.bool_]]:
        """For each dimension in space, which positions of the data meet which of the kernel: ``(size, kernel)``.

        Where they meet, they do so for one position of the output.
        """
        counts = shape_of(self.node.outputs[0])[2:]
        for length, count, (kernel, stride, dilation, begin, _) in zip(size, counts, self._window(size), strict=True):
            place, offset = np.arange(length)[:, None], np.arange(kernel) * dilation - begin
            if self.node.op_type == "ConvTranspose":
                target = place * stride + offset
                yield (target >= 0) & (target < count)
            else:
                target, rest = np.divmod(place - offset, stride)
                yield (rest == 0) & (target >= 0) & (target < count)

    def _windows(self, data: np.ndarray, positions: NDArray[np.int64], zero: int) -> np.ndarray:
        """Windows of a convolution over any number of dimensions."""
        window = self._window(data.shape[1:])
        around = [(0, 0), *((begin, end) for *_, begin, end in window)]
        padded = np.pad(data, around, constant_values=zero) if any(map(any, around)) else data
        places = np.zeros((1, len(positions)), np.int64)
        corners = np.unravel_index(positions, shape_of(self.node.outputs[0])[2:])
        for length, corner, (kernel, stride, dilation, *_) in zip(padded.shape[1:], corners, window, strict=True):
            offsets = np.arange(kernel)[:, None] * dilation
            places = (places[:, None] * length + (corner * stride + offsets)).reshape(-1, len(positions))
        return padded.reshape(len(data), -1).take(places, axis=1).reshape(self.groups, -1, len(positions))

    def _window(self, size: tuple[int, ...]) -> list[tuple[int, int, int, int, int]]:
        """Kernel, stride, dilation, and padding in front of data of that size and behind it, for each dimension."""
        weight, attributes, rank = self.node.inputs[1], self.node.attributes, len(size)
        kernel = () if weight is None else shape_of(weight)[2:]
        strides = attributes.get_ints("strides") or [1] * rank
        dilations = attributes.get_ints("dilations") or [1] * rank
        pads = attributes.get_ints("pads") or [0] * 2 * rank
        kind = attributes.get_string("auto_pad", "NOTSET")
        turned = self.node.op_type == "ConvTranspose"
        if kind.startswith("SAME") or (turned and attributes.get_ints("output_shape")):
            more = attributes.get_ints("output_padding") or [0] * rank
            outputs = shape_of(self.node.outputs[0])[2:]
            # A transposed convolution is padded as the convolution from its output to its data would be.
            small, large = (size, outputs) if turned else (outputs, size)
            totals = [
                max(0, (few - 1) * stride + (k - 1) * dilation + 1 + spare - many)
                for few, many, stride, k, dilation, spare in zip(
                    small, large, strides, kernel, dilations, more, strict=True
                )
            ]
            halves = [total // 2 if kind == "SAME_UPPER" else total - total // 2 for total in totals]
            pads = [*halves, *(total - half for total, half in zip(totals, halves, strict=True))]
        return list(zip(kernel, strides, dilations, pads[:rank], pads[rank:], strict=True))
