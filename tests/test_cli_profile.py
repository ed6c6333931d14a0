"""``synap run --profiling``, and what ``synap info`` says of programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from synap_core.bundle_reader import load_bundle
from synap_core.host import PluginHost
from synap_core.profiles import HEADER, ProfileRow, SubgraphProfile, profile_lines, profiles_of
from synap_delegate_npu.cost.profile import read_profile
from tests.support.canonical_models import int8_net
from tests.support.cli import Synap
from tests.support.tflite_models import six


@pytest.fixture
def program(synap: Synap, tmp_path: Path, out: Path) -> Path:
    """A bundle with one subgraph for the NPU."""
    (tmp_path / "net.tflite").write_bytes(int8_net())
    result = synap("convert", "--model", tmp_path / "net.tflite", "--target", "VS680", "--out-dir", out, "--profiling")
    assert (result.code, result.err) == (0, "")
    return out / "model.synap"


def test_table_has_the_form_of_the_device_driver() -> None:
    rows = (
        ProfileRow(
            layer=0,
            cycles=150000,
            microseconds=200.4,
            bytes_read=151000,
            bytes_written=0,
            unit="TP",
            name="TensorTranspose",
        ),
        ProfileRow(
            layer=1,
            cycles=180000,
            microseconds=455.0,
            bytes_read=6900,
            bytes_written=1024,
            unit="NN",
            name="ConvolutionReluPoolingLayer2",
        ),
    )
    profile = SubgraphProfile(
        number=1, model_name="m", predicted=True, microseconds=1802, buffers=(2, 151529), rows=rows, notes=()
    )
    # The rows of the example in the description of the driver's statistics.
    assert list(profile_lines(profile, 412)) == [
        (
            "pid: 412, nid: 1, inference_count: 1, inference_time: 1802, inference_last: 1802, iobuf_count: 2, "
            "iobuf_size: 151529, layers: 2, source: predicted"
        ),
        "| lyr |    cycle | time_us |  byte_rd |  byte_wr | ot | name",
        "|   0 |   150000 |     200 |   151000 |        0 | TP | TensorTranspose",
        "|   1 |   180000 |     455 |     6900 |     1024 | NN | ConvolutionReluPoolingLayer2",
    ]


def test_hostile_name_cannot_forge_a_row() -> None:
    row = ProfileRow(
        layer=0, cycles=0, microseconds=0, bytes_read=0, bytes_written=0, unit="--", name="a\n|   1 |\x1b[2J"
    )
    profile = SubgraphProfile(
        number=0, model_name="m", predicted=True, microseconds=0, buffers=(0, 0), rows=(row,), notes=()
    )
    assert len(list(profile_lines(profile, 1))) == 3
    assert all(line.isprintable() for line in profile_lines(profile, 1))


def test_profile_of_a_program_has_the_predictions_of_the_report(synap: Synap, program: Path, tmp_path: Path) -> None:
    result = synap("run", "-m", program, "random", "--profiling", tmp_path / "p.txt")
    assert (result.code, result.err) == (0, "")
    assert "errors of 15 to 20 %" in result.out
    assert "silicon needs the vendor's compiler for this subgraph" in result.out
    report = (program.parent / "model_info.txt").read_text(encoding="utf-8")
    table = report[report.index("lyr  cycle") :].splitlines()[1:]
    lines = read_profile(tmp_path / "p.txt")
    assert len(lines) >= 4
    for line, row in zip(lines, table, strict=False):
        cells = row.split()
        assert [str(v) for v in (line.layer, line.cycles, line.microseconds)] == cells[:3]
        assert [str(v) for v in (line.bytes_read, line.bytes_written)] == cells[3:5]
        assert line.unit == {"PPU": "SH"}.get(cells[5].partition("+")[0], cells[5].partition("+")[0])
    assert (tmp_path / "p.txt").read_text().splitlines()[0].endswith("source: predicted")


def test_profile_is_printed_and_part_of_the_json(synap: Synap, program: Path) -> None:
    assert HEADER in synap("run", "-m", program, "zero", "--profiling", "-").out.splitlines()
    data = json.loads(synap("run", "-m", program, "zero", "--profiling", "-", "--json").out)
    (profile,) = data["profiles"]
    assert profile["source"] == "predicted"
    assert "CONV_2D_conv_MAX_POOL_2D_pool_0" in [row["layer_id"] for row in profile["layers"]]
    total = profile["microseconds"]
    start = total - sum(row["microseconds"] for row in profile["layers"])
    assert 0 < start < total


def test_what_runs_on_cpu_is_measured_on_the_host(converted: Callable[..., Path], host: PluginHost) -> None:
    bundle = load_bundle(converted(six(), "delegate: {'*': cpu, c5...: cpu num_threads=1}"))
    profiles = profiles_of(bundle, (2.5, 0.25, 1.0), host)
    assert [profile.predicted for profile in profiles] == [False] * 3
    rows = [row for profile in profiles for row in profile.rows]
    assert [(row.cycles, row.microseconds, row.unit) for row in rows] == [
        (0, 2500.0, "SW"),
        (0, 250.0, "SW"),
        (0, 1000.0, "SW"),
    ]
    assert "source: measured on the host" in next(profile_lines(profiles[0], 1))
    assert profiles[0].notes == (
        "time measured on this host, which says nothing about the device; without cycles and bytes",
    )


@pytest.mark.parametrize("value", ["random", "value:3", "cat.jpg", "x.npy", "frame.nv12"])
def test_input_is_not_taken_for_the_file_of_a_profile(
    synap: Synap, converted: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    bundle = converted(six())
    monkeypatch.chdir(tmp_path)
    (tmp_path / value).write_text("precious")
    error = synap("run", "-m", bundle, "--profiling", value, "zero").error
    assert error == (
        f"Error: --profiling needs a file to write, and {value!r} looks like an input of the model; "
        "write --profiling FILE, or --profiling - to print the table"
    )
    assert (tmp_path / value).read_text() == "precious"


def test_report_says_that_profiling_changes_nothing(program: Path) -> None:
    report = (program.parent / "model_info.txt").read_text(encoding="utf-8")
    assert "--profiling changes nothing in it" in report


def test_info_shows_the_operations_of_a_program(synap: Synap, program: Path) -> None:
    result = synap("info", program)
    assert (result.code, result.err) == (0, "")
    assert "The unit itself executes only what the vendor's compiler emits" in result.out
    assert any(
        line.split()[1:3] == ["Convolution", "1x8x4x4"] for line in result.out.splitlines() if line[:1].isdigit()
    )
    data = json.loads(synap("info", program, "--json").out)
    layers = data["subgraphs"][0]["layers"]
    assert [layer["index"] for layer in layers] == list(range(len(layers)))
    assert {"CONV_2D_conv_MAX_POOL_2D_pool_0", "ADD_sum_2", "CONV_2D_y_3"} <= {layer["name"] for layer in layers}
