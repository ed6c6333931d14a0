"""Programs of the npu delegate, run by ONNX Runtime and compared with LiteRT's reference kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from synap_core.graph.groups import group
from synap_core.graph.passes import normalise
from synap_delegate_npu.fusion.grouping import fuse
from synap_delegate_npu.operators.families import REGISTRY
from synap_delegate_npu.program.lowered import LoweredFunctions
from synap_delegate_npu.program.program import Operation, Program, program_of
from synap_delegate_npu.program.writer import write
from tests.support.canonical import Reference, imported
from tests.support.single_operator import Tensor, single


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A program, and how to run it."""

    program: Program
    session: ort.InferenceSession

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        names = [value.name for value in self.session.get_inputs()]
        return list(self.session.run(None, dict(zip(names, arrays, strict=True))))

    @property
    def types(self) -> list[str]:
        """Operators of all operations; the ones in real numbers in parentheses."""
        return [op.type if op.exact else f"({op.type})" for op in self.program.operations]


def compiled(model: ir.Model) -> Compiled:
    """The program of an annotated canonical graph."""
    normalise(model)
    groups = fuse(model, group(model))
    program = program_of(model, groups, REGISTRY, lambda found: found.nodes[0].op_type)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    content = write(program, {}, LoweredFunctions(None))
    return Compiled(program=program, session=ort.InferenceSession(content, options, providers=["CPUExecutionProvider"]))


def only(program: Compiled) -> Operation:
    """The one operation of a program."""
    (operation,) = program.program.operations
    return operation


def conforms(
    folder: Path,
    name: str,
    inputs: Sequence[Tensor | None],
    output: Tensor,
    arrays: Sequence[np.ndarray],
    *,
    given: Any = None,
    version: int = 1,
    units: int = 0,
    types: Sequence[str] | None = None,
) -> int:
    """Compile a ``.tflite`` model of one operator, run it, and compare with the reference kernel.

    Args:
        folder: For the file.
        name: The operator.
        inputs: Its operands; those with data are constants.
        output: Its result.
        arrays: Items of the others.
        given: Options of the schema.
        version: Of the operator.
        units: Steps by which results may differ.
        types: Operators that the program must have.

    Returns:
        The largest difference, in steps.
    """
    content = single(name, inputs, [output], given, version)
    program = compiled(imported(content, folder)[0])
    if types is not None:
        assert program.types == list(types)
    (found,), (expected,) = program(arrays), Reference(content)(arrays)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if found.dtype.kind == "f":
        np.testing.assert_array_equal(found, expected)
        return 0
    difference = int(np.abs(found.astype(np.int64) - expected.astype(np.int64)).max(initial=0))
    assert difference <= units, f"{difference} steps"
    return difference


def quantized(rng: np.random.Generator, shape: Sequence[int], dtype: str, exponent: float) -> Tensor:
    """A tensor of some step ``2**exponent``, rounded to float32, with any zero point; int16 has 0."""
    info = np.iinfo(dtype)
    point = 0 if dtype == "int16" else int(rng.integers(info.min, info.max + 1))
    return Tensor(shape=shape, dtype=dtype, scale=float(np.float32(2.0**exponent)), zero_point=point)


def all_integers(dtype: str) -> np.ndarray:
    """Every integer of a type of 8 or 16 bits, ``[1, n]``."""
    info = np.iinfo(dtype)
    return np.arange(info.min, info.max + 1).astype(dtype)[None]


def all_pairs(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of integers of a type of 8 bits, ``[1, 65536]`` each."""
    one = all_integers(dtype)[0]
    return np.repeat(one, len(one))[None], np.tile(one, len(one))[None]


def reshaped(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor of another shape."""
    return replace(tensor, shape=shape)
