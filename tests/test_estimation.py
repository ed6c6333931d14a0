"""Costs of a model from its shapes alone, against hand-made delegates, compiled programs and published timings."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest

from synap_core.api import Cost, Delegate, Group, Overhead, Target, hookimpl
from synap_core.convert import ConvertRequest, convert
from synap_core.errors import InputError, PluginError
from synap_core.estimation import Estimate, estimate_model
from synap_core.host import PluginHost
from tests.support.canonical_models import detection_like, int8_net, small_net
from tests.support.cli import Synap
from tests.support.toynpu import ToyNpu, toy_host

ROOT = Path(__file__).parents[1]
Estimating = Callable[..., Estimate]


@pytest.fixture
def estimate(tmp_path: Path) -> Estimating:
    """Estimate the content of a model for the target ``TOY``."""

    def call(
        content: bytes | onnx.ModelProto,
        host: PluginHost | None = None,
        meta: str = "",
        data_type: str | None = None,
        target: str = "TOY",
    ) -> Estimate:
        data = content if isinstance(content, bytes) else content.SerializeToString()
        path = tmp_path / ("net.tflite" if isinstance(content, bytes) else "net.onnx")
        path.write_bytes(data)
        text = tmp_path / "meta.yaml"
        text.write_text(meta, encoding="utf-8")
        request = ConvertRequest(model=path, target=target, meta=text if meta else None)
        return estimate_model(request, host or toy_host(), data_type)

    return call


def changed(
    overhead: Callable[[Target], object] | None = None, cost: Callable[..., object] | None = None
) -> PluginHost:
    """A host whose toy delegate answers as a test wants."""
    toy = ToyNpu()
    given: dict[str, object] = {} if overhead is None else {"overhead": overhead}
    given |= {} if cost is None else {"estimate": cost}
    toy.delegate = replace(toy.delegate, **given)  # type: ignore[arg-type]  # fields of their own types
    return toy_host(toy)


def test_total_is_that_of_all_operations_and_the_start_of_each_subgraph(estimate: Estimating) -> None:
    start = Overhead(seconds=0.5, cycles=500, notes=("made up",))
    found = estimate(small_net(), changed(lambda _: start))
    # A second for each node, as the toy delegate has it.
    nodes = sum(len(op.group.nodes) for op in found.operations)
    assert nodes >= 7
    assert found.seconds == pytest.approx(nodes + 0.5)
    assert found.engine_seconds == {"TOY": float(nodes)}
    assert (found.parts, found.start_seconds) == ((("toynpu", 7),), 0.5)
    assert found.notes[-1] == "made up"


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "float16"])
def test_data_type_is_taken_for_what_is_not_quantized(estimate: Estimating, dtype: str) -> None:
    toy = ToyNpu()
    found = estimate(small_net(), toy_host(toy), data_type=dtype)
    assert {op.dtype for op in found.operations} == {dtype}
    assert {asked for _, asked in toy.asked} == {dtype}
    assert all(
        op.cost is not None and op.cost.seconds == len(op.group.nodes) * (1 + (dtype == "int16"))
        for op in found.operations
    )
    assert not found.notes


def test_without_a_data_type_real_numbers_are_float16_and_a_note_says_so(estimate: Estimating) -> None:
    found = estimate(small_net())
    assert {op.dtype for op in found.operations} == {"float16"}
    assert any("--data-type int8" in note for note in found.notes)


def test_stored_integers_keep_their_type(estimate: Estimating) -> None:
    found = estimate(int8_net(), data_type="int16")
    assert {op.dtype for op in found.operations} == {"int8"}
    assert not estimate(int8_net()).notes


def test_data_type_of_the_metafile_is_taken_and_its_samples_are_not_read(estimate: Estimating) -> None:
    meta = "quantization: {data_type: int16, dataset: 'nowhere/*.npy'}"
    assert {op.dtype for op in estimate(small_net(), meta=meta).operations} == {"int16"}
    assert {op.dtype for op in estimate(small_net(), meta=meta, data_type="uint8").operations} == {"uint8"}
    mixed = "quantization: {data_type: {'*': int16, fc: int8}, dataset: 'nowhere/*.npy'}"
    found = estimate(small_net(), meta=mixed)
    assert {op.dtype for op in found.operations} == {"int8"}
    assert re.search(r"meta.yaml:1:\d+: int8 is taken for all layers, whatever the rules say", found.notes[0])


def test_data_type_that_nothing_has_is_told(estimate: Estimating) -> None:
    idle = "--data-type int16 has no effect: what is predicted has its types from the model already: int8"
    assert estimate(int8_net(), data_type="int16").notes == (idle,)
    assert not estimate(int8_net(), data_type="int8").notes
    assert not estimate(small_net(), data_type="int16").notes


REFUSED = {
    "quantized already": ("{data_type: int8, dataset: 'no/*.npy'}", int8_net, "quantized already"),
    "unknown layer": ("{data_type: {'*': int8, nowhere: int16}, dataset: 'no/*.npy'}", small_net, "'nowhere'"),
    "unknown option": ("{data_type: int8, dataset: 'no/*.npy', options: {nonsense: 1}}", small_net, "nonsense"),
    "two 8-bit types": ("{data_type: {'*': int8, fc: uint8}, dataset: 'no/*.npy'}", small_net, "uint8"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_quantization_that_a_conversion_refuses_is_refused_alike(
    estimate: Estimating, tmp_path: Path, name: str
) -> None:
    section, model, words = REFUSED[name]
    with pytest.raises(InputError, match=words) as estimated:
        estimate(model(), meta=f"quantization: {section}")
    (path,) = tmp_path.glob("net.*")
    with pytest.raises(InputError) as converted:
        convert(ConvertRequest(model=path, target="TOY", meta=tmp_path / "meta.yaml"), toy_host())
    assert str(estimated.value) == str(converted.value)


def test_quantization_for_delegates_that_do_not_quantize_is_refused(estimate: Estimating) -> None:
    meta = "delegate: cpu\nquantization: {data_type: int8, dataset: 'no/*.npy'}"
    with pytest.raises(InputError, match="meta.yaml:2:1: delegate 'cpu' doesn't support quantization"):
        estimate(small_net(), meta=meta)


def test_refused_layers_are_listed_and_counted_where_they_would_run(estimate: Estimating) -> None:
    found = estimate(int8_net(), toy_host(ToyNpu({"MaxPool": "it cannot pool"})))
    last = found.target.delegates[-1]
    assert found.moved == (f"layer 'pool' (MAX_POOL_2D) runs on {last}, not on toynpu, because it cannot pool",)
    assert found.parts == (("toynpu", 1), (last, 1), ("toynpu", 2))
    assert {op.subgraph for op in found.operations} == {0, 2}
    assert not any(op.refusal for op in found.operations)


def test_layers_that_nothing_runs_are_listed_and_cost_nothing(estimate: Estimating) -> None:
    found = estimate(int8_net(), toy_host(ToyNpu({"MaxPool": "it cannot pool"})), target="TOYALONE")
    assert found.refused == ("layer 'pool' (MAX_POOL_2D) runs nowhere, because it cannot pool",)
    (refused,) = (op for op in found.operations if op.refusal)
    assert (refused.cost, refused.engine, refused.refusal) == (None, "", "it cannot pool")


def test_what_cannot_be_expressed_goes_to_the_delegate_of_the_format(estimate: Estimating) -> None:
    found = estimate(detection_like())
    assert [delegate for delegate, _ in found.parts] == ["toynpu", found.target.delegates[-1], "toynpu"]
    assert "cannot be expressed in ONNX operators" in found.moved[0]


def test_metafile_assigns_layers(estimate: Estimating) -> None:
    found = estimate(int8_net(), meta="delegate: cpu")
    assert (found.parts, found.operations, found.seconds) == ((("cpu", 4),), (), 0)


def test_target_without_costs_is_refused(estimate: Estimating) -> None:
    match = "no installed delegate of target SL1620 predicts costs; targets that have one: .*TOY"
    with pytest.raises(InputError, match=match):
        estimate(int8_net(), target="SL1620")


def test_delegate_with_costs_is_asked_where_it_is_not_the_default(tmp_path: Path) -> None:
    host = toy_host()
    late = Target(name="TOYLATE", summary="toy", delegates=("cpu", "toynpu"), parameters={"toynpu": {"cores": 1}})
    hook = hookimpl(specname="synap_targets")(lambda: [late])
    assert host.register(SimpleNamespace(synap_targets=hook), "test-late").state == "enabled"
    (tmp_path / "net.tflite").write_bytes(int8_net())
    found = estimate_model(ConvertRequest(model=tmp_path / "net.tflite", target="TOYLATE"), host)
    assert found.parts == (("toynpu", 4),)


def unknown_cost(_group: Group, _dtype: str, _target: Target) -> Cost | None:
    return None


def test_unknown_costs_are_shown_as_unknown(estimate: Estimating) -> None:
    found = estimate(int8_net(), changed(cost=unknown_cost))
    assert found.operations
    assert all(op.cost is None and not op.refusal for op in found.operations)
    assert found.seconds == 0


@pytest.mark.parametrize(
    ("overhead", "cost", "message"),
    [
        (lambda _: 3, None, "delegate 'toynpu' returned 3, which is not a Overhead"),
        (None, lambda *_: 4, "delegate 'toynpu' returned 4, which is not a Cost"),
        (lambda _: Overhead(seconds=-1, cycles=0), None, "the overhead of an inference must be numbers"),
    ],
    ids=["overhead", "cost", "negative"],
)
def test_delegate_that_answers_something_else_is_blamed(
    estimate: Estimating, overhead: Callable[..., object], cost: Callable[..., object], message: str
) -> None:
    with pytest.raises(PluginError, match=message):
        estimate(int8_net(), changed(overhead, cost))


def test_overhead_needs_operations() -> None:
    with pytest.raises(PluginError, match="groups or estimates operations without saying which of them it runs"):
        Delegate(
            name="dsp",
            summary="",
            formats=frozenset({"tflite"}),
            support=lambda *_: None,  # type: ignore[arg-type, return-value]  # never called
            compile=lambda _: None,  # type: ignore[arg-type, return-value]  # never called
            overhead=lambda _: None,
        )


def test_command_prints_a_table_and_a_total(synap: Synap, model_file: Callable[..., Path]) -> None:
    path = model_file(int8_net())
    result = synap("estimate", "--model", path, "--target", "VS680")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].split() == [
        "#",
        "SUB",
        "ENGINE",
        "CYCLES",
        "TIME_US",
        "BYTE_RD",
        "BYTE_WR",
        "TYPE",
        "SHAPE",
        "LAYER",
    ]
    assert any(line.startswith("Predicted time of an inference on VS680: ") for line in lines)
    assert any("errors of 15 to 20 %" in line for line in lines)
    data = json.loads(synap("estimate", "--model", path, "--target", "VS680", "--json").out)
    operations = sum(op["seconds"] for op in data["operations"])
    assert data["seconds"] == pytest.approx(operations + data["start_seconds"])
    assert data["start_seconds"] > 0
    assert len(data["operations"]) == sum(line[:1].isdigit() for line in lines)


def test_nothing_runs_where_nothing_costs_in_json_as_in_the_table(synap: Synap) -> None:
    model = ROOT / "examples" / "digits" / "digits_int8.tflite"
    data = json.loads(synap("estimate", "--model", model, "--target", "VS680", "--json").out)
    engines = {op["layer"]: op["engine"] for op in data["operations"]}
    assert engines["RESHAPE_flatten_4"] == "--"
    assert [op["engine"] == "--" for op in data["operations"]] == [op["cycles"] == 0 for op in data["operations"]]
    lines = synap("estimate", "--model", model, "--target", "VS680").out.splitlines()
    assert list(engines.values()) == [line.split()[2] for line in lines if line[:1].isdigit()]


def test_command_says_when_nothing_is_predicted(synap: Synap, model_file: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "meta.yaml").write_text("delegate: cpu")
    options = ["--meta", tmp_path / "meta.yaml", "--target", "VS680"]
    result = synap("estimate", "--model", model_file(int8_net()), *options)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "subgraph_0: 4 layers on cpu, not predicted",
        "Nothing is predicted: no layer runs on a delegate that predicts costs",
    ]


def test_estimate_is_what_the_compiled_program_carries(
    synap: Synap, model_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = model_file(int8_net())
    data = json.loads(synap("estimate", "--model", path, "--target", "VS640", "--json").out)
    assert synap("convert", "--model", path, "--target", "VS640", "--out-dir", tmp_path / "o").code == 0
    found = json.loads(synap("run", "-m", tmp_path / "o/model.synap", "zero", "--profiling", "-", "--json").out)
    rows = found["profiles"][0]["layers"]
    estimated = [(op["layer"], op["cycles"], op["bytes_read"], op["bytes_written"]) for op in data["operations"]]
    assert estimated == [(r["layer_id"], r["cycles"], r["bytes_read"], r["bytes_written"]) for r in rows]


@pytest.mark.zoo
@pytest.mark.parametrize("target", ["VS640", "VS680"])
def test_published_time_of_mobilenet_is_met_within_the_practical_bound(
    zoo: Path, host: PluginHost, target: str
) -> None:
    with (ROOT / "tools/npu-benchmarks.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["model"].startswith("mobilenet_v2_quant/")]
    published = [float(r["published_ms"]) for r in rows if (r["target"], r["mode"]) == (target, "offline_npu")]
    model = zoo / "models/classification/tf2_mobilenet_v2_1.0_224_ptq.tflite"
    found = estimate_model(ConvertRequest(model=model, target=target), host)
    assert published
    assert 1000 * found.seconds == pytest.approx(sorted(published)[len(published) // 2], rel=0.35)
