"""Types of the outputs of a node, from the types of its inputs: one rule per operator of the default domain.

The rules are in `synap_core.graph.rules`, by family of operators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from synap_core.graph.rules import (
    convolution,
    elementwise,
    generation,
    loss,
    matrix,
    movement,
    normalization,
    padding,
    pooling,
    quantization,
    recurrent,
    reduction,
    resampling,
    reshaping,
    selection,
    signal,
)
from synap_core.graph.rules.registry import RULES, Operands, Rule, broadcast, rule
from synap_core.graph.rules.signatures import check_signature
from synap_core.graph.types import GraphError, TensorType

__all__ = ["FAMILIES", "MAX_ITEMS", "MAX_RANK", "Operands", "Rule", "broadcast", "infer", "rule"]

FAMILIES = (
    convolution,
    elementwise,
    generation,
    loss,
    matrix,
    movement,
    normalization,
    padding,
    pooling,
    quantization,
    recurrent,
    reduction,
    resampling,
    reshaping,
    selection,
    signal,
)
"""The modules whose rules are loaded."""

MAX_RANK = 32
"""Dimensions that an array can have in every NumPy."""

MAX_ITEMS = 1 << 40
"""Items of one tensor: more than any machine could hold, so a file that asks for them is damaged or hostile."""


def infer(
    op_type: str,
    types: Sequence[TensorType | None],
    attributes: Mapping[str, object],
    constants: Sequence[ir.TensorProtocol | None],
    outputs: int = 1,
) -> list[TensorType]:
    """Find the types of the outputs of a node.

    Raises:
        GraphError: The operator cannot have such operands, its output depends on data, or there is no rule for it.
    """
    found = RULES.get(op_type)
    if found is None:
        msg = f"the type of the result of {op_type} is not known"
        raise GraphError(msg)
    node = Operands(op_type, types, attributes, constants, outputs)
    check_signature(node)
    for position, operand in enumerate(types):
        if operand is not None:
            _check_size(node, f"input {position} has", operand)
    results = found(node)
    node.require(outputs <= len(results), f"{outputs} outputs, where it has {len(results)}")
    for result in results:
        _check_size(node, "its result would have", result)
    return results[:outputs]


def _check_size(node: Operands, subject: str, tensor: TensorType) -> None:
    shown = f"{subject} the shape {list(tensor.shape)[:MAX_RANK]}"
    node.require(min(tensor.shape, default=0) >= 0, shown)
    large = tensor.rank > MAX_RANK or max(tensor.size, *tensor.shape, 0) > MAX_ITEMS
    node.require(not large, f"{shown}, which is too large")
