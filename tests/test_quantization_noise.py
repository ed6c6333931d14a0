"""Sources of noise, and the layers that are chosen to be raised against them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synap_core.quantization.metrics import Candidate, Comparer
from synap_core.quantization.noise import Raise, Source, choose, layers_of, quantized_alone, split_off_constants
from synap_core.quantization.parameters import annotate
from tests.support.comparison import ListRunner, MinMaxQuantized, MinMaxQuantizer, Network

FIRST, MOVE, SECOND = "Gemm_n0_0", "Reshape_move_1", "Gemm_n2_2"


def source(noise: float, *owners: str) -> Source:
    return Source(owners=frozenset(owners), noise={"y": noise})


def chosen(
    sources: list[Source], costs: Mapping[str, float], allowed: float, remaining: float, raised: tuple[str, ...] = ()
) -> list[set[str]]:
    return [set(layers) for layers in choose(sources, costs, {"y": allowed}, {"y": remaining}, raised)]


def test_the_most_noise_for_the_cost_goes_first() -> None:
    sources = [source(4, "a"), source(6, "b"), source(1, "c")]
    assert chosen(sources, {"a": 1, "b": 3, "c": 1}, 1, 11) == [{"a"}, {"b"}]


def test_a_rounding_between_layers_takes_both() -> None:
    assert chosen([source(8, "a", "b"), source(1, "a")], {"a": 1, "b": 1}, 2, 9) == [{"a", "b"}]
    assert chosen([source(8, "a", "b")], {"a": 1, "b": 1}, 2, 9, ("a",)) == [{"b"}]


def test_no_more_is_taken_away_than_needed() -> None:
    assert chosen([source(9, "dear"), source(1, "cheap")], {"dear": 2, "cheap": 1}, 9.5, 10) == [{"cheap"}]


def test_nothing_is_chosen_when_nothing_is_needed_or_helps() -> None:
    assert chosen([source(5, "a")], {"a": 1}, 10, 10) == []
    assert chosen([source(5, "a"), source(3, "b", "kept")], {"a": 1, "b": 1}, 1, 10) == [{"a"}]


@given(
    st.lists(
        st.tuples(st.integers(1, 50), st.sets(st.sampled_from("abcde"), min_size=1, max_size=2)), min_size=1, max_size=7
    )
)
@settings(max_examples=100, deadline=None)
def test_choice_removes_enough_with_one_layer_where_one_will_do(parts: list[tuple[int, set[str]]]) -> None:
    sources = [source(noise, *owners) for noise, owners in parts]
    total = float(sum(noise for noise, _ in parts))
    found = chosen(sources, dict.fromkeys("abcde", 1.0), total / 4, total)
    raised = set().union(*found)
    assert len(raised) == sum(map(len, found))
    left = sum(noise for noise, owners in parts if not owners <= raised)
    assert left <= total / 4
    if any(sum(noise for noise, owners in parts if not owners <= {name}) <= total / 4 for name in "abcde"):
        assert len(raised) == 1


def graph_with_movement(rng: np.random.Generator) -> tuple[ir.Model, ListRunner]:
    net = Network(rng, (1, 16))
    y = net.layer("Reshape", net.dense(net.x, 32), np.array([2, 16]), name="move")
    return net.finish(net.dense(y, 8)), ListRunner(net.samples(16))


def sqnr(found: MinMaxQuantized, model: ir.Model) -> float:
    name = str(found.plan.graph.graph.outputs[0].name)
    comparer = Comparer(found.runner, range(found.runner.count), found.plan.graph)
    (errors,) = comparer.measure([Candidate(model=model, names=(name,))])
    return errors[name].sqnr_db


@pytest.mark.parametrize(
    "types", [{}, {FIRST: "int16"}, {SECOND: "int16"}], ids=["uint8", "first int16", "second int16"]
)
def test_graph_with_layers_taken_as_exact_is_close_to_the_one_with_layers_raised(
    types: dict[str, str], rng: np.random.Generator
) -> None:
    graph, runner = graph_with_movement(rng)
    quantizer = MinMaxQuantizer(graph, runner, types=types)
    before = quantizer.run()
    step = Raise(before.plan, "int16")
    assert set(step.candidates) == {"Input_x", FIRST, MOVE, SECOND} - set(types)
    for count in range(len(step.candidates)):
        for raised in itertools.combinations(step.candidates, count):
            after = quantizer.run(dict.fromkeys(raised, "int16"))
            real = sqnr(after, annotate(after.plan, after.parameters))
            # The bias of a layer has other steps when its input is raised, which is the larger part of it.
            assert sqnr(before, step.model(before.parameters, raised)) == pytest.approx(real, abs=0.5), raised


def test_sources_explain_the_noise(rng: np.random.Generator) -> None:
    graph, runner = graph_with_movement(rng)
    found = MinMaxQuantizer(graph, runner).run()
    comparer = Comparer(runner, range(runner.count), found.plan.graph)
    (name,) = (str(value.name) for value in graph.graph.outputs)
    alone = quantized_alone(found.plan, found.parameters, comparer, layers_of(found.plan))
    alone = split_off_constants(found.plan, found.parameters, comparer, alone, {name: 0.0})
    sources = Raise(found.plan, "int16").sources(alone)
    assert {frozenset(s.owners) for s in sources} == {
        frozenset(owners) for owners in ({FIRST}, {SECOND}, {"Input_x", FIRST}, {FIRST, MOVE, SECOND})
    }
    (errors,) = comparer.measure([Candidate(model=annotate(found.plan, found.parameters), names=(name,))])
    total = sum(s.noise[name] for s in sources)
    # They are not quite independent: a tenth of the power is 0.4 dB.
    assert 10 * math.log10(total / errors[name].noise) == pytest.approx(0, abs=1)


def test_layers_whose_noise_does_not_matter_are_not_split(rng: np.random.Generator) -> None:
    graph, runner = graph_with_movement(rng)
    found = MinMaxQuantizer(graph, runner).run()
    comparer = Comparer(runner, range(runner.count), found.plan.graph)
    (name,) = (str(value.name) for value in graph.graph.outputs)
    alone = quantized_alone(found.plan, found.parameters, comparer, layers_of(found.plan))
    assert split_off_constants(found.plan, found.parameters, comparer, alone, {name: 1e9}) == alone
