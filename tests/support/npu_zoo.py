"""Programs of the zoo's quantized models: every operation's result beside that of LiteRT's reference kernels."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from ai_edge_litert import schema_py_generated as schema

from synap_core.conversion import Conversion
from synap_core.convert import ConvertRequest, convert
from synap_core.graph.annotations import quant_of, source_of, states_of, twin_of
from synap_core.host import PluginHost
from synap_core.subgraphs import Subgraph
from tests.support.canonical import Reference, stored
from tests.support.litert import random_array

LAST_BOX_LAYER = "detection/ssd_mobilenet_v1_coco_quant_postprocess"
"""The model whose last layer no unit runs."""

QUANTIZED = (
    "audio/micro_speech_quantized",
    "classification/mobilenet_v1_0.25_128_quant",
    "classification/mobilenet_v1_0.5_160_quant",
    "classification/tf2_mobilenet_v2_1.0_224_ptq",
    LAST_BOX_LAYER,
    "misc/hello_world_int8",
    "misc/keras_lstm_mnist_ptq",
    "misc/person_detect",
    "misc/split_concat",
    "mlperf_tiny/ad01_int8",
    "mlperf_tiny/kws_ref_model",
    "mlperf_tiny/pretrainedResnet_quant",
    "mlperf_tiny/vww_96_int8",
)
"""Quantized models that convert."""

RANDOM_INPUTS = 2
"""Sets of random inputs, besides the zoo's samples."""

LOOKED_UP = frozenset({"SOFTMAX", "LOGISTIC", "TANH"})
"""Operators of the source that the kernels compute with tables or polynomials of their own."""

TABLE_UNITS = 1
"""Units by which what comes out of these may differ."""


@dataclass(kw_only=True)
class Layer:
    """What one operation computed, over all inputs.

    Attributes:
        name: Id of the layer.
        type: Operator of the program.
        sources: Operators of the source.
        values: How many values were compared.
        differing: How many of them differ.
        largest: By how many units at most.
        allowed: By how many units they may, as results of this operation and of what came before.
    """

    name: str
    type: str
    sources: tuple[str, ...]
    allowed: int = 0
    values: int = 0
    differing: int = 0
    largest: int = 0

    def compare(self, found: np.ndarray, expected: np.ndarray) -> None:
        """Add the values of one input."""
        difference = np.abs(found.astype(np.int64) - expected.astype(np.int64))
        self.values += difference.size
        self.differing += int(np.count_nonzero(difference))
        self.largest = max(self.largest, int(difference.max(initial=0)))


@dataclass(kw_only=True)
class Measured:
    """A model's program beside the reference.

    Attributes:
        layers: Operations whose results are tensors of the source, in order.
        outputs: The same for the outputs of the whole program.
        operations: How many operations the program has.
        compared: Indices of the tensors of the source that were compared.
    """

    layers: list[Layer] = field(default_factory=list)
    outputs: Layer = field(default_factory=lambda: Layer(name="outputs", type="", sources=()))
    operations: int = 0
    compared: frozenset[int] = frozenset()

    @property
    def unlike(self) -> Mapping[str, int]:
        """Units of layers that differ by more than they may."""
        return {layer.name: layer.largest for layer in (*self.layers, self.outputs) if layer.largest > layer.allowed}


def allowed(sources: Collection[str]) -> int:
    """Units by which what operators of the source give may differ, when given the same."""
    return TABLE_UNITS if LOOKED_UP & set(sources) else 0


@functools.cache
def conversion(zoo: Path, name: str, target: str = "VS680") -> Conversion:
    """Convert a model without a metafile; the layer that no unit runs goes to the processor cores."""
    request = ConvertRequest(
        model=zoo / f"models/{name}.tflite", target=target, fallback="cpu" if name == LAST_BOX_LAYER else None
    )
    return convert(request, PluginHost()).conversion


def loadable(path: Path) -> bytes:
    """The file, with what LiteRT refuses to load put right: the quantized dimension of vectors, which have but one."""
    content = path.read_bytes()
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    vectors = [
        tensor.quantization
        for tensor in model.subgraphs[0].tensors
        if tensor.quantization is not None and tensor.shape is not None and len(tensor.shape) == 1
    ]
    if not any(quantization.quantizedDimension for quantization in vectors):
        return content
    for quantization in vectors:
        quantization.quantizedDimension = 0
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def samples(zoo: Path, name: str) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Real inputs of a model, and the outputs of its reference."""
    archive = np.load(zoo / f"reference/{Path(name).name}.tflite.npz")
    for sample in range(json.loads(str(archive["meta"]))["samples"]):
        inputs, outputs = (
            [archive[key] for key in sorted(archive.files) if key.startswith(f"s{sample}_{kind}_")]
            for kind in ("input", "output")
        )
        yield inputs, outputs


def random_inputs(details: Sequence[Mapping[str, Any]]) -> Iterator[list[np.ndarray]]:
    """Inputs over the whole range of their types."""
    for seed in range(RANDOM_INPUTS):
        rng = np.random.default_rng(seed)
        yield [random_array(rng, tuple(detail["shape"]), detail["dtype"]) for detail in details]


def threaded(threads: int = 1) -> ort.SessionOptions:
    """Options of a session that runs on a number of threads."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    return options


