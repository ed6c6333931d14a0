"""What a program says of an operation with two operands defines its result, and its operators compute that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.graph.build import GraphBuilder
from synap_core.tensors import QuantParams
from synap_delegate_npu.arithmetic import integers
from synap_delegate_npu.arithmetic.pairs import Cases, fit
from synap_delegate_npu.arithmetic.rescaling import Window
from synap_delegate_npu.operators import elementwise
from synap_delegate_npu.program.writer import described
from tests.support.npu_program import Compiled, all_integers, all_pairs, compiled, conforms, only, quantized
from tests.support.single_operator import FEW, QUANTIZED, SEEDS, options, sample

OPERATORS = {"Add": "Add", "Sub": "Subtract", "Mul": "Multiply", "Max": "Maximum", "Min": "Minimum"}


def rescaled(value: int, multiplier: int, shift: int, rounding: str) -> int:
    """Fixed-point multiplication in Python's integers.

    Source: TFLite ``MultiplyByQuantizedMultiplier`` (kernels/internal/common.h) and gemmlowp's fixedpoint.h.
    """
    if rounding == "once":
        right = 31 - shift
        return (value * multiplier + (1 << (right - 1))) >> right
    product = (value << max(shift, 0)) * multiplier
    nudge = (1 << 30) if product >= 0 else 1 - (1 << 30)
    high = abs(product + nudge) // (1 << 31) * (1 if product + nudge >= 0 else -1)
    right = max(-shift, 0)
    mask = (1 << right) - 1
    return (high >> right) + ((high & mask) > (mask >> 1) + (high < 0))


def defined(op_type: str, about: Mapping[str, Any], one: int, other: int) -> int:
    """The result of a pair of stored integers, from the attributes alone."""
    a, b = one - about["input0_zero_point"][0], other - about["input1_zero_point"][0]
    pairs = list(zip(about["multiplier"], about["shift"], strict=True))
    rounding = about["rounding"]
    if op_type in ("Add", "Sub"):
        left = about["left_shift"]
        a, b = (rescaled(x << left, *pair, "twice") for x, pair in zip((a, b), pairs, strict=False))
        value = rescaled(a + b if op_type == "Add" else a - b, *pairs[2], rounding)
    elif op_type == "Mul":
        value = rescaled(a * b, *pairs[0], rounding)
    else:
        ends = (rescaled(x, *pair, rounding) for x, pair in zip((a, b), pairs, strict=True))
        value = max(ends) if op_type == "Max" else min(ends)
    return int(min(max(value + about["output0_zero_point"][0], about["low"]), about["high"]))


def affine(dtype: str, scale: float, zero_point: int) -> QuantParams:
    return QuantParams(dtype=dtype, scheme="asymmetric_affine", scale=(scale,), zero_point=(zero_point,))


def fixed_point(dtype: str, bits: int) -> QuantParams:
    return QuantParams(dtype=dtype, scheme="dynamic_fixed_point", fractional_length=bits)


def binary(op_type: str, quants: Sequence[QuantParams], size: int, *, cut: bool) -> Compiled:
    build = GraphBuilder("one")
    inputs = [build.input(f"x{i}", ir.DataType.FLOAT, [1, size], quant=quant) for i, quant in enumerate(quants[:2])]
    value = build.emit(op_type, inputs)
    if cut:
        value = build.emit("Relu", [value])
    return compiled(build.finish([build.name_value(value, "y", "y", quants[2])]))


def agrees_with_its_attributes(op_type: str, program: Compiled, arrays: Sequence[np.ndarray]) -> None:
    operation = only(program)
    assert program.types == [OPERATORS[op_type]]
    about = described(operation)
    expected = [defined(op_type, about, int(a), int(b)) for a, b in zip(arrays[0][0], arrays[1][0], strict=True)]
    np.testing.assert_array_equal(program(arrays)[0][0], expected)


@pytest.mark.parametrize("op_type", OPERATORS)
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_all_pairs_give_what_the_attributes_define(op_type: str, dtype: str) -> None:
    shift = 128 * (dtype == "uint8")
    quants = [affine(dtype, 0.031, shift - 7), affine(dtype, 0.047, shift + 31), affine(dtype, 0.052, shift - 90)]
    program = binary(op_type, quants, 65536, cut=op_type in ("Add", "Sub"))
    agrees_with_its_attributes(op_type, program, all_pairs(dtype))


@pytest.mark.parametrize("op_type", OPERATORS)
@FEW
@given(
    kinds=st.tuples(*[st.sampled_from(["int8", "uint8", "int16"])] * 3),
    exponents=st.tuples(*[st.floats(-3, 3)] * 3),
    seed=SEEDS,
)
def test_mixed_types_give_what_the_attributes_define(
    *, op_type: str, kinds: tuple[str, str, str], exponents: tuple[float, float, float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    quants = [
        affine(kind, 2.0 ** (exponent - 8 * (kind == "int16")), int(rng.integers(0, 100)) * (kind != "int16"))
        for kind, exponent in zip(kinds, exponents, strict=True)
    ]
    if op_type == "Mul":
        quants[2] = affine(kinds[2], 2.0 * quants[0].scale[0] * quants[1].scale[0], quants[2].zero_point[0])
    arrays = [rng.integers(np.iinfo(k).min, np.iinfo(k).max + 1, (1, 700)).astype(k) for k in kinds[:2]]
    agrees_with_its_attributes(op_type, binary(op_type, quants, 700, cut=False), arrays)


@pytest.mark.parametrize("op_type", OPERATORS)
@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_fixed_point_gives_what_the_attributes_define(op_type: str, dtype: str, rng: np.random.Generator) -> None:
    bits = (5, 6, 4) if op_type != "Mul" else (5, 6, 8)
    limits = np.iinfo(dtype)
    arrays = [rng.integers(limits.min, limits.max + 1, (1, 5000)).astype(dtype) for _ in range(2)]
    program = binary(op_type, [fixed_point(dtype, bit) for bit in bits], 5000, cut=False)
    assert only(program).form.attributes["rounding"] == "once"
    agrees_with_its_attributes(op_type, program, arrays)


# Ways to compute that are rarely needed


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize(("name", "step"), [("ADD", -4.3), ("SUB", -4.3), ("MUL", -7.1)])
def test_results_are_the_same_without_a_formula_for_all_pairs(
    name: str, step: float, dtype: str, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (elementwise, integers):
        monkeypatch.setattr(module, "fit", lambda *_: None)
    a, b, y = (quantized(rng, [1, 65536], dtype, exponent) for exponent in (-5.2, -4.1, step))
    conforms(tmp_path, name, [a, b], y, all_pairs(dtype), given=options(name.title()), version=2)


@pytest.mark.parametrize("dtype", QUANTIZED)
@pytest.mark.parametrize("name", ["ADD", "SUB"])
def test_results_are_the_same_with_tables_of_rescaled_operands(
    name: str, dtype: str, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (elementwise, integers):
        monkeypatch.setattr(module, "fit", lambda *_: None)
    # As if float64 did not hold all bits of an operand, nor of the sum, which is then computed in integers.
    monkeypatch.setattr(integers.Floors, "__call__", lambda _, values: np.full(values.shape, 0.25))
    monkeypatch.setattr(integers, "_is_exact", lambda *_: False)
    a, b, y = (quantized(rng, [1, 65536], dtype, exponent) for exponent in (-5.2, -4.1, -3.3))
    arrays = [sample(rng, a), sample(rng, b)]
    made = options(name.title(), potScaleInt16=False)
    conforms(tmp_path, name, [a, b], y, arrays, given=made, version=2)


WINDOW = Window(zero_point=0, low=-128, high=127)


def test_a_formula_is_found_in_float32_where_it_is_enough() -> None:
    values = all_integers("int8")[0].astype(np.int64)
    found = fit(Cases(terms=[values], factors=[np.asarray(0.37)]), np.rint(values * 0.37).astype(np.int64), WINDOW)
    assert found is not None
    assert found.dtype is np.float32


def test_ties_may_go_away_from_zero_on_both_sides() -> None:
    values = all_integers("int8")[0].astype(np.int64)
    wanted = np.sign(values) * ((abs(values) + 3) // 4)  # a quarter of a step counts as one
    plain = fit(Cases(terms=[values], factors=[np.asarray(0.25)]), wanted, WINDOW)
    sided = fit(Cases(terms=[values], factors=[np.asarray(0.25)], sides=values), wanted, WINDOW)
    assert plain is None
    assert sided is not None
    assert sided.tie > 0


def test_no_formula_is_found_for_what_is_none() -> None:
    values = all_integers("int8")[0].astype(np.int64)
    assert fit(Cases(terms=[values], factors=[np.asarray(1.0)], sides=values), values % 5, WINDOW) is None


def test_too_many_cases_are_not_tried() -> None:
    values = np.arange(1 << 11)
    cases = Cases(terms=[values[:, None], values[None]], factors=[np.asarray(1.0)] * 2)
    assert fit(cases, values[:, None] + values[None], WINDOW) is None


def test_a_factor_that_the_runtime_takes_for_one_is_not_used() -> None:
    one, other = (all_integers("int8")[0].astype(np.int64) for _ in range(2))
    total = one[:, None] * 0.5 + other[None]
    # Ties go away from zero, which the least stretch of all makes them do, were that product not left out.
    wanted = (np.sign(total) * np.floor(np.abs(total) + 0.5)).astype(np.int64)
    cases = Cases(terms=[one[:, None], other[None]], factors=[np.asarray(0.5), np.asarray(1.0)])
    found = fit(cases, wanted, Window(zero_point=0, low=-300, high=300))
    assert found is not None
    assert np.float32(found.factor(np.asarray(1.0))) != 1


def test_what_the_runtime_takes_for_one_is_one_in_float32() -> None:
    factor = np.float64(1 + 2.0**-44)
    build = onnx.helper.make_node
    nodes = [build("Neg", ["x"], ["a"]), build("Mul", ["a", "f"], ["b"]), build("Neg", ["b"], ["y"])]
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, [1]) for name in "xy"]
    given = [onnx.numpy_helper.from_array(factor, "f")]
    graph = onnx.helper.make_graph(nodes, "one", values[:1], values[1:], given)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.ones(1)})
    assert found[0] == 1 != factor
