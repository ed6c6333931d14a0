"""Cut a part out of a model as a ``.tflite`` file of its own.

Operators, options, quantization and the operator-code table are kept as they are; tensors and buffers nobody needs any
more are dropped and the rest renumbered in ascending order of their old index, with buffer 0 always kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from synap_frontend_tflite import flatbuffer
from synap_frontend_tflite.flatbuffer import Generated

POSITIONAL_METADATA = b"TFLITE_METADATA"
"""Describes inputs and outputs by position, so it is wrong for a part that has others."""


def slice_model(data: bytes, operators: Sequence[int], inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
    """Cut operators of the main subgraph out.

    Args:
        data: The model file, already checked by the reader.
        operators: Their indices, ascending.
        inputs: Indices of the tensors that become the inputs, in order.
        outputs: Indices of the tensors that become the outputs, in order.

    Returns:
        The new file; a function of the arguments alone, byte for byte.
    """
    root = flatbuffer.root_table(data)
    source = root.Subgraphs(0)
    kept = [flatbuffer.unpack_operator(source, i, data) for i in operators]
    called = any(flatbuffer.calls_subgraphs(operator) for operator in kept)
    model = flatbuffer.unpack_shell(root)
    whole = list(inputs) == _numbers(source.InputsAsNumpy()) and list(outputs) == _numbers(source.OutputsAsNumpy())
    tensors = sorted({*inputs, *outputs, *(t for operator in kept for t in _tensors_of(operator))})
    graph = _new_graph(source, kept, inputs, outputs, tensors)
    # Subgraphs are called by index, so either all of them stay or only the main one does.
    rest = [flatbuffer.unpack_graph(root, i) for i in range(1, root.SubgraphsLength())] if called else []
    model.subgraphs = [graph, *rest]
    _keep_metadata(model, whole=whole)
    _keep_signatures(model, set(inputs), set(outputs), {old: new for new, old in enumerate(tensors)})
    _keep_buffers(model, root, data)
    return flatbuffer.pack_model(model, flatbuffer.size_limit(data))


def _numbers(values: Generated) -> list[int]:
    # The generated accessors return 0 for an absent vector.
    return [] if isinstance(values, int) else [int(v) for v in values]


def _tensors_of(operator: Generated) -> Iterable[int]:
    for group in (operator.inputs, operator.outputs, operator.intermediates):
        yield from (t for t in _numbers(0 if group is None else group) if t >= 0)


def _new_graph(
    source: Generated, kept: list[Generated], inputs: Sequence[int], outputs: Sequence[int], tensors: Sequence[int]
) -> Generated:
    renumbered = {old: new for new, old in enumerate(tensors)} | {-1: -1}

    def renumber(values: Generated) -> Generated:
        return None if values is None else np.array([renumbered[t] for t in _numbers(values)], np.int32)

    for operator in kept:
        operator.inputs = renumber(operator.inputs)
        operator.outputs = renumber(operator.outputs)
        operator.intermediates = renumber(operator.intermediates)
    graph = flatbuffer.new_graph()
    graph.name = source.Name()
    graph.operators = kept
    graph.tensors = [flatbuffer.unpack_tensor(source, t) for t in tensors]
    graph.inputs = renumber(list(inputs))
    graph.outputs = renumber(list(outputs))
    return graph


def _keep_metadata(model: Generated, *, whole: bool) -> None:
    if not whole:
        model.metadata = [entry for entry in model.metadata if entry.name != POSITIONAL_METADATA]


def _keep_signatures(model: Generated, inputs: set[int], outputs: set[int], renumbered: dict[int, int]) -> None:
    kept = []
    for signature in model.signatureDefs:
        maps = [*(signature.inputs or []), *(signature.outputs or [])]
        main = signature.subgraphIndex == 0
        if main and not _same_boundary(signature, inputs, outputs):
            continue
        if not main and len(model.subgraphs) == 1:
            continue
        for entry in maps if main else []:
            entry.tensorIndex = renumbered[entry.tensorIndex]
        kept.append(signature)
    model.signatureDefs = kept


def _same_boundary(signature: Generated, inputs: set[int], outputs: set[int]) -> bool:
    return {e.tensorIndex for e in signature.inputs or []} == inputs and {
        e.tensorIndex for e in signature.outputs or []
    } == outputs


def _keep_buffers(model: Generated, root: Generated, data: bytes) -> None:
    owners = [tensor for graph in model.subgraphs for tensor in graph.tensors or []] + model.metadata
    used = sorted({0, *(owner.buffer for owner in owners)})
    renumbered = {old: new for new, old in enumerate(used)}
    for owner in owners:
        owner.buffer = renumbered[owner.buffer]
    model.buffers = [flatbuffer.unpack_buffer(root, data, index) for index in used]
