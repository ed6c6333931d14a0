"""Dimensions that an ``.onnx`` file leaves open, and batches other than 1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from synap_core.api import BoundarySpec, InputError, Slice
from tests.support.onnx_models import Oracle, flattened, googlenet_like, model, node, open_made, value, whole


def resized(dims: Sequence[int | str | None], second: Sequence[int | str | None] | None = None) -> onnx.ModelProto:
    """Something fully convolutional, with a second input of the same size if wanted."""
    inputs = [value("x", dims)] + ([] if second is None else [value("z", second)])
    last = "r" if second is None else "r z"
    nodes = [node("Relu", "x", "r", "relu"), node("Add", f"{last} k" if second is None else last, "y", "add")]
    return model(nodes, inputs, [value("y", ["a", "b", "c", "d"])], {"k": np.float32(1)})


@pytest.mark.acceptance("N7")
def test_n7_dynamic_batch_is_1_in_inputs_and_outputs(tmp_path: Path, rng: np.random.Generator) -> None:
    made = flattened(rng, "N")
    opened_model = open_made(tmp_path, made)
    assert {name: opened_model.tensors[name].shape for name in ("x", "flat", "y")} == {
        "x": (1, 3, 4),
        "flat": (1, 12),
        "y": (1, 5),
    }
    assert opened_model.notes == ("the open batch of 'x' was set to 1",)
    part = whole(opened_model)
    assert [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*part.graph.input, *part.graph.output)] == [
        [1, 3, 4],
        [1, 5],
    ]
    x = [rng.normal(size=(1, 3, 4)).astype(np.float32)]
    np.testing.assert_array_equal(Oracle(part)(x)[0], Oracle(made)(x)[0])


@pytest.mark.parametrize("spec", [BoundarySpec(name="x", shape=(9, 3, 32, 48)), BoundarySpec(shape=(1, 3, 32, 48))])
@pytest.mark.parametrize("dims", [["N", 3, "H", "W"], [None, 3, None, -1]], ids=["named", "nameless"])
def test_metafile_fixes_the_other_dimensions(tmp_path: Path, spec: BoundarySpec, dims: list[int | str | None]) -> None:
    tensors = open_made(tmp_path, resized(dims), spec).tensors
    assert [tensors[name].shape for name in ("x", "r", "y")] == [(1, 3, 32, 48)] * 3


def test_one_input_fixes_the_dimensions_that_another_shares(tmp_path: Path) -> None:
    spec = BoundarySpec(shape=(1, 3, 8, 6))
    tensors = open_made(tmp_path, resized(["N", 3, "H", "W"], ["N", 3, "H", "W"]), spec).tensors
    assert (tensors["z"].shape, tensors["y"].shape) == ((1, 3, 8, 6), (1, 3, 8, 6))


HW = r"give its shape in the metafile: inputs: \[\{name: x, shape: \[1, 3, H, W\]\}\]"


@pytest.mark.parametrize(
    ("dims", "specs", "message"),
    [
        (["N", 3, "height", "w"], [], f"input 'x' has the dynamic dimension 'height'; {HW}"),
        (["N", 3, None, "w"], [], rf"input 'x' has a dynamic dimension \(number 2\); {HW}"),
        (["N", 3, "h", "w"], [BoundarySpec(shape=(1, 3, 8))], r"gives input 'x' the shape \[1, 3, 8\]; it has 4"),
        (["N", 3, "h", "h"], [BoundarySpec(shape=(1, 3, 8, 6))], "'h' is 8 in input 'x' and 6 in input 'x'"),
        (None, [], "input 'x' has no shape; give it in the metafile"),
    ],
    ids=["named", "nameless", "rank", "contradiction", "no rank"],
)
def test_dimension_that_stays_open_is_refused_by_name(
    tmp_path: Path, dims: list[int | str | None], specs: list[BoundarySpec], message: str
) -> None:
    made = resized(dims)
    if dims is None:
        made.graph.input[0].type.tensor_type.ClearField("shape")
        made.graph.output[0].CopyFrom(value("y", ["a", "b", "c", "d"]))
    with pytest.raises(InputError, match=message):
        open_made(tmp_path, made, *specs)


def test_open_dimensions_can_be_shown_instead(tmp_path: Path) -> None:
    tensors = open_made(tmp_path, resized(["N", 3, "H", "W"]), lenient=True).tensors
    assert (tensors["x"].shape, tensors["x"].static) == ((1, 3, -1, -1), False)


def test_shapes_that_contradict_the_graph_are_refused(tmp_path: Path) -> None:
    made = resized([1, 3, "H", "W"], [1, 3, "H2", "W"])
    specs = BoundarySpec(shape=(1, 3, 8, 6)), BoundarySpec(shape=(1, 3, 5, 6))
    with pytest.raises(InputError, match=r"does not work on inputs of the shapes 'x' \[1, 3, 8, 6\], 'z' \[1, 3, 5, 6"):
        open_made(tmp_path, made, *specs)


def test_model_can_begin_at_a_tensor_whose_shape_the_metafile_gives(tmp_path: Path) -> None:
    opened_model = open_made(tmp_path, resized(["N", 3, "H", "W"]), BoundarySpec(name="r", shape=(1, 3, 8, 6)))
    assert [opened_model.tensors[name].shape for name in ("r", "y")] == [(1, 3, 8, 6)] * 2
    part = opened_model.slice(Slice(layers=opened_model.layers[2:], inputs=("r",), outputs=("y",)))
    r = np.full((1, 3, 8, 6), 2, np.float32)
    assert Oracle(part).input_shapes == [[1, 3, 8, 6]]
    np.testing.assert_array_equal(Oracle(part)([r])[0], r + 1)


def rows_of(made: onnx.ModelProto, folder: Path, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a model gives for a batch, and what the opened model gives for each of its samples."""
    one = Oracle(whole(open_made(folder, made)))
    got = np.concatenate([one([samples[k : k + 1]])[0] for k in range(len(samples))])
    return Oracle(made)([samples])[0], got


