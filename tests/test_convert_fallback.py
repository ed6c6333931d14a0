"""Layers that a delegate refuses: what is said of them, and where they go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from synap_core.api import Group, Support, Target
from synap_core.bundle_writer import pack_bundle
from synap_core.convert import Converted, ConvertRequest, convert
from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.metafile import load_metafile
from synap_core.network import Network
from tests.support.canonical import Reference
from tests.support.canonical_models import detection_like, int8_net, small_net
from tests.support.cli import Synap
from tests.support.onnx_models import model, node, value
from tests.support.tflite_models import chain, counter
from tests.support.toynpu import ToyNpu, toy_host

Run = Callable[..., Converted]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Convert the content of a model for a delegate that refuses some operators."""

    def call(
        content: bytes | onnx.ModelProto,
        refuses: dict[str, str],
        meta: str = "",
        fallback: str | None = None,
        target: str = "TOY",
        host: PluginHost | None = None,
    ) -> Converted:
        data = content if isinstance(content, bytes) else content.SerializeToString()
        path = tmp_path / ("net.tflite" if isinstance(content, bytes) else "net.onnx")
        path.write_bytes(data)
        text = tmp_path / "meta.yaml"
        text.write_text(meta, encoding="utf-8")
        request = ConvertRequest(model=path, target=target, meta=text if meta else None, fallback=fallback)
        return convert(request, host or toy_host(ToyNpu(refuses)))

    return call


def test_all_refused_layers_are_named_with_reasons_and_the_lines_that_move_them(run: Run) -> None:
    with pytest.raises(InputError) as caught:
        run(int8_net(), {"MaxPool": "it cannot pool", "Add": "it cannot add"})
    assert caught.value.message == (
        "2 layers cannot run on toynpu: 'pool' (MAX_POOL_2D), because it cannot pool; "
        "'sum' (ADD), because it cannot add"
    )
    assert caught.value.hint == (
        "run them on cpu: --fallback cpu does it, and so does in the metafile: "
        "delegate: {'*': toynpu, pool: cpu, sum: cpu}"
    )


@pytest.mark.parametrize(
    ("meta", "place"), [("outputs: []", "meta.yaml: "), ("outputs: []\ndelegate: toynpu", "meta.yaml:2:1: ")]
)
def test_refusals_have_a_line_where_the_metafile_assigns_layers(run: Run, meta: str, place: str) -> None:
    with pytest.raises(InputError, match=f"{place}1 layer cannot run on toynpu: 'pool'"):
        run(int8_net(), {"MaxPool": "it cannot pool"}, meta)


def test_advised_lines_convert(run: Run, tmp_path: Path) -> None:
    refuses = {"Relu": "it cannot clip"}
    meta = "delegate: {'*': toynpu, conv2...: toynpu fast=1}"
    with pytest.raises(InputError) as caught:
        run(small_net(), refuses, meta)
    # The convolutions have their activations along.
    assert "'conv1' (Conv)" in caught.value.message
    advice = str(caught.value.hint).partition("in the metafile: ")[2]
    assert advice.startswith("delegate: {'*': toynpu, 'conv2...': 'toynpu fast=1', ")
    (tmp_path / "advice.yaml").write_text(advice, encoding="utf-8")
    assert load_metafile(tmp_path / "advice.yaml", delegates=["toynpu", "cpu"]).delegate[-1].type == "cpu"
    assert set(run(small_net(), refuses, advice).conversion.delegates) == {"cpu", "toynpu"}


def _truths() -> onnx.ModelProto:
    """A refused layer amid truth values, which no bundle can hand from one subgraph to another."""
    nodes = [
        node("Abs", "x", "a", "first"),
        node("Greater", "a half", "g", "greater"),
        node("Not", "g", "n", "not"),
        node("And", "n g", "b", "both"),
        node("Cast", "b", "c", "cast", to=1),
        node("Abs", "c", "y", "last"),
    ]
    constants = {"half": np.array([0.5], np.float32)}
    return model(nodes, [value("x", [1, 4])], [value("y", [1, 4])], constants)


