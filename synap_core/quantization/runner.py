"""Run graphs on samples: the data set, and an engine that some plugin provides."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.payloads import Runtime

if TYPE_CHECKING:
    import onnx_ir as ir

    from synap_core.quantization.interface import Session

OpenGraph = Callable[["ir.Model"], "Session"]
"""Makes an ONNX model of plain operators ready to run."""


class Samples(Protocol):
    """What a runner takes its samples from; `synap_core.quantization.dataset.Dataset` is one."""

    @property
    def count(self) -> int:
        """Number of samples."""
        ...

    def samples(self, indices: Sequence[int]) -> Iterator[Mapping[str, np.ndarray]]:
        """Read samples in the given order."""
        ...

    def describe(self, index: int) -> str:
        """Name a sample in messages."""
        ...


class GraphRunner:
    """Runs graphs on the samples of a data set.

    Args:
        open_graph: Makes an ONNX model ready to run.
        dataset: The samples.
        jobs: Threads that may work at a time; as many as there are processor cores by default.
    """

    def __init__(self, open_graph: OpenGraph, dataset: Samples, jobs: int | None = None) -> None:
        self._open_graph = open_graph
        self._dataset = dataset
        self._jobs = max(1, jobs or available_cores())

    @property
    def count(self) -> int:
        """Number of samples."""
        return self._dataset.count

    @property
    def jobs(self) -> int:
        """Threads that may work at a time."""
        return self._jobs

    def samples(self, indices: Sequence[int]) -> Iterator[Mapping[str, np.ndarray]]:
        """Read samples, a few ahead of their use: the graph's inputs by name, for each index in turn."""
        return self._dataset.samples(indices)

    def describe(self, index: int) -> str:
        """Name a sample in messages."""
        return self._dataset.describe(index)

    def open(self, model: ir.Model, outputs: Sequence[str] | None = None, *, integers: bool = False) -> Session:
        """Make a graph ready to run; what is annotated as quantized is rounded to its steps.

        Args:
            model: A canonical graph; is not changed.
            outputs: Names of the values to give, each once; those of the graph by default.
            integers: Quantized inputs and outputs take and give what is stored, rather than real numbers.

        Raises:
            InputError: The engine refuses the graph.
            KeyError: The graph has no value of such a name.
        """
        return self._open_graph(runnable(model, outputs, integers=integers))


def available_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_engine(host: PluginHost) -> OpenGraph:
    """Find what runs graphs on this machine.

    Raises:
        InputError: No enabled plugin does.
    """
    for runtime in host.runtimes.values():
        if runtime.open_graph is not None:
            return runtime.open_graph
    msg = "no enabled runtime can run the graph for its calibration"
    hint = host.explain_inactive(Runtime) or "install a runtime that runs ONNX models"
    raise InputError(msg, hint=hint)


def runnable(model: ir.Model, outputs: Sequence[str] | None = None, *, integers: bool = False) -> ir.Model:
    """Make an ONNX model of a canonical graph that computes no more than is asked for.

    Args:
        model: The graph; is not changed.
        outputs: Names of the values to give, each once; those of the graph by default.
        integers: Quantized inputs and outputs take and give what is stored, rather than real numbers.

    Raises:
        KeyError: The graph has no value of such a name.
    """
    from synap_core.graph.annotations import set_states
    from synap_core.graph.qdq import to_qdq

    if outputs is not None:
        model = model.clone()
        values = {str(value.name): value for value in _values(model.graph)}
        chosen = [_given(model.graph, values[name]) for name in outputs]
        model.graph.outputs[:] = chosen
        set_states(model, ())
        _prune(model.graph)
    return to_qdq(model, integer_boundary=integers)


def _values(graph: ir.Graph) -> Iterable[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _given(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """A value that can be an output: engines want one that a node computes."""
    import onnx_ir as ir

    from synap_core.graph.types import set_type, type_of

    if value.producer() is not None:
        return value
    copy = ir.Node("", "Identity", [value], num_outputs=1, name=f"{value.name}//given")
    copy.outputs[0].name = f"{value.name}//given"
    set_type(copy.outputs[0], type_of(value))
    graph.append(copy)
    return copy.outputs[0]


def _prune(graph: ir.Graph) -> None:
    """Drop the nodes that no output needs, and the constants that no node reads."""
    needed: set[ir.Node] = set()
    pending = [node for value in graph.outputs if (node := value.producer()) is not None]
    while pending:
        node = pending.pop()
        if node not in needed:
            needed.add(node)
            pending += _producers(node, needed)
    graph.remove([node for node in graph if node not in needed], safe=True)
    for name, value in tuple(graph.initializers.items()):
        if not value.uses():
            graph.initializers.pop(name)


def _producers(node: ir.Node, known: Collection[ir.Node]) -> Iterator[ir.Node]:
    for value in node.inputs:
        producer = None if value is None else value.producer()
        if producer is not None and producer not in known:
            yield producer
