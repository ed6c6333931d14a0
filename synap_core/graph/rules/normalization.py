"""Normalizations: the result is as the input, the statistics that come beside it are smaller."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.graph.rules.registry import Operands, rule
from synap_core.graph.types import TensorType


@rule("BatchNormalization")
def batch_normalization(node: Operands) -> list[TensorType]:
    """As the input ``(N, C, ...)``; in training also the running mean and variance ``(C,)``."""
    first = node.ranked(0, 1)
    channels = first.shape[1] if first.rank > 1 else 1
    for position in range(1, 5):
        node.shaped(position, channels)
    statistics = [TensorType(node.type(position).dtype, (channels,)) for position in (3, 4)]
    return [first, *statistics] if node.flag("training_mode") else [first]


@rule("InstanceNormalization")
def instance_normalization(node: Operands) -> list[TensorType]:
    """As the input ``(N, C, ...)``; scale and bias are ``(C,)``."""
    first = node.ranked(0, 3)
    for position in (1, 2):
        node.shaped(position, first.shape[1])
    return [first]


@rule("LayerNormalization")
def layer_normalization(node: Operands) -> list[TensorType]:
    """As the input; mean and inverse deviation have 1 for each dimension from the axis on."""
    first = node.ranked(0, 1)
    axis = node.axis(first.rank, -1)
    for position in (1, 2):
        node.spread(position, first.shape)
    statistics = TensorType(
        node.dtype("stash_type", ir.DataType.FLOAT), first.shape[:axis] + (1,) * (first.rank - axis)
    )
    return [first, statistics, statistics]


@rule("MeanVarianceNormalization")
def mean_variance_normalization(node: Operands) -> list[TensorType]:
    """As the input, which has the axes."""
    first = node.type(0)
    axes = node.integers("axes")
    node.axes_of((0, 2, 3) if axes is None else axes, first.rank)
    return [first]
