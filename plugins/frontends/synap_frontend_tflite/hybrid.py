"""Layers of real numbers with integer weights, which kernels compute in integers all the same: "hybrid" ones."""

from __future__ import annotations

from synap_frontend_tflite.records import GraphRecord, OperatorRecord

HYBRID = frozenset(
    word
    for line in (
        "BATCH_MATMUL BIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_RNN CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED",
        "LSTM RNN SVDF UNIDIRECTIONAL_SEQUENCE_LSTM UNIDIRECTIONAL_SEQUENCE_RNN",
    )
    for word in line.split()
)
"""Operators that have such a kernel."""

INTEGERS = frozenset({"INT4", "INT8", "UINT8"})
MAX_NAME = 60
"""Characters of a name to show; some exporters join the names of all that they merged."""


def hybrid_notes(graph: GraphRecord) -> list[str]:
    """What to tell the user of such layers; empty when there are none."""
    found = [operator for operator in graph.operators if _is_hybrid(graph, operator)]
    if not found:
        return []
    name = graph.tensors[found[0].outputs[0]].name
    shown = name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}…"
    count = "1 layer has" if len(found) == 1 else f"{len(found)} layers have"
    note = (
        f"{count} integer weights and inputs of real numbers (first: {shown!r}, {found[0].type}): TensorFlow Lite "
        "rounds these inputs to 8 bits, a graph in another format computes in float; results can differ by some percent"
    )
    return [note]


def _is_hybrid(graph: GraphRecord, operator: OperatorRecord) -> bool:
    if operator.type not in HYBRID or not operator.inputs or not operator.outputs:
        return False
    tensors = [graph.tensors[index] for index in operator.inputs if index >= 0]
    real = operator.inputs[0] >= 0 and tensors[0].type == "FLOAT32"
    return real and any(tensor.constant and tensor.type in INTEGERS for tensor in tensors[1:])
