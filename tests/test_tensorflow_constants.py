"""Constants of frozen graphs: every way to write one, and those that cannot be read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from synap_frontend_tensorflow import constants, schema
from synap_frontend_tensorflow.constants import ConstantError, Constants
from tests.support.tensorflow_models import GraphComposer, computed, opencv, reason, set_tensor


def tensor(dtype: int, shape: Sequence[int], fields: Mapping[str, Any]) -> Any:
    composer = GraphComposer()
    composer.tensor("t", dtype, shape, **fields)
    return composer.graph.node[0].attr["value"].tensor


HALVES = np.array([0.5, -2.0, 65504.0], np.float16)


@pytest.mark.parametrize(
    ("dtype", "field", "values", "expected"),
    [
        (schema.FLOAT, "float_val", [0.5, -1.5, 3.0], np.array([0.5, -1.5, 3.0], np.float32)),
        (schema.DOUBLE, "double_val", [1e300, 2.0, 3.0], np.array([1e300, 2, 3], np.float64)),
        (schema.HALF, "half_val", HALVES.view(np.uint16).tolist(), HALVES),
        (schema.INT32, "int_val", [-5, 6, 1 << 30], np.array([-5, 6, 1 << 30], np.int32)),
        (schema.INT16, "int_val", [-5, 6, 7], np.array([-5, 6, 7], np.int16)),
        (schema.INT8, "int_val", [-5, 6, 7], np.array([-5, 6, 7], np.int8)),
        (schema.UINT8, "int_val", [200, 6, 7], np.array([200, 6, 7], np.uint8)),
        (schema.UINT16, "int_val", [60000, 6, 7], np.array([60000, 6, 7], np.uint16)),
        (schema.INT64, "int64_val", [-(1 << 60), 1, 2], np.array([-(1 << 60), 1, 2], np.int64)),
        (schema.UINT32, "uint32_val", [1 << 31, 1, 2], np.array([1 << 31, 1, 2], np.uint32)),
        (schema.UINT64, "uint64_val", [1 << 63, 1, 2], np.array([1 << 63, 1, 2], np.uint64)),
        (schema.BOOL, "bool_val", [True, False, True], np.array([True, False, True])),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_listed_and_raw_items_are_the_same(dtype: int, field: str, values: list[Any], expected: np.ndarray) -> None:
    raw = schema.new("TensorProto")
    set_tensor(raw, expected.reshape(3, 1))
    for proto in (tensor(dtype, [3, 1], {field: values}), raw):
        found = Constants().array(proto)
        assert (found.dtype, found.shape) == (expected.dtype, (3, 1))
        np.testing.assert_array_equal(found[:, 0], expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([7.0], [[7, 7, 7], [7, 7, 7]]), ([1.0, 2.0, 3.0, 4.0], [[1, 2, 3], [4, 4, 4]]), ([], [[0, 0, 0], [0, 0, 0]])],
    ids=["one", "some", "none"],
)
def test_the_last_item_of_a_short_list_is_repeated(values: list[float], expected: list[list[float]]) -> None:
    np.testing.assert_array_equal(Constants().array(tensor(schema.FLOAT, [2, 3], {"float_val": values})), expected)


def test_constants_without_items_and_without_dimensions_are_read() -> None:
    assert Constants().array(tensor(schema.INT32, [0, 4], {})).shape == (0, 4)
    assert Constants().array(tensor(schema.INT64, [], {"int64_val": [9]})).tolist() == 9


def test_opencv_reads_the_same_lists(rng: np.random.Generator) -> None:
    """OpenCV's importer has the field numbers from the format itself."""
    graph = GraphComposer()
    graph.placeholder("x", [1, 2, 2, 3])
    graph.tensor("listed", schema.FLOAT, [3], float_val=[0.5, -1.0, 2.0])
    graph.node("BiasAdd", ["x", "listed"], name="a", data_format="NHWC")
    graph.tensor("raw", schema.FLOAT, [3], tensor_content=np.array([3, 4, 5], np.float32).tobytes())
    graph.node("BiasAdd", ["a", "raw"], name="y", data_format="NHWC")
    x = rng.normal(size=(1, 2, 2, 3)).astype(np.float32)
    data = graph.serialize()
    np.testing.assert_allclose(computed(data, {"x": x}, ["y"])[0], opencv(data, {"x": x}, "y"), atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "shape", "fields", "message"),
    [
        (schema.STRING, [1], {"string_val": [b"x"]}, "a constant of type string"),
        (schema.RESOURCE, [], {}, "a constant of type resource"),
        (schema.COMPLEX64, [1], {"scomplex_val": [1.0, 2.0]}, "a constant of type complex64"),
        (schema.BFLOAT16, [1], {"half_val": [1]}, "a constant of type bfloat16"),
        (77, [1], {}, "a constant of type unknown"),
        (schema.FLOAT, [2], {"float_val": [1.0, 2.0, 3.0]}, "a constant of shape [2] with 3 items"),
        (schema.FLOAT, [2], {"tensor_content": b"1234567"}, "shape [2] and type float32 with 7 bytes"),
        (schema.FLOAT, [-1], {"float_val": [1.0]}, "a constant of the shape [-1]"),
        (schema.FLOAT, [1] * 40, {"float_val": [1.0]}, "a constant of unknown shape"),
        (schema.FLOAT, [100_000, 100_000], {"float_val": [1.0]}, "more than 33554432 items that the file does not"),
        (schema.INT64, [1 << 62, 1 << 62], {}, "items that the file does not hold"),
        (schema.FLOAT, [1 << 62, 0, 3], {"float_val": [1.0]}, "with 1 items"),
    ],
)
def test_damaged_and_foreign_constants_are_refused(
    dtype: int, shape: list[int], fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConstantError, match=re.escape(message)):
        Constants().array(tensor(dtype, shape, fields))


def test_repeated_items_are_counted_over_all_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "MAX_ITEMS", 1000)
    reader = Constants()
    for _ in range(2):
        reader.array(tensor(schema.FLOAT, [400], {"float_val": [1.0]}))
    reader.array(tensor(schema.FLOAT, [400], {"float_val": [1.0] * 400}))
    with pytest.raises(ConstantError, match="more than 1000 items that the file does not hold"):
        reader.array(tensor(schema.FLOAT, [400], {"float_val": [1.0]}))


def test_a_constant_that_cannot_be_read_is_a_layer_with_a_reason() -> None:
    graph = GraphComposer()
    graph.placeholder("x", [1, 2])
    graph.tensor("text", schema.STRING, [1], string_val=[b"a"])
    assert reason(graph.serialize(), {"x": [1, 2]}, ["text"]) == "a constant of type string"
    graph.graph.node.add(name="empty", op="Const")
    assert reason(graph.serialize(), {"x": [1, 2]}, ["empty"]) == "it has no value"
