"""Raising layers until the outputs are as accurate as wanted, against trying everything."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.errors import InputError
from synap_core.graph.groups import group
from synap_core.quantization.data_types import input_layer_id
from synap_core.quantization.parameters import annotate
from synap_core.quantization.raising import group_cost, raise_layers
from tests.support.comparison import ListRunner, MinMaxQuantizer, Network, OnnxSession

SIZES = (32, 8, 24, 4, 16)


def chain(rng: np.random.Generator) -> tuple[ir.Model, ListRunner]:
    """Five layers of different cost and different need."""
    net = Network(rng, (1, 16))
    y = net.x
    for number, size in enumerate(SIZES):
        weights = rng.normal(size=(int(y.shape[-1]), size)) / 3  # type: ignore[index, arg-type]  # static
        if number in (1, 3):
            weights[0, 0] *= 12
        y = net.dense(y, size, weights)
    return net.finish(y), ListRunner(net.samples(10))


def measured(graph: ir.Model, quantizer: MinMaxQuantizer, raised: dict[str, str]) -> float:
    """Ratio of the output, from the numbers that the quantized graph gives."""
    found = quantizer.run(raised)
    exact = OnnxSession(graph)
    rounded = found.runner.open(annotate(found.plan, found.parameters))
    signal = noise = 0.0
    for feeds in found.runner.samples(range(found.runner.count)):
        y, q = (session.run(feeds)[0].astype(np.float64) for session in (exact, rounded))
        signal, noise = signal + np.sum(y**2), noise + np.sum((y - q) ** 2)
    return 10 * math.log10(signal / noise)


def costs(graph: ir.Model) -> dict[str, float]:
    """Products of each layer; of the input, its items."""
    found = {input_layer_id(graph.graph.inputs[0]): 16.0}
    before = 16
    for item, size in zip(group(graph), SIZES, strict=True):
        found[item.layer_id] = before * size + size
        before = size
    return found


def test_cost_is_close_to_that_of_the_best_of_all_choices(rng: np.random.Generator) -> None:
    graph, runner = chain(rng)
    quantizer = MinMaxQuantizer(graph, runner)
    cost = costs(graph)
    choices = [c for size in range(len(cost) + 1) for c in itertools.combinations(cost, size)]
    ratios = {c: measured(graph, quantizer, dict.fromkeys(c, "int16")) for c in choices}
    start, end = ratios[()], max(ratios.values())

    def total(layers: Collection[str]) -> float:
        return sum(cost[name] for name in layers)

    for part in (0.1, 0.3, 0.6):
        target = start + part * (min(end, start + 20) - start)
        found = raise_layers(quantizer, target)
        best = min(total(c) for c, ratio in ratios.items() if ratio >= target)
        assert ratios[tuple(name for name in cost if name in found.raised)] >= target
        # The search is greedy, so it need not find the least.
        assert total(found.raised) <= 1.25 * best


def test_result_reaches_the_ratio_and_says_how_it_got_there(rng: np.random.Generator) -> None:
    graph, runner = chain(rng)
    quantizer = MinMaxQuantizer(graph, runner)
    start = measured(graph, quantizer, {})
    quantizer.asked.clear()
    found = raise_layers(quantizer, start + 3)
    assert found.raised
    assert found.sqnr_db >= start + 3
    assert found.sqnr_db == pytest.approx(measured(graph, quantizer, dict(found.raised)), abs=1e-3)
    assert found.history[0].layers == 0
    assert found.history[0].sqnr_db == pytest.approx(start, abs=1e-3)
    tried = quantizer.asked[:-1]
    assert [r.layers for r in found.history] == [len(raised) for raised in tried]
    assert len({frozenset(raised) for raised in tried}) == len(tried)
    types = found.quantized.plan.types
    assert {layer_id for layer_id, dtype in types.items() if dtype == "int16"} >= set(found.raised)


def test_nothing_is_raised_when_the_outputs_are_accurate_enough(rng: np.random.Generator) -> None:
    graph, runner = chain(rng)
    quantizer = MinMaxQuantizer(graph, runner)
    found = raise_layers(quantizer, measured(graph, quantizer, {}) - 1)
    assert found.raised == {}
    assert len(found.history) == 1


def test_a_higher_aim_costs_no_less(rng: np.random.Generator) -> None:
    graph, runner = chain(rng)
    quantizer, cost = MinMaxQuantizer(graph, runner), costs(graph)
    start = measured(graph, quantizer, {})
    found = [raise_layers(quantizer, start + gain) for gain in (1, 4, 25)]
    totals = [sum(cost[name] for name in each.raised) for each in found]
    assert totals == sorted(totals)
    assert totals[0] < totals[-1]


def test_what_cannot_be_reached_is_an_error_that_says_what_can(rng: np.random.Generator) -> None:
    graph, runner = chain(rng)
    quantizer = MinMaxQuantizer(graph, runner)
    with pytest.raises(
        InputError, match=r"do not reach 150 dB on the samples: the best is (\d+\.\d) dB.*ask for at most"
    ) as stop:
        raise_layers(quantizer, 150)
    hint = float(str(stop.value).rsplit(" ", 1)[1])
    assert raise_layers(quantizer, hint).sqnr_db >= hint


def test_float16_comes_in_where_int16_is_not_enough(rng: np.random.Generator) -> None:
    net = Network(rng, (1, 16))
    weights = rng.normal(size=(16, 16)) / 4
    weights[:, 0] *= 20_000
    y = net.dense(net.x, 16, weights)
    weights = rng.normal(size=(16, 8)) / 4
    weights[0] = 0
    graph = net.finish(net.dense(y, 8, weights))
    quantizer = MinMaxQuantizer(graph, ListRunner(net.samples(8)))
    with_int16 = measured(graph, quantizer, dict.fromkeys(("Input_x", "Gemm_n0_0", "Gemm_n1_1"), "int16"))
    found = raise_layers(quantizer, with_int16 + 6)
    assert "float16" in found.raised.values()
    assert measured(graph, quantizer, dict(found.raised)) >= with_int16 + 6


def test_layers_that_have_more_bits_keep_them(rng: np.random.Generator) -> None:
    graph, runner = chain(rng)
    types = {"Gemm_n0_0": "float16", "Gemm_n2_2": "int16"}
    quantizer = MinMaxQuantizer(graph, runner, types=types)
    found = raise_layers(quantizer, measured(graph, quantizer, {}) + 3)
    assert found.raised
    assert not set(found.raised) & set(types)


def test_every_output_reaches_the_ratio(rng: np.random.Generator) -> None:
    net = Network(rng, (1, 16))
    first = net.dense(net.x, 16)
    second = net.dense(net.dense(first, 16), 8)
    graph = net.finish(first, second)
    found = raise_layers(MinMaxQuantizer(graph, ListRunner(net.samples(6))), 50)
    assert found.sqnr_db >= 50
    assert {"Gemm_n0_0", "Gemm_n2_2"} <= set(found.raised)


def test_a_layer_that_only_moves_numbers_is_raised_with_the_one_before(rng: np.random.Generator) -> None:
    net = Network(rng, (1, 16))
    y = net.layer("Reshape", net.dense(net.x, 32), np.array([2, 16]), name="move")
    graph = net.finish(net.dense(y, 8))
    quantizer = MinMaxQuantizer(graph, ListRunner(net.samples(6)))
    found = raise_layers(quantizer, 55)
    assert measured(graph, quantizer, dict(found.raised)) >= 55
    assert {"Gemm_n0_0", "Reshape_move_1", "Gemm_n2_2"} <= set(found.raised)


def test_own_costs_decide(rng: np.random.Generator) -> None:
    net = Network(rng, (1, 16))
    first = net.dense(net.x, 16)
    second = net.dense(first, 16)
    graph = net.finish(second)
    quantizer = MinMaxQuantizer(graph, ListRunner(net.samples(8)))
    start = measured(graph, quantizer, {})
    found = [
        raise_layers(quantizer, start + 0.5, lambda g, dear=dear: 1e6 if g.layer_id == dear else 1.0).raised  # type: ignore[misc]
        for dear in ("Gemm_n0_0", "Gemm_n1_1")
    ]
    assert found[0]
    assert found[1]
    assert "Gemm_n0_0" not in found[0]
    assert "Gemm_n1_1" not in found[1]


def cost_of(net: Network, y: ir.Value) -> float:
    (item,) = group(net.finish(y))
    return group_cost(item)


def test_cost_counts_the_products_of_each_operator(rng: np.random.Generator) -> None:
    image = (1, 6, 10, 8)
    net = Network(rng, image)
    y = net.layer("Conv", net.x, np.ones((4, 3, 3, 3), np.float32), group=2, strides=[2, 2])
    assert cost_of(net, y) == (4 * 4 * 3) * (3 * 3 * 3)
    net = Network(rng, image)
    y = net.layer("ConvTranspose", net.x, np.ones((6, 5, 2, 2), np.float32), strides=[2, 2])
    assert cost_of(net, y) == (6 * 10 * 8) * (5 * 2 * 2)
    net = Network(rng, (7, 5))
    assert cost_of(net, net.layer("Gemm", net.x, np.ones((7, 3), np.float32), transA=1)) == 5 * 3 * 7
    net = Network(rng, (2, 7, 5))
    assert cost_of(net, net.layer("MatMul", net.x, np.ones((5, 3), np.float32))) == 2 * 7 * 3 * 5
    net = Network(rng, (2, 7, 5))
    assert cost_of(net, net.layer("Add", net.x, net.x)) == 2 * 7 * 5
