"""Layers of Caffe that join, cut, reshape and repeat blobs, and sums of them, in the canonical graph."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.caffe_layers import (
    agrees,
    alike,
    computed,
    conforms,
    imported,
    one_layer,
    operators,
    refusal,
    sample,
)
from tests.support.caffe_models import layer, network, opencv

X, Y, Z = (sample(1, 4, 5, 6, seed=seed) for seed in range(3))


@pytest.mark.parametrize(
    ("options", "inputs"),
    [
        ("", [X, Y]),
        ("operation: PROD", [X, Y]),
        ("operation: PROD", [X, Y, Z]),
        ("operation: MAX", [X, Y]),
        ("operation: MAX", [X, Y, Z]),
        ("coeff: 1 coeff: -1", [X, Y]),
        ("coeff: -1 coeff: -1", [X, Y]),
        ("operation: SUM coeff: 0.5 coeff: 2 coeff: -1", [X, Y, Z]),
    ],
    ids=lambda case: case if isinstance(case, str) else str(len(case)),
)
def test_sums_products_and_maxima_agree_with_opencv(options: str, inputs: list[np.ndarray]) -> None:
    agrees("Eltwise", f"eltwise_param {{ {options} }}", inputs)


def test_a_blob_may_be_added_to_itself() -> None:
    made = network([layer("y", "Eltwise", "x x", "y")], x=X.shape)
    alike(computed(made, [X])[0], 2 * X)


def test_a_difference_is_one_operator() -> None:
    assert operators(one_layer("Eltwise", "eltwise_param { coeff: 1 coeff: -1 }", [X, Y])) == ["Sub"]


@pytest.mark.parametrize(
    ("options", "inputs", "reason"),
    [
        ("", [X], "it has 1 bottoms, not 2 or more"),
        ("", [X, sample(1, 4, 1, 1)], "bottoms of the shapes [1, 4, 5, 6] and [1, 4, 1, 1]; they must be equal"),
        ("coeff: 1", [X, Y], "1 coeff for 2 bottoms; there must be one for each"),
        ("operation: PROD coeff: 1 coeff: 2", [X, Y], "coefficients (2 coeff) for a product or a maximum; only a sum"),
        ("operation: MAX coeff: 1", [X, Y], "coefficients (1 coeff) for a product or a maximum; only a sum has them"),
    ],
)
def test_sums_that_cannot_be_say_why(options: str, inputs: list[np.ndarray], reason: str) -> None:
    assert reason in refusal("Eltwise", f"eltwise_param {{ {options} }}", inputs)


@pytest.mark.parametrize(
    ("options", "inputs"),
    [
        ("", [X, Y]),
        ("", [X, sample(1, 2, 5, 6), sample(1, 1, 5, 6)]),
        ("axis: 2", [X, sample(1, 4, 1, 6)]),
        ("axis: -1", [X, sample(1, 4, 5, 3), Y]),
        ("", [X]),
    ],
    ids=lambda case: case if isinstance(case, str) else str(len(case)),
)
def test_joined_blobs_agree_with_opencv(options: str, inputs: list[np.ndarray]) -> None:
    agrees("Concat", f"concat_param {{ {options} }}", inputs)


def test_the_old_name_of_the_axis_to_join_along_is_read() -> None:
    # OpenCV ignores it.
    conforms("Concat", "concat_param { concat_dim: 3 }", [X, Y], lambda *arrays: np.concatenate(arrays, axis=3))


@pytest.mark.parametrize("other", [(1, 4, 5, 7), (1, 4, 5)], ids=str)
def test_joined_blobs_only_differ_along_the_axis(other: tuple[int, ...]) -> None:
    assert "behind each other along 1" in refusal("Concat", "", [X, sample(*other)])


def parts(options: str, count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What a Slice gives by the importer and by OpenCV, which only shows results of whole layers."""
    names = [f"part{i}" for i in range(count)]
    behind = [layer(f"y{i}", "Power", name, f"y{i}", "power_param { scale: 2 }") for i, name in enumerate(names)]
    made = network([layer("cut", "Slice", "x", names, f"slice_param {{ {options} }}"), *behind], x=X.shape)
    return computed(made, [X]), opencv(made, {"x": X}, [item.name for item in behind])


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ("", 2),
        ("", 4),
        ("slice_point: 1", 2),
        ("slice_point: 1 slice_point: 3", 3),
        ("axis: 2 slice_point: 4", 2),
        ("axis: -1", 3),
        ("axis: 3 slice_point: 1 slice_point: 2", 3),
    ],
)
def test_parts_of_a_blob_agree_with_opencv(options: str, count: int) -> None:
    for found, wanted in zip(*parts(options, count), strict=True):
        alike(found, wanted)


