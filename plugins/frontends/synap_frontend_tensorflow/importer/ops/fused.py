"""Operators that TensorFlow's own optimiser made of several: a product, what is added to it and an activation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.layout import layout_of
from synap_frontend_tensorflow.importer.operands import REAL, operands
from synap_frontend_tensorflow.importer.ops.activation import activated
from synap_frontend_tensorflow.importer.ops.convolution import convolved, depthwise_convolved
from synap_frontend_tensorflow.importer.ops.dense import bias_of, product
from synap_frontend_tensorflow.importer.ops.normalisation import normalised
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator

SECOND = {"BiasAdd": 1, "FusedBatchNorm": 4}
"""What may come first behind the product, and how many operands it has."""


@operator("_FusedConv2D")
def fused_conv_2d(call: Call) -> ir.Value:
    """Convolution with a bias or a batch normalisation and perhaps an activation function."""
    layout = layout_of(call)
    return layout.left(call, _extended(call, convolved(call, layout)))


@operator("_FusedDepthwiseConv2dNative")
def fused_depthwise_conv_2d(call: Call) -> ir.Value:
    """Convolution of each channel for itself with what may be behind a `_FusedConv2D`."""
    layout = layout_of(call)
    return layout.left(call, _extended(call, depthwise_convolved(call, layout)))


@operator("_FusedMatMul")
def fused_matmul(call: Call) -> ir.Value:
    """Product of two matrices with a bias and perhaps an activation function."""
    return _extended(call, product(call))


@operator("_FusedBatchNormEx")
def fused_batch_norm_ex(call: Call) -> ir.Value:
    """Batch normalisation, perhaps with a sum and an activation function behind it."""
    side, name = call.integer("num_side_inputs", 0), call.text("activation_mode", "Identity")
    if call.flag("is_training", default=True) or side not in (0, 1) or len(call.tensors) > 1:
        msg = f"it normalises by statistics of its own batch, or gives them, or has {side} operands to add"
        raise UnsupportedError(msg)
    layout = layout_of(call)
    found = layout.left(call, normalised(call, layout.entered(call, operands(call, REAL, 0)[0])))
    total = call.emit("Add", found, operands(call, REAL, 0, 5)[1]) if side else found
    return total if name == "Identity" else activated(call, name, total)


def _extended(call: Call, value: ir.Value) -> ir.Value:
    """A product, whose channels are second, with what the attribute ``fused_ops`` names behind it."""
    first, *rest = _words(call, "fused_ops") or [""]
    if first not in SECOND or len(rest) > 1 or len(call.inputs) != 2 + SECOND[first]:
        msg = f"a product fused with {' and '.join([first, *rest])} of {len(call.inputs) - 2} operands"
        raise UnsupportedError(msg)
    known: dict[str, Callable[[], ir.Value]] = {
        "BiasAdd": lambda: call.emit("Add", value, bias_of(call, 2, value, 1)),
        "FusedBatchNorm": lambda: normalised(call, value, 2),
    }
    found = known[first]()
    if not rest:
        return found
    if rest == ["LeakyRelu"]:
        return call.emit("LeakyRelu", found, alpha=call.number("leakyrelu_alpha", 0.2))
    return activated(call, rest[0], found)


def _words(call: Call, attribute: str) -> Sequence[str]:
    """An attribute that is a list of words; empty when it is absent."""
    if attribute not in call.node.attr:
        return []
    return [word.decode("utf-8", "replace") for word in call.node.attr[attribute].list.s]
