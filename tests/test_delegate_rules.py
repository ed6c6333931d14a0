"""Which delegate each layer gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from synap_core.api import Support, Target
from synap_core.delegate_rules import Assignment, assign_delegates
from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.metafile import default_metafile
from synap_core.names import is_operator
from tests.support.hosts import host_with, stand_in_delegate, without
from tests.support.metafiles import metafile
from tests.support.toy_source import GraphModel, graph_model, six_graph

FULL = Target(name="SOC", summary="", delegates=("npu", "gpu", "cpu"))


@pytest.fixture(scope="module")
def full_host() -> PluginHost:
    return host_with(stand_in_delegate("npu"))


def assigned(host: PluginHost, folder: Path, text: str, source: GraphModel | None = None) -> list[str]:
    source = source or six_graph()
    layers = [layer for layer in source.layers if is_operator(layer)]
    rules = metafile(folder, text)
    result = assign_delegates(source, layers, rules, FULL, host)
    return [f"{a.delegate} {a.options}".strip() for _, a in sorted(result.items())]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param("'*': npu, '4': gpu, '4...': gpu", "npu npu npu npu gpu gpu", id="P17"),
        pytest.param("'1...': npu, '4': gpu, '*': cpu", "cpu cpu npu npu gpu npu", id="P19"),
        pytest.param("'*': cpu, '4': gpu, '1...': npu", "cpu cpu npu npu npu npu", id="P20"),
        pytest.param("'*': cpu, INPUTS: gpu", "gpu cpu cpu cpu cpu cpu", id="P21"),
        pytest.param("'*': npu, c5: gpu, c5...: gpu", "npu npu npu npu gpu gpu", id="names"),
        pytest.param("'*': npu, t5: gpu", "npu npu npu npu gpu npu", id="output tensor"),
        pytest.param("'*': npu, '@c5': gpu, '@5': cpu", "npu npu npu npu gpu cpu", id="layer id"),
        pytest.param("4: gpu", "npu npu npu npu gpu npu", id="integer key"),
        pytest.param("x...: gpu", "gpu gpu gpu gpu gpu gpu", id="behind an input"),
        pytest.param("'*': default, c1: cpu", "cpu npu npu npu npu npu", id="default"),
    ],
)
@pytest.mark.acceptance("P17", "P19", "P20", "P21")
def test_rules_are_resolved_in_order(full_host: PluginHost, tmp_path: Path, rules: str, expected: str) -> None:
    assert assigned(full_host, tmp_path, f"delegate: {{{rules}}}") == expected.split()


def test_options_belong_to_the_assignment(full_host: PluginHost, tmp_path: Path) -> None:
    result = assigned(full_host, tmp_path, "delegate: {'*': cpu num_threads=2, c6: cpu}")
    assert result == ["cpu num_threads=2"] * 5 + ["cpu"]


def test_first_delegate_of_the_target_is_the_default(full_host: PluginHost) -> None:
    source = six_graph()
    layers = [layer for layer in source.layers if is_operator(layer)]
    result = assign_delegates(source, layers, default_metafile(), FULL, full_host)
    assert set(result.values()) == {Assignment("npu")}


@pytest.mark.parametrize("key", ["99", "99...", "nobody"])
@pytest.mark.acceptance("P22")
def test_p22_unknown_layer_lists_what_there_is(full_host: PluginHost, tmp_path: Path, key: str) -> None:
    layer = key.removesuffix("...")
    match = rf"meta.yaml:1:\d+: layer '{layer}' not in the model, .*operator indices: 0, 1, 2, 3, 4, 5"
    with pytest.raises(InputError, match=match):
        assigned(full_host, tmp_path, f"delegate: {{'{key}': gpu}}")


def test_layer_that_was_cut_away_is_unknown(full_host: PluginHost, tmp_path: Path) -> None:
    source = six_graph()
    layers = [layer for layer in source.layers if is_operator(layer)][:4]
    with pytest.raises(InputError, match="layer 'c5' not in the model"):
        assign_delegates(source, layers, metafile(tmp_path, "delegate: {c5: gpu}"), FULL, full_host)


def test_input_has_no_delegate(full_host: PluginHost, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"layer 'x' is an input of the model.*'x\.\.\.' means the layers behind it"):
        assigned(full_host, tmp_path, "delegate: {x: gpu}")


def test_ambiguous_layer_name_offers_the_indices(full_host: PluginHost, tmp_path: Path) -> None:
    source = graph_model(["x"], [("same", ["x"], ["a"]), ("same", ["a"], ["b"])], ["b"])
    with pytest.raises(InputError, match=r"'same' is ambiguous; use an operator index: 0 \(OP\), 1 \(OP\)"):
        assigned(full_host, tmp_path, "delegate: {same: gpu}", source)


def test_exact_name_wins_over_operator_index(full_host: PluginHost, tmp_path: Path) -> None:
    source = graph_model(["x"], [("1", ["x"], ["a"]), ("0", ["a"], ["b"])], ["b"])
    assert assigned(full_host, tmp_path, "delegate: {'1': gpu}", source) == ["gpu", "npu"]


def test_delegate_that_the_target_lacks_is_refused(full_host: PluginHost, tmp_path: Path) -> None:
    source = six_graph()
    layers = [layer for layer in source.layers if is_operator(layer)]
    target = Target(name="GENERIC", summary="", delegates=("cpu",))
    with pytest.raises(InputError, match="delegate 'gpu' is not supported for target SoC GENERIC; allowed: cpu"):
        assign_delegates(source, layers, metafile(tmp_path, "delegate: gpu"), target, full_host)


def test_missing_default_delegate_says_what_to_type() -> None:
    source = six_graph()
    layers = [layer for layer in source.layers if is_operator(layer)]
    match = (
        "SOC: delegate 'npu', the default of this target, is not available; plugin 'delegate-npu' is disabled by "
        "the test; enable it with --enable-plugin delegate-npu; "
        r"to run on another one, write 'delegate: cpu' \(or gpu\) in a metafile and give it with --meta"
    )
    with pytest.raises(InputError, match=match):
        assign_delegates(source, layers, default_metafile(), FULL, PluginHost(without("delegate-npu")))


def test_refused_layers_are_named_with_the_reason(tmp_path: Path) -> None:
    picky = replace(
        stand_in_delegate("npu"),
        support=lambda layer, *_: Support(ok=layer.name not in {"c2", "c4"}, reason="it needs stride 1, got 2"),
    )
    match = r"layer 'c2' \(OP\) cannot run on npu because it needs stride 1, got 2 \(and 1 more layers\)"
    with pytest.raises(InputError, match=match):
        assigned(host_with(picky), tmp_path, "delegate: npu")
