"""The acceptance cases of the metafile, M1 to M29."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from synap_core.errors import InputError
from synap_core.metafile import DelegateRule, load_metafile
from tests.support.metafile_texts import DELEGATES, load


def test_m1_delegate_rules_have_types_and_no_options(tmp_path: Path) -> None:
    metafile = load(tmp_path, 'delegate: {"*": cpu, "4": npu, "5": npu, "10": gpu}')
    assert metafile.delegate == (
        DelegateRule("*", "cpu", ""),
        DelegateRule("4", "npu", ""),
        DelegateRule("5", "npu", ""),
        DelegateRule("10", "gpu", ""),
    )


def test_m2_names_and_shapes_are_kept(tmp_path: Path) -> None:
    metafile = load(tmp_path, "inputs: [{name: T, shape: [1,112,112,96]}]\noutputs: [{name: U}]\n")
    assert [(entry.name, entry.shape) for entry in metafile.inputs] == [("T", (1, 112, 112, 96))]
    assert [entry.name for entry in metafile.outputs] == ["U"]


@pytest.mark.parametrize("text", ["", "{}"], ids=["M3-empty", "M3-braces"])
def test_m3_nothing_means_one_default_rule(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text).delegate == (DelegateRule("*", "default", ""),)


def test_m4_json_is_a_metafile(tmp_path: Path) -> None:
    rules = load(tmp_path, '{"delegate": {"*": "cpu", "1": "gpu"}}').delegate
    assert [(rule.pattern, rule.type) for rule in rules] == [("*", "cpu"), ("1", "gpu")]


@pytest.mark.parametrize("text", ['delegate: ""', "delegate:"], ids=["M6-empty", "M6-null"])
def test_m6_empty_delegate_is_the_default(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text).delegate == (DelegateRule("*", "default", ""),)


def test_m8_text_behind_the_delegate_is_its_options(tmp_path: Path) -> None:
    rules = load(tmp_path, 'delegate: {"*": "cpu num_threads=2"}').delegate
    assert rules == (DelegateRule("*", "cpu", "num_threads=2"),)


def test_m9_null_input_has_all_defaults(tmp_path: Path) -> None:
    (entry,) = load(tmp_path, "inputs: [null]").inputs
    assert (entry.name, entry.shape, entry.means, entry.scale, entry.format) == (None, None, None, None, "")
    assert (entry.preprocess, entry.security) == (None, "any")


@pytest.mark.parametrize(("word", "crop"), [("true", True), ("false", False)], ids=["M17-on", "M17-off"])
def test_m17_crop_is_switched(tmp_path: Path, word: str, crop: bool) -> None:
    preprocess = load(tmp_path, f"inputs: [{{preprocess: {{type: nv12, crop: {word}}}}}]").inputs[0].preprocess
    assert preprocess is not None
    assert (preprocess.type, preprocess.crop) == ("nv12", crop)


def test_m18_file_is_inserted_in_a_format(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("x")
    assert load(tmp_path, 'inputs: [{format: "rgb a=${FILE:k}"}]').inputs[0].format == "rgb a=x"


@pytest.mark.parametrize(("value", "delegate"), [("npu", "npu"), (None, "default")], ids=["M20-set", "M20-unset"])
def test_m20_delegate_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, delegate: str
) -> None:
    monkeypatch.delenv("EV", raising=False)
    if value is not None:
        monkeypatch.setenv("EV", value)
    assert load(tmp_path, "delegate: ${ENV:EV}").delegate == (DelegateRule("*", delegate, ""),)


def test_m21_no_dataset_means_no_quantization(tmp_path: Path) -> None:
    quantization = load(tmp_path, "quantization: {data_type: int8}").quantization
    assert quantization is not None
    assert (quantization.enabled, quantization.data_type) == (False, "int8")


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [("a/*.jpg", "{folder}/a/*.jpg"), ("random", "random")],
    ids=["M23-glob", "M24-random"],
)
def test_m23_m24_one_dataset_may_be_plain_text(tmp_path: Path, dataset: str, expected: str) -> None:
    quantization = load(tmp_path, f"inputs: [null]\nquantization: {{dataset: {dataset}}}").quantization
    assert quantization is not None
    assert quantization.enabled
    assert quantization.dataset == (expected.format(folder=tmp_path),)


@pytest.mark.parametrize(
    "data_type",
    ['{"*": uint8, "c...": int16, d: float16}', "float16"],
    ids=["M26-map", "M27-float16"],
)
def test_m26_m27_data_types_of_the_manual_are_accepted(tmp_path: Path, data_type: str) -> None:
    quantization = load(tmp_path, f"quantization: {{data_type: {data_type}}}").quantization
    expected = {"*": "uint8", "c...": "int16", "d": "float16"} if "{" in data_type else data_type
    assert quantization is not None
    assert quantization.data_type == expected


def test_m29_missing_metafile_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: model metafile not found"):
        load_metafile(tmp_path / "none.yaml", delegates=DELEGATES)


ERRORS = {
    "M5": ("bogus: 1", "unknown key 'bogus'"),
    "M7-auto": ("delegate: auto", "'auto'; allowed: default, cpu, gpu, npu"),
    "M7-upper": ("delegate: NPU", "'NPU'; allowed: default, cpu, gpu, npu"),
    "M10": ("inputs: [{name: x}]", "shape is mandatory"),
    "M11": ("inputs: [{shape: [1]}]", "batch dimension"),
    "M12": ("inputs: [{name: 5, shape: [1, 2]}]", "must be a string"),
    "M13-inputs": ("inputs: [{name: x, shape: [1, 2]}, {name: x, shape: [1, 2]}]", "Duplicate input names: 'x'"),
    "M13-outputs": ("outputs: [{name: x}, {name: x}]", "Duplicate output names: 'x'"),
    "M14-zero": ("inputs: [{scale: 0}]", "invalid scale 0"),
    "M14-text": ("inputs: [{scale: x}]", "invalid scale 'x'"),
    "M14-list": ("inputs: [{scale: [1, 2]}]", "invalid scale [1, 2]"),
    "M15": ("inputs: [{mean: 1}]", "Invalid field(s): unknown key 'mean'"),
    "M16": ("inputs: [{preprocess: {size: [4, 6]}}]", "mandatory field 'type' is missing"),
    "M19": ("inputs: [{format: '${FILE:missing}'}]", "file not found"),
    "M22": ("inputs: [null]\nquantization: {dataset: [a, b]}", "1 input(s) but 2 quantization dataset(s)"),
    "M25-word": ("quantization: {data_type: foo}", "invalid quantization data_type 'foo'"),
    "M25-map": ("quantization: {data_type: {a: bar}}", "invalid quantization data_type 'bar'"),
    "P27": ("outputs: [{name: x}, {}]", "All output names or none must be specified"),
    "M28": (
        "security: {secure: true}",
        "missing: encryption_key, signature_key, model_certificate, vendor_certificate",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_refused_metafiles_name_the_file_and_the_reason(tmp_path: Path, case: str) -> None:
    text, reason = ERRORS[case]
    with pytest.raises(InputError, match=re.escape(reason)) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/m.yaml:")
