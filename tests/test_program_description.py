"""What the runtime says of programs, against the listings of the conversion; and refusals of damaged ones."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper

from synap_core.api import Artifact, FormatString, InputError, ProgramDescription, RuntimeModel
from synap_core.convert import ConvertRequest, convert
from synap_core.host import PluginHost
from synap_runtime_onnx import program_description
from synap_runtime_onnx.plugin import describe_program
from tests.support.canonical_models import int8_net
from tests.support.npu_files import EXAMPLE

Damage = Callable[[onnx.ModelProto], None]


def described(content: bytes) -> ProgramDescription:
    options = FormatString.parse("npu")
    return describe_program(RuntimeModel(name="0/model.nb", model=content, inputs=(), outputs=(), options=options))


@pytest.fixture(scope="module", params=["digits", "net"])
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A program with its listings."""
    path = EXAMPLE
    if request.param == "net":
        path = tmp_path_factory.mktemp("model") / "net.tflite"
        path.write_bytes(int8_net())
    (made,) = convert(ConvertRequest(model=path, target="VS680"), PluginHost()).conversion.artifacts
    return made


def test_operations_are_those_of_the_layer_table(artifact: Artifact) -> None:
    found = described(artifact.model)
    lines = artifact.listings["Layer table"].split("\n\n")[0].splitlines()[1:]
    assert len(lines) == len(found.operations) > 3
    for row, line in zip(found.operations, lines, strict=True):
        bound, dtype, shape, name, layer_id = line.split()[6:11]
        assert [row.index, row.cycles, round(row.microseconds), row.bytes_read, row.bytes_written] == [
            int(word) for word in line.split()[:5]
        ]
        assert (row.engine or "--", row.bound or "-") == (line.split()[5], bound)
        assert (row.outputs[0].dtype, "x".join(map(str, row.outputs[0].shape))) == (dtype, shape)
        assert (row.name, row.layer_id) == (name, layer_id)


def test_times_are_those_of_the_listing(artifact: Artifact) -> None:
    found = described(artifact.model)
    text = artifact.listings["Layer table"].splitlines()[-1]
    assert f"{found.total_microseconds / 1000:.3f} ms (" in text
    assert f"start {found.start_microseconds / 1000:.3f} ms" in text
    busy = {engine: time for engine, time in found.engine_microseconds().items() if time}
    assert busy
    for engine, time in busy.items():
        assert f"{engine} {time / 1000:.3f} ms" in text
    assert found.target == "VS680"


def test_memory_and_weights_are_those_of_the_listing(artifact: Artifact) -> None:
    found = described(artifact.model)
    text = artifact.listings["Memory usage"]
    uses = {use.name: use for use in found.memories}
    sram, ddr = uses["sram"], uses["ddr"]
    assert f"Memory pool in DDR: {ddr.used_bytes} bytes (at least {ddr.lower_bound_bytes})" in text
    assert f"Peak of on-chip memory: {sram.used_bytes} bytes (at least {sram.lower_bound_bytes})" in text
    assert f"On-chip memory taken for granted: {sram.size_bytes} bytes" in text
    rows = found.operations
    weights, stored = sum(row.weight_bytes for row in rows), sum(row.stored_weight_bytes for row in rows)
    assert f"Constants: {sum(row.constant_bytes for row in rows)} bytes; of these {weights} bytes" in text
    assert f"take {stored} when compressed" in text
    listed = re.findall(r"^(sram|ddr) +([\d,]+) +([\d,]+) +(-?\d+)\.\.(\d+) +\d+  (.*)$", text, re.MULTILINE)
    numbers = [(memory, *(int(n.replace(",", "")) for n in rest), name) for memory, *rest, name in listed]
    placed = [(p.memory, p.offset, p.size_bytes, p.first, p.last, p.name) for p in found.places]
    assert sorted(placed) == sorted(numbers)
    assert len(placed) > 3


def test_operations_say_what_they_read_and_how_they_compute(artifact: Artifact) -> None:
    found = described(artifact.model)
    made = {found.places[0].name}
    for row, line in zip(found.operations, artifact.listings["Operation table"].splitlines()[1:], strict=True):
        assert {tensor.name for tensor in row.inputs} <= made
        made |= {tensor.name for tensor in row.outputs}
        assert line.split()[:3] == [str(row.index), row.type, row.arithmetic]


def test_nothing_of_a_program_is_run(artifact: Artifact) -> None:
    model = onnx.load_from_string(artifact.model)
    for function in model.functions:
        del function.node[:]
    assert described(model.SerializeToString()) == described(artifact.model)


def attribute(node: onnx.NodeProto, name: str, value: object) -> None:
    for k, item in enumerate(node.attribute):
        if item.name == name:
            del node.attribute[k]
            break
    node.attribute.append(helper.make_attribute(name, value))


def set_property(model: onnx.ModelProto, name: str, value: str) -> None:
    for entry in model.metadata_props:
        if entry.key == name:
            entry.value = value


def huge_shape(model: onnx.ModelProto) -> None:
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_value = 2**62


