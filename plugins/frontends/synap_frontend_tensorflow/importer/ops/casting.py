"""Other element types, and numbers turned into places."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_frontend_tensorflow import schema
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.operands import axis_of, converted, single_integer
from synap_frontend_tensorflow.importer.ops.reshaping import keeps_quant, reshaped, widened, within_limit
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator
from synap_frontend_tensorflow.importer.whole import ELEMENT_TYPES


@operator("Cast")
def cast_(call: Call) -> ir.Value:
    """Another element type: real numbers lose what is behind the point, and only zero is false."""
    x, number = call.input(0), call.kind("DstT")
    wanted = ELEMENT_TYPES.get(number)
    if wanted is None or type_of(x).dtype not in ELEMENT_TYPES.values():
        msg = f"{type_of(x).dtype.name} turned into {schema.dtype_name(number)}"
        raise UnsupportedError(msg)
    narrows = wanted.is_floating_point() and wanted.itemsize < type_of(x).dtype.itemsize
    if call.flag("Truncate", default=False) and narrows and type_of(x).dtype.is_floating_point():
        msg = f"{type_of(x).dtype.name} cut off, not rounded, to {wanted.name}"
        raise UnsupportedError(msg)
    return converted(call, x, wanted)


@operator("OneHot")
def one_hot(call: Call) -> ir.Value:
    """One item (operand 2) at the place that an index names along a new dimension, another (operand 3) elsewhere.

    An index that is out of range names no place; the canonical OneHot would count a negative one from the end.
    """
    indices, depth, shape = call.input(0), single_integer(call, 1), shape_of(call.input(0))
    axis = axis_of(call.integer("axis", -1), len(shape) + 1)
    if depth < 0 or not type_of(indices).dtype.is_integer():
        msg = f"{depth} places for indices of {type_of(indices).dtype.name}"
        raise UnsupportedError(msg)
    within_limit(depth)
    spread = reshaped(call, converted(call, indices, ir.DataType.INT64), [*shape[:axis], 1, *shape[axis:]])
    places = np.arange(depth, dtype=np.int64).reshape(-1, *[1] * (len(shape) - axis))
    here = call.emit("Equal", spread, call.build.constant(places))
    on, off = (reshaped(call, call.input(position), ()) for position in (2, 3))
    return keeps_quant(on, widened(call, lambda *both: call.emit("Where", here, *both), on, off))
