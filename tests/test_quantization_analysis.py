"""Accuracy analysis of small graphs, against NumPy."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pytest
import yaml

from synap_core.quantization import analysis as module
from synap_core.quantization.analysis import Analysis, advice, analyse, analysis_as_json, metafile_lines
from synap_core.quantization.metrics import Figures
from synap_core.quantization.noise import LAYERS_AT_A_TIME
from synap_core.tensors import QuantParams
from tests.support.comparison import ListRunner, MinMaxQuantized, MinMaxQuantizer, Network

FIRST, SECOND = "Gemm_n0_0", "Gemm_n1_1"


def quantized(net: Network, *outputs: object, count: int = 6, **settings: object) -> MinMaxQuantized:
    graph = net.finish(*outputs)  # type: ignore[arg-type]
    return MinMaxQuantizer(graph, ListRunner(net.samples(count)), **settings).run()  # type: ignore[arg-type]


def analysed(found: MinMaxQuantized, **settings: bool) -> Analysis:
    return analyse(found.plan, found.parameters, found.runner, range(found.runner.count), **settings)


def two_layers(rng: np.random.Generator) -> MinMaxQuantized:
    net = Network(rng, (4, 16))
    return quantized(net, net.dense(net.dense(net.x, 24), 8))


def rounded(values: np.ndarray, quant: QuantParams) -> np.ndarray:
    (scale,), (zero_point,) = quant.scale, quant.zero_point
    return (np.clip(np.rint(values / scale) + zero_point, 0, 255) - zero_point) * scale


class Oracle:
    """The two layers in NumPy, with any of them quantized."""

    def __init__(self, found: MinMaxQuantized) -> None:
        parameters = found.parameters
        self.names = [
            next(slot.key for slot in found.plan.slots.values() if slot.layer_id == layer)
            for layer in ("Input_x", FIRST, SECOND)
        ]
        self.exact, self.stored = [], []
        for group in found.plan.groups:
            values = [value for value in group.nodes[0].inputs[1:] if value is not None]
            self.exact.append([v.const_value.numpy().astype(np.float64) for v in values])  # type: ignore[union-attr]
            self.stored.append([parameters.constants[str(v.name)].numpy().astype(np.float64) for v in values])
        self.params = [parameters.activations[name] for name in self.names]
        self.samples = [feeds["x"].astype(np.float64) for feeds in found.runner.samples(range(found.runner.count))]

    def tensors(self, layers: tuple[int, ...]) -> list[np.ndarray]:
        """What input, first and second layer give, all samples together, with some of them quantized."""
        given = [np.concatenate(self.samples)]
        if 0 in layers:
            given[0] = rounded(given[0], self.params[0])
        for number in (1, 2):
            weights, bias = (self.stored if number in layers else self.exact)[number - 1]
            y = np.maximum(given[-1] @ weights + bias, 0)
            given.append(rounded(y, self.params[number]) if number in layers else y)
        return given


def sqnr(exact: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(exact**2) / np.sum((exact - other) ** 2)))


def test_figures_are_those_of_numpy(rng: np.random.Generator) -> None:
    found = two_layers(rng)
    layers = {layer.layer_id: layer for layer in analysed(found).layers}
    oracle = Oracle(found)
    exact, everything = oracle.tensors(()), oracle.tensors((0, 1, 2))
    for number, layer_id in enumerate(("Input_x", FIRST, SECOND)):
        one = oracle.tensors((number,))
        layer = layers[layer_id]
        # A sum in float32 may fall on the other side of a rounding: one of hundreds of items by one step.
        assert layer.accumulated.sqnr_db == pytest.approx(sqnr(exact[number], everything[number]), abs=0.05)
        assert layer.alone is not None
        assert layer.alone.sqnr_db == pytest.approx(sqnr(exact[number], one[number]), abs=0.05)
        assert layer.damage_db == pytest.approx(sqnr(exact[2], one[2]), abs=0.05)
        y, q = exact[number].ravel(), everything[number].ravel()
        assert layer.accumulated.cosine == pytest.approx(y @ q / np.linalg.norm(y) / np.linalg.norm(q), abs=1e-5)
        assert layer.accumulated.max_error == pytest.approx(np.max(np.abs(y - q)), rel=0.05)
        assert layer.position == number


def test_outputs_are_those_of_the_last_layer(rng: np.random.Generator) -> None:
    found = analysed(two_layers(rng))
    (figures,) = found.outputs.values()
    assert figures == next(layer.accumulated for layer in found.layers if layer.layer_id == SECOND)
    assert found.worst_db == figures.sqnr_db
    assert found.samples == 6


def bad_layer(rng: np.random.Generator) -> tuple[Network, object, str]:
    """Six layers; a weight in the fourth leaves the others few steps, and meets an input that is always zero."""
    net = Network(rng, (1, 16))
    y = net.x
    for number in range(6):
        weights = rng.normal(size=(16, 16)) / 4
        if number == 3:
            weights[0, 0] = 40
        if number == 2:
            weights[:, 0] = -1
        y = net.dense(y, 16, weights)
    return net, y, "Gemm_n3_3"


def test_the_layer_that_costs_most_comes_first_and_is_suggested(rng: np.random.Generator) -> None:
    net, y, bad = bad_layer(rng)
    found = analysed(quantized(net, y, count=12))
    assert found.layers[0].layer_id == bad
    damages = [layer.damage_db for layer in found.layers]
    assert damages == sorted(damages)  # type: ignore[type-var]  # all are measured
    assert found.suggestion is not None
    assert next(iter(found.suggestion.layers.items())) == (bad, "int16")
    assert "more bits is expected" in advice(found)


def test_suggestion_gives_what_it_promises(rng: np.random.Generator) -> None:
    net, y, _ = bad_layer(rng)
    graph = net.finish(y)  # type: ignore[arg-type]
    runner = ListRunner(net.samples(12))
    before = analysed(MinMaxQuantizer(graph, runner).run())
    assert before.suggestion is not None
    types = yaml.safe_load(before.suggestion.metafile)["quantization"]["data_type"]
    assert types.pop("*") == "uint8"
    chosen = {key.removeprefix("@"): dtype for key, dtype in types.items()}
    assert chosen == before.suggestion.layers
    after = analysed(MinMaxQuantizer(graph, runner, types=chosen).run(), alone=False)
    assert after.worst_db > before.worst_db + module.WORTHWHILE_GAIN_DB
    # The steps of int16 and the conversions are the only difference to what was measured.
    assert after.worst_db == pytest.approx(before.suggestion.expected_db, abs=0.5)


def test_without_layers_alone_there_is_no_damage_and_no_suggestion(rng: np.random.Generator) -> None:
    net, y, _ = bad_layer(rng)
    found = analysed(quantized(net, y), alone=False)
    ratios = [layer.accumulated.sqnr_db for layer in found.layers]
    assert ratios == sorted(ratios)
    assert {(layer.alone, layer.damage_db) for layer in found.layers} == {(None, None)}
    assert found.suggestion is None
    assert "nothing can be suggested" in advice(found)


def test_nothing_is_suggested_above_float16(rng: np.random.Generator) -> None:
    net = Network(rng, (1, 8))
    found = analysed(quantized(net, net.dense(net.dense(net.x, 8), 8), dtype="float16"))
    assert found.suggestion is None
    assert "nothing is suggested" in advice(found)
    assert found.worst_db > 60


def test_few_graphs_are_in_memory_at_the_same_time(rng: np.random.Generator) -> None:
    net, y, _ = bad_layer(rng)
    found = quantized(net, y)
    found.runner.most_open = 0
    analysed(found)
    assert found.runner.most_open <= LAYERS_AT_A_TIME + 1


def test_figures_do_not_depend_on_how_many_tensors_are_in_memory(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, y, _ = bad_layer(rng)
    found = quantized(net, y)
    at_once = analysed(found, alone=False)
    monkeypatch.setattr(module, "MAX_ITEMS_AT_A_TIME", 20)
    assert analysed(found, alone=False) == at_once


def test_a_conversion_is_told_apart_and_never_suggested(rng: np.random.Generator) -> None:
    net, y, _ = bad_layer(rng)
    found = quantized(net, y, types={"Gemm_n1_1": "int16"})
    analysis = analysed(found)
    conversions = {layer.layer_id for layer in analysis.layers if layer.conversion}
    assert len(conversions) == 2
    assert analysis.suggestion is not None
    assert not conversions & set(yaml.safe_load(analysis.suggestion.metafile)["quantization"]["data_type"])
    assert "'@Gemm_n1_1': int16" in analysis.suggestion.metafile


def test_an_output_of_whole_numbers_does_not_count_beside_one_of_real_numbers(rng: np.random.Generator) -> None:
    net = Network(rng, (4, 8))
    y = net.dense(net.x, 8)
    found = analysed(quantized(net, y, net.layer("ArgMax", y, axis=1, keepdims=0)))
    assert list(found.outputs) == [y.name]


def test_several_outputs_are_judged_by_the_worst(rng: np.random.Generator) -> None:
    net = Network(rng, (4, 8))
    first = net.dense(net.x, 8)
    second = net.dense(first, 8)
    found = analysed(quantized(net, first, second))
    assert found.worst_db == min(figures.sqnr_db for figures in found.outputs.values())
    (last,) = (layer for layer in found.layers if layer.layer_id == SECOND)
    assert last.damage is not None
    assert last.damage[str(first.name)].sqnr_db == float("inf")
    assert last.damage_db == last.damage[str(second.name)].sqnr_db


@pytest.mark.parametrize(
    "name", ["plain", "it's", 'a "quoted" one', "two\nlines", "tab\t", "größe: {x}", "#", "a\x07b"]
)
def test_metafile_lines_name_layers_of_any_name(name: str, rng: np.random.Generator) -> None:
    net = Network(rng, (1, 8))
    y = net.layer("Add", net.layer("Mul", net.x, net.x, name="other"), np.float32(1), name=name)
    plan = quantized(net, y).plan
    layer_id = plan.groups[-1].layer_id
    read = yaml.safe_load(metafile_lines(plan, {layer_id: "int16"}))
    assert read == {"quantization": {"data_type": {"*": "uint8", f"@{layer_id}": "int16"}}}


def test_metafile_lines_leave_out_what_stays_in_float16_by_itself(rng: np.random.Generator) -> None:
    net = Network(rng, (4, 8))
    y = net.dense(net.layer("Reshape", net.x, np.array([2, 16]), name="first"), 8)
    plan = quantized(net, net.layer("Reshape", y, np.array([1, 16]), name="last")).plan
    assert {layer for layer, dtype in plan.types.items() if dtype == "float16"} >= {"Input_x", "Reshape_first_0"}
    read = yaml.safe_load(metafile_lines(plan, {SECOND: "int16"}))
    assert read == {"quantization": {"data_type": {"*": "uint8", f"@{SECOND}": "int16"}}}


def test_metafile_lines_keep_movements_that_the_metafile_has_in_float16(rng: np.random.Generator) -> None:
    net = Network(rng, (4, 8))
    y = net.layer("Reshape", net.dense(net.x, 8), np.array([2, 16]), name="between")
    plan = quantized(
        net, net.dense(net.dense(y, 8), 8), types={"Reshape_between_1": "float16", "Input_x": "float16"}
    ).plan
    read = yaml.safe_load(metafile_lines(plan, {FIRST: "int16"}))
    assert read["quantization"]["data_type"] == {
        "*": "uint8",
        "@Input_x": "float16",
        "@Reshape_between_1": "float16",
        "@Gemm_n0_0": "int16",
    }


def test_json_holds_every_figure(rng: np.random.Generator) -> None:
    found = analysed(two_layers(rng))
    data = json.loads(json.dumps(analysis_as_json(found), allow_nan=False))
    assert [layer["layer_id"] for layer in data["layers"]] == [layer.layer_id for layer in found.layers]
    for layer, read in zip(found.layers, data["layers"], strict=True):
        assert read["damage_sqnr_db"] == layer.damage_db
        assert read["accumulated"]["cosine"] == layer.accumulated.cosine
    assert data["outputs"][0]["sqnr_db"] == found.worst_db


def test_json_has_text_for_what_becomes_infinite() -> None:
    broken = Figures(cosine=float("nan"), sqnr_db=float("-inf"), max_error=float("inf"))
    data = analysis_as_json(Analysis(layers=(), outputs={"y": broken}, samples=1))
    assert json.loads(json.dumps(data, allow_nan=False))["outputs"] == [
        {"name": "y", "cosine": "nan", "sqnr_db": "-inf", "max_error": "inf"}
    ]


def test_json_has_text_for_an_infinite_ratio(rng: np.random.Generator) -> None:
    net = Network(rng, (1, 8))
    first = net.dense(net.x, 8)
    data = analysis_as_json(analysed(quantized(net, first, net.dense(first, 8))))
    layers = data["layers"]
    assert isinstance(layers, list)
    last: Mapping[str, Mapping[str, Mapping[str, object]]] = next(x for x in layers if x["layer_id"] == SECOND)
    assert last["damage"][str(first.name)]["sqnr_db"] == "inf"