def test_the_old_name_of_the_axis_to_cut_along_is_read() -> None:
    # OpenCV ignores it.
    found = computed(one_layer("Slice", "slice_param { slice_dim: 3 slice_point: 2 }", [X], tops=2), [X])
    for result, wanted in zip(found, np.split(X, [2], axis=3), strict=True):
        alike(result, wanted)


def test_the_only_part_of_a_blob_is_the_blob() -> None:
    (found,) = computed(one_layer("Slice", "", [X]), [X])
    alike(found, X)


@pytest.mark.parametrize(
    ("options", "tops"),
    [
        ("", 3),
        ("slice_point: 1", 3),
        ("slice_point: 2 slice_point: 2", 3),
        ("slice_point: 4", 2),
        ("slice_point: 9", 2),
    ],
)
def test_parts_that_cannot_be_are_refused(options: str, tops: int) -> None:
    reason = refusal("Slice", f"slice_param {{ {options} }}", [X], tops=tops)
    assert f"{tops} tops of axis 1 of a blob of shape [1, 4, 5, 6], cut at [" in reason


def test_copies_are_the_blob_itself() -> None:
    for found in computed(one_layer("Split", "", [X], tops=3), [X]):
        alike(found, X)


def test_a_layer_that_silences_a_blob_computes_nothing() -> None:
    made = network(
        [
            layer("cut", "Slice", "x", "a b"),
            layer("y", "ReLU", "a", "y"),
            layer("quiet", "Silence", "b"),
        ],
        x=X.shape,
    )
    (found,) = computed(made, [X])
    alike(found, np.maximum(X[:, :2], 0))
    assert [node.op_type for node in imported(made).graph] == ["Split", "Relu"]


@pytest.mark.parametrize("options", ["", "axis: 2", "axis: 1 end_axis: 2", "axis: -2", "axis: 0 end_axis: 1"])
def test_a_flattened_blob_agrees_with_opencv(options: str) -> None:
    agrees("Flatten", f"flatten_param {{ {options} }}", [X])


def test_a_blob_may_be_flattened_with_its_batch() -> None:
    # OpenCV adds an axis.
    conforms("Flatten", "flatten_param { axis: 0 }", [X], np.ravel)


@pytest.mark.parametrize(
    ("options", "reason"),
    [("axis: 4", "axis 4 of a blob"), ("axis: 3 end_axis: 1", "axes 3 to 1 of a blob of shape [1, 4, 5, 6]")],
)
def test_a_flattening_that_cannot_be_says_why(options: str, reason: str) -> None:
    assert reason in refusal("Flatten", f"flatten_param {{ {options} }}", [X])


