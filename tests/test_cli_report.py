"""``synap report``, as a user meets it."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.canonical_models import int8_net
from tests.support.cli import Synap
from tests.support.pages import Reader, require_self_contained
from tests.support.tflite_models import six

LAYERS = "Operations and what they are predicted to cost"


@pytest.fixture
def npu_out(synap: Synap, model_file: Callable[..., Path], out: Path) -> Path:
    """Folder of a conversion for the unit."""
    result = synap("convert", "--model", model_file(int8_net()), "--target", "VS680", "--out-dir", out)
    assert result.code == 0, result.err
    return out


def test_page_of_a_bundle_has_the_time_of_its_listing(synap: Synap, npu_out: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = synap("report", npu_out / "model.synap", "--out", page)
    assert (result.code, result.err) == (0, "")
    assert result.out == f"{page}: {page.stat().st_size:,} bytes\n"
    text = page.read_text(encoding="utf-8")
    require_self_contained(text)
    read = Reader(text)
    info = (npu_out / "model_info.txt").read_text()
    total = next(line for line in info.splitlines() if line.startswith("Predicted time of an inference: "))
    assert read.texts["b"][0] == " ".join(total.split()[5:7])
    assert read.texts["p"][0].startswith("Target VS680; ")
    assert any("executes only what the vendor's compiler emits" in words for words in read.texts["li"])
    assert any("on a new network expect errors of 15 to 20 %" in words for words in read.texts["li"])


def test_folder_and_single_model_are_taken_like_the_bundle(
    synap: Synap, npu_out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert synap("report", npu_out).code == 0
    whole = Reader((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert whole.texts["h1"] == ["Report of out/model.synap"]
    pair = tmp_path / "pair"
    pair.mkdir()
    with zipfile.ZipFile(npu_out / "model.synap") as bundle:
        for name in ("model.nb", "model.json"):
            (pair / name).write_bytes(bundle.read(f"0/{name}"))
    shutil.copy(pair / "model.json", tmp_path / "other.json")
    for arguments in ([pair], [pair / "model.nb"], [pair / "model.nb", "--meta", "other.json"]):
        (tmp_path / "report.html").unlink()
        result = synap("report", *arguments)
        assert (result.code, result.err) == (0, "")
        single = Reader((tmp_path / "report.html").read_text(encoding="utf-8"))
        assert single.tables[LAYERS] == whole.tables[LAYERS]
        assert single.texts["h1"] == ["Report of pair/model.nb"]


def test_bundle_of_layers_that_run_as_they_are_lists_them(
    synap: Synap, converted: Callable[..., Path], tmp_path: Path
) -> None:
    bundle = converted(six(), "delegate: {'*': cpu, c5: gpu, c5...: gpu}")
    assert synap("report", bundle, "--out", tmp_path / "r.html").code == 0
    read = Reader((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "Nothing is predicted of this bundle: no subgraph is a program with predictions." in read.texts["li"]
    assert LAYERS not in read.tables
    assert [line[1] for line in read.tables["Layers"] if line[0] != "Index"] == [
        "ABS", "ABS", "NEG", "ABS", "EXP", "ABS",
    ]  # fmt: skip
    assert read.texts["h2"][-3:] == [f"Subgraph {k}: tflite" for k in range(3)]


def test_same_bundle_gives_the_same_page(synap: Synap, npu_out: Path, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        assert synap("report", npu_out, "--out", tmp_path / name).code == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_without_the_runtime_the_page_says_so(synap: Synap, npu_out: Path, tmp_path: Path) -> None:
    result = synap("report", npu_out, "--out", tmp_path / "r.html", "--disable-plugin", "runtime-npu")
    assert result.code == 0, result.err
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Its layers are not shown: the runtime &#x27;npu&#x27; is not there." in text


def test_mistakes_are_one_line(synap: Synap, npu_out: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    expected = {
        (tmp_path / "none.synap",): "none.synap: file not found; check the path",
        (empty,): "there is no model.synap or model.nb in this folder; give the folder that 'synap convert' wrote to",
        (npu_out / "model_info.txt",): "not a .synap bundle",
        (npu_out, "--out", tmp_path / "no" / "r.html"): "there is no folder",
        (npu_out, "--out", tmp_path): "cannot write the page: ",
        (npu_out, "--out", npu_out / "model.synap"): "the page would overwrite the model; choose another --out",
    }
    for arguments, message in expected.items():
        result = synap("report", *arguments)
        assert result.code == 1
        assert message in result.error
    assert zipfile.is_zipfile(npu_out / "model.synap")


def test_a_damaged_program_is_one_line(synap: Synap, npu_out: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.synap"
    with zipfile.ZipFile(npu_out / "model.synap") as old, zipfile.ZipFile(damaged, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            new.writestr(info, b"\xff\xff" + content if info.filename.endswith(".nb") else content)
    result = synap("report", damaged, "--out", tmp_path / "r.html")
    assert result.code == 1
    assert "0/model.nb: this is no program for the neural processing unit, or a damaged one" in result.error
    assert not (tmp_path / "r.html").exists()