@pytest.mark.parametrize("build", [googlenet_like, flattened], ids=["convolutional", "computed reshape"])
def test_fixed_batch_becomes_1_and_each_sample_gives_what_it_gave(
    tmp_path: Path, rng: np.random.Generator, build: Any
) -> None:
    made = build(rng, 4)
    shape = [d.dim_value for d in made.graph.input[0].type.tensor_type.shape.dim]
    expected, got = rows_of(made, tmp_path, rng.normal(size=shape).astype(np.float32))
    # Sums may be taken in another order for another batch.
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert open_made(tmp_path, made).notes == ("the fixed batch of 4 was changed to 1",)


def one(kind: str, out: Sequence[int], constant: Any = None, opset: int = 17, **attributes: Any) -> onnx.ModelProto:
    """One operator on ``x`` [4, 2, 3], named ``op``, behind a Relu."""
    constants = {} if constant is None else {"k": constant}
    nodes = [node("Relu", "x", "r"), node(kind, "r k" if constants else "r", "y", "op", **attributes)]
    dtype = TensorProto.INT64 if kind == "ArgMax" else TensorProto.FLOAT
    return model(nodes, [value("x", [4, 2, 3])], [value("y", out, dtype)], constants, opset=opset)


def pair(kind: str, out: Sequence[int], second: str, **attributes: Any) -> onnx.ModelProto:
    """One operator on ``x`` [4, 4, 3] and something computed from it."""
    made = {
        "transposed": node("Transpose", "x", "z", perm=[0, 2, 1]),
        "reduced": node("ReduceMax", "x", "z", axes=[1], keepdims=0),
    }[second]
    return model([made, node(kind, "x z", "y", "op", **attributes)], [value("x", [4, 4, 3])], [value("y", out)])


