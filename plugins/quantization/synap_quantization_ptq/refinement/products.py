"""Convolutions and matrix products as products of matrices: rows of weights, and what they are multiplied with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from synap_core.api import shape_of

Item = TypeVar("Item", bound=np.generic)

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


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
        turned = self._has("transA")
        matrix = (data.T if turned else data).reshape(-1, data.shape[0] if turned else data.shape[-1])
        columns: np.ndarray = matrix[positions].T
        return columns[None]

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

    def _windows(self, data: np.ndarray, positions: NDArray[np.int64], zero: int) -> np.ndarray:
        """Windows of a convolution over any number of dimensions."""
        rank = data.ndim - 1
        kernel = shape_of(self.node.inputs[1])[2:] if self.node.inputs[1] is not None else ()
        strides = self.node.attributes.get_ints("strides", [1] * rank) or [1] * rank
        dilations = self.node.attributes.get_ints("dilations", [1] * rank) or [1] * rank
        pads = self._pads(data.shape[1:], kernel, strides, dilations)
        around = [(0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
        padded = np.pad(data, around, constant_values=zero) if any(pads) else data
        corners = np.unravel_index(positions, shape_of(self.node.outputs[0])[2:])
        offsets = np.meshgrid(*(np.arange(k) * d for k, d in zip(kernel, dilations, strict=True)), indexing="ij")
        everything: slice | NDArray[np.int64] = slice(None)
        index = tuple(
            (corner * stride)[:, None] + offset.reshape(1, -1)
            for corner, stride, offset in zip(corners, strides, offsets, strict=True)
        )
        found = padded[(everything, *index)]
        return np.moveaxis(found, 1, 2).reshape(self.groups, -1, len(positions))

    def _pads(
        self, size: tuple[int, ...], kernel: tuple[int, ...], strides: Sequence[int], dilations: Sequence[int]
    ) -> list[int]:
        rank = len(size)
        kind = self.node.attributes.get_string("auto_pad", "NOTSET")
        if kind == "NOTSET":
            return list(self.node.attributes.get_ints("pads", [0] * 2 * rank) or [0] * 2 * rank)
        if kind == "VALID":
            return [0] * 2 * rank
        totals = [
            max(0, (-(-length // stride) - 1) * stride + (k - 1) * dilation + 1 - length)
            for length, k, stride, dilation in zip(size, kernel, strides, dilations, strict=True)
        ]
        small = [total // 2 for total in totals]
        large = [total - half for total, half in zip(totals, small, strict=True)]
        return [*small, *large] if kind == "SAME_UPPER" else [*large, *small]
