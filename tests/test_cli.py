"""The command line, as a user meets it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from synap_core.cli.main import main_convert
from synap_core.version import toolkit_version
from tests.support.cli import Result, Synap
from tests.support.onnx_models import model, node, value
from tests.support.tflite_models import (
    chain,
    counter,
    six,
)

WriteModel = Callable[..., Path]
TARGETS = ("DVF120", "GENERIC", "SL1620", "SL1640", "SL1680", "VS640", "VS680")


@pytest.mark.acceptance("C1", "C2", "E5")
def test_c1_conversion_says_what_it_did(synap: Synap, dense3_file: Path, out: Path) -> None:
    result = synap("convert", "--model", dense3_file, "--target", "SL1620", "--out-dir", out, "--out-format", "synap")
    assert (result.code, result.err) == (0, "")
    assert "subgraph_0: 3 layers on cpu" in result.out
    assert result.out.endswith("Conversion successful\n")
    assert 1000 < (out / "model.synap").stat().st_size < 7000


@pytest.mark.acceptance("C2")
def test_c2_silent_prints_nothing(synap: Synap, dense3_file: Path, out: Path) -> None:
    result = synap("convert", "--model", dense3_file, "--target", "SL1620", "--out-dir", out, "--silent")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_convert_script_is_the_convert_command(synap: Synap, dense3_file: Path, out: Path) -> None:
    result = synap("--model", dense3_file, "--target", "SL1620", "--out-dir", out, entry=main_convert)
    assert result.code == 0
    assert (out / "model.synap").exists()


@pytest.mark.acceptance("C3")
def test_c3_verbose_logs_without_debug_lines(synap: Synap, dense3_file: Path, out: Path) -> None:
    result = synap("convert", "--model", dense3_file, "--target", "SL1620", "--out-dir", out, "--verbose")
    assert (result.code, result.err) == (0, "")
    assert "opened" in result.out
    assert "partitioned into" not in result.out  # a debug line


def test_debug_keeps_the_log_and_the_parts(synap: Synap, dense3_file: Path, out: Path) -> None:
    result = synap("convert", "--model", dense3_file, "--target", "SL1620", "--out-dir", out, "--debug")
    assert result.code == 0
    assert "subgraph_0: 3 layers on cpu" in (out / "build/conversion_log.txt").read_text()
    assert (out / "build/subgraph_0.tflite").read_bytes() == dense3_file.read_bytes()
    assert "partitioned into 1 subgraphs" in result.out


@pytest.mark.acceptance("C4")
def test_c4_debug_logs_what_the_compiler_does(synap: Synap, dense3_file: Path, out: Path) -> None:
    arguments = ["convert", "--model", dense3_file, "--target", "VS680", "--out-dir", out]
    line, again = "subgraph_0: compiled 3 operations, 0 of them in integers", "subgraph_0: the program is taken from"
    first = synap(*arguments, "--debug")
    assert (first.code, first.err) == (0, "")
    assert line in first.out
    assert line in (out / "build/conversion_log.txt").read_text(encoding="utf-8")
    second = synap(*arguments, "--debug").out
    assert line not in second
    assert again in second
    assert again not in synap(*arguments, "--verbose").out


@pytest.mark.acceptance("C5", "C6")
def test_c5_c6_file_that_is_no_model(synap: Synap, tmp_path: Path, out: Path) -> None:
    path = tmp_path / "meta.yaml"
    path.write_text("delegate: cpu\n")
    result = synap("convert", "--model", path, "--target", "SL1620", "--out-dir", out)
    assert result.code == 1
    assert "unknown network format '.yaml'; supported: .onnx, .pb, .prototxt, .tflite" in result.error


@pytest.mark.acceptance("C7")
def test_c7_conversion_after_a_failed_one_succeeds(synap: Synap, dense3_file: Path, out: Path) -> None:
    assert synap("convert", "--model", __file__, "--target", "SL1620", "--out-dir", out).code == 1
    assert synap("convert", "--model", dense3_file, "--target", "SL1620", "--out-dir", out).code == 0


@pytest.mark.acceptance("C8")
def test_c8_unknown_target_lists_all(synap: Synap, dense3_file: Path, out: Path) -> None:
    result = synap("convert", "--model", dense3_file, "--target", "foo", "--out-dir", out)
    assert result.code == 1
    assert all(target in result.error for target in TARGETS)


@pytest.mark.acceptance("C9")
@pytest.mark.parametrize("target", ["dolphin", "Dolphin", "VS680A0", "vs680"])
def test_c9_targets_have_aliases_in_any_case(synap: Synap, dense3_file: Path, out: Path, target: str) -> None:
    disabled = ["--disable-plugin", "delegate-npu"]
    result = synap("convert", "--model", dense3_file, "--target", target, "--out-dir", out, *disabled)
    assert "VS680: delegate 'npu', the default of this target, is not available" in result.error


@pytest.mark.acceptance("C10", "M29")
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--model", "nowhere.tflite: model file not found"),
        ("--weights", "nowhere.tflite: weights file not found"),
        ("--meta", "nowhere.tflite: model metafile not found"),
    ],
)
def test_c10_missing_files(synap: Synap, dense3_file: Path, out: Path, option: str, message: str) -> None:
    options = {"--model": dense3_file, option: dense3_file.with_name("nowhere.tflite")}
    result = synap("convert", *(x for pair in options.items() for x in pair), "--target", "SL1620", "--out-dir", out)
    assert result.code == 1
    assert message in result.error


@pytest.mark.acceptance("C11")
def test_c11_git_lfs_pointer(synap: Synap, model_file: WriteModel, out: Path) -> None:
    path = model_file(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    result = synap("convert", "--model", path, "--target", "SL1620", "--out-dir", out)
    assert (result.code, "git-lfs pointer" in result.error) == (1, True)


@pytest.mark.acceptance("C12")
def test_c12_missing_target_is_a_usage_error(synap: Synap, dense3_file: Path, out: Path) -> None:
    result = synap("convert", "--model", dense3_file, "--out-dir", out)
    assert result.code == 2
    assert "Usage: synap convert" in result.err
    assert "Missing option '--target'" in result.err


@pytest.mark.acceptance("C13")
@pytest.mark.parametrize("args", [["--version"], ["-v"], ["convert", "--version"], ["convert", "-v"], ["version"]])
def test_c13_version(synap: Synap, args: list[str]) -> None:
    assert synap(*args) == Result(0, f"{toolkit_version()}\n", "")


def test_unique_abbreviations_of_long_options_are_accepted(synap: Synap, dense3_file: Path, out: Path) -> None:
    assert synap("convert", f"--mod={dense3_file}", "--targ", "SL1620", "--out-d", out, "--sil").code == 0
    ambiguous = synap("convert", "--model", dense3_file, "--target", "SL1620", "--out", out)
    assert ambiguous.code == 2
    assert re.search("No such option:? '?--out'?", ambiguous.err)


def test_truncated_model(synap: Synap, dense3_file: Path, out: Path) -> None:
    dense3_file.write_bytes(dense3_file.read_bytes()[:600])
    result = synap("convert", "--model", dense3_file, "--target", "SL1620", "--out-dir", out)
    assert (result.code, "truncated or damaged" in result.error) == (1, True)
    assert not (out / "model.synap").exists()


def test_onnx_file_with_the_wrong_name(synap: Synap, model_file: WriteModel, out: Path) -> None:
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out_value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [out_value])
    path = model_file(helper.make_model(graph).SerializeToString())
    result = synap("convert", "--model", path, "--target", "SL1620", "--out-dir", out)
    assert result.code == 1
    assert "not a tflite model, although its name ends in '.tflite'" in result.error


def test_misspelt_key_has_its_place_and_a_suggestion(synap: Synap, dense3_file: Path, out: Path) -> None:
    meta = out.parent / "meta.yaml"
    meta.write_text("inputs:\n- scale: 2\n  maens: 3\n")
    result = synap("convert", "--model", dense3_file, "--meta", meta, "--target", "SL1620", "--out-dir", out)
    assert result.code == 1
    assert re.search(r"meta.yaml:3:3: .*'maens'.*did you mean 'means'", result.error)


def test_unknown_layer_has_its_place_and_a_suggestion(synap: Synap, dense3_file: Path, out: Path) -> None:
    meta = out.parent / "meta.yaml"
    meta.write_text("delegate:\n  '*': cpu\n  dense1: cpu\n")
    result = synap("convert", "--model", dense3_file, "--meta", meta, "--target", "SL1620", "--out-dir", out)
    assert result.code == 1
    assert re.search(
        r"meta.yaml:3:3: layer 'dense1' not in the model, .*did you mean 'dense_1'",
        result.error,
    )


def test_output_folder_that_cannot_be_made(synap: Synap, dense3_file: Path) -> None:
    result = synap("convert", "--model", dense3_file, "--target", "SL1620", "--out-dir", dense3_file / "out")
    assert (result.code, "cannot make the folder: Not a directory" in result.error) == (1, True)


def test_unknown_output_format_lists_those_there_are(synap: Synap, dense3_file: Path, out: Path) -> None:
    args = ["convert", "--model", dense3_file, "--target", "SL1620", "--out-dir", out, "--out-format"]
    assert "output format 'zip' is not installed; installed: nb, onnx, synap" in synap(*args, "zip").error


def test_older_name_of_an_output_format_is_deprecated(synap: Synap, dense3_file: Path, out: Path) -> None:
    args = ["convert", "--model", dense3_file, "--target", "SL1620", "--out-dir", out, "--out-format", "ebg"]
    warning, error = synap(*args).err.splitlines()
    assert warning == "Warning: --out-format ebg is deprecated; use nb"
    assert "delegate 'cpu' makes 'subgraph_0.tflite'; --out-format nb holds only a 'model.nb'" in error


def test_options_of_the_closed_toolkit_are_accepted_and_reported(synap: Synap, dense3_file: Path, out: Path) -> None:
    args = ["convert", "--model", dense3_file, "--target", "SL1620", "--out-dir", out, "--tools-dir", "/opt"]
    result = synap(*args)
    assert result.code == 0
    assert result.err == "Warning: --tools-dir has no effect: no closed tools are used\n"


def test_frontend_can_be_forced(synap: Synap, dense3_file: Path, out: Path) -> None:
    odd = dense3_file.rename(dense3_file.with_suffix(".bin"))
    args = ["convert", "--model", odd, "--target", "SL1620", "--out-dir", out]
    assert synap(*args, "--frontend", "tflite").code == 0
    refused = synap(*args, "--frontend", "onyx")
    assert "frontend 'onyx' is not installed; installed: caffe, onnx, tensorflow, tflite" in refused.error


@pytest.mark.parametrize("where", ["before", "behind"])
def test_disabled_plugin_is_named_with_who_disabled_it(synap: Synap, dense3_file: Path, out: Path, where: str) -> None:
    switch = ["--disable-plugin", "frontend-tflite"]
    args = ["convert", "--model", dense3_file, "--target", "SL1620", "--out-dir", out]
    result = synap(*switch, *args) if where == "before" else synap(*args, *switch)
    assert result.code == 1
    assert "plugin 'frontend-tflite' is disabled by the command line; enable it with" in result.error


def test_plugins_are_switched_by_environment_and_option(synap: Synap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNAP_DISABLE_PLUGINS", "delegate-cpu,runtime-tflite")
    result = synap("plugins", "--json", "--enable-plugin", "runtime-tflite")
    states = {record["name"]: (record["state"], record["disabled_by"]) for record in json.loads(result.out)}
    assert states["delegate-cpu"] == ("disabled", "SYNAP_DISABLE_PLUGINS")
    assert states["runtime-tflite"] == ("enabled", None)


def test_allow_list_blocks_everything_else(synap: Synap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNAP_PLUGINS", "delegate-cpu")
    records = json.loads(synap("plugins", "--json").out)
    assert {record["name"] for record in records if record["state"] == "enabled"} == {"delegate-cpu"}


def test_plugins_are_listed_for_people(synap: Synap) -> None:
    result = synap("plugins", "--disable-plugin", "target-vs680")
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[0][:4] == ["KIND", "PLUGIN", "PROVIDES", "DISTRIBUTION"]
    assert ["frontend", "frontend-tflite", "tflite", "synap-toolkit", toolkit_version(), "enabled"] in lines
    assert any("target-vs680" in line and "by the command line" in " ".join(line) for line in lines)


@pytest.mark.parametrize("args", [["plugins"], ["convert", "--help"], ["--help"]])
def test_misspelt_plugin_name_ends_in_one_line(synap: Synap, monkeypatch: pytest.MonkeyPatch, args: list[str]) -> None:
    monkeypatch.setenv("SYNAP_DISABLE_PLUGINS", "delegate-cpuu")
    result = synap(*args)
    if result.code == 0:
        assert args == ["convert", "--help"]  # shows its own options; no plugin is loaded for that
    else:
        assert "SYNAP_DISABLE_PLUGINS: no plugin 'delegate-cpuu' is installed; did you mean" in result.error


def test_help_lists_and_explains_commands(synap: Synap) -> None:
    listing = synap("help")
    assert listing.code == 0
    for name in ("convert", "help", "info", "plugins", "run", "schema", "version"):
        assert f"  {name} " in listing.out
        about = synap("help", name)
        assert about.code == 0
        assert about.out.startswith(f"Usage: synap {name}")
    unknown = synap("help", "nothing")
    assert (unknown.code, "No such command 'nothing'" in unknown.err) == (2, True)


def test_schema_is_json_and_allows_what_the_manual_shows(synap: Synap) -> None:
    schema_data = json.loads(synap("schema").out)
    assert {"delegate", "inputs", "outputs", "quantization", "security"} <= set(schema_data["properties"])


def test_info_shows_a_model(synap: Synap, model_file: WriteModel) -> None:
    path = model_file(counter())
    result = synap("info", path)
    assert (result.code, result.err) == (0, "")
    for text in ("tflite", "Runs as it is on: cpu", "x", "1x2", "READ_VARIABLE", "ASSIGN_VARIABLE_4"):
        assert text in result.out
    data = json.loads(synap("info", path, "--json").out)
    assert [(layer["index"], layer["type"]) for layer in data["layers"]][:2] == [(None, "Input"), (0, "CALL_ONCE")]
    assert data["size_bytes"] == path.stat().st_size


def test_info_shows_a_model_as_it_is(synap: Synap, model_file: WriteModel) -> None:
    batch_of_8 = synap("info", model_file(chain(["y"], shape=(8, 4))))
    assert (batch_of_8.code, "8x4" in batch_of_8.out) == (0, True)
    nodes = [node("Relu", "x", "y", "act")]
    made = model(nodes, [value("x", [1, 3, "height", "width"])], [value("y", [1, 3, "height", "width"])])
    open_size = synap("info", model_file(made.SerializeToString(), "net.onnx"))
    assert (open_size.code, open_size.err) == (0, "")
    assert "1x3x-1x-1" in open_size.out


def test_info_shows_the_wiring_of_a_bundle(synap: Synap, converted: Callable[..., Path]) -> None:
    bundle = converted(six(), "delegate: {'*': cpu, c5...: cpu num_threads=1}\ninputs: [{means: 3, scale: 2}]")
    result = synap("info", bundle)
    assert (result.code, result.err) == (0, "")
    for text in (
        "Subgraph 2: 2/subgraph_2.tflite",
        "'tflite gpu=0 num_threads=1'",
        "subgraph 0 output",
        "mean 3, scale 2",
    ):
        assert text in result.out
    data = json.loads(synap("info", bundle, "--json").out)
    assert data["subgraphs"][2]["inputs"][0]["source"] == {"subgraph": 0, "out": 1}
    assert [layer["type"] for layer in data["subgraphs"][2]["layers"]] == ["Input", "ABS"]


@pytest.mark.parametrize("args", [["info", "nowhere"], ["info", "."], ["info", __file__]])
def test_info_of_something_else_ends_in_one_line(synap: Synap, args: list[str]) -> None:
    result = synap(*args)
    assert (result.code, result.error != "") == (1, True)


def test_defect_keeps_its_traceback(synap: Synap, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        msg = "oops"
        raise ZeroDivisionError(msg)

    monkeypatch.setattr("synap_core.cli.plugins.load_host", broken)
    result = synap("plugins")
    assert result.code == 70
    assert "ZeroDivisionError: oops" in result.err
    assert "defect of the toolkit" in result.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a POSIX shell and /dev/full")
@pytest.mark.parametrize(
    ("script", "code", "error"),
    [
        ('"$@" >&-', 0, ""),
        ('"$@" >/dev/full', 1, "Error: No space left on device\n"),
        ('mkdir gone && cd gone && rmdir ../gone && "$@"', 0, ""),
        ('env -u HOME "$@"', 0, ""),
    ],
    ids=["closed output", "full output", "no working folder", "no home"],
)
def test_odd_surroundings_cause_no_traceback(tmp_path: Path, script: str, code: int, error: str) -> None:
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "synap_core.cli", "plugins"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (code, error)


HEAVY = ("numpy", "onnx", "onnx_ir", "onnxruntime", "tflite", "ai_edge_litert", "pydantic", "yaml", "PIL", "rich")


@pytest.mark.parametrize("args", [["--help"], ["plugins"], ["version"], ["convert", "--help"], ["run", "--help"]])
def test_listing_commands_import_nothing_heavy(args: list[str]) -> None:
    code = (
        "import sys\n"
        "from synap_core.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\n"
        f"except SystemExit:\n    print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "HEAVY []"


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
@pytest.mark.parametrize(
    ("number", "code", "message"),
    [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "")],
    ids=["ctrl-c", "terminate"],
)
def test_interrupted_conversion_leaves_the_previous_output_intact(
    model_file: WriteModel, out: Path, tmp_path: Path, number: signal.Signals, code: int, message: str
) -> None:
    path = model_file(chain(["a"]))
    command = [sys.executable, "-m", "synap_core.cli", "convert", "--model", str(path)]
    command += ["--target", "SL1620", "--out-dir", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    # Python imports this module at start: it makes writing so slow that the interrupt comes in the middle.
    slow = tmp_path / "sitecustomize.py"
    slow.write_text(
        "import synap_core.bundle_writer as plugin, time\n"
        "real = plugin.pack_bundle\n"
        "def pack(conversion):\n    print('PACKING', flush=True)\n    time.sleep(60)\n    return real(conversion)\n"
        "plugin.pack_bundle = pack\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "PACKING\n"
    time.sleep(0.2)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (code, message)
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == before
    assert [p.name for p in out.iterdir() if p.name.startswith(".synap-")] == []


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_completion_script_names_the_program(synap: Synap, shell: str) -> None:
    result = synap("completion", shell)
    assert result.code == 0
    assert "_SYNAP_COMPLETE" in result.out


def test_completion_completes_commands_and_options() -> None:
    def complete(words: str) -> set[str]:
        environment = os.environ | {
            "_SYNAP_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        command = [sys.executable, "-m", "synap_core.cli"]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return {line.partition(",")[2] for line in result.stdout.splitlines()}

    assert complete("synap co") == {"compare", "completion", "convert"}
    assert "--target" in complete("synap convert --ta")
