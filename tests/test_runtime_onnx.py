"""The ONNX runtime: loading, running, options and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from synap_core.api import FormatString, ModelExecutionError, RuntimeModel, TensorMeta
from synap_runtime_onnx import session
from synap_runtime_onnx.plugin import load
from synap_runtime_onnx.session import OnnxExecutable
from tests.support.onnx_models import F32, Oracle, assert_near, conv5, model, node, save_external, value


def meta(name: str, *shape: int, dtype: str = "float32") -> TensorMeta:
    return TensorMeta(label=name, name=name, shape=shape, dtype=dtype, layout="nchw")


def relu(shape: list[int | str | None] | None, out: list[int | str | None] | None = None) -> onnx.ModelProto:
    return model([node("Relu", "x", "y")], [value("x", shape)], [value("y", shape if out is None else out)])


def loaded(
    made: onnx.ModelProto | bytes,
    inputs: tuple[TensorMeta, ...] = (meta("x", 1, 4),),
    outputs: tuple[TensorMeta, ...] = (meta("y", 1, 4),),
    options: str = "onnx cpu=1 ",
) -> OnnxExecutable:
    content = made if isinstance(made, bytes) else made.SerializeToString()
    parsed = FormatString.parse(options)
    executable = load(RuntimeModel(name="0/net.onnx", model=content, inputs=inputs, outputs=outputs, options=parsed))
    assert isinstance(executable, OnnxExecutable)
    return executable


def test_outputs_are_those_of_the_model(rng: np.random.Generator) -> None:
    made = conv5(rng)
    x = rng.normal(size=(1, 3, 8, 8)).astype(F32)
    executable = loaded(made, (meta("x", 1, 3, 8, 8),), (meta("y", 1, 4, 8, 8),))
    assert_near(executable.run([x])[0], Oracle(made)([x])[0])


def test_later_runs_leave_earlier_outputs_alone_and_reset_changes_nothing() -> None:
    executable = loaded(relu([1, 4]))
    first = executable.run([np.full((1, 4), 2, F32)])[0]
    executable.reset()
    second = executable.run([np.full((1, 4), 3, F32)])[0]
    assert (first.tolist(), second.tolist()) == ([[2.0] * 4], [[3.0] * 4])


@pytest.mark.parametrize("shape", [["N", 4], [-1, 4], [None, 4]], ids=["named", "negative", "nameless"])
def test_open_dimension_of_an_input_counts_as_1(shape: list[int | str | None]) -> None:
    assert loaded(relu(shape)).run([np.ones((1, 4), F32)])[0].shape == (1, 4)


def test_equal_bytes_are_taken_whatever_the_metadata_calls_them() -> None:
    executable = loaded(relu([2, 2]), (meta("x", 1, 4),), (meta("y", 2, 2),))
    assert executable.run([np.array([[-1, 2, -3, 4]], F32)])[0].tolist() == [[0, 2], [0, 4]]


@pytest.mark.parametrize(
    ("options", "threads", "level"),
    [
        ("onnx cpu=1 ", 0, -1),
        ("onnx cpu=1 num_threads=2", 2, -1),
        ("onnx num_threads=0 log_level=3", 0, 3),
        ("onnx num_threads=-4 log_level=-1", 0, -1),
        ("onnx log_level=9", 0, 4),
    ],
)
def test_options_set_threads_and_log_level(options: str, threads: int, level: int) -> None:
    made = session._session_options(FormatString.parse(options))
    assert (made.intra_op_num_threads, made.log_severity_level) == (threads, level)
    assert made.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize(
    ("options", "notes"),
    [
        ("onnx cpu=1 num_threads=1 log_level=3", ()),
        ("onnx gpu=1 ", ("gpu=1: on the host the model runs on the processor cores",)),
        ("onnx cpu=1 use_xnnpack=0", ("unknown option 'use_xnnpack' is ignored",)),
    ],
)
def test_options_without_effect_are_noted(options: str, notes: tuple[str, ...]) -> None:
    executable = loaded(relu([1, 4]), options=options)
    assert executable.notes == notes
    assert executable.run([np.ones((1, 4), F32)])[0].tolist() == [[1.0] * 4]


def two_outputs() -> onnx.ModelProto:
    nodes = [node("Relu", "x", "y"), node("Abs", "x", "z")]
    return model(nodes, [value("x", [1, 4])], [value("y", [1, 4]), value("z", [1, 4])])


def reduced() -> onnx.ModelProto:
    return model([node("ReduceMax", "x", "y", keepdims=0)], [value("x", [1, 4])], [value("y", [])])


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (relu([], []), "shape is empty: input 'x' has no dimensions"),
        (reduced(), "shape is empty: output 'y' has no dimensions"),
        (two_outputs(), "the model has 2 outputs, its metadata describes 1"),
        (relu([1, 5]), r"input 'x' is \[1, 5\] tensor\(float\), its metadata says \[1, 4\] float32"),
        (
            model([node("Abs", "x", "y")], [value("x", [1, 4], TensorProto.INT64)], [value("y", [1, 4], 7)]),
            r"input 'x' is \[1, 4\] tensor\(int64\)",
        ),
        (b"no model", "ONNX Runtime refused the model: .*(?i:protobuf)"),
        (model([node("Foo", "x", "y")], [value("x", [1, 4])], [value("y", [1, 4])]), "refused the model: .*Foo"),
    ],
    ids=["scalar input", "scalar output", "count", "size", "int64", "damaged", "unknown operator"],
)
def test_model_that_does_not_fit_is_refused_in_one_line(made: onnx.ModelProto | bytes, message: str) -> None:
    with pytest.raises(ModelExecutionError, match=f"^0/net.onnx: .*{message}") as caught:
        loaded(made)
    assert len(caught.value.message) < 300


def test_failure_of_a_run_is_one_line() -> None:
    nodes = [node("Cast", "x", "i", to=TensorProto.INT64), node("Gather", "table i", "y")]
    made = model(nodes, [value("x", [1, 4])], [value("y", [1, 4])], {"table": np.zeros(3, F32)})
    executable = loaded(made)
    with pytest.raises(ModelExecutionError, match="^0/net.onnx: ONNX Runtime could not run the model: .*out of"):
        executable.run([np.full((1, 4), 99, F32)])


@pytest.mark.parametrize("location", ["net.data", "/etc/hostname"], ids=["working folder", "absolute"])
def test_model_reads_no_file_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, location: str
) -> None:
    save_external(conv5(rng), tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    made = onnx.load("net.onnx", load_external_data=False)
    for entry in made.graph.initializer[0].external_data:
        entry.value = location if entry.key == "location" else entry.value
    with pytest.raises(ModelExecutionError, match="refused the model: .*(External|external)"):
        loaded(made, (meta("x", 1, 3, 8, 8),), (meta("y", 1, 4, 8, 8),))
