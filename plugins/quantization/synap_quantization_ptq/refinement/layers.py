"""Run a quantization layer by layer: what each layer gives for several samples is kept until nothing reads it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from synap_core.api import Parameters, Plan, QuantParams, Runner, quantize, set_quant, shape_of

T = TypeVar("T")

HALF = "float16"

HALF_LARGEST = 60_000.0
"""Real numbers are kept in float16 while they are smaller; its largest is 65,504."""


def layer_model(
    plan: Plan, nodes: Sequence[ir.Node], parameters: Parameters | None, outputs: Sequence[str], *, exact: bool = False
) -> ir.Model:
    """A graph of some nodes alone.

    Args:
        plan: The plan.
        nodes: Nodes of its graph, in execution order.
        parameters: Parameters of the inputs, constants and those outputs that have some; real numbers without.
        outputs: Names of the values that it gives.
        exact: Outputs are real numbers, not rounded to steps.

    Returns:
        The graph. Its inputs are the computed values that the nodes read; quantized ones are integers.
    """
    values: dict[str, ir.Value] = {}
    made = {str(value.name) for node in nodes for value in node.outputs}
    inputs, constants = [], []
    for node in nodes:
        for value in node.inputs:
            if value is None or value.name in made or value.name in values:
                continue
            name = str(value.name)
            values[name] = copy = _copy(value)
            if value.const_value is None:
                inputs.append(copy)
            else:
                copy.const_value = (
                    value.const_value if parameters is None else parameters.constants.get(name, value.const_value)
                )
                constants.append(copy)
    copies = []
    for node in nodes:
        operands = [None if value is None else values[str(value.name)] for value in node.inputs]
        results = [_copy(value) for value in node.outputs]
        values |= {str(value.name): value for value in results}
        copies.append(
            ir.Node(node.domain, node.op_type, operands, node.attributes.values(), outputs=results, name=node.name)
        )
    if parameters is not None:
        for name, value in values.items():
            slot = None if exact and name in outputs else plan.slot_of.get(name)
            if slot is not None and value.const_value is None:
                set_quant(value, parameters.activations[slot])
    graph = ir.Graph(
        inputs,
        [values[name] for name in outputs],
        nodes=copies,
        initializers=constants,
        opset_imports=dict(plan.graph.graph.opset_imports),
        name="layer",
    )
    return ir.Model(graph, ir_version=plan.graph.ir_version)


class Stream:
    """Values of several samples, kept while layers that are still to come read them.

    Quantized values are kept as integers, real ones in float16 where they fit.

    Args:
        plan: The plan.
        parameters: Parameters of the values; None to compute with real numbers.
        runner: Runs graphs.
        indices: The samples.
    """

    def __init__(self, plan: Plan, parameters: Parameters | None, runner: Runner, indices: Sequence[int]) -> None:
        self._plan = plan
        self._parameters = parameters
        self._runner = runner
        self._count = len(indices)
        self._readers = _reader_counts(plan)
        self._kept: dict[str, list[np.ndarray]] = {}
        names = [name for value in plan.graph.graph.inputs if self._readers.get(name := str(value.name))]
        for feed in runner.samples(indices):
            for name in names:
                self._kept.setdefault(name, []).append(self._packed(feed[name], self._parameter(name)))

    def kept(self, name: str) -> Sequence[np.ndarray]:
        """A value as it is kept, for each sample in turn."""
        return self._kept[name]

    def quant(self, name: str) -> QuantParams | None:
        """Parameters of the integers that are kept of a value; None when they are real numbers."""
        quant = self._parameter(name)
        return None if quant is not None and quant.dtype == HALF else quant

    def run(
        self,
        nodes: Sequence[ir.Node],
        outputs: Sequence[str],
        use: Callable[[Sequence[np.ndarray]], T],
        *,
        exact: bool = False,
    ) -> list[T]:
        """Run nodes on every sample.

        Args:
            nodes: Nodes whose operands are kept or constant.
            outputs: Names of the values to give.
            use: Is given them for each sample, by several threads.
            exact: Outputs are real numbers, not rounded to steps.

        Returns:
            What ``use`` gave, in the order of the samples.
        """
        model = layer_model(self._plan, nodes, self._parameters, outputs, exact=exact)
        names = [str(value.name) for value in model.graph.inputs]
        session = self._runner.open(model, integers=True)

        def step(sample: int) -> T:
            return use(session.run({name: self._fed(name, sample) for name in names}))

        with ThreadPoolExecutor(self._runner.jobs) as pool:
            return list(pool.map(step, range(self._count)))

    def advance(self, nodes: Sequence[ir.Node]) -> None:
        """Run a layer, keep what it gives, and drop what nothing reads any more."""
        names = [str(value.name) for node in nodes for value in node.outputs if self._readers.get(str(value.name))]
        if names:
            results = self.run(nodes, names, lambda arrays: [self._packed(a, None) for a in arrays])
            self._kept |= {name: [result[i] for result in results] for i, name in enumerate(names)}
        for name in _reads(nodes):
            self._readers[name] -= 1
            if not self._readers[name]:
                del self._kept[name]

    def _parameter(self, name: str) -> QuantParams | None:
        slot = self._plan.slot_of.get(name)
        return None if slot is None or self._parameters is None else self._parameters.activations[slot]

    def _fed(self, name: str, sample: int) -> np.ndarray:
        array = self._kept[name][sample]
        return array.astype(np.float32) if array.dtype == np.float16 and self._parameter(name) is None else array

    def _packed(self, array: np.ndarray, quant: QuantParams | None) -> np.ndarray:
        if quant is not None:
            return array.astype(np.float16) if quant.dtype == HALF else quantize(array, quant)
        small = array.dtype == np.float32 and self._parameters is None and np.abs(array).max(initial=0) < HALF_LARGEST
        return array.astype(np.float16) if small else array


def peak_items(plan: Plan) -> int:
    """Most items that a stream keeps at a time for one sample."""
    readers = _reader_counts(plan)
    sizes = {str(v.name): _size(v) for v in plan.graph.graph.inputs if readers.get(str(v.name))}
    most = sum(sizes.values())
    for group in plan.groups:
        values = (value for node in group.nodes for value in node.outputs)
        sizes |= {str(value.name): _size(value) for value in values if readers.get(str(value.name))}
        most = max(most, sum(sizes.values()))
        for name in _reads(group.nodes):
            readers[name] -= 1
            if not readers[name]:
                del sizes[name]
    return most


def _reads(nodes: Sequence[ir.Node]) -> Iterator[str]:
    """Names of the computed operands of a layer, as often as it reads them."""
    inside = set(nodes)
    for node in nodes:
        for value in node.inputs:
            if value is not None and value.const_value is None and value.producer() not in inside:
                yield str(value.name)


def _reader_counts(plan: Plan) -> Counter[str]:
    """How often the layers read each value."""
    return Counter(name for group in plan.groups for name in _reads(group.nodes))


def _size(value: ir.Value) -> int:
    return math.prod(shape_of(value))


def _copy(value: ir.Value) -> ir.Value:
    return ir.Value(name=value.name, type=value.type, shape=value.shape)
