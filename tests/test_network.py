"""The host runtime, in this process and in a child process."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from synap_core import Network
from synap_core.bundle_writer import pack_bundle
from synap_core.channel import ChannelClosedError, Message, receive, send
from synap_core.convert import ConvertRequest, convert
from synap_core.errors import InputError, ModelExecutionError
from synap_core.host import PluginHost
from synap_core.plugin_policy import PluginPolicy, PolicyLayer
from synap_core.sandbox import Sandbox, WorkerError
from tests.support.litert import Oracle
from tests.support.tflite_models import (
    ModelBuilder,
    counter,
    crashes_while_loading,
    crashes_while_running,
    dense3,
    never_ends,
    schema,
    six,
)

WriteModel = Callable[..., Path]
X = np.array([[0.25, -1, 2, 3]], np.float32)


@pytest.fixture
def bundle(host: PluginHost, model_file: WriteModel, tmp_path: Path) -> Callable[..., bytes]:
    """Convert a model into the content of a bundle."""

    def call(content: bytes, meta: str = "") -> bytes:
        path = tmp_path / "meta.yaml"
        path.write_text(meta)
        request = ConvertRequest(model=model_file(content), target="SL1620", meta=path)
        return pack_bundle(convert(request, host).conversion)

    return call


@pytest.fixture(params=[True, False], ids=["child process", "this process"])
def isolate(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_predicts_what_litert_does(
    bundle: Callable[..., bytes], host: PluginHost, rng: np.random.Generator, isolate: bool
) -> None:
    content = dense3(rng)
    x = np.array([[0.3]], np.float32)
    with Network(bundle(content), host=host, isolate=isolate) as network:
        assert [(t.name, t.shape, t.dtype) for t in network.inputs] == [("dense_input", (1, 1), "float32")]
        np.testing.assert_array_equal(network.predict([x])[0], Oracle(content)([x])[0])
        np.testing.assert_array_equal(network.predict({"dense_input": x})[0], Oracle(content)([x])[0])
        assert network.predict_timed([x]).milliseconds > 0


def test_outputs_come_in_model_order(bundle: Callable[..., bytes], host: PluginHost, isolate: bool) -> None:
    meta = "outputs: [{name: c6}, {name: c4}, {name: c3}]\ndelegate: {'*': cpu, c5...: cpu num_threads=1}"
    with Network(bundle(six(), meta), host=host, isolate=isolate) as network:
        c6, c4, c3 = network.predict([X])
    np.testing.assert_allclose(c6, np.exp(np.abs(X)), rtol=1e-6)  # exp may round differently
    np.testing.assert_array_equal(c4, np.abs(X))
    np.testing.assert_array_equal(c3, -np.abs(X))


def test_state_is_kept_and_can_be_reset(bundle: Callable[..., bytes], host: PluginHost, isolate: bool) -> None:
    with Network(bundle(counter()), host=host, isolate=isolate) as network:
        x = [np.ones((1, 2), np.float32)]
        assert [float(network.predict(x)[0][0, 0]) for _ in range(3)] == [11, 12, 13]
        network.reset()
        assert float(network.predict(x)[0][0, 0]) == 11


def test_results_of_earlier_predictions_stay(bundle: Callable[..., bytes], host: PluginHost, isolate: bool) -> None:
    with Network(bundle(six()), host=host, isolate=isolate) as network:
        first = network.predict([X])[0].copy(), network.predict([X])[0]
        network.predict([5 * X])
        np.testing.assert_array_equal(*first)
        assert first[1].flags.writeable


def test_bundle_can_be_given_as_path_or_content(
    bundle: Callable[..., bytes], host: PluginHost, tmp_path: Path, isolate: bool
) -> None:
    path = tmp_path / "model.synap"
    path.write_bytes(bundle(six()))
    for source in (path, str(path), path.read_bytes()):
        with Network(source, host=host, isolate=isolate) as network:
            np.testing.assert_array_equal(network.predict([X])[0], np.abs(X))


def quantized() -> bytes:
    builder = ModelBuilder()
    x = builder.tensor("x", [1, 4], "int8", scale=0.5, zero_point=1)
    y = builder.tensor("y", [1, 4], "int8", scale=0.5, zero_point=1)
    builder.operator("RELU", [x], [y])
    return builder.finish([x], [y])


def test_float_input_of_a_quantized_tensor_holds_real_values(bundle: Callable[..., bytes], host: PluginHost) -> None:
    network = Network(bundle(quantized()), host=host, isolate=False)
    # 0.25 / 0.5 + 1 = 1.5 rounds up; 2 and 3 are 5 and 7; 0 is the zero point.
    np.testing.assert_array_equal(network.predict([X])[0], np.array([[2, 1, 5, 7]], np.int8))
    raw = np.array([[2, -7, 5, 7]], np.int8)
    np.testing.assert_array_equal(network.predict([raw])[0], np.array([[2, 1, 5, 7]], np.int8))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "0 inputs were given; the model has 1: x"),
        ([X, X], "2 inputs were given; the model has 1: x"),
        ({"y": X}, r"inputs \['y'\] were given; the model has \['x'\]"),
        ([X[0]], "input 'x' has the shape 1x4, not 4"),
        (
            [np.repeat(X, 3, axis=0)],
            "the shape 1x4, not 3x4; conversions set the batch of a model to 1, so give the 3 samples one at a time",
        ),
        ([[1, 2]], "input 'x' must be a NumPy array, not list"),
        ([X.astype(np.float64)], r"input 'x' takes int8 \(raw items\) or float32 \(real values\), not float64"),
    ],
)
def test_wrong_input_is_refused(bundle: Callable[..., bytes], host: PluginHost, inputs: object, message: str) -> None:
    network = Network(bundle(quantized()), host=host, isolate=False)
    with pytest.raises(InputError, match=message):
        network.predict(inputs)  # type: ignore[arg-type]


def test_threads_may_share_a_network(bundle: Callable[..., bytes], host: PluginHost, isolate: bool) -> None:
    with Network(bundle(six()), host=host, isolate=isolate) as network, ThreadPoolExecutor(4) as pool:
        inputs = [np.full((1, 4), -number, np.float32) for number in range(40)]
        for x, (c4, _) in zip(inputs, pool.map(lambda x: network.predict([x]), inputs), strict=True):
            np.testing.assert_array_equal(c4, np.abs(x))


def test_options_without_effect_are_noted(bundle: Callable[..., bytes], host: PluginHost, isolate: bool) -> None:
    content = bundle(six(), "delegate: cpu allow_fp16=1 sped=9 num_threads=2")
    with Network(content, host=host, isolate=isolate) as network:
        assert network.notes == (
            "0/subgraph_0.tflite: option 'allow_fp16' has no effect on the host",
            "0/subgraph_0.tflite: unknown option 'sped' is ignored",
        )


def test_gpu_subgraph_runs_on_the_cores_of_the_host_and_says_so(
    bundle: Callable[..., bytes], host: PluginHost, isolate: bool
) -> None:
    with Network(bundle(six(), "delegate: gpu"), host=host, isolate=isolate) as network:
        (note,) = network.notes
        assert "there is no GPU delegate on the host" in note
        np.testing.assert_array_equal(network.predict([X])[0], np.abs(X))


def with_model(content: bytes, model: bytes) -> bytes:
    """Put another model into a bundle of one subgraph."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, model if info.filename.endswith(".tflite") else old.read(info))
    return stream.getvalue()


