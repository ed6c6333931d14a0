"""Convolutions of integers, and products of matrices by constants."""

from __future__ import annotations

import onnx_ir as ir

from synap_delegate_npu.arithmetic.products import Apply
from synap_delegate_npu.operators.products import RESCALING, product_of
from synap_delegate_npu.program.body import Attributes, Body
from synap_delegate_npu.program.operation import Form, Request
from synap_delegate_npu.program.registry import operator

GEOMETRY = {
    "strides": "INTS: steps of the kernel along each spatial axis",
    "pads": "INTS: items of value zero in front of, then behind each spatial axis",
    "dilations": "INTS: distance of the kernel's items along each spatial axis",
    "group": "INT: groups that channels are divided into",
}


@operator("Convolution", "Conv", attributes={**GEOMETRY, **RESCALING})
def convolution(request: Request) -> Form | None:
    """Convolution of integers with constant weights, bias and activation.

    ``sum = bias + sum((x - x_zero_point) * (w - w_zero_point))`` over the kernel;
    ``y = clamp(y_zero_point + rescale(sum, multiplier, shift), low, high)``, by the word in ``rounding``:

    - ``once``: ``floor(sum * multiplier * 2**(shift - 31) + 1/2)``
    - ``twice``: ``a = floor((sum << max(shift, 0)) * multiplier * 2**-31 + 1/2)``, then ``a * 2**min(shift, 0)`` to the
      nearest, ties away from zero
    - ``short``: as ``once``, with the nearest multiplier of 15 bits (32767 at the most) and ``2**(shift - 15)``
    - ``real``: ``sum * multiplier * 2**(shift - 53)``, rounded to float64, then to the nearest, ties away from zero

    Layers of quantized TFLite models are rounded as their reference kernels do. In all others, and where all steps are
    powers of two, results are the nearest, ties towards plus infinity (``once``, or ``short``, which then is the same).

    An activation that does more than cut is computed from ``x_scale * w_scale * sum`` in float32, and the result is
    divided by ``y_scale`` and rounded. A MaxPool behind it takes the largest results.
    """
    return _convolved(request, axis=0)


@operator("Deconvolution", "ConvTranspose", attributes={**GEOMETRY, "output_padding": "INTS: more items", **RESCALING})
def deconvolution(request: Request) -> Form | None:
    """Transposed convolution of integers with constant weights, bias and activation; computes as a convolution."""
    groups = request.node.attributes.get_int("group", 1)
    return _convolved(request, axis=1) if groups == 1 else None


@operator("FullyConnected", "Gemm", "MatMul", attributes={"transB": "INT: 1 for weights [N, K]", **RESCALING})
def fully_connected(request: Request) -> Form | None:
    """Product of integers ``[…, K]`` by constant weights ``[K, N]``, with bias and activation; as a convolution.

    Fully connected layers of TFLite are rounded as ``real``.
    """
    node = request.node
    transposed = node.attributes.get_int("transB", 0)
    plain = node.attributes.get_float("alpha", 1.0) == node.attributes.get_float("beta", 1.0) == 1.0
    found = product_of(request, axis=0 if transposed else -1)
    if found is None or not plain or node.attributes.get_int("transA", 0) != 0:
        return None
    if len(found.weights.shape) != 2 or len(found.data.shape) < 2:
        return None

    def applying(body: Body) -> Apply:
        def multiply(data: ir.Value, weights: ir.Value, bias: ir.Value | None) -> ir.Value:
            if node.op_type == "Gemm":
                return body.op("Gemm", data, weights, *(() if bias is None else (bias,)), transB=transposed)
            made = body.op("MatMul", data, weights)
            return made if bias is None else body.op("Add", made, bias)

        return multiply

    return found.form(applying, {"transB": transposed})


def _convolved(request: Request, axis: int) -> Form | None:
    found = product_of(request, axis)
    if found is None:
        return None
    node = request.node
    geometry: Attributes = {
        key: node.attributes[key].value for key in (*GEOMETRY, "output_padding", "auto_pad") if key in node.attributes
    }

    def applying(body: Body) -> Apply:
        # ONNX Runtime has no fast convolution for one whose bias is named and missing.
        return lambda data, weights, bias: body.op(
            node.op_type, data, weights, *(() if bias is None else (bias,)), **geometry
        )

    return found.form(applying, geometry)
