"""Parameters that are taken over from a quantization with other data types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.quantization.carrying import carry_over
from synap_core.quantization.parameters import Parameters, annotate, stored
from synap_core.quantization.plan import Plan
from synap_core.quantization.raising import raise_layers
from tests.support.comparison import ListRunner, MinMaxQuantized, MinMaxQuantizer, Network, OnnxSession

LAYERS = ("Gemm_n0_0", "Gemm_n1_1", "Gemm_n2_2", "Gemm_n3_3")


def network(rng: np.random.Generator) -> tuple[ir.Model, ListRunner]:
    net = Network(rng, (1, 16))
    y = net.x
    for _ in LAYERS:
        y = net.dense(y, 16, rng.normal(size=(16, 16)) / 4)
    return net.finish(y), ListRunner(net.samples(10))


def by_label(plan: Plan, parameters: Parameters) -> dict[str, np.ndarray]:
    """Real numbers of all constants."""
    labels = {key: slot.label for key, slot in plan.constants.items()}
    labels |= {key: f"@{bias.layer_id}:bias" for key, bias in plan.biases.items()}
    return {labels[key]: tensor.numpy() for key, tensor in parameters.constants.items()}


def shifted(parameters: Parameters, steps: int) -> Parameters:
    """Parameters whose weights and biases are some steps away from the nearest, as if they had been refined."""
    constants = {
        key: stored(tensor.numpy() + steps * np.float32(tensor.quant.scale[0]), tensor.quant)
        if tensor.quant.scale
        else tensor
        for key, tensor in parameters.constants.items()
    }
    return replace(parameters, constants=constants, notes=(f"{steps} steps",))


def ratio(graph: ir.Model, found: MinMaxQuantized) -> float:
    """Ratio of the output in dB, from the numbers that both graphs give."""
    exact, rounded = OnnxSession(graph), found.runner.open(annotate(found.plan, found.parameters))
    signal = noise = 0.0
    for feeds in found.runner.samples(range(found.runner.count)):
        y, q = (session.run(feeds)[0].astype(np.float64) for session in (exact, rounded))
        signal, noise = signal + np.sum(y**2), noise + np.sum((y - q) ** 2)
    return float(10 * np.log10(signal / noise))


def test_layers_with_the_same_type_keep_what_they_had_and_the_others_get_what_was_made(
    rng: np.random.Generator,
) -> None:
    graph, runner = network(rng)
    quantizer = MinMaxQuantizer(graph, runner)
    first, second = quantizer.run(), quantizer.run({LAYERS[1]: "int16"})
    kept = shifted(first.parameters, 1)
    found = carry_over(first.plan, kept, second.plan, second.parameters)
    before, made = by_label(first.plan, kept), by_label(second.plan, second.parameters)
    after = by_label(second.plan, found)
    assert after.keys() == made.keys()
    for label, values in after.items():
        expected = made[label] if label.startswith(f"@{LAYERS[1]}:") else before[label]
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-6, err_msg=label)
    assert found.notes == kept.notes
    assert found.activations.keys() == second.plan.slots.keys()


def test_bias_behind_a_tensor_of_more_bits_keeps_its_number_in_finer_steps(rng: np.random.Generator) -> None:
    graph, runner = network(rng)
    quantizer = MinMaxQuantizer(graph, runner)
    first, second = quantizer.run(), quantizer.run({"Input_x": "int16"})
    kept = shifted(first.parameters, 5)
    found = carry_over(first.plan, kept, second.plan, second.parameters)
    for key, bias in second.plan.biases.items():
        scale = found.activations[bias.data], found.constants[bias.weight].quant
        assert found.constants[key].quant.scale[0] == pytest.approx(scale[0].scale[0] * scale[1].scale[0])
    np.testing.assert_allclose(
        by_label(second.plan, found)["@Gemm_n0_0:bias"], by_label(first.plan, kept)["@Gemm_n0_0:bias"], atol=1e-3
    )


def test_nothing_changes_when_nothing_is_raised(rng: np.random.Generator) -> None:
    graph, runner = network(rng)
    quantizer = MinMaxQuantizer(graph, runner)
    first, second = quantizer.run(), quantizer.run()
    kept = shifted(first.parameters, 1)
    found = carry_over(first.plan, kept, second.plan, second.parameters)
    assert found.activations == kept.activations
    assert found.ranges.keys() == kept.ranges.keys()
    for key, tensor in found.constants.items():
        np.testing.assert_array_equal(tensor.integers, kept.constants[key].integers)


@dataclass(slots=True)
class Fickle(MinMaxQuantizer):
    """Refines well without raised layers, and badly with them: weights are away from the nearest steps."""

    history: list[Mapping[str, str]] = field(default_factory=list)

    def run(self, raised: Mapping[str, str] | None = None) -> MinMaxQuantized:
        self.history.append(dict(raised or {}))
        found = MinMaxQuantizer.run(self, raised)
        return replace(found, parameters=shifted(found.parameters, 1)) if raised else found


def test_refinement_that_comes_out_worse_the_second_time_raises_no_further_layers(rng: np.random.Generator) -> None:
    graph, runner = network(rng)
    steady, fickle = MinMaxQuantizer(graph, runner), Fickle(graph, runner)
    target = ratio(graph, steady.run()) + 3
    expected, found = raise_layers(steady, target), raise_layers(fickle, target)
    assert found.raised == expected.raised
    assert len(fickle.history) == len(expected.history)
    assert found.sqnr_db >= target
    assert ratio(graph, found.quantized) == pytest.approx(found.sqnr_db, abs=1e-3)
    assert ratio(graph, fickle.run(found.raised)) < target