@pytest.mark.parametrize(
    "made",
    [
        one("Concat", [4, 2, 3], axis=-1),
        one("ReduceMean", [4, 3], axes=[1], keepdims=0),
        one("ReduceSum", [4, 1, 1], np.array([1, -1])),
        one("Transpose", [4, 3, 2], perm=[0, 2, 1]),
        one("Pad", [4, 4, 3], np.array([0, 1, 0, 0, 1, 0])),
        one("Reshape", [4, 6], np.array([-1, 6])),
        one("Reshape", [4, 3, 2], np.array([0, 3, 2])),
        one("Add", [4, 2, 3], np.ones((2, 3), np.float32)),
        one("Mul", [4, 2, 3], np.full((1, 2, 1), 3, np.float32)),
        one("Softmax", [4, 2, 3]),
        one("Softmax", [4, 2, 3], opset=11),
        one("ArgMax", [4, 1, 3], axis=1),
        one("Gather", [4, 2, 2], np.array([0, 2]), axis=2),
        one("MatMul", [4, 2, 5], np.arange(15, dtype=np.float32).reshape(3, 5)),
        one("Tile", [4, 4, 3], np.array([1, 2, 1])),
        one("Flatten", [4, 6]),
        pair("MatMul", [4, 4, 4], "transposed"),
    ],
    ids=lambda made: made.graph.node[1].op_type,
)
def test_operator_that_keeps_samples_apart_is_shortened(
    tmp_path: Path, made: onnx.ModelProto, rng: np.random.Generator
) -> None:
    shape = [d.dim_value for d in made.graph.input[0].type.tensor_type.shape.dim]
    expected, got = rows_of(made, tmp_path, rng.normal(size=shape).astype(np.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "made",
    [
        one("CumSum", [4, 2, 3], np.array(0)),
        one("Concat", [4, 2, 3], axis=0),
        one("ReduceSum", [1, 2, 3], np.array([0])),
        one("ReduceMean", [2, 3], axes=[-3], keepdims=0),
        one("ReduceMax", [1, 1, 1]),
        one("Transpose", [2, 4, 3], perm=[1, 0, 2]),
        one("Pad", [6, 2, 3], np.array([1, 0, 0, 1, 0, 0])),
        one("Reshape", [4, 6], np.array([4, 6])),
        one("Reshape", [2, 12], np.array([2, 12])),
        one("Add", [4, 2, 3], np.arange(24, dtype=np.float32).reshape(4, 2, 3)),
        one("Expand", [4, 2, 3], np.array([4, 2, 3])),
        one("Softmax", [4, 2, 3], axis=0),
        one("Gather", [4, 2, 3], np.array([3, 2, 1, 0])),
        one("Tile", [8, 2, 3], np.array([2, 1, 1])),
        pair("Add", [4, 4, 3], "reduced"),
    ],
    ids=lambda made: made.graph.node[1].op_type,
)
def test_operator_that_may_mix_samples_is_refused_by_name(tmp_path: Path, made: onnx.ModelProto) -> None:
    kind = made.graph.node[1].op_type
    with pytest.raises(InputError, match=rf"the fixed batch of 4 cannot become 1: layer 'op' \({kind}\).*export the"):
        open_made(tmp_path, made)


def recurrent(rng: np.random.Generator, kind: str, gates: int, shape: Sequence[int]) -> onnx.ModelProto:
    """A recurrent layer over time, which is in front, if wanted behind one more dimension."""
    constants = {
        "w": rng.normal(size=(1, gates * 3, 8)).astype(np.float32),
        "u": rng.normal(size=(1, gates * 3, 3)).astype(np.float32),
        "axis": np.array([0]),
    }
    squeezed = [] if len(shape) == 3 else [node("Squeeze", "x axis", "t")]
    nodes = [*squeezed, node(kind, "t w u" if squeezed else "x w u", "y", "op", hidden_size=3)]
    return model(nodes, [value("x", shape)], [value("y", [5, 1, 1, 3])], constants)


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_time_in_front_is_refused_and_the_message_gives_the_shape_that_is_taken(
    kind: str, gates: int, tmp_path: Path, rng: np.random.Generator
) -> None:
    with pytest.raises(InputError, match=rf"fixed batch of 5 cannot become 1: layer 'op' \({kind}\)") as caught:
        open_made(tmp_path, recurrent(rng, kind, gates, [5, 1, 8]))
    hint = str(caught.value.hint)
    assert "where the first dimension is not the batch but time, with a batch of 1 in front of it: [1, 5, 1, 8]" in hint
    made = recurrent(rng, kind, gates, [1, 5, 1, 8])
    opened = open_made(tmp_path, made)
    assert (opened.notes, opened.tensors["y"].shape) == ((), (5, 1, 1, 3))
    x = [rng.normal(size=(1, 5, 1, 8)).astype(np.float32)]
    np.testing.assert_array_equal(Oracle(whole(opened))(x)[0], Oracle(made)(x)[0])


def summed(rng: np.random.Generator, *shape: int) -> onnx.ModelProto:
    """A Gemm of a batch of 4, which adds something of some shape."""
    constants = {"w": rng.normal(size=(8, 6)).astype(np.float32), "c": rng.normal(size=shape).astype(np.float32)}
    return model([node("Gemm", "x w c", "y", "op")], [value("x", [4, 8])], [value("y", [4, 6])], constants)


@pytest.mark.parametrize("shape", [(4, 6), (4, 1)])
def test_numbers_of_their_own_for_each_sample_are_refused(
    shape: tuple[int, ...], tmp_path: Path, rng: np.random.Generator
) -> None:
    with pytest.raises(InputError, match=r"the fixed batch of 4 cannot become 1: layer 'op' \(Gemm\)"):
        open_made(tmp_path, summed(rng, *shape))


@pytest.mark.parametrize("shape", [(), (6,), (1,), (1, 6), (1, 1)])
def test_numbers_that_all_samples_share_are_added_to_each(
    shape: tuple[int, ...], tmp_path: Path, rng: np.random.Generator
) -> None:
    expected, got = rows_of(summed(rng, *shape), tmp_path, rng.normal(size=(4, 8)).astype(np.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def normalised(outputs: str = "y", **attributes: Any) -> onnx.ModelProto:
    constants = {name: np.arange(1, 3, dtype=np.float32) for name in ("scale", "bias", "mean", "variance")}
    nodes = [node("BatchNormalization", "x scale bias mean variance", outputs, "op", **attributes)]
    return model(nodes, [value("x", [4, 2, 3])], [value("y", [4, 2, 3])], constants)


def test_batch_normalisation_mixes_samples_only_when_it_trains(tmp_path: Path, rng: np.random.Generator) -> None:
    expected, got = rows_of(normalised(), tmp_path, rng.normal(size=(4, 2, 3)).astype(np.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match=r"layer 'op' \(BatchNormalization\) mixes samples"):
        open_made(tmp_path, normalised("y m v", training_mode=1))


def two_inputs(first: Sequence[int], second: Sequence[int]) -> onnx.ModelProto:
    nodes = [node("Relu", "a", "y"), node("Relu", "b", "z")]
    return model(nodes, [value("a", first), value("b", second)], [value("y", first), value("z", second)])


def test_inputs_with_different_batches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"different first dimensions: 'a' \[4, 2\], 'b' \[2, 2\]"):
        open_made(tmp_path, two_inputs([4, 2], [2, 2]))


def test_size_in_front_beside_a_batch_of_1_is_no_batch(tmp_path: Path) -> None:
    opened = open_made(tmp_path, two_inputs([1, 2], [5, 2]))
    assert (opened.tensors["b"].shape, opened.notes) == ((5, 2), ())


def test_vector_has_no_batch(tmp_path: Path) -> None:
    assert open_made(tmp_path, two_inputs([8], [3])).tensors["a"].shape == (8,)