def test_layers_around_what_cannot_cross_are_advised_and_fall_back_together(run: Run) -> None:
    refuses = {"Not": "it has no truth"}
    with pytest.raises(InputError, match="1 layer cannot run on toynpu: 'not'") as caught:
        run(_truths(), refuses)
    hint = str(caught.value.hint)
    assert hint.startswith("run them on cpu with 3 more that cannot be parted from them: --fallback cpu does it")
    advice = hint.partition("in the metafile: ")[2]
    advised, fallen = run(_truths(), refuses, advice).conversion, run(_truths(), refuses, fallback="cpu")
    assert advised.delegates == fallen.conversion.delegates == ("toynpu", "cpu", "toynpu")
    layers = [[layer.name for layer in subgraph.part.layers] for subgraph in advised.subgraphs]
    assert layers == [["first"], ["greater", "not", "both", "cast"], ["last"]]
    assert [[la.name for la in s.part.layers] for s in fallen.conversion.subgraphs] == layers
    reasons = [line.partition(", because ")[2] for line in fallen.warnings]
    assert reasons[0] == "it has no truth"
    assert reasons[1].startswith("it shares the tensor 'g' with 'not', whose type bool cannot cross the boundary of a")


def test_advice_takes_layers_along_that_share_a_variable(run: Run) -> None:
    with pytest.raises(InputError) as caught:
        run(counter(), {"Add": "it cannot add"})
    advice = str(caught.value.hint).partition("in the metafile: ")[2]
    assert run(counter(), {"Add": "it cannot add"}, advice).conversion.delegates == ("cpu",)


@pytest.mark.parametrize("name", ["12", "INPUTS", "a...", "@a", "tab\there"])
def test_names_that_a_metafile_reads_otherwise_are_given_by_index(run: Run, name: str) -> None:
    with pytest.raises(InputError, match=r"delegate: \{'\*': toynpu, '1': cpu\}") as caught:
        run(_abs_between(name), {"Neg": "it has no minus"})
    advice = str(caught.value.hint).partition("in the metafile: ")[2]
    assert run(_abs_between(name), {"Neg": "it has no minus"}, advice).conversion.delegates == (
        "toynpu",
        "cpu",
        "toynpu",
    )


def test_quotes_in_names_are_doubled(run: Run) -> None:
    with pytest.raises(InputError, match="'it''s: one': cpu"):
        run(_abs_between("it's: one"), {"Neg": "it has no minus"})


def _abs_between(name: str) -> onnx.ModelProto:
    nodes = [node("Abs", "x", "a", "first"), node("Neg", "a", "b", name), node("Abs", "b", "y", "last")]
    return model(nodes, [value("x", [1, 4])], [value("y", [1, 4])])


def test_long_lists_are_cut(run: Run) -> None:
    names = [f"layer{number}" for number in range(25)]
    with pytest.raises(InputError, match="25 layers cannot run on toynpu: .*; and 5 more") as caught:
        run(chain(names), {"Abs": "it has no signs"})
    assert "'layer19'" in caught.value.message
    assert "'layer20'" not in caught.value.message
    assert str(caught.value.hint).endswith("layer19: cpu, …}")


def test_opaque_layers_are_refused_with_their_reason(run: Run) -> None:
    with pytest.raises(
        InputError, match="1 layer cannot run on toynpu: 'b' .*it cannot be expressed in ONNX operators"
    ):
        run(detection_like(), {})
    assert run(detection_like(), {}, "delegate: {'*': toynpu, b: cpu}").conversion.delegates == (
        "toynpu",
        "cpu",
        "toynpu",
    )


def test_fallback_moves_refused_layers_and_says_so(run: Run, rng: np.random.Generator) -> None:
    refuses = {"MaxPool": "it cannot pool"}
    converted = run(int8_net(), refuses, fallback="cpu")
    assert converted.conversion.delegates == ("toynpu", "cpu", "toynpu")
    assert converted.warnings == ("layer 'pool' (MAX_POOL_2D) runs on cpu, not on toynpu, because it cannot pool",)
    x = rng.integers(-128, 128, (1, 8, 8, 3)).astype(np.int8)
    net = Network(pack_bundle(converted.conversion), host=toy_host(ToyNpu()), isolate=False)
    assert np.abs(net.predict([x])[0].astype(int) - Reference(int8_net())([x])[0].astype(int)).max() <= 2


def test_fallback_is_not_used_when_nothing_is_refused(run: Run) -> None:
    converted = run(int8_net(), {}, fallback="cpu")
    assert (converted.conversion.delegates, converted.warnings) == (("toynpu",), ())


def test_fallback_can_take_all_layers(run: Run) -> None:
    converted = run(chain(["a", "b"]), {"Abs": "it has no signs"}, fallback="gpu")
    assert converted.conversion.delegates == ("gpu",)
    assert len(converted.warnings) == 2


