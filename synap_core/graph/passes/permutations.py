"""Permutations of dimensions, and what they do to the annotations of a value.

A permutation is that of NumPy and ONNX: dimension ``i`` of the result is dimension ``permutation[i]`` of the operand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import onnx_ir as ir

from synap_core.graph.annotations import Twin, quant_of, set_quant, set_twin, source_of, twin_of
from synap_core.graph.passes.values import integers_of
from synap_core.graph.quantized import with_axis
from synap_core.graph.types import shape_of
from synap_core.tensors import QuantParams

Permutation = tuple[int, ...]

Item = TypeVar("Item")


def permutation_of(node: ir.Node) -> Permutation:
    """Permutation of a Transpose; the dimensions are reversed where it has none."""
    return integers_of(node, "perm") or tuple(range(len(shape_of(node.outputs[0]))))[::-1]


def permuted(items: Sequence[Item], permutation: Permutation) -> tuple[Item, ...]:
    """One item per dimension, rearranged as the dimensions are."""
    return tuple(items[axis] for axis in permutation)


def inverse(permutation: Permutation) -> Permutation:
    """The permutation that undoes another one."""
    return tuple(sorted(range(len(permutation)), key=permutation.__getitem__))


def composed(first: Permutation, second: Permutation) -> Permutation:
    """The permutation that does two, one after the other."""
    return permuted(first, second)


def is_identity(permutation: Permutation) -> bool:
    """Whether a permutation leaves every dimension where it is."""
    return permutation == tuple(range(len(permutation)))


def moves_data(shape: Sequence[int], permutation: Permutation) -> bool:
    """Whether items change places in memory: dimensions of size 1 may go anywhere."""
    long = [axis for axis in permutation if shape[axis] != 1]
    return long != sorted(long)


def quant_along(quant: QuantParams | None, permutation: Permutation) -> QuantParams | None:
    """Quantization of a transposed value."""
    return quant if quant is None or quant.axis is None else with_axis(quant, permutation.index(quant.axis))


def annotate_along(value: ir.Value, original: ir.Value, permutation: Permutation) -> None:
    """Annotate a value that is another one transposed: its quantization, and the source tensor it is a twin of."""
    set_quant(value, quant_along(quant_of(original), permutation))
    source, twin = source_of(original), twin_of(original)
    if source is not None:
        set_twin(value, Twin(source, permutation))
    elif twin is not None:
        set_twin(value, Twin(twin.source, composed(twin.permutation, permutation)))
