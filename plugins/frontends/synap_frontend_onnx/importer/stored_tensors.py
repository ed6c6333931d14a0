"""Find the tensors of stored integers of a model: the same ones whatever part of it is imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from synap_core.api import QuantParams
from synap_frontend_onnx.analysis import Analysis
from synap_frontend_onnx.graph import Graph, Node
from synap_frontend_onnx.importer.constants import element_type
from synap_frontend_onnx.importer.preserving import data_operands
from synap_frontend_onnx.importer.quantized import affine
from synap_frontend_onnx.importer.registry import MICROSOFT
from synap_frontend_onnx.protos import TensorProto, array_of, attributes

SCALE_AND_POINT = tuple[int, int]
"""Places of a scale and its zero point among the operands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where an operator on stored integers has its quantization.

    Attributes:
        inputs: For the place of each operand of stored integers, those of its scale and zero point.
        output: Places of the scale and zero point of the result; None when it is one of real numbers.
        repeated: From this place on, triples of an operand, its scale and its zero point follow.
    """

    inputs: Mapping[int, SCALE_AND_POINT] = field(default_factory=dict)
    output: SCALE_AND_POINT | None = None
    repeated: int | None = None

    def operands(self, count: int) -> Iterator[tuple[int, SCALE_AND_POINT]]:
        """Places of the operands of stored integers, each with those of its scale and zero point."""
        yield from ((place, parameters) for place, parameters in self.inputs.items() if place < count)
        if self.repeated is not None:
            for place in range(self.repeated, count - 1, 3):
                yield place, (place + 1, place + 2)


QUANTIZE = Places(output=(1, 2))
DEQUANTIZE = Places(inputs={0: (1, 2)})
CONVOLUTION = Places(inputs={0: (1, 2), 3: (4, 5)}, output=(6, 7))
ONE_OPERAND = Places(inputs={0: (1, 2)}, output=(3, 4))
TWO_OPERANDS = Places(inputs={0: (1, 2), 3: (4, 5)}, output=(6, 7))

OPERATORS: Mapping[tuple[str, str], Places] = {
    ("", "QuantizeLinear"): QUANTIZE,
    ("", "DequantizeLinear"): DEQUANTIZE,
    ("", "QLinearConv"): CONVOLUTION,
    ("", "QLinearMatMul"): TWO_OPERANDS,
    (MICROSOFT, "QuantizeLinear"): QUANTIZE,
    (MICROSOFT, "DequantizeLinear"): DEQUANTIZE,
    (MICROSOFT, "QGemm"): Places(inputs={0: (1, 2), 3: (4, 5)}, output=(7, 8)),
    (MICROSOFT, "QLinearAdd"): TWO_OPERANDS,
    (MICROSOFT, "QLinearMul"): TWO_OPERANDS,
    (MICROSOFT, "QLinearAveragePool"): ONE_OPERAND,
    (MICROSOFT, "QLinearGlobalAveragePool"): ONE_OPERAND,
    (MICROSOFT, "QLinearSigmoid"): ONE_OPERAND,
    (MICROSOFT, "QLinearLeakyRelu"): ONE_OPERAND,
    (MICROSOFT, "QLinearSoftmax"): ONE_OPERAND,
    (MICROSOFT, "QLinearConcat"): Places(output=(0, 1), repeated=2),
}
"""Operators on stored integers by domain and name."""


def stored_tensors(graph: Graph, analysis: Analysis) -> dict[str, QuantParams]:
    """Quantization of the tensors that are values of real numbers in the canonical graph, by name.

    These are what ``QuantizeLinear`` computes for operators that know its scale, what such operators compute, copies
    of these, and graph inputs that such operators read.
    """
    return _Finder(graph, analysis).find()


class _Finder:
    def __init__(self, graph: Graph, analysis: Analysis) -> None:
        self._graph = graph
        self._analysis = analysis
        self._found: dict[str, QuantParams] = {}
        self._ends = {output.name for output in graph.outputs}
        self._needed = {name for node in graph.nodes for name in self._known_operands(node)}

    def find(self) -> dict[str, QuantParams]:
        inputs = {value.name for value in self._graph.inputs}
        for node in self._graph.nodes:
            places = _places(node)
            for place, parameters in places.operands(len(node.proto.input)) if places else ():
                name = node.proto.input[place]
                quant = self._parameters(node, parameters, name) if name in inputs else None
                if quant is not None:
                    self._found.setdefault(name, quant)
        for node in self._graph.nodes:
            quant = self._result(node)
            if quant is not None:
                self._found |= dict.fromkeys(self._integer_outputs(node), quant)
        return self._found

    def _known_operands(self, node: Node) -> Iterator[str]:
        """Tensors that a node reads as integers whose meaning it knows, or only moves."""
        places = _places(node)
        if places is not None:
            yield from (node.proto.input[place] for place, _ in places.operands(len(node.proto.input)))
        elif node.standard:
            operands = node.proto.input
            yield from (operands[place] for place in data_operands(node.proto.op_type, len(operands)))

    def _result(self, node: Node) -> QuantParams | None:
        places = _places(node)
        if places is None:
            return self._moved(node) if node.standard else None
        if places.output is None or not node.writes or not self._is_needed(node.writes[0]):
            return None
        operands = places.operands(len(node.proto.input))
        if any(self._constant(node, scale) is None for _, (scale, _) in operands):
            return None
        return self._parameters(node, places.output, node.writes[0])

    def _is_needed(self, name: str) -> bool:
        """Whether a tensor is more than integers that other operators compute with."""
        return name in self._needed or name in self._ends

    def _moved(self, node: Node) -> QuantParams | None:
        """Quantization that the results of an operator that only moves items share with its operands."""
        names = [node.proto.input[place] for place in data_operands(node.proto.op_type, len(node.proto.input))]
        quants = {self._found.get(name) for name in names if name and name not in self._graph.constants}
        if len(quants) != 1:
            return None
        (quant,) = quants
        return None if quant is None or quant.axis is not None else quant

    def _integer_outputs(self, node: Node) -> Iterator[str]:
        """Outputs that hold items; not the positions that some operators give besides."""
        yield from node.writes if node.proto.op_type == "Split" else node.writes[:1]

    def _parameters(self, node: Node, places: SCALE_AND_POINT, name: str) -> QuantParams | None:
        scale, zero_point = (self._constant(node, place) for place in places)
        dtype = self._dtype(name, zero_point)
        if scale is None or dtype is None:
            return None
        points = None if zero_point is None else array_of(zero_point)
        return affine(array_of(scale), points, dtype, _axis(node), self._analysis.shape(name))

    def _constant(self, node: Node, place: int) -> TensorProto | None:
        name = node.proto.input[place] if place < len(node.proto.input) else ""
        tensor = self._graph.constants.get(name) or self._analysis.folded.get(name)
        return None if tensor is None else self._graph.weights.load(tensor)

    def _dtype(self, name: str, zero_point: TensorProto | None) -> ir.DataType | None:
        if zero_point is not None:
            return element_type(zero_point.data_type)
        known = self._analysis.types.get(name)
        return None if known is None else element_type(known.type.tensor_type.elem_type)


def _places(node: Node) -> Places | None:
    return OPERATORS.get(("" if node.standard else node.proto.domain, node.proto.op_type))


def _axis(node: Node) -> int | None:
    """Axis of several scales; None for operators that have one scale for each tensor."""
    given = dict(attributes(node.proto))
    axis = given.get("axis", 1)
    plain = node.proto.op_type in ("QuantizeLinear", "DequantizeLinear") and not given.get("block_size")
    return axis if plain and isinstance(axis, int) else None
