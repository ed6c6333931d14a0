"""Functions of one tensor of integers, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from synap_core.api import TensorType, evaluate, quant_of, shape_of
from synap_delegate_npu.arithmetic.tables import looked_up, places
from synap_delegate_npu.operators.integers import is_narrow, same_integers
from synap_delegate_npu.program.body import Body
from synap_delegate_npu.program.operation import Form, Request, Tensor
from synap_delegate_npu.program.registry import operator

FUNCTIONS = (
    "Abs",
    "Add",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Div",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Log",
    "Max",
    "Min",
    "Mish",
    "Mul",
    "Neg",
    "PRelu",
    "Pow",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sub",
    "Tan",
    "Tanh",
)
"""Operators that compute each item from one item of each operand."""

MEMBERS = frozenset({*FUNCTIONS, "Identity"})

STORED = ("Mul", "Clip", "Cast", "Gather")
"""Operators by which the graph looks up a table of its own: integers out of real numbers, their ends, and the items."""

PLACE_TYPES = (ir.DataType.INT32, ir.DataType.INT64)

Array = np.ndarray


@operator(
    "Lookup",
    *FUNCTIONS,
    attributes={"function": "STRING: operators of real numbers that the table holds the results of, for information"},
)
def lookup(request: Request) -> Form | None:
    """A function of each item, as a table of the results for all integers.

    ``y = table[x]``, counted from the end of the table for ``x < 0``. The table holds ``round(f(x) / y_scale) +
    y_zero_point``, cut to the type, for the real number ``f(x)`` computed in float32 at least, and the zero point where
    there is no such number. Ties go away from zero, and to the even integer in models that are not defined by TFLite's
    kernels.

    Where the graph has such a table itself, whose places it computes from ``x``, it is this one.

    Source: TFLite ``LUTPopulate`` (kernels/internal/common.h).
    """
    return _stored_table(request) or _computed_table(request)


def _computed_table(request: Request) -> Form | None:
    value = _only_operand(request)
    if value is None or len(request.outputs) != 1:
        return None
    source, target = request.tensors[value], request.output
    if not is_narrow(source) or not is_narrow(target) or not _is_worth(source):
        return None
    real = _evaluated(request, value, source)
    if real is None:
        return None
    table = Tensor(
        name=f"{request.group.layer_id}/table",
        shape=real.shape,
        dtype=target.dtype,
        constant=_entries(real, target, to_even=not request.kernels),
    )
    return _form(request, source, table)


def _form(request: Request, source: Tensor, table: Tensor) -> Form:
    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        return [looked_up(body, inputs[1], inputs[0], source.shape)]

    function = " ".join(node.op_type for node in request.group.nodes)
    return Form(inputs=(source, table), attributes={"function": function}, lower=lower)


def _stored_table(request: Request) -> Form | None:
    """The form of a group that takes the integers of its operand for places of a table."""
    nodes = request.group.nodes
    if tuple(node.op_type for node in nodes) != STORED or any(node.domain for node in nodes):
        return None
    product, cut, cast, gather = nodes
    source, data, target = request.operand(0), request.operand(0, gather), request.output
    pairs = zip(pairwise(nodes), (0, 0, 1), strict=True)
    chained = all(later.inputs[place] is node.outputs[0] for (node, later), place in pairs)
    if not chained or len(request.outputs) != 1 or cast.attributes.get_int("to", 0) not in PLACE_TYPES:
        return None
    if source is None or data is None or not is_narrow(source) or int(source.zero_point):
        return None
    ends = [value for value in cut.inputs[1:] if value is not None]
    if len(ends) != 2 or not _is_number(product.inputs[1], 1 / float(source.scale)):
        return None
    if not all(_is_number(value, end) for value, end in zip(ends, source.limits, strict=True)):
        return None
    if data.constant is None or not is_narrow(data) or not is_narrow(target) or not same_integers(data, target):
        return None
    if data.shape != places(source.dtype).shape or gather.attributes.get_int("axis", 0) != 0:
        return None
    return _form(request, source, replace(data, quant=None))


def _is_number(value: ir.Value | None, number: float) -> bool:
    constant = None if value is None else value.const_value
    return constant is not None and constant.size == 1 and float(constant.numpy().reshape(())) == number


def _only_operand(request: Request) -> ir.Value | None:
    """The one tensor that a group computes with, item by item and without rounding in between."""
    nodes = request.group.nodes
    if any(node.domain or node.op_type not in MEMBERS or len(node.outputs) != 1 for node in nodes):
        return None
    computed = [value for value in request.operands if value.const_value is None]
    constants = [value for value in request.operands if value.const_value is not None]
    if len(computed) != 1 or any(np.prod(shape_of(value)) != 1 for value in constants):
        return None
    results = [node.outputs[0] for node in nodes]
    if any(shape_of(value) != shape_of(computed[0]) for value in results):
        return None
    inner = (value for value in results if value is not request.results[0])
    return None if any(quant_of(value) is not None for value in inner) else computed[0]


def _is_worth(source: Tensor) -> bool:
    """Whether a table has no more entries than the tensor has items; one of 256 always is."""
    return len(places(source.dtype)) <= max(int(np.prod(source.shape)), 1 << 8)


def _evaluated(request: Request, operand: ir.Value, source: Tensor) -> Array | None:
    """Results of a group for all integers, in the order of the table; None where they cannot be computed here."""
    integers = places(source.dtype) - int(source.zero_point)
    known: dict[ir.Value, Array] = {operand: (integers * float(source.scale)).astype(np.float32)}
    for node in request.group.nodes:
        tensors = [None if value is None else ir.Tensor(_items(value, known)) for value in node.inputs]
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        found = evaluate(node.op_type, tensors, attributes, [TensorType(ir.DataType.FLOAT, integers.shape)])
        if found is None:
            return None
        known[node.outputs[0]] = found[0].numpy()
    return known[request.results[0]]


def _items(value: ir.Value, known: dict[ir.Value, Array]) -> Array:
    if value in known:
        return known[value]
    if value.const_value is None:
        msg = f"{value.name!r} is not an input of the operation"
        raise ValueError(msg)
    return value.const_value.numpy().reshape(())


def _entries(real: Array, target: Tensor, *, to_even: bool) -> Array:
    low, high = target.limits
    steps = np.nan_to_num(real.astype(np.float64) / float(target.scale), nan=0.0, posinf=np.inf, neginf=-np.inf)
    rounded = np.rint(steps) if to_even else np.sign(steps) * np.floor(np.abs(steps) + 0.5)
    return np.asarray(np.clip(rounded + int(target.zero_point), low, high), target.dtype)
