"""Pools of integers, as the reference kernels of LiteRT compute them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.graph.build import GraphBuilder
from synap_core.tensors import QuantParams
from tests.support.canonical import real, stored
from tests.support.npu_exact import is_exact, joined
from tests.support.npu_program import compiled, only, quantized
from tests.support.single_operator import FEW, QUANTIZED, SEEDS, options, sample

POOLS = ("MAX_POOL_2D", "AVERAGE_POOL_2D")
CASES = [(name, dtype) for name in POOLS for dtype in QUANTIZED]
IDS = [" ".join(case) for case in CASES]


def window(kernel: tuple[int, int], strides: tuple[int, int], same: bool, activation: int = 0) -> object:
    return options(
        "Pool2D",
        padding=0 if same else 1,
        filterHeight=kernel[0],
        filterWidth=kernel[1],
        strideH=strides[0],
        strideW=strides[1],
        fusedActivationFunction=activation,
    )


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=IDS)
@FEW
@given(
    kernel=st.tuples(st.integers(1, 7), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    more=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    same=st.booleans(),
    narrow=st.booleans(),
    seed=SEEDS,
)
def test_every_window_gives_the_integer_of_the_kernel(
    *,
    name: str,
    dtype: str,
    tmp_path: Path,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    more: tuple[int, int],
    same: bool,
    narrow: bool,
    seed: int,
) -> None:
    sizes = [n + (1 if same else k) for k, n in zip(kernel, more, strict=True)]
    places = [-(-(n if same else n - k + 1) // s) for n, k, s in zip(sizes, kernel, strides, strict=True)]
    rng = np.random.default_rng(seed)
    x = quantized(rng, [1, *sizes, 9], dtype, -4)
    # Small integers make many ties.
    limits = {"low": 0 if dtype == "uint8" else -3, "high": 3} if narrow else {}
    arrays = [sample(rng, x, **limits)]
    y = replace(x, shape=[1, *places, 9])
    is_exact(tmp_path, name, [x], y, arrays, given=window(kernel, strides, same), operator="Pool")


@pytest.mark.parametrize("dtype", QUANTIZED)
@pytest.mark.parametrize("size", [(1, 7), (7, 7), (40, 3), (90, 80)], ids=str)
def test_the_mean_of_a_whole_map_is_that_of_the_kernel(
    dtype: str, size: tuple[int, int], tmp_path: Path, rng: np.random.Generator
) -> None:
    """Where float32 has no longer the bits for a sum or a tie, another formula is taken."""
    x = quantized(rng, [1, *size, 40], dtype, -4)
    y = replace(x, shape=[1, 1, 1, 40])
    for low, high in [(None, None), (0, 1)]:
        arrays = [sample(rng, x, low, high)]
        is_exact(tmp_path, "AVERAGE_POOL_2D", [x], y, arrays, given=window(size, (1, 1), False), operator="Pool")


@pytest.mark.parametrize("dtype", QUANTIZED)
def test_large_windows_that_overlap(dtype: str, tmp_path: Path, rng: np.random.Generator) -> None:
    x = quantized(rng, [1, 70, 80, 2], dtype, -4)
    y = replace(x, shape=[1, 35, 27, 2])
    made = window((65, 66), (2, 3), True)
    is_exact(tmp_path, "AVERAGE_POOL_2D", [x], y, [sample(rng, x)], given=made, operator="Pool")


# Without LiteRT, which has no such kernels

AFFINE = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(0.05,), zero_point=(-20,))
OTHER = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(0.03,), zero_point=(7,))
FIXED = QuantParams(dtype="int16", scheme="dynamic_fixed_point", fractional_length=9)
FINER = QuantParams(dtype="int8", scheme="dynamic_fixed_point", fractional_length=5)
QUANTS = {
    "same": (AFFINE, AFFINE),
    "other": (AFFINE, OTHER),
    "fixed point": (FIXED, FIXED),
    "to 8 bits": (FIXED, FINER),
}

GEOMETRIES: dict[str, tuple[str, dict[str, object]]] = {
    "counted pads": ("AveragePool", {"kernel_shape": (3, 4), "pads": (1, 0, 2, 3), "count_include_pad": 1}),
    "uncounted pads": ("AveragePool", {"kernel_shape": (3, 2), "pads": (1, 1, 2, 0), "strides": (2, 1)}),
    "one size up": ("AveragePool", {"kernel_shape": (2, 2), "strides": (2, 2), "ceil_mode": 1}),
    "same size": ("AveragePool", {"kernel_shape": (3, 2), "auto_pad": "SAME_LOWER"}),
    "dilated": ("AveragePool", {"kernel_shape": (2, 2), "dilations": (2, 3)}),
    "whole": ("GlobalAveragePool", {}),
    "largest": ("MaxPool", {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1), "ceil_mode": 1}),
    "largest dilated": ("MaxPool", {"kernel_shape": (2, 2), "dilations": (2, 1)}),
    "largest of all": ("GlobalMaxPool", {}),
}


def node(op_type: str, attributes: dict[str, object], quants: tuple[QuantParams, QuantParams]) -> ir.Model:
    """A graph of one node, 9 by 11 items."""
    build = GraphBuilder("one")
    x = build.input("x", ir.DataType.FLOAT, [1, 3, 9, 11], quant=quants[0])
    y = build.emit(op_type, [x], attributes)  # type: ignore[arg-type]  # whatever a node takes
    return build.finish([build.name_value(y, "y", "y", quants[1])])


def pooled_real(op_type: str, attributes: dict[str, object], array: np.ndarray) -> np.ndarray:
    """The pool of real numbers, window by window, as ONNX describes it."""
    size = array.shape[2:]
    kernel = tuple(attributes.get("kernel_shape", size))
    strides, dilations = tuple(attributes.get("strides", (1, 1))), tuple(attributes.get("dilations", (1, 1)))
    pads = tuple(attributes.get("pads", (0, 0, 0, 0)))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    if "auto_pad" in attributes:
        pads = tuple(r // 2 for r in reach) + tuple(r - 1 - r // 2 for r in reach)
    rounded = np.ceil if attributes.get("ceil_mode") else np.floor
    counts = [int(rounded((size[i] + pads[i] + pads[i + 2] - reach[i]) / strides[i])) + 1 for i in range(2)]
    result = np.empty((*array.shape[:2], *counts))
    for place in np.ndindex(*counts):
        rows, columns = (
            [place[i] * strides[i] - pads[i] + k * dilations[i] for k in range(kernel[i])] for i in range(2)
        )
        items = np.stack(
            [array[:, :, r, c] for r in rows for c in columns if 0 <= r < size[0] and 0 <= c < size[1]], axis=-1
        )
        if op_type.endswith("MaxPool"):
            result[:, :, *place] = items.max(axis=-1)
            continue
        padded = [range(-pads[i], size[i] + pads[i + 2]) for i in range(2)]
        counted = sum(r in padded[0] and c in padded[1] for r in rows for c in columns)
        result[:, :, *place] = items.sum(axis=-1) / (
            counted if attributes.get("count_include_pad") else items.shape[-1]
        )
    return result


@pytest.mark.parametrize("quants", QUANTS.values(), ids=list(QUANTS))
@pytest.mark.parametrize(("op_type", "attributes"), GEOMETRIES.values(), ids=list(GEOMETRIES))
def test_pools_are_within_a_unit_of_real_numbers(
    op_type: str,
    attributes: dict[str, object],
    quants: tuple[QuantParams, QuantParams],
    rng: np.random.Generator,
) -> None:
    info = np.iinfo(quants[0].dtype)
    array = rng.integers(info.min, info.max + 1, (1, 3, 9, 11)).astype(quants[0].dtype)
    program = compiled(node(op_type, attributes, quants))
    (found,) = program([array])
    assert program.types == ["Pool"]
    wanted = stored(pooled_real(op_type, attributes, real(array, quants[0])), quants[1])
    assert found.shape == wanted.shape
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_a_program_says_what_a_pool_is() -> None:
    program = compiled(node(*GEOMETRIES["counted pads"], QUANTS["same"]))
    attributes = dict(only(program).form.attributes)
    assert attributes == {
        "type": "average",
        "kernel_shape": (3, 4),
        "strides": (1, 1),
        "dilations": (1, 1),
        "pads": (1, 0, 2, 3),
        "count_include_pad": 1,
        "low": -128,
        "high": 127,
    }


@pytest.mark.parametrize("activation", ["Relu", "Clip"])
@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool"])
def test_a_pool_and_the_cut_behind_it_may_be_one_operation(
    op_type: str, activation: str, rng: np.random.Generator
) -> None:
    build = GraphBuilder("cut")
    x = build.input("x", ir.DataType.FLOAT, [1, 3, 8, 8], quant=AFFINE)
    inner = build.emit(op_type, [x], {"kernel_shape": (2, 2), "strides": (2, 2)})
    limits = [build.constant(np.float32(limit)) for limit in (0, 2)] if activation == "Clip" else []
    y = build.name_value(build.emit(activation, [inner, *limits]), "y", "y", AFFINE)
    program = joined(build.finish([y]), lambda groups: [replace(groups[0], nodes=(*groups[0].nodes, *groups[1].nodes))])
    array = rng.integers(-128, 128, (1, 3, 8, 8)).astype(np.int8)
    (found,) = program([array])
    assert program.types == ["Pool"]
    pooled = pooled_real(op_type, {"kernel_shape": (2, 2), "strides": (2, 2)}, real(array, AFFINE))
    wanted = stored(np.clip(pooled, 0, 2 if limits else None), AFFINE)
    assert np.abs(found.astype(int) - wanted).max() <= 1
    assert found.min() == -20
