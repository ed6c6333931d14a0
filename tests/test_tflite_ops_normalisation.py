"""Normalisation over channels of ``.tflite`` models in the canonical graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.graph.annotations import Twin, twin_of
from tests.support.canonical import imported
from tests.support.single_operator import (
    FEW,
    SEEDS,
    agrees,
    agrees_with_fast_kernel,
    options,
    refusal,
    single,
    tensor,
)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
@FEW
@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=3),
    point=st.integers(-40, 40),
    seed=SEEDS,
)
def test_vectors_get_the_length_one(dtype: str, tmp_path: Path, shape: list[int], point: int, seed: int) -> None:
    x, y = tensor([1, *shape], dtype, 0.05, point), tensor([1, *shape], dtype, 1 / 128)
    # The kernels have a fixed-point root.
    agrees(tmp_path, "L2_NORMALIZATION", [x], y, options("L2Norm"), seed=seed, units=1, version=2)


def test_vectors_of_almost_no_length_stay_short(tmp_path: Path) -> None:
    x = tensor([1, 3, 2])
    vectors = np.array([[[0, 0], [1e-7, 0], [1e-3, -1e-3]]], np.float32)
    agrees(tmp_path, "L2_NORMALIZATION", [x], x, options("L2Norm"), arrays=[vectors])


@FEW
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9)),
    radius=st.integers(0, 5),
    numbers=st.tuples(*[st.floats(0.125, 2, width=32)] * 3),
    seed=SEEDS,
)
def test_items_are_divided_by_their_neighbours(
    tmp_path: Path, shape: tuple[int, ...], radius: int, numbers: tuple[float, float, float], seed: int
) -> None:
    x = tensor([1, *shape])
    made = options("LocalResponseNormalization", radius=radius, alpha=numbers[0], beta=numbers[1], bias=numbers[2])
    # The reference kernel leaves out the last channel of the window, which the kernel that devices run does not.
    agrees_with_fast_kernel(tmp_path, "LOCAL_RESPONSE_NORMALIZATION", x, x, made, seed=seed)


def test_window_beyond_all_channels_takes_no_memory(tmp_path: Path) -> None:
    x = tensor([1, 2, 2, 4])
    made = [
        options("LocalResponseNormalization", radius=radius, alpha=1.0, beta=0.5, bias=1.0) for radius in (4, 10**9)
    ]
    models = [imported(single("LOCAL_RESPONSE_NORMALIZATION", [x], [x], one), tmp_path)[0] for one in made]
    attributes = [next(node for node in model.graph if node.op_type == "LRN").attributes for model in models]
    assert [one["size"].as_int() for one in attributes] == [9, 9]
    assert attributes[0]["alpha"].as_float() == attributes[1]["alpha"].as_float()


def test_result_notes_its_twin(tmp_path: Path) -> None:
    x = tensor([1, 2, 3, 4])
    made = options("LocalResponseNormalization", radius=1, alpha=1.0, beta=0.5, bias=1.0)
    model, _ = imported(single("LOCAL_RESPONSE_NORMALIZATION", [x], [x], made), tmp_path)
    node = next(node for node in model.graph if node.op_type == "LRN")
    assert twin_of(node.outputs[0]) == Twin("1", (0, 3, 1, 2))


@pytest.mark.parametrize(
    ("name", "shape", "fields", "reason"),
    [
        ("LOCAL_RESPONSE_NORMALIZATION", [1, 2, 2, 4], {"radius": -1}, "a radius of -1"),
        ("LOCAL_RESPONSE_NORMALIZATION", [1, 4], {"radius": 1}, "a tensor of shape [1, 4]; four dimensions are needed"),
        ("LOCAL_RESPONSE_NORMALIZATION", [1, 2, 2, 4], None, "it lacks the option radius"),
        ("L2_NORMALIZATION", [1, 4], {"fusedActivationFunction": 9}, "the activation function 9"),
        ("L2_NORMALIZATION", [1, 4], None, "it lacks the option fusedActivationFunction"),
    ],
)
def test_normalisation_that_cannot_be_says_why(
    name: str, shape: list[int], fields: dict[str, int] | None, reason: str, tmp_path: Path
) -> None:
    kind = "L2Norm" if name.startswith("L2") else "LocalResponseNormalization"
    made = None if fields is None else options(kind, **fields)
    assert refusal(tmp_path, name, [tensor(shape)], tensor(shape), made) == f"{name}: {reason}"