def total() -> bytes:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 4]), builder.tensor("y", [1, 1])
    options = schema.ReducerOptionsT()
    options.keepDims = True
    builder.operator("SUM", [x, builder.constant("axis", np.array([1], np.int32))], [y], options)
    return builder.finish([x], [y])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (six(), "the model has 2 outputs, its metadata describes 1"),
        (total(), "output 'c6' is 1x1 float32, its metadata says 1x4 float32"),
        (quantized(), "LiteRT could not run the model: Cannot set tensor"),
        (b"not a model at all", "LiteRT refused the model: The model is not a valid Flatbuffer"),
    ],
    ids=["count", "shape", "type", "garbage"],
)
def test_model_that_does_not_fit_its_metadata_is_refused(
    bundle: Callable[..., bytes], host: PluginHost, isolate: bool, model: bytes, message: str
) -> None:
    content = with_model(bundle(six(), "outputs: [{name: c6}]"), model)
    with (
        pytest.raises(ModelExecutionError, match=f"0/subgraph_0.tflite: {message}"),
        Network(content, host=host, isolate=isolate) as network,
    ):
        network.predict([X])


def test_crash_while_loading_is_one_line(bundle: Callable[..., bytes], host: PluginHost) -> None:
    match = r"the runtime crashed \(SIGSEGV\) while loading 0/subgraph_0.tflite.*; the model is damaged"
    with pytest.raises(ModelExecutionError, match=match):
        Network(bundle(crashes_while_loading()), host=host)


def test_crash_while_running_is_one_line_and_so_is_what_follows(bundle: Callable[..., bytes], host: PluginHost) -> None:
    with Network(bundle(crashes_while_running()), host=host) as network:
        for _ in range(2):
            with pytest.raises(ModelExecutionError, match=r"crashed \(SIGSEGV\) while running 0/subgraph_0.tflite"):
                network.predict([np.ones((1, 2, 2, 4), np.float32)])


def test_hang_is_one_line(bundle: Callable[..., bytes], host: PluginHost) -> None:
    with Network(bundle(never_ends()), host=host) as network:
        assert isinstance(network._engine, Sandbox)
        network._engine._timeout = 2  # not before: a busy machine may take longer to load
        with pytest.raises(ModelExecutionError, match="no answer within 2 s while running 0/subgraph_0.tflite"):
            network.predict([np.ones(1, np.float32)])


