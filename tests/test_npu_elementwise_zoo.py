"""Quantized models of the zoo whose results hang on arithmetic of two tensors, against LiteRT's reference kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from synap_core.graph.annotations import quant_of, states_of
from synap_core.source import ModelRequest
from synap_frontend_tflite.model import TfliteModel
from tests.support.canonical import Reference, stored, whole
from tests.support.npu_program import compiled

pytestmark = pytest.mark.zoo

SEEDS = range(4)


def test_a_long_short_term_memory_is_within_a_unit_after_28_steps(zoo: Path) -> None:
    path = zoo / "models/misc/keras_lstm_mnist_ptq.tflite"
    source = TfliteModel.open(ModelRequest(path=path))
    model = source.canonical(whole(source))
    quants = {str(value.name): quant_of(value) for value in model.graph.inputs}
    first = [stored(state.initial.numpy(), quants[state.input]) for state in states_of(model)]
    program = compiled(model)
    assert {"Add", "Multiply", "Relu", "Convert"} <= set(program.types)
    for seed in SEEDS:
        array = np.random.default_rng(seed).integers(0, 256, (1, 28, 28)).astype(np.uint8)
        found = program([array, *first])[0]
        # A new interpreter has its variables in their first state.
        (expected,) = Reference(path)([array])
        assert np.abs(found.astype(int) - expected).max() <= 1