class Program:
    """The program of a subgraph as plain ONNX Runtime runs it, every result of an operation an output.

    Args:
        content: The file.
        subgraph: What it was compiled from.
    """

    def __init__(self, content: bytes, subgraph: Subgraph) -> None:
        model = onnx.load_from_string(content)
        self.nodes = list(model.graph.node)
        self.inputs = [value.name for value in model.graph.input]
        self.outputs = [value.name for value in model.graph.output]
        known = set(self.outputs)
        for node in self.nodes:
            model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output if name not in known)
        self._session = ort.InferenceSession(model.SerializeToString(), threaded(), providers=["CPUExecutionProvider"])
        self._names = [value.name for value in self._session.get_outputs()]
        graph = subgraph.graph
        assert graph is not None
        quants = {str(value.name): quant_of(value) for value in graph.graph.inputs}
        self.variables = {state.input: stored(state.initial.numpy(), quants[state.input]) for state in states_of(graph)}
        self.groups = {group.layer_id: group for group in subgraph.groups}

    def __call__(self, arrays: Sequence[np.ndarray]) -> Mapping[str, np.ndarray]:
        """Results of all operations, from the first state of variables."""
        feeds = dict(zip([name for name in self.inputs if name not in self.variables], arrays, strict=True))
        return dict(zip(self._names, self._session.run(None, feeds | self.variables), strict=True))

    def results(self, node: onnx.NodeProto) -> Iterator[tuple[str, ir.Value]]:
        """Results of an operation: their names, and the values of the canonical graph that they are."""
        group = self.groups[node.name]
        inside = set(group.nodes)
        made = (value for member in group.nodes for value in member.outputs)
        values = [v for v in made if v.is_graph_output() or any(use.node not in inside for use in v.uses())]
        yield from zip(node.output, values, strict=True)

    def tensors(self, node: onnx.NodeProto) -> Iterator[tuple[str, int, tuple[int, ...] | None]]:
        """Results of an operation that are tensors of the source: name, index, and the order of its dimensions."""
        for name, value in self.results(node):
            yield from ((name, index, order) for index, order in _source(value))


def _source(value: ir.Value) -> Iterator[tuple[int, tuple[int, ...] | None]]:
    twin, own = twin_of(value), source_of(value)
    if own is not None:
        yield int(own), None
    elif twin is not None:
        yield int(twin.source), tuple(twin.permutation)


@functools.cache
def measured(zoo: Path, name: str) -> Measured:
    """Run a program on the samples and on random inputs, and compare every operation with the reference kernels.

    Each operation gets what the program itself computed before; the recurrent layer starts from its first state.
    """
    made = conversion(zoo, name)
    content = loadable(zoo / f"models/{name}.tflite")
    program = Program(made.artifacts[0].model, made.subgraphs[0])
    result = Measured(operations=len(program.nodes))
    rows: list[tuple[Layer, str, int, tuple[int, ...] | None]] = []
    units: dict[str, int] = {}
    for node in program.nodes:
        sources = tuple(origin.type for origin in program.groups[node.name].origins)
        before = max((units.get(value, 0) for value in node.input), default=0)
        layer = Layer(name=node.name, type=node.op_type, sources=sources, allowed=max(allowed(sources), before))
        units.update(dict.fromkeys(node.output, layer.allowed))
        tensors = list(program.tensors(node))
        rows += [(layer, *tensor) for tensor in tensors]
        result.layers += [layer] if tensors else []
    result.outputs.allowed = max(units.get(value, 0) for value in program.outputs)
    result.compared = frozenset(index for _, _, index, _ in rows)
    details = Reference(content).inputs
    for inputs in [*(given for given, _ in samples(zoo, name)), *random_inputs(details)]:
        # A new interpreter has its variables in their first state.
        reference = Reference(content)
        reference(inputs)
        found = program(inputs)
        for layer, value, index, order in rows:
            expected = reference.tensor(index)
            layer.compare(found[value], expected if order is None else expected.transpose(order))
        for position, value in enumerate(made.subgraphs[0].part.outputs):
            result.outputs.compare(found[program.outputs[position]], reference.tensor(int(value)))
    return result