@pytest.mark.parametrize(
    "options",
    [
        "shape { dim: 0 dim: -1 }",
        "shape { dim: 0 dim: 2 dim: -1 dim: 0 }",
        "shape { dim: 4 dim: -1 } axis: 1 num_axes: 2",
        "shape { dim: 30 } axis: 2",
        "shape { dim: 1 dim: 120 }",
        "shape { } axis: 0 num_axes: 1",
        "",
    ],
)
def test_a_reshaped_blob_agrees_with_opencv(options: str) -> None:
    agrees("Reshape", f"reshape_param {{ {options or 'shape { dim: 0 dim: 0 dim: 0 dim: 0 }'} }}", [X])


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ("shape { dim: 1 dim: 1 } axis: -1 num_axes: 0", (1, 4, 5, 6, 1, 1)),
        ("shape { dim: 2 dim: 3 } axis: -2", (1, 4, 5, 2, 3)),
        ("shape { dim: 1 } axis: 1 num_axes: 0", (1, 1, 4, 5, 6)),
        ("shape { dim: -1 dim: 2 dim: 0 } axis: 1", (1, 10, 2, 6)),
    ],
)
def test_axes_may_be_inserted_or_counted_from_behind_the_last_one(options: str, shape: tuple[int, ...]) -> None:
    # OpenCV counts in another way.
    conforms("Reshape", f"reshape_param {{ {options} }}", [X], lambda x: x.reshape(shape))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("shape { dim: 7 dim: -1 }", "the shape [7, 17] for the 120 items of the shape [1, 4, 5, 6]"),
        ("shape { dim: -1 dim: -1 }", "the shape [-1, -1] for the 120 items"),
        ("shape { dim: -2 dim: 60 }", "the shape [-2, 60] for the 120 items"),
        ("shape { dim: 60 }", "the shape [60] for the 120 items"),
        ("shape { dim: 1 dim: 1 dim: 1 dim: 1 dim: 0 }", "[1, 1, 1, 1, 0] in the place of axes 0 to 3 of a blob"),
        ("shape { dim: 0 } axis: 5", "[0] in the place of axes 5 to"),
        ("shape { dim: 0 } axis: -6", "[0] in the place of axes -1 to"),
        ("shape { dim: 0 } axis: 2 num_axes: 3", "[0] in the place of axes 2 to 4"),
        ("shape { dim: 0 } num_axes: -2", "[0] in the place of axes 0 to -3"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(options: str, reason: str) -> None:
    assert reason in refusal("Reshape", f"reshape_param {{ {options} }}", [X])


@pytest.mark.parametrize(
    "options", ["", "axis: 2 offset: 1", "axis: 1 offset: 1 offset: 0 offset: 2", "axis: -1 offset: 2", "axis: 3"]
)
def test_a_cropped_blob_agrees_with_opencv(options: str) -> None:
    agrees("Crop", f"crop_param {{ {options} }}", [X, sample(1, 2, 3, 4)])


def test_a_crop_to_the_same_size_is_no_operator() -> None:
    assert operators(one_layer("Crop", "", [X, Y])) == operators(one_layer("Dropout", "", [X]))


@pytest.mark.parametrize(
    ("options", "other", "reason"),
    [
        ("offset: 1 offset: 1 offset: 1", (1, 4, 2, 2), "3 offsets for the shape [1, 4, 5, 6], from axis 2 on"),
        ("", (1, 4, 2), "2 offsets for the shape [1, 4, 5, 6], from axis 2 on, and [1, 4, 2]"),
        ("offset: 4", (1, 4, 2, 2), "the shape [1, 4, 2, 2] from [4, 4] on is not inside of [1, 4, 5, 6]"),
        ("axis: 7", (1, 4, 2, 2), "axis 7 of a blob"),
    ],
)
def test_a_crop_that_cannot_be_says_why(options: str, other: tuple[int, ...], reason: str) -> None:
    assert reason in refusal("Crop", f"crop_param {{ {options} }}", [X, sample(*other)])


@pytest.mark.parametrize(("options", "times"), [("tiles: 3", (1, 3, 1, 1)), ("axis: -1 tiles: 2", (1, 1, 1, 2))])
def test_a_repeated_blob_conforms_to_its_definition(options: str, times: tuple[int, ...]) -> None:
    # OpenCV only repeats as ONNX does.
    conforms("Tile", f"tile_param {{ {options} }}", [X], lambda x: np.tile(x, times))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("", "0 tiles"),
        ("tiles: -1", "-1 tiles"),
        ("tiles: 2 axis: 4", "axis 4 of a blob"),
    ],
)
def test_a_repetition_that_cannot_be_says_why(options: str, reason: str) -> None:
    assert reason in refusal("Tile", f"tile_param {{ {options} }}", [X])
