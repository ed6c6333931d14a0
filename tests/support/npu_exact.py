"""Operators of ``.tflite`` models that programs compute in integers alone, compared with LiteRT's reference kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from synap_core.graph.groups import Group, group
from synap_core.graph.passes import normalise
from synap_delegate_npu.operators.families import REGISTRY
from synap_delegate_npu.program.lowered import LoweredFunctions
from synap_delegate_npu.program.program import program_of
from synap_delegate_npu.program.writer import write
from tests.support.canonical import Reference, imported
from tests.support.npu_program import Compiled, compiled
from tests.support.single_operator import Tensor, single

Join = Callable[[list[Group]], list[Group]]


def joined(model: ir.Model, join: Join, *, simplify: bool = True) -> Compiled:
    """The program of an annotated canonical graph, simplified or not, whose groups are joined further."""
    if simplify:
        normalise(model)
    program = program_of(model, join(group(model)), REGISTRY, lambda found: found.nodes[0].op_type)
    content = write(program, {}, LoweredFunctions(None))
    return Compiled(program=program, session=ort.InferenceSession(content, providers=["CPUExecutionProvider"]))


def is_exact(
    folder: Path,
    name: str,
    inputs: Sequence[Tensor | None],
    outputs: Tensor | Sequence[Tensor],
    arrays: Sequence[np.ndarray],
    *,
    given: Any = None,
    version: int = 1,
    operator: str | None = None,
    join: Join | None = None,
) -> Compiled:
    """Compile a model of one operator, run it, and check that every stored number is that of the reference kernel.

    Args:
        folder: For the file.
        name: The operator.
        inputs: Its operands; those with data are constants.
        outputs: Its results.
        arrays: Items of the others.
        given: Options of the schema.
        version: Of the operator.
        operator: Operator that the program must have; all operators must be computed in integers.
        join: Joins groups of the graph further.

    Returns:
        The program.
    """
    results = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    content = single(name, inputs, results, given, version)
    model = imported(content, folder)[0]
    program = compiled(model) if join is None else joined(model, join)
    if operator is not None:
        assert operator in program.types
        assert all(op.exact for op in program.program.operations), program.types
    for found, expected in zip(program(arrays), Reference(content)(arrays), strict=True):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)
    return program
