"""A runner and a plain min-max quantizer for small graphs, to compare quantized graphs with."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime

from synap_core.graph.annotations import Origin
from synap_core.graph.build import GraphBuilder
from synap_core.graph.groups import group
from synap_core.quantization.data_types import input_layer_id
from synap_core.quantization.interface import Range
from synap_core.quantization.parameters import Parameters, real, solve
from synap_core.quantization.plan import Plan
from synap_core.quantization.planning import is_real, make_plan
from synap_core.quantization.runner import runnable

Feeds = Mapping[str, np.ndarray]


class OnnxSession:
    """A graph in ONNX Runtime, unoptimised."""

    def __init__(self, model: ir.Model) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        content = ir.to_proto(model).SerializeToString()
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(self, feeds: Feeds) -> list[np.ndarray]:
        found: list[np.ndarray] = self._session.run(None, dict(feeds))
        return found


class ListRunner:
    """Runs graphs on samples that are in memory.

    Attributes:
        most_open: Largest number of sessions that were in memory at the same time.
    """

    def __init__(self, samples: Sequence[Feeds], jobs: int = 2) -> None:
        self._samples = list(samples)
        self._open: weakref.WeakSet[OnnxSession] = weakref.WeakSet()
        self.jobs = jobs
        self.most_open = 0

    @property
    def count(self) -> int:
        return len(self._samples)

    def samples(self, indices: Sequence[int]) -> Iterator[Feeds]:
        return (self._samples[index] for index in indices)

    def open(self, model: ir.Model, outputs: Sequence[str] | None = None) -> OnnxSession:
        session = OnnxSession(runnable(model, outputs))
        self._open.add(session)
        self.most_open = max(self.most_open, len(self._open))
        return session


@dataclass(frozen=True, slots=True, kw_only=True)
class MinMaxQuantized:
    """What `MinMaxQuantizer` gives."""

    plan: Plan
    parameters: Parameters
    runner: ListRunner
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class MinMaxQuantizer:
    """Quantizes with the smallest and largest number of each tensor.

    Attributes:
        graph: The graph of real numbers.
        runner: Runs it.
        dtype: Type of all layers that ``types`` does not name.
        types: Type of each other layer.
        asked: What was raised in each run.
    """

    graph: ir.Model
    runner: ListRunner
    dtype: str = "uint8"
    types: Mapping[str, str] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)

    def run(self, raised: Mapping[str, str] | None = None) -> MinMaxQuantized:
        self.asked.append(dict(raised or {}))
        graph = self.graph.clone()
        groups = group(graph)
        ids = [*(input_layer_id(value) for value in graph.graph.inputs), *(item.layer_id for item in groups)]
        types = dict.fromkeys(ids, self.dtype) | dict(self.types) | dict(raised or {})
        assert set(types) == set(ids)
        plan = make_plan(graph, groups, types, scheme="default")
        parameters = solve(plan, self._ranges(plan))
        return MinMaxQuantized(plan=plan, parameters=parameters, runner=self.runner)

    def _ranges(self, plan: Plan) -> dict[str, Range]:
        inputs = {str(value.name) for value in plan.graph.graph.inputs}
        computed = {str(v.name) for node in plan.graph.graph for v in node.outputs if is_real(v)}
        names = sorted({name for slot in plan.slots.values() for name in slot.observed} & computed)
        session = self.runner.open(plan.graph, names)
        seen: dict[str, list[np.ndarray]] = {}
        for feeds in self.runner.samples(range(self.runner.count)):
            for name, array in [*zip(names, session.run(feeds), strict=True), *feeds.items()]:
                seen.setdefault(name, []).append(array)
        ranges = {}
        for key, slot in plan.slots.items():
            arrays = [array for name in slot.observed if name in {*names, *inputs} for array in seen[name]]
            ranges[key] = _range(np.concatenate([array.ravel() for array in arrays]))
        for key in plan.constants:
            ranges[key] = _range(real(plan.graph.graph.initializers[key]))
        return ranges


def _range(array: np.ndarray) -> Range:
    return Range(low=np.array(array.min(), np.float64), high=np.array(array.max(), np.float64))


class Network:
    """A graph of layers in a row, each named after its operator and number."""

    def __init__(self, rng: np.random.Generator, shape: Sequence[int]) -> None:
        self._build = GraphBuilder("g", ["x"])
        self._rng = rng
        self.x = self._build.input("x", ir.DataType.FLOAT, shape)
        self._number = 0

    def layer(
        self, op_type: str, *operands: ir.Value | np.ndarray, name: str | None = None, **attributes: Any
    ) -> ir.Value:
        """Add a layer; arrays become constants."""
        inputs = [value if isinstance(value, ir.Value) else self._build.constant(value) for value in operands]
        with self._build.layer(Origin(name or f"n{self._number}", op_type, self._number)):
            self._number += 1
            return self._build.emit(op_type, inputs, attributes)

    def dense(self, x: ir.Value, size: int, weights: np.ndarray | None = None) -> ir.Value:
        """Add a product with random weights, a bias and a rectifier: one layer."""
        w = self._rng.normal(size=(int(x.shape[-1]), size)) if weights is None else weights  # type: ignore[index, arg-type]  # static
        bias = self._rng.normal(size=size).astype(np.float32)
        with self._build.layer(Origin(f"n{self._number}", "Gemm", self._number)):
            self._number += 1
            y = self._build.emit("Gemm", [x, self._build.constant(w.astype(np.float32)), self._build.constant(bias)])
            return self._build.emit("Relu", [y])

    def finish(self, *outputs: ir.Value) -> ir.Model:
        """Make the graph."""
        return self._build.finish(outputs)

    def samples(self, count: int) -> list[dict[str, np.ndarray]]:
        """Random inputs."""
        shape = tuple(int(dim) for dim in self.x.shape)  # type: ignore[union-attr]  # static
        return [{"x": self._rng.normal(size=shape).astype(np.float32)} for _ in range(count)]
