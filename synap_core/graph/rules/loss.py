"""Losses, which networks keep when they are exported in training."""

from __future__ import annotations

from synap_core.graph.rules.registry import Operands, rule
from synap_core.graph.types import TensorType


@rule("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
def loss(node: Operands) -> list[TensorType]:
    """A scalar, or one item per label without a reduction; the second operator can give the logarithms, too."""
    scores, labels = node.ranked(0, 2), node.type(1)
    if labels.shape != (scores.shape[0], *scores.shape[2:]):
        node.refuse(f"labels of shape {list(labels.shape)} for scores of shape {list(scores.shape)}")
    node.shaped(2, scores.shape[1])
    reduced = node.word("reduction", "mean", ("mean", "sum", "none")) != "none"
    result = TensorType(scores.dtype, () if reduced else labels.shape)
    return [result, scores] if node.op_type == "SoftmaxCrossEntropyLoss" else [result]
