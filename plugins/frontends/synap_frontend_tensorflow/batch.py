"""Check that a model with a fixed batch other than 1 means the same for batch 1.

That is right when every operator treats samples independently and keeps them in dimension 0. The model is imported for
both batches: each tensor must have its batch in front and the same dimensions behind it, or be the same for both. This
settles nearly all operators, since one that mixes samples gives them up or leaves other dimensions behind. The rest are
those that work along the batch or look up in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from synap_core.api import InputError, TensorType
from synap_frontend_tensorflow.graph import Node, split_name

ALONG_BATCH = frozenset({"Cumprod", "Cumsum", "ReverseSequence"})
"""Operators that may mix samples although the shapes of their tensors do not tell."""

BETWEEN_OPERANDS = frozenset({"Einsum", "Gather", "GatherNd", "GatherV2", "ScatterNd"})
"""Operators that may do so when several operands hold samples."""

SPREADING = frozenset({"BatchToSpace", "BatchToSpaceND", "SpaceToBatch", "SpaceToBatchND"})
"""Operators that make several samples of each, or one of several again."""


def check_batch(
    nodes: Iterable[Node], before: Mapping[str, TensorType], after: Mapping[str, TensorType], batch: int
) -> None:
    """Compare the shapes for both batches.

    Args:
        nodes: The model.
        before: Types of the tensors that depend on data for the batch of the file, by id.
        after: The same for batch 1.
        batch: The batch of the file.

    Raises:
        InputError: An operator may mix samples, or has the batch built in; names it.
    """
    counts = {
        tensor: _samples(before.get(tensor), after.get(tensor), batch) for tensor in dict.fromkeys([*before, *after])
    }
    results: dict[str, list[str]] = {}
    for tensor in counts:
        results.setdefault(split_name(tensor)[0], []).append(tensor)
    for node in nodes:
        reads = [tensor for tensor in dict.fromkeys(node.reads) if tensor in counts]
        computed = [tensor for tensor in results.get(node.name, ()) if tensor not in node.reads]
        ranks = {len(before[tensor].shape) for tensor in reads if counts[tensor]}
        if len(ranks) > 1 or not _keeps_apart(node, [counts[t] for t in reads], [counts[t] for t in computed]):
            reason = f"layer {node.name!r} ({node.type}) mixes samples or has the batch built in"
            msg = f"the fixed batch of {batch} cannot become 1: {reason}"
            hint = (
                "freeze the graph with an open batch, or with batch 1; or if the first dimension is no batch, name a "
            )
            raise InputError(msg, hint=hint + "tensor further on as input, where it is one")


def _samples(before: TensorType | None, after: TensorType | None, batch: int) -> int | None:
    """How many samples a tensor holds for batch 1; 0 for one without samples, None when the shapes contradict."""
    if before is None or after is None:
        return None
    if before.shape == after.shape:
        return 0
    fits = before.shape[1:] == after.shape[1:] and before.shape[0] == batch * after.shape[0]
    return after.shape[0] if fits else None


def _keeps_apart(node: Node, reads: list[int | None], computed: list[int | None]) -> bool:
    if None in computed:
        return False
    holding = [count for count in reads if count]
    if not holding or not computed:
        return True
    if node.type in ALONG_BATCH or (node.type in BETWEEN_OPERANDS and len(holding) > 1):
        return False
    if node.type in SPREADING:
        return 0 not in computed
    return {*holding, *computed} == {holding[0]}
