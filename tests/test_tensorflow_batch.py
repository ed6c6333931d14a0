"""The batch of frozen graphs becomes 1, where that means the same."""

from __future__ import annotations

import numpy as np
import pytest

from synap_core.api import InputError
from tests.support.canonical import run, whole
from tests.support.tensorflow_models import GraphComposer, opened


def network(rng: np.random.Generator, batch: int) -> bytes:
    """A convolution, a flattening with the batch written out, and a matrix product."""
    graph = GraphComposer()
    graph.placeholder("x", [batch, 4, 4, 3])
    weights = graph.constant(rng.normal(size=(3, 3, 3, 2)).astype(np.float32))
    graph.node("Conv2D", ["x", weights], name="c", strides=[1, 1, 1, 1], padding="SAME", data_format="NHWC")
    graph.node("Reshape", ["c", graph.constant([batch, 32])], name="flat", Tshape=np.int32)
    dense = graph.constant(rng.normal(size=(32, 5)).astype(np.float32))
    graph.node("MatMul", ["flat", dense], name="m", transpose_a=False, transpose_b=False)
    graph.node("Softmax", ["m"], name="y")
    return graph.serialize()


@pytest.mark.parametrize("asked", [8, 1])
def test_a_fixed_batch_becomes_one_and_the_samples_stay_what_they_are(rng: np.random.Generator, asked: int) -> None:
    state = rng.bit_generator.state
    eight = opened(network(rng, 8), {"x": [asked, 4, 4, 3]}, ["y"])
    rng.bit_generator.state = state
    one = opened(network(rng, 1), {"x": [1, 4, 4, 3]}, ["y"])
    assert eight.notes == ("the fixed batch of 8 was changed to 1",)
    assert one.notes == ()
    assert eight.tensors["x"].shape == (1, 4, 4, 3)
    assert eight.tensors["y"].shape == (1, 5)
    x = rng.normal(size=(1, 4, 4, 3)).astype(np.float32)
    found, expected = (run(model.canonical(whole(model)), [x])[0] for model in (eight, one))
    np.testing.assert_array_equal(found, expected)


def test_an_open_batch_becomes_one_whatever_the_metafile_says() -> None:
    graph = GraphComposer()
    graph.node("Relu", [graph.placeholder("x", [-1, 4])], name="y")
    model = opened(graph.serialize(), {"x": [16, 4]}, ["y"])
    assert model.tensors["y"].shape == (1, 4)
    assert model.notes == ("the batch of 16 in the metafile was changed to 1",)


def test_the_batch_of_a_tensor_inside_becomes_one() -> None:
    graph = GraphComposer()
    graph.node("Relu", [graph.placeholder("x", None)], name="a")
    graph.node("Neg", ["a"], name="y")
    model = opened(graph.serialize(), {"a": [4, 7]}, ["y"])
    assert model.tensors["y"].shape == (1, 7)
    assert model.notes == ("the fixed batch of 4 was changed to 1",)


def test_where_one_input_has_batch_one_the_others_have_none() -> None:
    graph = GraphComposer()
    graph.placeholder("x", [1, 3])
    graph.placeholder("table", [5, 3])
    graph.node("Add", ["x", "table"], name="y")
    model = opened(graph.serialize(), {"x": [1, 3], "table": [5, 3]}, ["y"])
    assert model.tensors["table"].shape == (5, 3)
    assert model.notes == ()


def test_vectors_have_no_batch() -> None:
    graph = GraphComposer()
    graph.node("Relu", [graph.placeholder("x", [16000])], name="y")
    assert opened(graph.serialize(), {"x": [16000]}, ["y"]).tensors["y"].shape == (16000,)