def test_layers_that_share_a_variable_fall_back_together(run: Run) -> None:
    converted = run(counter(), {"Add": "it cannot add"}, fallback="cpu")
    assert converted.conversion.delegates == ("cpu",)
    reasons = {line.split("'")[1]: line.partition("because ")[2] for line in converted.warnings}
    shares = "it shares a variable with 'old'"
    assert reasons == {
        "old": "it cannot add",  # the graph has no node for reading: the sum is its operation
        "y": "it cannot add",
        "CALL_ONCE_0": shares,
        "handle": shares,
        "ASSIGN_VARIABLE_4": shares,
    }


class Picky(ToyNpu):
    """Refuses differences, and clips only what is one."""

    def _operations(self, group: Group, dtype: str, target: Target) -> Support:
        operand = group.nodes[0].inputs[0]
        producer = None if operand is None else operand.producer()
        kind = group.nodes[0].op_type
        if kind == "Sub" or (kind == "Relu" and (producer is None or producer.op_type != "Sub")):
            return Support(ok=False, reason="it does not like it")
        return super()._operations(group, dtype, target)


def test_layers_that_are_only_refused_after_others_fell_back_are_moved_too(run: Run) -> None:
    nodes = [node("Sub", "x w", "a", "minus"), node("Relu", "a", "b", "clip"), node("Abs", "b", "y", "size")]
    made = model(nodes, [value("x", [1, 4])], [value("y", [1, 4])], {"w": np.ones((1, 4), np.float32)})
    with pytest.raises(InputError, match="1 layer cannot run on toynpu: 'minus'"):
        run(made, {}, host=toy_host(Picky()))
    converted = run(made, {}, fallback="cpu", host=toy_host(Picky()))
    assert converted.conversion.delegates == ("cpu", "toynpu")
    assert [line.split("'")[1] for line in converted.warnings] == ["minus", "clip"]


@pytest.mark.parametrize(
    ("fallback", "message"),
    [
        ("toynpu", "--fallback toynpu: it does not run tflite models as they are, or in float32; allowed: gpu, cpu"),
        ("fpga", "--fallback fpga: target TOY has no such delegate that runs tflite; allowed: gpu, cpu"),
    ],
)
def test_fallback_must_run_the_format_as_it_is(run: Run, fallback: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(chain(["a"]), {}, fallback=fallback)


def test_without_another_delegate_the_model_is_to_end_earlier(run: Run) -> None:
    with pytest.raises(InputError, match="it has no signs; end the model in front of them, with 'outputs'"):
        run(chain(["a"]), {"Abs": "it has no signs"}, target="TOYALONE")


def test_fallback_of_the_command_line_is_checked(synap: Synap, model_file: Callable[..., Path], out: Path) -> None:
    path = model_file(chain(["a"]))
    result = synap("convert", "--model", path, "--target", "SL1620", "--out-dir", out, "--fallback", "dsp")
    assert (result.code, result.err) == (
        1,
        "Error: --fallback dsp: target SL1620 has no such delegate that runs tflite; allowed: cpu, gpu\n",
    )


def test_fallback_has_no_effect_on_a_graph_of_the_whole_model(
    synap: Synap, model_file: Callable[..., Path], out: Path
) -> None:
    arguments = ["--target", "SL1620", "--out-dir", out, "--out-format", "onnx", "--fallback", "cpu"]
    result = synap("convert", "--model", model_file(chain(["a"])), *arguments)
    assert result.code == 0
    assert "Warning: --fallback has no effect with --out-format onnx, which makes no subgraphs" in result.err


def test_parts_that_are_kept_have_names_of_their_own(
    synap: Synap, model_file: Callable[..., Path], out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("synap_core.cli.convert.load_host", lambda _: toy_host(ToyNpu()))
    meta = tmp_path / "meta.yaml"
    meta.write_text("delegate: {'*': toynpu, b: cpu}", encoding="utf-8")
    arguments = ["--target", "TOY", "--out-dir", out, "--meta", meta, "--preserve"]
    result = synap("convert", "--model", model_file(chain(["a", "b", "c"])), *arguments)
    assert result.code == 0, result.err
    names = sorted(path.name for path in (out / "build").iterdir())
    assert names == ["conversion_log.txt", "subgraph_0_model.onnx", "subgraph_1.tflite", "subgraph_2_model.onnx"]


def test_names_that_yaml_takes_for_something_else_are_quoted() -> None:
    from synap_core.canonical.refusals import _quoted

    words = ["conv_1", "true", "Null", "7", "a b", "it's"]
    assert [_quoted(word) for word in words] == ["conv_1", "'true'", "'Null'", "'7'", "'a b'", "'it''s'"]
