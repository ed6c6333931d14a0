"""Fully connected layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from synap_core.graph.annotations import quant_of, set_quant
from synap_core.graph.edit import Editor
from synap_core.graph.passes.permutations import inverse, permutation_of
from synap_core.graph.passes.rule import Rule
from synap_core.graph.passes.turning import bypass, bypass_refusal, operand_of, reshaped
from synap_core.graph.passes.values import (
    constant_operand,
    constant_quant,
    integer_of,
    is_real,
    needed_elsewhere,
    operand,
    quant_refusal,
    rearranged,
)
from synap_core.graph.types import shape_of, type_of


@dataclass(frozen=True, slots=True)
class Layer:
    """A product with constant weights and the sum behind it."""

    product: ir.Node
    sum: ir.Node
    bias: ir.Value


class MatMulAddToGemm(Rule[Layer]):
    """MatMul with constant weights and Add of a constant become Gemm; the numbers of both stay as they are stored.

    Not when the operand or the weights have not two dimensions, or the weights are computed; when the constant makes
    the result larger; when the product is a cut, a graph output, quantized or used elsewhere.
    """

    name: ClassVar[str] = "matmul-add-to-gemm"
    op_types: ClassVar[frozenset[str]] = frozenset({"Add"})

    def match(self, node: ir.Node, editor: Editor) -> Layer | None:
        """The product in front of a sum with a constant."""
        operands = constant_operand(node)
        product = None if operands is None else editor.producer(operands[0], "MatMul")
        if operands is None or product is None or not is_real(operands[0]):
            return None
        return Layer(product, node, operands[1])

    def check(self, found: Layer, editor: Editor) -> str | None:
        """Whether Gemm can do it."""
        value, weights = found.product.inputs
        if weights is None or weights.const_value is None:
            return "the weights are computed"
        if value is None or len(shape_of(value)) != 2 or len(shape_of(weights)) != 2:
            return "its operands have not two dimensions"
        if shape_of(found.sum.outputs[0]) != shape_of(found.product.outputs[0]):
            return "the constant makes the result larger"
        return needed_elsewhere(editor, found.product.outputs, {found.sum})

    def rewrite(self, found: Layer, editor: Editor) -> None:
        """Put a Gemm in the place of both."""
        old = found.sum.outputs[0]
        inputs = [*found.product.inputs, found.bias]
        new = editor.insert(found.sum, "Gemm", inputs, [type_of(old)], origins=[found.product, found.sum])
        editor.take_over(old, new.outputs[0])


@dataclass(frozen=True, slots=True)
class Flattened:
    """A fully connected layer on a transposed and flattened operand."""

    transpose: ir.Node
    flatten: ir.Node
    layer: ir.Node
    weights: ir.Value


class TransposeIntoWeights(Rule[Flattened]):
    """A transpose in front of a flattening and a fully connected layer goes: the weights are rearranged instead.

    Not when the weights are computed, or they or the flattened operand quantized by row; when the flattening leaves
    more than one row per item of the batch, or the transpose moves the batch; when the values between are cuts, graph
    outputs or used elsewhere, or quantized in another way than the operand.
    """

    name: ClassVar[str] = "transpose-into-weights"
    op_types: ClassVar[frozenset[str]] = frozenset({"Gemm", "MatMul"})

    def match(self, node: ir.Node, editor: Editor) -> Flattened | None:
        """The flattening and the transpose in front of it."""
        weights = operand(node, 1)
        flatten = editor.producer(node.inputs[0], "Flatten", "Reshape")
        transpose = None if flatten is None else editor.producer(flatten.inputs[0], "Transpose")
        if weights is None or flatten is None or transpose is None:
            return None
        return Flattened(transpose, flatten, node, weights)

    def check(self, found: Flattened, editor: Editor) -> str | None:
        """Whether the weights can take the order."""
        reason = _weights_refusal(found)
        if reason is not None:
            return reason
        turned, flat = found.transpose.outputs[0], found.flatten.outputs[0]
        if editor.only_user(turned) is None or editor.only_user(flat) is None:
            return f"{turned.name!r} or {flat.name!r} is needed as it is"
        return bypass_refusal(editor, found.transpose) or quant_refusal(editor, turned, quant_of(flat), flat)

    def rewrite(self, found: Flattened, editor: Editor) -> None:
        """Flatten in the order in front of the transpose."""
        layer, weights, flat = found.layer, found.weights, found.flatten.outputs[0]
        order = np.arange(shape_of(flat)[1]).reshape(shape_of(found.transpose.outputs[0])[1:])
        back = inverse(permutation_of(found.transpose))[1:]
        rows = order.transpose([axis - 1 for axis in back]).reshape(-1)
        quant, axis = constant_quant(weights), _row_axis(layer)
        moved = rearranged(editor, weights, lambda w: np.take(w, rows, axis), None if quant is None else quant.axis)
        source = reshaped(editor, bypass(found.transpose), shape_of(flat), before=found.flatten)
        set_quant(source, quant_of(flat) or quant_of(source))
        editor.replace_input(layer, 1, moved)
        editor.replace_input(layer, 0, source)


def _row_axis(layer: ir.Node) -> int:
    """Dimension of the weights along which products are summed."""
    return 1 if layer.op_type == "Gemm" and integer_of(layer, "transB", 0) else 0


def _weights_refusal(found: Flattened) -> str | None:
    layer, weights, flat = found.layer, found.weights, found.flatten.outputs[0]
    shape = shape_of(operand_of(found.transpose))
    if weights.const_value is None or len(shape_of(weights)) != 2:
        return "the weights are no constant of two dimensions"
    if permutation_of(found.transpose)[0] != 0 or integer_of(layer, "transA", 0):
        return "the batch is transposed, too"
    if len(shape_of(flat)) != 2 or shape_of(flat)[0] != shape[0]:
        return "the operand is not flattened to one row per item of the batch"
    for value, quant, axis in ((weights, constant_quant(weights), _row_axis(layer)), (flat, quant_of(flat), 1)):
        if quant is not None and quant.axis == axis:
            return f"{value.name!r} is quantized by row"
    return None
