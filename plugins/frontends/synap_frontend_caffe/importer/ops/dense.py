"""Fully connected layers, and tables of vectors."""

from __future__ import annotations

import math

import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_caffe.importer.call import Call
from synap_frontend_caffe.importer.ops.parameters import reshaped, weights
from synap_frontend_caffe.importer.registry import layer


@layer("InnerProduct")
def inner_product(call: Call) -> ir.Value:
    """All items from an axis on as one row, times weights ``[out, in]``, or ``[in, out]`` when they are transposed."""
    options, x = call.parameters("inner_product_param"), call.bottom()
    axis, out = call.axis(options.axis, x), int(options.num_output)
    shape = shape_of(x)
    depth = math.prod(shape[axis:])
    arrays = weights(
        call,
        weights=(depth, out) if options.transpose else (out, depth),
        bias=(out,) if options.bias_term else None,
    )
    rows = reshaped(call, x, (math.prod(shape[:axis]), depth))
    turned = {} if options.transpose else {"transB": 1}
    product = call.emit("Gemm", rows, *(call.constant(array) for array in arrays), **turned)
    return reshaped(call, product, (*shape[:axis], out))


@layer("Embed")
def embed(call: Call) -> ir.Value:
    """Rows of a table ``[in, out]`` by their numbers, which are float32; the bias is part of the rows."""
    options, x = call.parameters("embed_param"), call.bottom()
    out, depth = int(options.num_output), int(options.input_dim)
    arrays = weights(call, weights=(depth, out), bias=(out,) if options.bias_term else None)
    table = arrays[0] + arrays[1] if options.bias_term else arrays[0]
    return call.emit("Gather", call.constant(table), call.emit("Cast", x, to=int(ir.DataType.INT64)), axis=0)
