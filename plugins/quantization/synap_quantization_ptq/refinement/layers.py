"""Run a quantization layer by layer: what each layer gives for several samples is kept until nothing reads it."""

from __future__ import annotations

import math
import mmap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from synap_core.api import Parameters, Plan, QuantParams, Runner, quantize, set_quant, shape_of
from synap_quantization_ptq.refinement.workers import Workers

HALF = "float16"

HALF_LARGEST = 60_000.0
"""Real numbers are kept in float16 while they are smaller; its largest is 65,504."""


LATE_ITEMS = 1 << 18
LATE_GROWTH = 2
"""A layer is run again for its reader if it gives so many items, and so many for each of its operands."""

AHEAD = 4
"""Samples for each thread whose results may wait."""


def layer_model(
    plan: Plan, nodes: Sequence[ir.Node], parameters: Parameters | None, outputs: Sequence[str]
) -> ir.Model:
    """A graph of some nodes alone.

    Args:
        plan: The plan.
        nodes: Nodes of its graph, in execution order.
        parameters: Parameters of the inputs, constants and those outputs that have some; real numbers without.
        outputs: Names of the values that it gives.

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
            slot = plan.slot_of.get(name)
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

    Quantized values are kept as integers, real ones in float16 where they fit. Where a layer makes much of little for a
    single reader, its operands are kept instead, and it is run again for that reader.

    Args:
        plan: The plan.
        parameters: Parameters of the values; None to compute with real numbers.
        runner: Runs graphs.
        indices: The samples.
        workers: Threads that run them.

    Attributes:
        count: Number of samples.
        workers: The threads.
    """

    def __init__(
        self, plan: Plan, parameters: Parameters | None, runner: Runner, indices: Sequence[int], workers: Workers
    ) -> None:
        self._plan = plan
        self._parameters = parameters
        self._runner = runner
        self.workers = workers
        self.count = len(indices)
        self._readers = _Readers(plan)
        self._kept: dict[str, _Arrays] = {}
        names = [name for value in plan.graph.graph.inputs if self._readers.wait_for(name := str(value.name))]
        for feed in runner.samples(indices):
            self._keep({name: self._packed(feed[name], self._parameter(name)) for name in names})

    def quant(self, name: str) -> QuantParams | None:
        """Parameters of the integers that a value is kept as; None when it is kept as real numbers."""
        quant = self._parameter(name)
        return None if quant is not None and quant.dtype == HALF else quant

    def reader(self, name: str) -> Callable[[int], np.ndarray]:
        """What gives a value that layers still to come read, as it is kept, for the sample of some number.

        Threads may share it. The arrays of a layer that is run again hold on to all memory of the run.
        """
        if name not in self._readers.late:
            return self._kept[name].all.__getitem__
        run = self._runs(self._readers.late[name], [name])
        return lambda sample: run(sample)[0]

    def advance(self, nodes: Sequence[ir.Node]) -> None:
        """Run a layer, keep what it gives, and drop what nothing reads any more."""
        names = self._readers.to_keep(nodes)
        if names:
            run = self._runs(nodes, names)
            packed = self.workers.each(lambda i: list(map(self._packed, run(i))), range(self.count), ahead=AHEAD)
            for arrays in packed:
                self._keep(dict(zip(names, arrays, strict=True)))
        for name in self._readers.passed(nodes):
            del self._kept[name]

    def _runs(self, nodes: Sequence[ir.Node], outputs: Sequence[str]) -> Callable[[int], Sequence[np.ndarray]]:
        """What runs a layer on the sample of some number."""
        nodes = [*self._readers.made_late(nodes), *nodes]
        model = layer_model(self._plan, nodes, self._parameters, outputs)
        names = [str(value.name) for value in model.graph.inputs]
        session = self._runner.open(model, integers=True)
        return lambda sample: session.run({name: self._fed(name, sample) for name in names})

    def _parameter(self, name: str) -> QuantParams | None:
        slot = self._plan.slot_of.get(name)
        return None if slot is None or self._parameters is None else self._parameters.activations[slot]

    def _fed(self, name: str, sample: int) -> np.ndarray:
        array = self._kept[name].all[sample]
        return array.astype(np.float32) if array.dtype == np.float16 and self._parameter(name) is None else array

    def _keep(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep values of the next sample."""
        for name, array in arrays.items():
            self._kept.setdefault(name, _Arrays(self.count)).append(array)

    def _packed(self, array: np.ndarray, quant: QuantParams | None = None) -> np.ndarray:
        """An array as it is kept, quantized if there are parameters."""
        if quant is not None:
            with np.errstate(over="ignore"):  # what is too large for float16 is infinite in the graph, too
                return array.astype(np.float16) if quant.dtype == HALF else quantize(array, quant)
        if array.dtype == np.float32 and self._parameters is None:
            low, high = array.min(initial=0), array.max(initial=0)
            if max(-low, high) < HALF_LARGEST:
                return array.astype(np.float16)
        return array


class _Arrays:
    """Copies of arrays of one shape, in memory that is given back to the system with them.

    What is freed of the heap may be kept there, between what is still in use.

    Args:
        count: Number of arrays there will be.

    Attributes:
        all: The copies.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self.all: list[np.ndarray] = []
        self._memory: np.ndarray | None = None

    def append(self, array: np.ndarray) -> None:
        """Copy an array, which may be of another type than the first."""
        if self._memory is None:
            size = max(1, self._count * array.nbytes)
            memory = np.frombuffer(mmap.mmap(-1, size), array.dtype, count=self._count * array.size)
            self._memory = memory.reshape(self._count, *array.shape)
        if array.dtype == self._memory.dtype:
            self._memory[len(self.all)] = array
            array = self._memory[len(self.all)]
        else:
            array = array.copy()
        self.all.append(array)


class _Readers:
    """Which values the layers that are still to come read, and which of them are computed again for their reader.

    Attributes:
        late: Nodes of the layers that are run again, by the name of what they give.
    """

    def __init__(self, plan: Plan) -> None:
        self.late: dict[str, Sequence[ir.Node]] = {}
        self._left = Counter(str(value.name) for group in plan.groups for value in _reads(group.nodes))

    def wait_for(self, name: str) -> bool:
        """Whether a layer still to come reads a value."""
        return self._left[name] > 0

    def to_keep(self, nodes: Sequence[ir.Node]) -> list[str]:
        """Values to keep of a layer that comes next: those that are read, unless it is run again for their reader."""
        values = [value for node in nodes for value in node.outputs if self.wait_for(str(value.name))]
        names = [str(value.name) for value in values]
        reads = {str(value.name): _size(value) for value in _reads(nodes)}
        if (
            len(values) == 1
            and self._left[names[0]] == 1
            and _size(values[0]) >= max(LATE_ITEMS, LATE_GROWTH * sum(reads.values()))
            and not any(name in self.late for name in reads)
        ):
            self.late[names[0]] = nodes
            return []
        return names

    def passed(self, nodes: Sequence[ir.Node]) -> Iterator[str]:
        """Names of the kept values that nothing reads any more, once a layer is passed."""
        if any(value.name in self.late for node in nodes for value in node.outputs):
            return  # its operands are needed when its reader comes
        for value in _reads(nodes):
            name = str(value.name)
            self._left[name] -= 1
            if not self._left[name]:
                if name in self.late:
                    yield from self.passed(self.late.pop(name))
                else:
                    yield name

    def made_late(self, nodes: Sequence[ir.Node]) -> list[ir.Node]:
        """Nodes that have to run in front of others, because what they give is not kept."""
        names = dict.fromkeys(str(value.name) for value in _reads(nodes))
        return [node for name in names for node in self.late.get(name, ())]


def peak_items(plan: Plan) -> int:
    """Most items that a stream keeps at a time for one sample."""
    readers = _Readers(plan)
    sizes = {str(v.name): _size(v) for v in plan.graph.graph.inputs if readers.wait_for(str(v.name))}
    most = sum(sizes.values())
    for group in plan.groups:
        values = {str(value.name): value for node in group.nodes for value in node.outputs}
        sizes |= {name: _size(values[name]) for name in readers.to_keep(group.nodes)}
        most = max(most, sum(sizes.values()))
        for name in readers.passed(group.nodes):
            del sizes[name]
    return most


def _reads(nodes: Sequence[ir.Node]) -> Iterator[ir.Value]:
    """Computed operands of a layer, as often as it reads them."""
    inside = set(nodes)
    for node in nodes:
        for value in node.inputs:
            if value is not None and value.const_value is None and value.producer() not in inside:
                yield value


def _size(value: ir.Value) -> int:
    return math.prod(shape_of(value))


def _copy(value: ir.Value) -> ir.Value:
    return ir.Value(name=value.name, type=value.type, shape=value.shape)
