"""Batch normalisation, and arithmetic with one constant per channel, behind layers that have weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from synap_core.graph.build import constant_of
from synap_core.graph.edit import Attributes, Editor
from synap_core.graph.passes.rule import Rule
from synap_core.graph.passes.values import (
    constant_operand,
    constant_quant,
    float_of,
    integer_of,
    is_real,
    needed_elsewhere,
    operand,
)
from synap_core.graph.types import shape_of, type_of

Array = np.ndarray


@dataclass(frozen=True, slots=True)
class Affine:
    """``scale * x + shift`` in float64, one item of each per channel; None stands for 1 and 0."""

    scale: Array | None = None
    shift: Array | None = None


@dataclass(frozen=True, slots=True)
class Scaled:
    """A layer with weights, and the node behind it.

    Attributes:
        layer: One of the operators of `_FOLDERS`.
        node: What is to become part of its weights.
        affine: What that computes, or why it cannot be folded.
    """

    layer: ir.Node
    node: ir.Node
    affine: Affine | str


@dataclass(frozen=True, slots=True)
class Weights:
    """A layer after folding: operator, attributes that change, second and third operand."""

    op_type: str
    first: Array | ir.Value
    second: Array | ir.Value | None
    attributes: Mapping[str, float] = field(default_factory=dict)


class FoldScale(Rule[Scaled]):
    """BatchNormalization, or Mul, Add, Sub or Div with a constant per channel, becomes part of weights and bias.

    The layer in front is a Conv, ConvTranspose, Gemm, MatMul, or a BatchNormalization or LayerNormalization with its
    own scale and shift. The new weights are computed in float64 and rounded once.

    Not when the value between them is a cut, a graph output, quantized or used elsewhere; when weights or constants
    are computed, quantized or to be; when the constant has more than one item per channel, or makes the result larger;
    when a constant is divided by the value; when a number leaves the range of the type; when a MatMul of more than two
    dimensions would need a bias; when BatchNormalization trains. A BatchNormalization without such a layer in front
    stays: two operators would take its place.
    """

    name: ClassVar[str] = "fold-scale"
    op_types: ClassVar[frozenset[str]] = frozenset({"Add", "BatchNormalization", "Div", "Mul", "Sub"})

    def __init__(self) -> None:
        self._weights: Weights | None = None

    def match(self, node: ir.Node, editor: Editor) -> Scaled | None:
        """A layer and arithmetic with constants behind it."""
        value = _scaled_value(node)
        layer = editor.producer(value, *_FOLDERS)
        if value is None or layer is None or not is_real(value):
            return None
        return Scaled(layer, node, _affine(node, value, layer))

    def check(self, found: Scaled, editor: Editor) -> str | None:
        """Whether the weights can take it; computes them."""
        if isinstance(found.affine, str):
            return found.affine
        reason = needed_elsewhere(editor, found.layer.outputs, {found.node}) or _constants_refusal(found)
        if reason is not None:
            return reason
        with np.errstate(over="ignore", invalid="ignore"):
            self._weights = _FOLDERS[found.layer.op_type](found.layer, found.affine)
        arrays = (self._weights.first, self._weights.second)
        fits = all(np.isfinite(array).all() for array in arrays if isinstance(array, np.ndarray))
        return None if fits else "a number leaves the range of the type"

    def rewrite(self, found: Scaled, editor: Editor) -> None:
        """Put a layer with other weights in the place of both."""
        new, layer, old = self._weights, found.layer, found.node.outputs[0]
        if new is None:
            return
        constants = [editor.constant(c) if isinstance(c, np.ndarray) else c for c in (new.first, new.second)]
        inputs = [layer.inputs[0], *constants, *layer.inputs[3:]]
        attributes: Attributes = {**layer.attributes, **new.attributes}
        node = editor.insert(found.node, new.op_type, inputs, [type_of(old)], attributes, origins=[layer, found.node])
        editor.take_over(old, node.outputs[0])


def _scaled_value(node: ir.Node) -> ir.Value | None:
    if node.op_type == "BatchNormalization":
        return node.inputs[0]
    operands = constant_operand(node)
    return None if operands is None else operands[0]


def _channel_axes(layer: ir.Node) -> tuple[int, ...]:
    """Dimensions of the result that weights and bias have a number for."""
    rank = len(shape_of(layer.outputs[0]))
    if layer.op_type in ("Gemm", "MatMul"):
        return (rank - 1,)
    if layer.op_type == "LayerNormalization":
        return tuple(range(integer_of(layer, "axis", -1) % rank, rank))
    return (1,)


def _affine(node: ir.Node, value: ir.Value, layer: ir.Node) -> Affine | str:
    axes = _channel_axes(layer)
    if any(other is not None and constant_quant(other) is not None for other in node.inputs if other is not value):
        return "the constant is quantized"
    if node.op_type == "BatchNormalization":
        return _normalisation(node, axes)
    if shape_of(node.outputs[0]) != shape_of(value):
        return "the constant makes the result larger"
    reverse = node.inputs[1] is value
    number = _per_channel(node.inputs[0 if reverse else 1], shape_of(value), axes)
    if number is None:
        return "the constant is not one number per channel"
    return _arithmetic(node.op_type, number, reverse=reverse)


def _arithmetic(op_type: str, number: Array, *, reverse: bool) -> Affine | str:
    if op_type == "Add":
        return Affine(shift=number)
    if op_type == "Mul":
        return Affine(scale=number)
    if op_type == "Sub":
        return Affine(scale=np.full_like(number, -1), shift=number) if reverse else Affine(shift=-number)
    if reverse:
        return "a constant is divided by the value"
    with np.errstate(divide="ignore"):
        return Affine(scale=1 / number)


def _normalisation(node: ir.Node, axes: tuple[int, ...]) -> Affine | str:
    if axes != (1,):
        return "another dimension is normalised"
    if integer_of(node, "training_mode", 0):
        return "it trains"
    constants = [constant_of(value) for value in node.inputs[1:5]]
    scale, shift, mean, variance = (None if array is None else array.astype(np.float64) for array in constants)
    if scale is None or shift is None or mean is None or variance is None:
        return "its parameters are computed"
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = scale / np.sqrt(variance + float_of(node, "epsilon", 1e-5))
        return Affine(factor, shift - mean * factor)


def _per_channel(value: ir.Value | None, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array | None:
    """A constant as one number per channel; None when it changes along other dimensions, too."""
    array = constant_of(value)
    if array is None or array.ndim > len(shape):
        return None
    array = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    if any(dim != 1 for axis, dim in enumerate(array.shape) if axis not in axes):
        return None
    channels = tuple(shape[axis] for axis in axes)
    kept = array.reshape([array.shape[axis] for axis in axes])
    return np.broadcast_to(kept, channels).astype(np.float64)


def _constants_refusal(found: Scaled) -> str | None:
    layer = found.layer
    for value in layer.inputs[1:]:
        if value is not None and value.const_value is None:
            return "its weights are computed"
        if value is not None and constant_quant(value) is not None:
            return "its weights are quantized"
    if layer.op_type != "MatMul":
        return None
    ranks = [len(shape_of(value)) for value in layer.inputs if value is not None]
    shifts = isinstance(found.affine, Affine) and found.affine.shift is not None
    return None if ranks[1] >= 2 and (not shifts or ranks == [2, 2]) else "MatMul has no bias for it"


def _scaled(value: ir.Value | None, affine: Affine, change: Callable[[Array, Array], Array]) -> Array | ir.Value:
    """Weights multiplied with the scale, which ``change`` brings into their shape."""
    array = constant_of(value)
    if value is None or array is None:
        return np.zeros(0)
    if affine.scale is None:
        return value
    return np.asarray(change(array.astype(np.float64), affine.scale), array.dtype)


def _bias(layer: ir.Node, affine: Affine, factor: float = 1.0) -> Array | ir.Value | None:
    value, weights = operand(layer, 2), constant_of(operand(layer, 1))
    if weights is None or (value is None and affine.shift is None):
        return None
    array = constant_of(value)
    bias = np.float64(0) if array is None else array.astype(np.float64) * factor
    scaled = bias if affine.scale is None else bias * affine.scale
    return np.asarray(scaled if affine.shift is None else scaled + affine.shift).astype(weights.dtype)


def _convolution(layer: ir.Node, affine: Affine) -> Weights:
    first = _scaled(layer.inputs[1], affine, lambda w, scale: w * scale.reshape(-1, *[1] * (w.ndim - 1)))
    return Weights("Conv", first, _bias(layer, affine))


def _deconvolution(layer: ir.Node, affine: Affine) -> Weights:
    """Weights are ``(C, M / group, ...)``: a group has its own rows and, of the result, its own channels."""
    groups = integer_of(layer, "group", 1)

    def change(weights: Array, scale: Array) -> Array:
        grouped = weights.reshape(groups, -1, *weights.shape[1:])
        factors = scale.reshape(groups, 1, -1, *[1] * (weights.ndim - 2))
        return np.asarray(grouped * factors).reshape(weights.shape)

    return Weights("ConvTranspose", _scaled(layer.inputs[1], affine, change), _bias(layer, affine))


def _gemm(layer: ir.Node, affine: Affine) -> Weights:
    """``alpha * x * w + beta * bias``: beta becomes part of the bias."""
    turned = integer_of(layer, "transB", 0)
    first = _scaled(layer.inputs[1], affine, lambda w, scale: w * (scale[:, None] if turned else scale))
    return Weights("Gemm", first, _bias(layer, affine, float_of(layer, "beta", 1.0)), {"beta": 1.0})


def _matmul(layer: ir.Node, affine: Affine) -> Weights:
    first = _scaled(layer.inputs[1], affine, lambda w, scale: w * scale)
    bias = _bias(layer, affine)
    return Weights("MatMul" if bias is None else "Gemm", first, bias)


def _norm(layer: ir.Node, affine: Affine) -> Weights:
    first = _scaled(layer.inputs[1], affine, lambda w, scale: w * scale)
    return Weights(layer.op_type, first, _bias(layer, affine))


_FOLDERS: dict[str, Callable[[ir.Node, Affine], Weights]] = {
    "BatchNormalization": _norm,
    "Conv": _convolution,
    "ConvTranspose": _deconvolution,
    "Gemm": _gemm,
    "LayerNormalization": _norm,
    "MatMul": _matmul,
}