def test_different_batches_are_refused() -> None:
    graph = GraphComposer()
    graph.placeholder("a", [4, 3])
    graph.placeholder("b", [2, 3])
    graph.node("Pack", ["a", "b"], name="y", axis=0, N=2)
    with pytest.raises(
        InputError, match="different first dimensions: 'a' \\[4, 3\\], 'b' \\[2, 3\\]; export the model"
    ):
        opened(graph.serialize(), {"a": [4, 3], "b": [2, 3]}, ["y"])


def test_samples_spread_over_blocks_stay_apart(rng: np.random.Generator) -> None:
    graph = GraphComposer()
    graph.placeholder("x", [2, 4, 4, 1])
    block = graph.constant([2, 2])
    none = graph.constant([[0, 0], [0, 0]])
    graph.node("SpaceToBatchND", ["x", block, none], name="s", Tblock_shape=np.int32, Tpaddings=np.int32)
    graph.node("Relu", ["s"], name="r")
    graph.node("BatchToSpaceND", ["r", block, none], name="y", Tblock_shape=np.int32, Tcrops=np.int32)
    model = opened(graph.serialize(), {"x": [2, 4, 4, 1]}, ["y"])
    assert model.tensors["s"].shape == (4, 2, 2, 1)
    x = rng.normal(size=(1, 4, 4, 1)).astype(np.float32)
    np.testing.assert_array_equal(run(model.canonical(whole(model)), [x])[0], np.maximum(x, 0))


def mean(graph: GraphComposer) -> None:
    graph.node("Mean", ["x", graph.constant([0])], name="y", keep_dims=False, Tidx=np.int32)


def mean_kept(graph: GraphComposer) -> None:
    graph.node("Mean", ["x", graph.constant([0])], name="y", keep_dims=True, Tidx=np.int32)


def turned(graph: GraphComposer) -> None:
    graph.node("Transpose", ["x", graph.constant([1, 0])], name="y", Tperm=np.int32)


def flattened(graph: GraphComposer) -> None:
    graph.node("Reshape", ["x", graph.constant([-1])], name="y", Tshape=np.int32)


def regrouped(graph: GraphComposer) -> None:
    graph.node("Reshape", ["x", graph.constant([2, 8])], name="y", Tshape=np.int32)


def per_sample(graph: GraphComposer) -> None:
    graph.node("Add", ["x", graph.constant(np.ones((4, 4), np.float32))], name="y")


def joined(graph: GraphComposer) -> None:
    graph.node("ConcatV2", ["x", "x", graph.constant(0)], name="y", N=2, Tidx=np.int32)


def summed_up(graph: GraphComposer) -> None:
    graph.node("Cumsum", ["x", graph.constant(0)], name="y", Tidx=np.int32, exclusive=False, reverse=False)


def broadcast(graph: GraphComposer) -> None:
    graph.node("Max", ["x", graph.constant([1])], name="m", keep_dims=False, Tidx=np.int32)
    graph.node("Sub", ["x", "m"], name="y")  # item j of sample i less the maximum of sample j


def unpacked(graph: GraphComposer) -> None:
    graph.node("Unpack", ["x"], name="y", axis=0, num=4)


def looked_up(graph: GraphComposer) -> None:
    graph.node("ArgMax", ["x", graph.constant(1)], name="i", Tidx=np.int32, output_type=np.int64)
    graph.node("GatherV2", ["x", "i", graph.constant(0)], name="y", Tparams=np.float32, Tindices=np.int64, T=None)


@pytest.mark.parametrize(
    "change",
    [
        mean, mean_kept, turned, flattened, regrouped, per_sample, joined, summed_up, broadcast, unpacked, looked_up,
    ],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_operators_that_mix_samples_are_named(change: object) -> None:
    graph = GraphComposer()
    graph.placeholder("x", [4, 4])
    change(graph)  # type: ignore[operator] - one of the functions above
    kind = graph.graph.node[-1].op
    with pytest.raises(
        InputError, match=f"batch of 4 cannot become 1: layer 'y' \\({kind}\\) mixes samples or has the"
    ):
        opened(graph.serialize(), {"x": [4, 4]}, ["y"])
