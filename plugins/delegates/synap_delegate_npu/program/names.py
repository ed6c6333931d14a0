"""Names in programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count

import onnx_ir as ir

from synap_core.api import source_of, twin_of

AXES = {(0, 3, 1, 2): "nchw", (0, 2, 3, 1): "nhwc"}
"""What a transposition of a source tensor makes of it, by the permutation."""

NO_NAMES: Mapping[str, str] = {}


def tensor_names(graph: ir.Graph, source_names: Mapping[str, str] = NO_NAMES) -> dict[ir.Value, str]:
    """Names for the values of a canonical graph.

    A value between operations is named after the tensor of the source model that it holds. Where several values hold
    the same tensor, the first one has its name, and others the layout or a number behind it. Inputs, outputs,
    constants, and what holds no tensor of the source model keep their names.

    Args:
        graph: The graph.
        source_names: Names of the tensors of the source model, by id. Of several that converters joined with
            semicolons, the first is taken.
    """
    fixed = [*graph.inputs, *graph.outputs, *graph.initializers.values()]
    names = {value: str(value.name) for value in fixed}
    inner = [value for node in graph for value in node.outputs if value not in names]
    taken = {*names.values(), *(str(value.name) for value in inner if not _is_known(value))}
    for value in inner:
        if _is_known(value):
            names[value] = next(name for name in _candidates(value, source_names) if name not in taken)
            taken.add(names[value])
        else:
            names[value] = str(value.name)
    return names


def _is_known(value: ir.Value) -> bool:
    return bool(source_of(value)) or twin_of(value) is not None


def _candidates(value: ir.Value, source_names: Mapping[str, str]) -> Iterator[str]:
    source, twin = source_of(value), twin_of(value)
    tensor = source or (str(value.name) if twin is None else twin.source)
    stem = source_names.get(tensor, tensor).partition(";")[0] or tensor
    yield stem
    if twin is not None and not source and twin.permutation in AXES:
        stem = f"{stem}/{AXES[twin.permutation]}"
        yield stem
    for number in count(2):
        yield f"{stem}/{number}"


def real_name(word: str) -> str:
    """Operator of the domain that computes one of the hardware in real numbers: its name in mixed case.

    >>> real_name("RELATIONAL_OPS")
    'RelationalOps'
    """
    return word.title().replace("_", "")
