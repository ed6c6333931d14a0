"""From a toy model to the canonical graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from synap_core.api import GraphBuilder, Layer, LayerSupport, OperatorSupport, Origin, Slice, State, shape_of, type_of
from synap_toy.text import OPERATORS, Operation, ToyText

ELEMENT_TYPES = {"float32": ir.DataType.FLOAT, "float16": ir.DataType.FLOAT16}

UNDEFINED = "the toy format does not define this operator"


def operators() -> tuple[OperatorSupport, ...]:
    """What the format defines; all of it can be imported."""
    return tuple(OperatorSupport(name=name, status="imported") for name in OPERATORS)


def layer_support(layer: Layer) -> LayerSupport:
    """What becomes of a layer."""
    if layer.type in OPERATORS:
        return LayerSupport(layer=layer, status="imported")
    return LayerSupport(layer=layer, status="unknown", reason=UNDEFINED)


def import_part(text: ToyText, part: Slice) -> ir.Model:
    """Build the canonical graph of some layers."""
    build = GraphBuilder("toy", text.tensors)
    values: dict[str, ir.Value] = {}
    for name in part.inputs:
        kind = text.tensors[name]
        values[name] = build.input(name, ELEMENT_TYPES[kind.dtype], (1, *kind.shape[1:]), source=name)
    states: list[ir.Value] = []
    for layer in part.layers:
        step = text.operations[layer.index or 0]
        with build.layer(Origin(layer.name, layer.type, layer.index or 0)):
            value = _computed(build, layer, step, [values[name] for name in step.operands], states)
            values[step.name] = build.name_value(value, step.name, step.name)
    outputs = [values[name] for name in part.outputs]
    return build.finish([*outputs, *states])


def _computed(
    build: GraphBuilder, layer: Layer, step: Operation, operands: Sequence[ir.Value], states: list[ir.Value]
) -> ir.Value:
    kind = type_of(operands[0])
    match step.operator:
        case "scale":
            factor = build.constant(np.asarray(step.numbers[0], kind.dtype.numpy()))
            return build.emit("Mul", [operands[0], factor])
        case "add":
            return build.emit("Add", operands)
        case "accumulate":
            old = build.input(build.unused_name(f"{step.name}/old"), kind.dtype, shape_of(operands[0]))
            total = build.emit("Add", [old, operands[0]])
            new = build.alias(total, build.unused_name(f"{step.name}/new"))
            first = ir.Tensor(np.zeros(kind.shape, kind.dtype.numpy()))
            build.add_state(State(step.name, str(old.name), str(new.name), first))
            states.append(new)
            return total
    return build.opaque(layer.type, operands, [kind], UNDEFINED)[0]