def test_interrupted_prediction_leaves_no_answer_for_the_next(
    bundle: Callable[..., bytes], host: PluginHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Network(bundle(six()), host=host) as network:
        monkeypatch.setattr("synap_core.sandbox.receive", interrupt)
        with pytest.raises(KeyboardInterrupt):
            network.predict([X])
        monkeypatch.undo()
        with pytest.raises(ModelExecutionError, match="the runtime crashed"):
            network.predict([2 * X])


def interrupt(_: object) -> Message:
    raise KeyboardInterrupt


def test_closing_ends_a_prediction_that_hangs(bundle: Callable[..., bytes], host: PluginHost) -> None:
    network = Network(bundle(never_ends()), host=host, timeout=60)
    start = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(network.predict, [np.ones(1, np.float32)])
        time.sleep(0.5)
        network.close()
        with pytest.raises(InputError, match="the network (was|is) closed"):
            hanging.result()
    assert time.monotonic() - start < 50  # it did not wait for the time to run out
    with pytest.raises(InputError, match="the network is closed; make a new one"):
        network.predict([np.ones(1, np.float32)])


def test_what_a_start_up_file_prints_is_no_answer(
    bundle: Callable[..., bytes], host: PluginHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('hello from the start-up file')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Network(bundle(six()), host=host, timeout=30) as network:
        np.testing.assert_array_equal(network.predict([X])[0], np.abs(X))


@pytest.mark.skipif(os.name != "posix", reason="kills a process by its number")
def test_child_ends_with_its_parent_even_while_a_model_hangs(bundle: Callable[..., bytes], tmp_path: Path) -> None:
    (tmp_path / "model.synap").write_bytes(bundle(never_ends()))
    code = (
        "import sys, numpy as np\n"
        "from synap_core import Network\n"
        "network = Network(sys.argv[1])\n"
        "print(network._engine._process.pid, flush=True)\n"
        "network.predict([np.ones(1, np.float32)])\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model.synap")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.5)
        parent.kill()
    for _ in range(200):
        if not _is_running(child):
            return
        time.sleep(0.1)
    pytest.fail("the child is still there")


def _is_running(number: int) -> bool:
    status = Path(f"/proc/{number}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_secure_model_is_refused(bundle: Callable[..., bytes]) -> None:
    content = repacked_meta(bundle(six()), b'"secure": false', b'"secure": true')
    with pytest.raises(InputError, match="0/subgraph_0.json: this is a secure model"):
        Network(content)


def test_disabled_runtime_is_not_loaded_in_the_child_either(bundle: Callable[..., bytes]) -> None:
    policy = PluginPolicy((PolicyLayer(source="the operator", disable=("runtime-tflite",)),))
    match = "runtime 'tflite' is not available; plugin 'runtime-tflite' is disabled by the operator"
    with pytest.raises(InputError, match=match):
        Network(bundle(six()), host=PluginHost(policy))


def test_unknown_runtime_is_refused(bundle: Callable[..., bytes], host: PluginHost) -> None:
    content = repacked_meta(bundle(six()), b'"tflite gpu=0 "', b'"torq npu=1"')
    with pytest.raises(InputError, match="runtime 'torq' is not installed; installed: npu, onnx, tflite"):
        Network(content, host=host, isolate=False)


def repacked_meta(content: bytes, old: bytes, new: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(stream, "w") as target:
        for info in source.infolist():
            data = source.read(info)
            target.writestr(info.filename, data.replace(old, new) if info.filename.endswith(".json") else data)
    return stream.getvalue()


def test_child_process_ends_with_the_network(bundle: Callable[..., bytes], host: PluginHost) -> None:
    network = Network(bundle(six()), host=host)
    assert isinstance(network._engine, Sandbox)
    process = network._engine._process
    assert process.poll() is None
    network.close()
    assert process.poll() is not None


def test_defect_in_the_worker_keeps_its_traceback(bundle: Callable[..., bytes], host: PluginHost) -> None:
    with Network(bundle(six()), host=host) as network:
        assert isinstance(network._engine, Sandbox)
        with pytest.raises(WorkerError, match="IndexError: tuple index out of range"):
            network._engine.run([])


def test_messages_carry_arrays_of_any_shape_and_type() -> None:
    arrays = (np.arange(6, dtype=np.int16).reshape(1, 2, 3), np.float32(3), np.zeros((0, 4), np.float16))
    stream = io.BytesIO()
    send(stream, Message("run", {"a": [1, None, "é"]}, arrays))
    stream.seek(0)
    got = receive(stream)
    assert (got.kind, got.values) == ("run", {"a": [1, None, "é"]})
    for before, after in zip(arrays, got.arrays, strict=True):
        np.testing.assert_array_equal(before, after)
        assert before.dtype == after.dtype


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05",
        b"\xff" * 8,
        (3).to_bytes(8, "little") + b"{",
    ],
    ids=["nothing", "half a length", "huge length", "half a header"],
)
def test_broken_stream_counts_as_closed(data: bytes) -> None:
    with pytest.raises(ChannelClosedError):
        receive(io.BytesIO(data))


def test_objects_cannot_be_sent_to_a_process() -> None:
    header = b'{"kind": "run", "values": {}, "arrays": [["|O", [1]]]}'
    with pytest.raises(ChannelClosedError):
        receive(io.BytesIO(len(header).to_bytes(8, "little") + header + bytes(8)))
