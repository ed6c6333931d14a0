"""Models with a fixed batch become models with batch 1, or are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from synap_core.api import INPUT_TYPE, InputError, ModelRequest, Slice
from synap_frontend_tflite.model import TfliteModel
from tests.support.litert import Oracle
from tests.support.tflite_models import ModelBuilder

WriteModel = Callable[..., Path]


def classifier(batch: int, rng: np.random.Generator) -> bytes:
    """Convolution, pooling, reshape (constant shape), fully connected, softmax."""
    builder = ModelBuilder()
    x = builder.tensor("x", [batch, 6, 6, 2])
    w = builder.constant("w", rng.normal(size=(3, 3, 3, 2)).astype(np.float32))
    b = builder.constant("b", rng.normal(size=3).astype(np.float32))
    conv = builder.tensor("conv", [batch, 4, 4, 3])
    options = schema.Conv2DOptionsT()
    options.padding, options.strideW, options.strideH = schema.Padding.VALID, 1, 1
    builder.operator("CONV_2D", [x, w, b], [conv], options)
    pooled = builder.tensor("pooled", [batch, 2, 2, 3])
    pool = schema.Pool2DOptionsT()
    pool.padding, pool.strideW, pool.strideH, pool.filterWidth, pool.filterHeight = 1, 2, 2, 2, 2
    builder.operator("MAX_POOL_2D", [conv], [pooled], pool)
    flat = builder.tensor("flat", [batch, 12])
    shape = builder.constant("shape", np.array([batch, 12], np.int32))
    builder.operator("RESHAPE", [pooled, shape], [flat], schema.ReshapeOptionsT())
    # The number of outputs equals the batch: a dimension of the weights that must not be shortened.
    dense = builder.constant("dense", rng.normal(size=(batch, 12)).astype(np.float32))
    logits = builder.tensor("logits", [batch, batch])
    builder.operator("FULLY_CONNECTED", [flat, dense, -1], [logits], schema.FullyConnectedOptionsT())
    y = builder.tensor("y", [batch, batch])
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    builder.operator("SOFTMAX", [logits], [y], softmax)
    return builder.finish([x], [y])


def open_model(path: Path) -> TfliteModel:
    return TfliteModel.open(ModelRequest(path=path))


def test_batch_becomes_1_and_each_sample_gives_what_it_gave(model_file: WriteModel, rng: np.random.Generator) -> None:
    content = classifier(4, rng)
    model = open_model(model_file(content))
    assert model.notes == ("the fixed batch of 4 was changed to 1",)
    assert {t.name: t.shape for t in model.tensors.values()} == {
        "x": (1, 6, 6, 2),
        "conv": (1, 4, 4, 3),
        "pooled": (1, 2, 2, 3),
        "flat": (1, 12),
        "logits": (1, 4),
        "y": (1, 4),
    }
    samples = rng.normal(size=(4, 6, 6, 2)).astype(np.float32)
    expected = Oracle(content, xnnpack=False)([samples])[0]
    one = Oracle(model.data, xnnpack=False)
    got = np.concatenate([one([samples[k : k + 1]])[0] for k in range(4)])
    # Sums may be taken in another order for another batch; a probability then differs by float32 rounding.
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


def test_batch_of_1_leaves_the_file_alone(model_file: WriteModel, rng: np.random.Generator) -> None:
    content = classifier(1, rng)
    model = open_model(model_file(content))
    assert (model.data, model.notes) == (content, ())


def test_rank_1_input_has_no_batch(model_file: WriteModel) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("wave", [8]), builder.tensor("y", [8])
    builder.operator("ABS", [x], [y])
    assert open_model(model_file(builder.finish([x], [y]))).tensors[str(x)].shape == (8,)


def test_sliced_model_with_changed_batch_runs(model_file: WriteModel, rng: np.random.Generator) -> None:
    model = open_model(model_file(classifier(3, rng)))
    layers = tuple(layer for layer in model.layers if layer.type != INPUT_TYPE)
    flat = next(t.id for t in model.tensors.values() if t.name == "flat")
    part = model.slice(Slice(layers=layers[:3], inputs=model.inputs, outputs=(flat,)))
    assert Oracle(part).outputs[0]["shape"].tolist() == [1, 12]


def _concatenation(axis: int) -> Any:
    options = schema.ConcatenationOptionsT()
    options.axis = axis
    return options


def one_operator(name: str, out: list[int], options: Any = None, extra: np.ndarray | None = None) -> bytes:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [4, 2, 3]), builder.tensor("y", out)
    inputs = [x] if extra is None else [x, builder.constant("k", extra)]
    builder.operator(name, inputs, [y], options)
    return builder.finish([x], [y])


INT = np.int32


@pytest.mark.parametrize(
    "content",
    [
        one_operator("CUMSUM", [4, 2, 3], extra=np.array(0, INT)),
        one_operator("CONCATENATION", [8, 2, 3], _concatenation(0)),
        one_operator("SUM", [2, 3], schema.ReducerOptionsT(), np.array([0], INT)),
        one_operator("SUM", [4, 3], schema.ReducerOptionsT(), np.array([-3], INT)),
        one_operator("TRANSPOSE", [2, 4, 3], schema.TransposeOptionsT(), np.array([1, 0, 2], INT)),
        one_operator("PAD", [6, 2, 3], schema.PadOptionsT(), np.array([[1, 1], [0, 0], [0, 0]], INT)),
        one_operator("RESHAPE", [2, 12], schema.ReshapeOptionsT(), np.array([2, 12], INT)),
        one_operator("ADD", [4, 2, 3], schema.AddOptionsT(), np.ones((4, 2, 3), np.float32)),
        one_operator("SQUEEZE", [4, 2, 3], schema.SqueezeOptionsT()),
    ],
    ids=["unknown", "concat", "sum", "sum-", "transpose", "pad", "reshape", "per-sample constant", "squeeze"],
)
def test_operator_that_may_mix_samples_is_refused_by_name(model_file: WriteModel, content: bytes) -> None:
    with pytest.raises(
        InputError, match="the fixed batch of 4 cannot become 1: layer 'y'.*export the model.*not the batch but time"
    ):
        open_model(model_file(content))


@pytest.mark.parametrize(
    "content",
    [
        one_operator("CONCATENATION", [4, 2, 3], _concatenation(-1)),
        one_operator("SUM", [4, 3], schema.ReducerOptionsT(), np.array([1], INT)),
        one_operator("TRANSPOSE", [4, 3, 2], schema.TransposeOptionsT(), np.array([0, 2, 1], INT)),
        one_operator("PAD", [4, 4, 3], schema.PadOptionsT(), np.array([[0, 0], [1, 1], [0, 0]], INT)),
        one_operator("RESHAPE", [4, 6], schema.ReshapeOptionsT(), np.array([-1, 6], INT)),
        one_operator("ADD", [4, 2, 3], schema.AddOptionsT(), np.ones((2, 3), np.float32)),
    ],
    ids=["concat", "sum", "transpose", "pad", "reshape", "broadcast constant"],
)
def test_operator_that_keeps_samples_apart_is_shortened(
    model_file: WriteModel, content: bytes, rng: np.random.Generator
) -> None:
    model = open_model(model_file(content))
    sample = rng.normal(size=(4, 2, 3)).astype(np.float32)
    expected = Oracle(content)([sample])[0]
    np.testing.assert_array_equal(Oracle(model.data)([sample[2:3]])[0], expected[2:3])


def test_inputs_with_different_batches_are_refused(model_file: WriteModel) -> None:
    builder = ModelBuilder()
    a, b = builder.tensor("a", [4, 2]), builder.tensor("b", [2, 2])
    y, z = builder.tensor("y", [4, 2]), builder.tensor("z", [2, 2])
    builder.operator("ABS", [a], [y])
    builder.operator("ABS", [b], [z])
    with pytest.raises(InputError, match=r"different first dimensions: 'a' \[4, 2\], 'b' \[2, 2\]"):
        open_model(model_file(builder.finish([a, b], [y, z])))
