"""Several bottoms that become one blob, and blobs that pass as they are."""

from __future__ import annotations

import onnx_ir as ir

from synap_core.api import shape_of
from synap_frontend_caffe.importer.call import Call
from synap_frontend_caffe.importer.ops.parameters import linear, same_shapes
from synap_frontend_caffe.importer.registry import UnsupportedError, layer

PROD, SUM, MAX = 0, 1, 2
"""Numbers of ``EltwiseOp``."""


@layer("Eltwise", least=2, most=None)
def eltwise(call: Call) -> ir.Value:
    """Product, largest item, or sum with coefficients of blobs of one shape."""
    options = call.parameters("eltwise_param")
    same_shapes(call.bottoms)
    coefficients = list(options.coeff)
    if coefficients and options.operation != SUM:
        msg = f"coefficients ({len(coefficients)} coeff) for a product or a maximum; only a sum has them"
        raise UnsupportedError(msg)
    if coefficients and len(coefficients) != len(call.bottoms):
        msg = f"{len(coefficients)} coeff for {len(call.bottoms)} bottoms; there must be one for each"
        raise UnsupportedError(msg)
    if options.operation == SUM:
        return _weighted(call, coefficients or [1.0] * len(call.bottoms))
    found = call.bottom()
    for other in call.bottoms[1:]:
        found = call.emit({PROD: "Mul", MAX: "Max"}[options.operation], found, other)
    return found


def _weighted(call: Call, coefficients: list[float]) -> ir.Value:
    found = linear(call, call.bottom(), coefficients[0], 0.0)
    for other, coefficient in zip(call.bottoms[1:], coefficients[1:], strict=True):
        if coefficient == -1:
            found = call.emit("Sub", found, other)
        else:
            found = call.emit("Add", found, linear(call, other, coefficient, 0.0))
    return found


@layer("Concat", most=None)
def concat(call: Call) -> ir.Value:
    """Blobs behind each other along an axis."""
    options, x = call.parameters("concat_param"), call.bottom()
    axis = call.axis(options.concat_dim if options.HasField("concat_dim") else options.axis, x)
    shapes = [shape_of(value) for value in call.bottoms]
    others = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    if len(others) > 1 or len({len(shape) for shape in shapes}) > 1:
        msg = f"bottoms of the shapes {', '.join(str(list(shape)) for shape in shapes)} behind each other along {axis}"
        raise UnsupportedError(msg)
    return x if len(shapes) == 1 else call.emit("Concat", *call.bottoms, axis=axis)


@layer("Dropout")
def dropout(call: Call) -> ir.Value:
    """Nothing but in training."""
    return call.bottom()


@layer("Split")
def split(call: Call) -> list[ir.Value]:
    """The same blob under several names."""
    return [call.bottom()] * call.tops
