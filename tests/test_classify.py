"""Top classes of a classifier's output, against formats.md section 5."""

from __future__ import annotations

import math

import numpy as np
import pytest

from synap_core.classify import top_classes
from synap_core.errors import InputError
from synap_core.tensors import QuantParams, TensorMeta

AFFINE = QuantParams(dtype="uint8", scheme="asymmetric_affine", scale=(0.5,), zero_point=(10,))


def output(
    dtype: str, shape: tuple[int, ...], quant: QuantParams | None = None, data_format: str = "confidence_array"
) -> TensorMeta:
    return TensorMeta(label="0", name="y", shape=shape, dtype=dtype, quant=quant, data_format=data_format)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [(2, 3.5)]), (3, [(2, 3.5), (3, 3.5), (0, 0.5)]), (9, [(2, 3.5), (3, 3.5), (0, 0.5), (1, -1.0)])],
)
def test_top_classes_are_sorted_and_ties_keep_their_order(count: int, expected: list[tuple[int, float]]) -> None:
    meta = output("uint8", (1, 2, 2), AFFINE)
    raw = np.array([[[11, 8], [17, 17]]], np.uint8)
    assert top_classes(raw, meta, count) == expected


def test_all_classes_are_listed_for_count_0_and_indices_shifted_by_the_base() -> None:
    meta = output("float32", (3,), data_format="confidence_array class_index_base=-1")
    assert top_classes(np.array([0.25, math.nan, 0.5], np.float32), meta, 0)[:2] == [(1, 0.5), (-1, 0.25)]


def test_a_negative_number_of_classes_is_an_error() -> None:
    with pytest.raises(InputError, match="number of classes is -1"):
        top_classes(np.zeros(1, np.float32), output("float32", (1,)), -1)
