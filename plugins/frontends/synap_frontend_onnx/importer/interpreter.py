"""Import nodes one after the other, functions and bodies among them, as if the model was run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from synap_core.api import GraphBuilder, QuantParams, TensorType, type_of
from synap_frontend_onnx.dimensions import with_shape
from synap_frontend_onnx.functions import FunctionKey
from synap_frontend_onnx.graph import Graph, constant_of_node
from synap_frontend_onnx.importer.block import Block, Scope, bound_attributes
from synap_frontend_onnx.importer.call import Call, python_value
from synap_frontend_onnx.importer.constants import constant_tensor
from synap_frontend_onnx.importer.definitions import definition
from synap_frontend_onnx.importer.preserving import real_operands
from synap_frontend_onnx.importer.quantized import StandIns
from synap_frontend_onnx.importer.registry import UnknownOperatorError, UnsupportedError, find
from synap_frontend_onnx.inspector import Inspector, RefusedError
from synap_frontend_onnx.protos import (
    STANDARD_DOMAINS,
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    ValueInfoProto,
    default_attributes,
    find_schema,
    has_body,
)

MAX_STEPS = 20_000
"""Nodes in functions and bodies that may be imported, repetitions included: a small file can ask for any number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is known of an output of a node, and wanted of it.

    Attributes:
        type: Its type, where the file or the analysis tells it.
        quant: What its integers mean, when it has to be given as real numbers that stand for them.
        present: It is wanted at all.
    """

    type: TensorType | None = None
    quant: QuantParams | None = None
    present: bool = True


class Interpreter:
    """Imports nodes of one model.

    Args:
        graph: The model.
        build: Emits.
        inspector: Finds the bodies of operators that are defined by others.
        stand_ins: The values that stand for stored integers.
    """

    def __init__(self, graph: Graph, build: GraphBuilder, inspector: Inspector, stand_ins: StandIns) -> None:
        self._graph = graph
        self._build = build
        self._inspector = inspector
        self._stand_ins = stand_ins
        self._functions: dict[FunctionKey, Block] = {}
        self._steps = 0

    def run_node(
        self, node: NodeProto, scope: Scope, block: Block, position: int, wanted: Sequence[Wanted] | None = None
    ) -> list[ir.Value | None]:
        """Import a node.

        Args:
            node: The node.
            scope: What its names stand for.
            block: The list of nodes it is in.
            position: Its place there.
            wanted: Its outputs; by default what the node itself tells.

        Returns:
            A value for each output; None for an absent one.

        Raises:
            UnsupportedError: It cannot be expressed.
            GraphError: It contradicts itself.
        """
        wanted = wanted or [Wanted(present=bool(name)) for name in node.output]
        domain = "" if node.domain in STANDARD_DOMAINS else node.domain
        bound = bound_attributes(node, scope.bindings)
        operands = [scope.find(name) for name in node.input]
        key = (domain, node.op_type, node.overload)
        if key in self._graph.functions:
            if key not in self._functions:
                self._functions[key] = Block.of_function(self._graph.functions[key])
            plain = [v and self._stand_ins.integers(v) for v in operands]
            return self._run_function(self._functions[key], plain, bound, scope, [item.present for item in wanted])
        if not domain and node.op_type == "Constant":
            return [self._constant(position, node, bound)]

        def run_body(attribute: str, arguments: Sequence[ir.Value], results: int) -> list[ir.Value]:
            graph = bound[attribute].g if attribute in bound else GraphProto()
            inner = block.inner(position, attribute, graph)
            if (len(inner.inputs), len(inner.outputs)) != (len(arguments), results):
                has = f"{len(inner.inputs)} inputs and {len(inner.outputs)} outputs"
                msg = f"its {attribute} has {has}; {len(arguments)} and {results} are needed"
                raise UnsupportedError(msg)
            return self._run_body(inner, arguments, scope.inside())

        call = Call(
            build=self._build,
            op_type=node.op_type,
            version=scope.versions(domain),
            inputs=operands,
            attributes={name: python_value(attribute) for name, attribute in bound.items()},
            quants=[self._stand_ins.quant(operand) for operand in operands],
            results=[item.type for item in wanted],
            present=[item.present for item in wanted],
            targets=[item.quant for item in wanted],
            run_body=run_body,
        )
        return self._converted(domain, call, bound, scope)

    def _converted(
        self, domain: str, call: Call, bound: Mapping[str, AttributeProto], scope: Scope
    ) -> list[ir.Value | None]:
        entry = find(domain, call.op_type, call.version)
        if entry is not None and entry.reason:
            raise UnsupportedError(entry.reason)
        if entry is None or not entry.quantized:
            call = self._with_plain_operands(call)
        if entry is not None and entry.convert is not None:
            found = entry.convert(call)
            return [found] if isinstance(found, ir.Value) else list(found)
        reason = self._obstacle(domain, call)
        if reason is None:
            return list(call.final(call.op_type, call.inputs, call.options()))
        body = self._body_of_operator(domain, call, bound)
        if body is None:
            raise reason
        bindings = {**default_attributes(domain, call.op_type, call.version), **bound}
        return self._run_function(Block.of_function(body), call.inputs, bindings, scope, call.present)

    def _with_plain_operands(self, call: Call) -> Call:
        if not any(call.quants):
            return call
        if any(call.targets):
            return replace(call, inputs=real_operands(call))
        return replace(call, inputs=[v and self._stand_ins.integers(v) for v in call.inputs], quants=())

    @staticmethod
    def _obstacle(domain: str, call: Call) -> UnsupportedError | None:
        """Why an operator without a converter cannot be emitted as it is."""
        if domain:
            return UnknownOperatorError(f"no importer for the operator {domain}.{call.op_type}")
        found = definition(call.op_type, call.version)
        if not found.since:
            return UnknownOperatorError(f"no importer for the operator {call.op_type}")
        dtypes = [None if value is None else type_of(value).dtype for value in call.inputs]
        reason = found.obstacle(call.op_type, call.attributes, dtypes)
        return None if reason is None else UnsupportedError(reason)

    def _body_of_operator(self, domain: str, call: Call, bound: Mapping[str, AttributeProto]) -> FunctionProto | None:
        schema = find_schema(call.op_type, call.version, domain)
        if schema is None or not has_body(schema):
            return None
        node = NodeProto(op_type=call.op_type, domain=domain, attribute=bound.values())
        node.input.extend("" if value is None else f"i{i}" for i, value in enumerate(call.inputs))
        node.output.extend(f"o{i}" if present else "" for i, present in enumerate(call.present))
        model = ModelProto(ir_version=10, opset_import=[OperatorSetIdProto(domain=domain, version=call.version)])
        model.graph.node.append(node)
        model.graph.input.extend(_described(f"i{i}", v) for i, v in enumerate(call.inputs) if v is not None)
        try:
            return next(iter(self._inspector.body(model).functions), None)
        except RefusedError:
            return None

    def _run_function(
        self,
        block: Block,
        operands: Sequence[ir.Value | None],
        bindings: Mapping[str, AttributeProto],
        scope: Scope,
        present: Sequence[bool],
    ) -> list[ir.Value | None]:
        """Import the body of a function.

        Args:
            block: The body.
            operands: Of the call.
            bindings: Attributes of the call and defaults.
            scope: Where the call is.
            present: Which results are wanted.
        """
        values = dict.fromkeys(block.inputs) | dict(zip(block.inputs, operands, strict=False))
        inner = scope.of_function(block, values, bindings)
        self._run_nodes(block, inner)
        return [inner.find(name) if given else None for name, given in zip(block.outputs, present, strict=False)]

    def _run_body(self, block: Block, arguments: Sequence[ir.Value], scope: Scope) -> list[ir.Value]:
        """Import a body of control flow."""
        scope.values |= dict(zip(block.inputs, arguments, strict=True))
        self._run_nodes(block, scope)
        results = [scope.find(name) for name in block.outputs]
        if None in results:
            msg = f"nothing computes {block.outputs[results.index(None)]!r}"
            raise UnsupportedError(msg)
        return [value for value in results if value is not None]

    def _run_nodes(self, block: Block, scope: Scope) -> None:
        self._spend(1 + len(block.nodes) + len(block.inputs) + len(block.outputs))
        scope.constants = block.constants(self._constants_of)
        for position, node in enumerate(block.nodes):
            values = self.run_node(node, scope, block, position)
            scope.values |= {n: v for n, v in zip(node.output, values, strict=False) if n and v is not None}

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            msg = f"functions and loops have more than {MAX_STEPS} operators, repetitions included"
            raise UnsupportedError(msg)

    def _constants_of(self, block: Block) -> dict[str, ir.Value]:
        tensors = list(block.initializers)
        tensors += [constant_of_node(i, node, self._graph.weights) for i, node in enumerate(block.constant_nodes)]
        return {tensor.name: self._build.tensor(constant_tensor(tensor, self._graph.weights)) for tensor in tensors}

    def _constant(self, position: int, node: NodeProto, bound: Mapping[str, AttributeProto]) -> ir.Value:
        copy = NodeProto(op_type=node.op_type, output=node.output, attribute=bound.values())
        tensor = constant_of_node(position, copy, self._graph.weights)
        return self._build.tensor(constant_tensor(tensor, self._graph.weights))


def _described(name: str, value: ir.Value) -> ValueInfoProto:
    found = type_of(value)
    info = ValueInfoProto(name=name)
    info.type.tensor_type.elem_type = int(found.dtype)
    return with_shape(info, found.shape)