def many_dimensions(model: onnx.ModelProto) -> None:
    for _ in range(50):
        model.graph.input[0].type.tensor_type.shape.dim.add().dim_value = 2


DAMAGES: dict[str, tuple[Damage, str]] = {
    "negative cycles": (
        lambda m: attribute(m.graph.node[1], "predicted_cycles", -3),
        r"^0/model.nb: operation 1: predicted_cycles is -3, which cannot be; convert",
    ),
    "infinite time": (
        lambda m: attribute(m.graph.node[0], "predicted_microseconds", float("inf")),
        "operation 0: predicted_microseconds is inf",
    ),
    "no number": (
        lambda m: attribute(m.graph.node[0], "predicted_microseconds", float("nan")),
        "operation 0: predicted_microseconds is nan",
    ),
    "text for cycles": (
        lambda m: attribute(m.graph.node[0], "predicted_cycles", "many" * 100),
        r"predicted_cycles is 'many.{70,80}…, which cannot be",
    ),
    "unknown engine": (
        lambda m: attribute(m.graph.node[0], "engine", "XPU"),
        "the engine is 'XPU'; there are NN, TP, PPU, and none",
    ),
    "unknown memory": (
        lambda m: attribute(m.graph.node[0], "output_memory", "tape"),
        "lies in 'tape'; there are sram and ddr",
    ),
    "lost offset": (
        lambda m: attribute(m.graph.node[0], "output_memory", "ddr ddr"),
        "1 tensors lie in 2 memories, at 1 offsets",
    ),
    "negative offset": (
        lambda m: attribute(m.graph.node[0], "output_offset", [-64]),
        "output_offset is -64, which cannot be",
    ),
    "start": (
        lambda m: set_property(m, "predicted_start_microseconds", "soon"),
        "0/model.nb: predicted_start_microseconds is 'soon'",
    ),
    "long start": (
        lambda m: set_property(m, "predicted_start_microseconds", "9" * 5000),
        "predicted_start_microseconds is '9999",
    ),
    "huge memory": (lambda m: set_property(m, "sram_bytes", "9" * 5000), "sram_bytes is '9999"),
    "huge tensor": (huge_shape, "a tensor takes [0-9]+ bytes, more than any memory has"),
    "deep tensor": (many_dimensions, "a tensor has 54 dimensions"),
    "newer operators": (
        lambda m: setattr(next(i for i in m.opset_import if i.domain == "synap.npu"), "version", 2),
        "^0/model.nb: the program has version 2 of the operators synap.npu; this runtime knows version 1; convert",
    ),
    "newer format": (
        lambda m: set_property(m, "format_version", "9" * 500),
        "the program has version '9{15}' of the operators synap.npu",
    ),
    "other operators": (lambda m: m.ClearField("opset_import"), "the model has no operators of synap.npu"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_impossible_things_are_refused_in_one_line(name: str, artifact: Artifact) -> None:
    damage, message = DAMAGES[name]
    model = onnx.load_from_string(artifact.model)
    damage(model)
    with pytest.raises(InputError, match=message) as caught:
        described(model.SerializeToString())
    assert len(str(caught.value)) < 400


def test_what_is_no_program_is_refused() -> None:
    with pytest.raises(InputError, match="0/model.nb: this is no program for the neural processing unit"):
        described(b"\xff" * 100)


def test_damaged_files_give_a_description_or_one_line(artifact: Artifact, rng: np.random.Generator) -> None:
    content = np.frombuffer(artifact.model, np.uint8)
    refused = 0
    for _ in range(200):
        damaged = content.copy()
        damaged[rng.integers(0, len(content), 12)] = rng.integers(0, 256, 12)
        try:
            described(damaged[: rng.integers(1, len(content))].tobytes())
        except InputError:
            refused += 1
    assert refused > 50


def test_a_program_without_predictions_is_described_without_costs(artifact: Artifact) -> None:
    model = onnx.load_from_string(artifact.model)
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.attribute[:]
    found = described(model.SerializeToString())
    assert (found.total_microseconds, found.places, found.memories, found.target) == (0.0, (), (), "")
    assert [row.layer_id for row in found.operations] == [node.name for node in model.graph.node]


def test_a_program_says_itself_where_its_predictions_come_from(artifact: Artifact) -> None:
    notes = described(artifact.model).notes
    assert any("fitted to: Published timings" in note and "errors of 15 to 20 %" in note for note in notes)
    model = onnx.load_from_string(artifact.model)
    set_property(model, "predictions", "Measured.\n" * 5000)
    assert described(model.SerializeToString()).notes[-1] == ("Measured.\n" * 100).strip()
    set_property(model, "predictions", " ")
    assert "does not say by which model" in described(model.SerializeToString()).notes[-1]


def test_too_many_operations_are_refused(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_description, "MAX_OPERATIONS", 2)
    with pytest.raises(InputError, match=r"the program has \d operations and \d+ tensors; at most 2 and 100,000 are"):
        described(artifact.model)
