"""Interpolation whose weights are written out as matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.arithmetic.grids import UNIT
from synap_delegate_npu.arithmetic.means import mean_is_exact, rounded_mean, rounded_quotient
from synap_delegate_npu.arithmetic.multiplier import Integers
from synap_delegate_npu.arithmetic.pairs import cut_to
from synap_delegate_npu.arithmetic.products import FLOAT32_INTEGERS
from synap_delegate_npu.arithmetic.rescaling import Window, loaded, stored
from synap_delegate_npu.operators.integers import is_narrow, largest_of, same_integers
from synap_delegate_npu.program.body import Body
from synap_delegate_npu.program.operation import Form, Request, Tensor

MEMBERS = frozenset({"MatMul", "Reshape"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A matrix that items are multiplied by from the left.

    Attributes:
        integers: Not below 0; each row adds up to the unit.
        unit: A power of two.
    """

    integers: Integers
    unit: int


def averaged(body: Body, value: ir.Value, source: Tensor, items: int, *, wide: bool) -> ir.Value:
    """Divide sums by a power of two, round them, and put them into memory.

    Args:
        body: Where the operators go.
        value: Sums of numbers counted from the zero point, each a number of times that add up to ``items``.
        source: What the numbers are from, and the result is like.
        items: The power of two.
        wide: Whether the sums are float64; otherwise float32.
    """
    zero_point = int(source.zero_point)
    low, high = source.limits
    if wide or not mean_is_exact(items, largest_of(source)):
        total = value if wide else body.cast(value, np.float64)
        result = rounded_quotient(body, total, np.asarray(items), zero_point)
    elif items > 1:
        mean = body.op("Mul", value, body.constant(1 / items, np.float32))
        result = rounded_mean(body, mean, items, zero_point, low)
    else:
        result = value
    window = Window(zero_point=zero_point, low=low, high=high)
    return stored(body, cut_to(body, result, window), zero_point, source.dtype)


def multiplied(request: Request) -> Form | None:
    """An interpolation that a group of products by constant matrices, and of reshapes, computes in real numbers."""
    nodes, target = request.group.nodes, request.output
    source = request.operand(1)
    if source is None or not is_narrow(source) or not is_narrow(target) or not same_integers(source, target):
        return None
    matrices = _matrices(nodes)
    if matrices is None:
        return None
    constants = tuple(
        Tensor(
            name=f"{request.group.layer_id}/weights{number}",
            shape=weights.integers.shape,
            dtype="int16",
            constant=weights.integers.astype(np.int16),
        )
        for number, weights in enumerate(matrices.values())
    )

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        value, wide = loaded(body, inputs[0], int(source.zero_point)), False
        items, number = 1, 0
        for node in nodes:
            if node.op_type == "Reshape":
                value = body.applied(node, value)
                continue
            number, items = number + 1, items * matrices[node].unit
            if not wide and items * largest_of(source) >= FLOAT32_INTEGERS:
                value, wide = body.cast(value, np.float64), True
            weights = body.cast(inputs[number], np.float64 if wide else np.float32)
            value = body.op("MatMul", weights, value)
        return [averaged(body, value, source, items, wide=wide)]

    tensors = (source, *constants)
    units = [weights.unit for weights in matrices.values()]
    return Form(inputs=tensors, attributes={"mode": "matrices", "unit": units, "sizes": target.shape}, lower=lower)


def _matrices(nodes: Sequence[ir.Node]) -> dict[ir.Node, Weights] | None:
    """Weights of each product; None where a group does anything else, or the weights are none of an interpolation."""
    found = {}
    for before, node in zip((None, *nodes), nodes, strict=False):
        operands = [value for value in node.inputs if value is not None]
        if node.op_type not in MEMBERS or len(operands) != 2:
            return None
        data, constant = (operands[1], operands[0]) if node.op_type == "MatMul" else (operands[0], operands[1])
        if constant.const_value is None or (before is not None and data is not before.outputs[0]):
            return None
        if node.op_type == "MatMul":
            weights = _weights(constant.const_value.numpy())
            if weights is None:
                return None
            found[node] = weights
    return found


def _weights(matrix: np.ndarray) -> Weights | None:
    counts = np.asarray(matrix, np.float64) * UNIT
    if (
        matrix.ndim != 2
        or not matrix.size
        or np.any(counts % 1)
        or counts.min() < 0
        or np.any(counts.sum(axis=1) != UNIT)
    ):
        return None
    integers = counts.astype(np.int64)
    shared = int(np.gcd.reduce(np.append(integers, UNIT)))
    return Weights(integers=integers // shared, unit=UNIT // shared)
