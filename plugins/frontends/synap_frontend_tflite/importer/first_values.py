"""First values of the variables, which a subgraph of its own assigns before the first inference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synap_core.api import GraphError
from synap_frontend_tflite.flatbuffer import root_table
from synap_frontend_tflite.importer.constants import Constants
from synap_frontend_tflite.records import GraphRecord


def first_values(data: bytes, graphs: Sequence[GraphRecord]) -> dict[str, np.ndarray]:
    """Find what the subgraphs that ``CALL_ONCE`` names assign to variables.

    Args:
        data: The file.
        graphs: Its subgraphs.

    Returns:
        Items as they are stored, by the name of the variable; those that are not simply constants are left out.
    """
    called = [i for op in graphs[0].operators if op.type == "CALL_ONCE" for i in op.subgraphs]
    found: dict[str, np.ndarray] = {}
    for index in dict.fromkeys(called):
        _run(data, graphs[index], index, found)
    return found


def _run(data: bytes, graph: GraphRecord, index: int, found: dict[str, np.ndarray]) -> None:
    root = root_table(data)
    constants = Constants(root, root.Subgraphs(index), data)
    handles: dict[int, str] = {}
    for operator in graph.operators:
        if operator.variable is not None:
            handles |= dict.fromkeys(operator.outputs, operator.variable)
        elif operator.type == "ASSIGN_VARIABLE" and len(operator.inputs) == 2:
            handle, value = operator.inputs
            name = handles.get(handle)
            if name is not None:
                found.pop(name, None)
                if value >= 0 and graph.tensors[value].constant:
                    _keep(constants, name, value, found)


def _keep(constants: Constants, name: str, value: int, found: dict[str, np.ndarray]) -> None:
    try:
        found[name] = constants.read(value)[0]
    except GraphError:
        # Of a type that no graph has: a reader of the variable will say that it has no first value.
        return
