"""Operators that ONNX Runtime adds when it optimises or quantizes a model.

Source: ``docs/ContribOperators.md`` of ONNX Runtime.
"""

from __future__ import annotations

import functools

import onnx_ir as ir

from synap_core.api import Attribute, shape_of
from synap_frontend_onnx.importer.call import Call
from synap_frontend_onnx.importer.ops.elementwise import gelu_exact, gelu_tanh, sigmoid_gated
from synap_frontend_onnx.importer.ops.pooling import pool_options
from synap_frontend_onnx.importer.ops.reduction import softmax_over
from synap_frontend_onnx.importer.quantized_call import product_bias, real_operand, stored_result
from synap_frontend_onnx.importer.registry import MICROSOFT, UnsupportedError
from synap_frontend_onnx.importer.registry import operator as any_operator

operator = functools.partial(any_operator, since=1, domain=MICROSOFT)

ACTIVATION_PARAMETERS = {
    "Relu": (),
    "Tanh": (),
    "Sigmoid": (),
    "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Clip": ("min", "max"),
}
"""Activations that products take along, and what their parameters are in order."""


@operator("Gelu")
def gelu(call: Call) -> ir.Value:
    """With the error function."""
    return gelu_exact(call, call.input(0))


@operator("BiasGelu")
def bias_gelu(call: Call) -> ir.Value:
    """With the error function, of a sum."""
    return gelu_exact(call, call.emit("Add", call.input(0), call.input(1)))


@operator("FastGelu")
def fast_gelu(call: Call) -> ir.Value:
    """With the hyperbolic tangent, maybe of a sum."""
    x, bias = call.input(0), call.optional(1)
    return gelu_tanh(call, x if bias is None else call.emit("Add", x, bias))


@operator("QuickGelu")
def quick_gelu(call: Call) -> ir.Value:
    """``x * sigmoid(alpha * x)``."""
    return sigmoid_gated(call, call.input(0), call.number("alpha", 1.702))


@operator("FusedConv")
def fused_conv(call: Call) -> ir.Value:
    """A convolution, a sum, and an activation."""
    options = {name: value for name, value in call.options().items() if not name.startswith("activation")}
    found = call.build.emit("Conv", call.inputs[:3], options)
    if call.optional(3) is not None:
        found = call.emit("Add", found, call.input(3))
    return _activated(call, found, call.numbers("activation_params") or [])


@operator("FusedGemm")
def fused_gemm(call: Call) -> ir.Value:
    """A product and an activation."""
    found = call.emit("Gemm", *call.inputs, **call.options("alpha", "beta", "transA", "transB"))
    names = ("activation_alpha", "activation_beta")
    return _activated(call, found, [call.number(name, 0.0) for name in names if name in call.attributes])


def _activated(call: Call, x: ir.Value, parameters: list[float]) -> ir.Value:
    name = call.text("activation", "")
    if not name:
        return x
    if name not in ACTIVATION_PARAMETERS or len(parameters) > len(ACTIVATION_PARAMETERS[name]):
        msg = f"its activation {name!r} with {len(parameters)} parameters"
        raise UnsupportedError(msg)
    given: dict[str, Attribute] = dict(zip(ACTIVATION_PARAMETERS[name], parameters, strict=False))
    if name != "Clip":
        return call.emit(name, x, **given)
    return call.emit("Clip", x, *(call.scalar(limit, x) for limit in parameters))


@operator("FusedMatMul")
def fused_matmul(call: Call) -> ir.Value:
    """A product of transposed operands, scaled."""
    if call.integer("transBatchA", 0) or call.integer("transBatchB", 0):
        msg = "it transposes batches"
        raise UnsupportedError(msg)
    operands = []
    for place, name in enumerate(("transA", "transB")):
        value, rank = call.input(place), len(call.shape(place))
        if call.integer(name, 0) and rank > 1:
            value = call.emit("Transpose", value, perm=[*range(rank - 2), rank - 1, rank - 2])
        operands.append(value)
    found, alpha = call.emit("MatMul", *operands), call.number("alpha", 1.0)
    return found if alpha == 1.0 else call.emit("Mul", found, call.scalar(alpha, found))


@operator("QLinearAdd", quantized=True)
def qlinear_add(call: Call) -> ir.Value:
    """A sum of real numbers."""
    return stored_result(call, call.emit("Add", real_operand(call, 0), real_operand(call, 3)), 6)


@operator("QLinearMul", quantized=True)
def qlinear_mul(call: Call) -> ir.Value:
    """A product of real numbers."""
    return stored_result(call, call.emit("Mul", real_operand(call, 0), real_operand(call, 3)), 6)


@operator("QGemm", quantized=True)
def qgemm(call: Call) -> ir.Value:
    """A product of matrices of real numbers; the result is one of real numbers, too, when it has no scale."""
    if call.number("alpha", 1.0) != 1.0:
        msg = "it scales the product"
        raise UnsupportedError(msg)
    weights = real_operand(call, 3, axis=0 if call.integer("transB", 0) else 1)
    found = call.emit("Gemm", real_operand(call, 0), weights, product_bias(call, 6), **call.options("transA", "transB"))
    return found if call.optional(7) is None else stored_result(call, found, 7)


@operator("QLinearAveragePool", quantized=True)
@operator("QLinearGlobalAveragePool", quantized=True)
def qlinear_pool(call: Call) -> ir.Value:
    """Averages of real numbers."""
    if call.integer("channels_last", 0):
        msg = "its channels are last"
        raise UnsupportedError(msg)
    options = call.options() if "Global" in call.op_type else pool_options(call, overhang_counts=True)
    options.pop("channels_last", None)
    return stored_result(call, call.emit(call.op_type.removeprefix("QLinear"), real_operand(call, 0), **options), 3)


@operator("QLinearSigmoid", quantized=True)
@operator("QLinearLeakyRelu", quantized=True)
def qlinear_activation(call: Call) -> ir.Value:
    """An activation of real numbers."""
    name = call.op_type.removeprefix("QLinear")
    return stored_result(call, call.emit(name, real_operand(call, 0), **call.options("alpha")), 3)


@operator("QLinearSoftmax", quantized=True)
def qlinear_softmax(call: Call) -> ir.Value:
    """Softmax of real numbers, as in the operator set that an attribute names."""
    x, axis = real_operand(call, 0), call.axis("axis", -1)
    if call.integer("opset", 13) >= 13:
        return stored_result(call, call.emit("Softmax", x, axis=axis), 3)
    return stored_result(call, softmax_over(call, "Softmax", x, axis), 3)


@operator("QLinearConcat", quantized=True)
def qlinear_concat(call: Call) -> ir.Value:
    """Real numbers side by side."""
    operands = [real_operand(call, place) for place in range(2, len(call.inputs), 3)]
    if not operands:
        msg = "it has no operands"
        raise UnsupportedError(msg)
    axis, rank = call.integer("axis", 0), len(shape_of(operands[0]))
    return stored_result(call, call.emit("Concat", *operands, axis=axis % max(rank, 1)), 0)
