"""The fields of a metafile: what each accepts, and the one line that refuses the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from synap_core.errors import InputError
from synap_core.metafile import (
    DelegateRule,
    InputEntry,
    Metafile,
    OutputEntry,
    Preprocess,
    Quantization,
    Security,
    default_metafile,
    load_metafile,
)
from synap_core.metafile import load as load_module
from tests.support.metafile_texts import load, marked, refusal


def refusals() -> dict[str, tuple[str, str]]:
    """Read the cases: text with a mark, and message, by title."""
    content = (Path(__file__).parent / "data" / "metafile_refusals.txt").read_text(encoding="utf-8")
    cases = {}
    for paragraph in content.strip().split("\n\n")[1:]:
        title, *lines, message = paragraph.split("\n")
        cases[title.removeprefix("# ")] = ("\n".join(lines), message.removeprefix("=> "))
    return cases


REFUSALS = refusals()


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_say_where_what_and_what_else(tmp_path: Path, case: str) -> None:
    text, message = REFUSALS[case]
    plain, place = marked(text)
    assert refusal(tmp_path, plain) == f"{place}: {message}"


def test_first_problem_in_the_file_is_shown_and_the_others_are_counted(tmp_path: Path) -> None:
    text = "outputs: [{security: x}]\ninputs: [{scale: 0, bogus: 1}]\ndelegate: auto\n"
    message = refusal(tmp_path, text)
    expected = "invalid output security 'x'; allowed: secure-if-input-secure, any (and 3 more)"
    assert message == f"m.yaml:1:22: {expected}"


def test_count_of_others_stands_behind_the_hint(tmp_path: Path) -> None:
    message = refusal(tmp_path, "delegate: NPU\ndata_layout: x\n")
    assert message.endswith("did you mean 'npu'? (and 1 more)")


def test_misspelt_mandatory_key_is_reported_as_misspelt(tmp_path: Path) -> None:
    message = refusal(tmp_path, "inputs: [{preprocess: {Type: nv12}}]")
    assert "unknown key 'Type' in inputs[0].preprocess" in message
    assert "did you mean 'type'?" in message


def test_messages_are_one_line_of_bounded_length(tmp_path: Path) -> None:
    long = "x" * 100_000
    for text in (
        f"{long[:1000]}: 1",
        f"delegate: {long}",
        f"delegate: [{long}]",
        f"inputs: [{{shape: [{'1, ' * 20_000}]}}]",
        f"inputs: [{{scale: '{long}'}}]",
        f"inputs: [{{name: {long}}}]",
        f"inputs: [{{format: '${{FILE:{long}}}'}}]",
        f"quantization: {{options: {{? {long}\n: {{1: x}}}}}}",
        f"security: {{file: {long}}}",
        'delegate: "a\\nError: forged\\u0007"',
        '"a\\nError: forged": 1',
    ):
        message = refusal(tmp_path, text)
        assert len(message) < 1000
        assert message.isprintable()


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("delegate: ''", [("*", "default", "")]),
        ("delegate: ' num_threads=2'", [("*", "default", "num_threads=2")]),
        ("delegate: default", [("*", "default", "")]),
        ("delegate: 'cpu '", [("*", "cpu", "")]),
        ("delegate: 'gpu  cache_dir=/x model_token=y '", [("*", "gpu", " cache_dir=/x model_token=y ")]),
        ("delegate: {}", [("*", "default", "")]),
        ("delegate: {a: , '*': ''}", [("a", "default", ""), ("*", "default", "")]),
        ("delegate: {c2...: npu, 4: gpu, '@7': cpu, INPUTS: npu}", [
            ("c2...", "npu", ""), ("4", "gpu", ""), ("@7", "cpu", ""), ("INPUTS", "npu", ""),
        ]),
    ],
)  # fmt: skip
def test_delegates_become_rules_in_the_order_written(
    tmp_path: Path, text: str, rules: list[tuple[str, str, str]]
) -> None:
    assert load(tmp_path, text).delegate == tuple(DelegateRule(*rule) for rule in rules)


def test_delegates_of_plugins_are_allowed(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("delegate: dsp fast=1")
    assert load_metafile(tmp_path / "m.yaml", delegates=["dsp"]).delegate == (DelegateRule("*", "dsp", "fast=1"),)
    with pytest.raises(InputError, match="invalid delegate type 'dsp'; allowed: default, tpu"):
        load_metafile(tmp_path / "m.yaml", delegates=["tpu"])


@pytest.mark.parametrize("word", ["nhwc", "NHWC", "Nhwc"])
def test_data_layout_may_be_in_upper_case(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, f"data_layout: {word}").data_layout == "nhwc"


@pytest.mark.parametrize(
    ("text", "means"),
    [("128", 128.0), ("0", 0.0), ("-1.5", -1.5), ("[1, 2.5, 0]", (1.0, 2.5, 0.0)), ("[7]", (7.0,)), ("", None)],
)
def test_means_are_one_number_or_one_per_channel(
    tmp_path: Path, text: str, means: float | tuple[float, ...] | None
) -> None:
    found = load(tmp_path, f"inputs: [{{means: {text}}}]").inputs[0].means
    assert (type(found), found) == (type(means), means)


@pytest.mark.parametrize(("text", "scale"), [("128", 128.0), ("-0.5", -0.5), ("1e-30", 1e-30), ("0x10", 16.0)])
def test_scale_is_any_number_but_zero(tmp_path: Path, text: str, scale: float) -> None:
    found = load(tmp_path, f"inputs: [{{scale: {text}}}]").inputs[0].scale
    assert (type(found), found) == (float, scale)


@pytest.mark.parametrize(
    ("field", "text", "shape"),
    [
        ("inputs", "[1, 224, 224, 3]", (1, 224, 224, 3)),
        ("inputs", "[-1, 10]", (-1, 10)),
        ("inputs", "[0, 10]", (0, 10)),
        ("inputs", "[1, 2147483647]", (1, 2147483647)),
        ("outputs", "[1]", (1,)),
        ("outputs", "[]", ()),
    ],
    ids=["image", "any batch", "no batch", "largest", "scalar output", "rank 0 output"],
)
def test_shapes_are_accepted_without_a_name(tmp_path: Path, field: str, text: str, shape: tuple[int, ...]) -> None:
    metafile = load(tmp_path, f"{field}: [{{shape: {text}}}]")
    shapes = {"inputs": [e.shape for e in metafile.inputs], "outputs": [e.shape for e in metafile.outputs]}
    assert shapes[field] == [shape]


def test_null_is_as_good_as_no_key(tmp_path: Path) -> None:
    sections: dict[str, type[Metafile | InputEntry | OutputEntry | Quantization]] = {
        "{}": Metafile,
        "inputs: [{}]": InputEntry,
        "outputs: [{}]": OutputEntry,
        "quantization: {}": Quantization,
    }
    for template, section in sections.items():
        keys = ", ".join(f"{key}: null" for key in section.model_fields)
        with_nulls = load(tmp_path, template.replace("{}", f"{{{keys}}}"))
        assert with_nulls.model_dump() == load(tmp_path, template).model_dump()


@pytest.mark.parametrize(
    ("text", "preprocess"),
    [
        ("{type: nv21, size: [1080, 1920], crop: true}", Preprocess(type="nv21", size=(1080, 1920), crop=True)),
        ("{type: rgb, size: {w: 640, h: 480}}", Preprocess(type="rgb", size=(480, 640))),
        ("{type: gray, crop: [10, 20, 0, 5]}", Preprocess(type="gray", crop=(10, 20, 0, 5))),
        ("{type: float32}", Preprocess(type="float32")),
        ("{type: none}", Preprocess(type="none")),
        ("{type: ''}", Preprocess(type="")),
        ("{type: }", Preprocess(type="")),
    ],
)
def test_preprocessing_is_read(tmp_path: Path, text: str, preprocess: Preprocess) -> None:
    assert load(tmp_path, f"inputs: [{{preprocess: {text}}}]").inputs[0].preprocess == preprocess


# From the manual: the schemes each type works with; float16 is not an integer type and works with none of them.
SCHEMES_OF_TYPE = {
    "uint8": {"asymmetric_affine"},
    "int8": {"asymmetric_affine", "dynamic_fixed_point", "perchannel_symmetric_affine"},
    "int16": {"dynamic_fixed_point"},
    "float16": set(),
}


@pytest.mark.parametrize("scheme", ["asymmetric_affine", "dynamic_fixed_point", "perchannel_symmetric_affine"])
@pytest.mark.parametrize("data_type", SCHEMES_OF_TYPE)
def test_scheme_must_fit_the_data_type(tmp_path: Path, data_type: str, scheme: str) -> None:
    plain, place = marked(f"quantization: {{data_type: {data_type}, scheme: §{scheme}}}")
    if scheme in SCHEMES_OF_TYPE[data_type]:
        quantization = load(tmp_path, plain).quantization
        assert quantization is not None
        assert quantization.scheme == scheme
    else:
        message = refusal(tmp_path, plain)
        allowed = ", ".join(["default", *sorted(SCHEMES_OF_TYPE[data_type])])
        start = f"{place}: quantization scheme {scheme!r} cannot be used with data_type {data_type!r}"
        assert message.startswith(f"{start}; allowed: {allowed}; {scheme} works with ")


@pytest.mark.parametrize(
    ("data_type", "base"),
    [
        ("int16", "int16"),
        ("", "uint8"),
        ("{}", "uint8"),
        ("{a: int16}", "uint8"),
        ("{a: int16, '*': float16}", "float16"),
        ("{a: int8, '*': int16}", "int8"),
        ("{'*': uint8, a...: int16}", "uint8"),
    ],
)
def test_base_type_is_the_eight_bit_type_then_that_of_all_others(tmp_path: Path, data_type: str, base: str) -> None:
    quantization = load(tmp_path, f"quantization: {{data_type: {data_type}}}").quantization
    assert quantization is not None
    assert quantization.base_type == base


def test_scheme_of_a_mixed_network_must_fit_its_base_type(tmp_path: Path) -> None:
    types = "{'*': int16, INPUTS: int8}"
    assert load(tmp_path, f"quantization: {{data_type: {types}, scheme: perchannel_symmetric_affine}}").quantization
    message = refusal(
        tmp_path, f"quantization: {{data_type: {types.replace('int8', 'uint8')}, scheme: dynamic_fixed_point}}"
    )
    assert "quantization scheme 'dynamic_fixed_point' cannot be used with data_type 'uint8'" in message


def test_order_and_numbers_of_layers_in_a_type_map_are_kept(tmp_path: Path) -> None:
    quantization = load(
        tmp_path, "quantization: {data_type: {'*': uint8, c...: int16, 7: float16, b: uint8}}"
    ).quantization
    assert quantization is not None
    assert isinstance(quantization.data_type, dict)
    assert list(quantization.data_type.items()) == [("*", "uint8"), ("c...", "int16"), ("7", "float16"), ("b", "uint8")]


@pytest.mark.parametrize("algorithm", ["standard", "moving_average", "kl_divergence", "auto"])
@pytest.mark.parametrize("mode", ["standard", "full"])
def test_modes_and_algorithms_are_accepted(tmp_path: Path, mode: str, algorithm: str) -> None:
    text = f"quantization: {{mode: {mode}, algorithm: {algorithm}, options: {{any: [1, {{x: y}}]}}}}"
    quantization = load(tmp_path, text).quantization
    assert quantization is not None
    assert (quantization.mode, quantization.algorithm) == (mode, algorithm)
    assert quantization.options == {"any": [1, {"x": "y"}]}


def test_globs_start_at_the_folder_of_the_metafile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "set [1]*"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    text = "quantization: {dataset: [../a/*.jpg, /abs/b.npy, random, ./random]}"
    (folder / "m.yaml").write_text(text)
    quantization = load_metafile(Path("set [1]*/m.yaml"), delegates=()).quantization
    escaped = f"{tmp_path}/set [[]1][*]"
    assert quantization is not None
    assert quantization.dataset == (f"{escaped}/../a/*.jpg", "/abs/b.npy", "random", f"{escaped}/random")


@pytest.mark.parametrize("inputs", ["", "inputs:\n", "inputs: []\n"], ids=["absent", "null", "empty"])
def test_datasets_need_no_inputs(tmp_path: Path, inputs: str) -> None:
    quantization = load(tmp_path, f"{inputs}quantization: {{dataset: [random, random]}}").quantization
    assert quantization is not None
    assert quantization.dataset == ("random", "random")


@pytest.mark.parametrize("dataset", ["", "dataset:", "dataset: []"], ids=["absent", "null", "empty"])
def test_other_fields_are_checked_without_a_dataset(tmp_path: Path, dataset: str) -> None:
    message = refusal(tmp_path, f"quantization:\n  mode: fast\n  {dataset}\n")
    assert message == "m.yaml:2:9: invalid quantization mode 'fast'; allowed: standard, full"


@pytest.mark.parametrize("value", ["5", "text", "[1, {a: b}]", "{deep: {er: true}}", "null"])
def test_custom_is_anything_at_every_level(tmp_path: Path, value: str) -> None:
    metafile = load(tmp_path, f"custom: {value}\ninputs: [custom: {value}]\noutputs: [custom: {value}]")
    assert metafile.custom == metafile.inputs[0].custom == metafile.outputs[0].custom


MANUAL = """\
delegate: npu
data_layout: nhwc
security:
  secure: true
  file: ../security.yaml
inputs:
  - name: input
    shape: [1, 224, 224, 3]
    means: [128, 128, 128]
    scale: 128
    format: rgb
    security: any
    preprocess:
      type: nv21
      size: [1920, 1080]
      crop: true
outputs:
  - name: MobilenetV1/Predictions/Reshape_1
    dequantize: false
    format: confidence_array
quantization:
  data_type: uint8
  scheme: default
  mode: standard
  algorithm: standard
  options:
  dataset:
    - ../../sample/*_224x224.jpg
"""


def test_example_of_the_manual_is_accepted(tmp_path: Path) -> None:
    folder = tmp_path / "metafiles"
    folder.mkdir()
    keys = ("encryption_key", "signature_key", "model_certificate", "vendor_certificate")
    (tmp_path / "security.yaml").write_text("".join(f"{key}: key\n" for key in keys))
    (tmp_path / "key").touch()
    metafile = load(folder, MANUAL)
    (entry,) = metafile.inputs
    assert (entry.name, entry.shape, entry.means, entry.scale) == ("input", (1, 224, 224, 3), (128.0,) * 3, 128.0)
    assert metafile.outputs == (OutputEntry(name="MobilenetV1/Predictions/Reshape_1", format="confidence_array"),)
    assert metafile.quantization == Quantization(dataset=(f"{folder}/../../sample/*_224x224.jpg",))
    assert metafile.security is not None
    assert metafile.security.vendor_certificate == folder / ".." / "key"
    assert metafile.where("inputs", 0, "means") == f"{folder}/m.yaml:9:5"
    assert metafile.warnings == (
        f"{folder}/m.yaml:15:7: preprocess size [1920, 1080] is height 1920, width 1080; is the order right?",
    )


def test_defaults_are_those_of_an_empty_file(tmp_path: Path) -> None:
    empty, default = load(tmp_path, ""), default_metafile()
    assert empty.model_dump() == default.model_dump()
    assert (default.data_layout, default.input_format, default.output_format) == ("default", "", "")
    assert (default.inputs, default.outputs, default.quantization, default.security) == ((), (), None, None)
    assert (default.optimize, default.dequantize_outputs, default.denormalize_outputs) == (None, False, False)
    assert default.where("inputs", 0, "means") == ""
    assert default.warnings == ()


def test_places_fall_back_to_what_was_written(tmp_path: Path) -> None:
    metafile = load(tmp_path, "delegate:\n  3: cpu\ninputs:\n  - name: x\n    shape: [1, 2]\n")
    places = {
        ("delegate", "3"): "2:3",
        ("delegate", "*"): "1:1",
        ("inputs", 0, "shape"): "5:5",
        ("inputs", 0, "shape", 1): "5:16",
        ("inputs", 0, "means"): "4:5",
        ("inputs", 7): "3:1",
    }
    assert {path: metafile.where(*path) for path in places} == {
        path: f"{tmp_path}/m.yaml:{place}" for path, place in places.items()
    }
    # A line about something else would only mislead.
    assert metafile.where("outputs", 0) == f"{tmp_path}/m.yaml"


def test_metafiles_cannot_be_changed(tmp_path: Path) -> None:
    metafile = load(tmp_path, "inputs: [{scale: 1}]")
    with pytest.raises(ValueError, match="frozen"):
        metafile.inputs[0].scale = 2.0  # type: ignore[misc]  # what is refused


def test_models_are_made_of_mappings_only() -> None:
    with pytest.raises(ValueError, match="valid dictionary"):
        Metafile.model_validate(5)


def test_problem_that_no_check_foresees_is_reported_with_its_place() -> None:
    problem = load_module._problem({"type": "int_type", "loc": ("inputs", 0, "x"), "msg": "Not an integer", "input": 1})
    assert problem.message == "inputs[0].x: Not an integer"


def test_metafiles_can_be_built_in_code() -> None:
    metafile = Metafile(
        delegate=(DelegateRule("*", "cpu", "num_threads=2"),),
        inputs=(InputEntry(name="x", shape=(1, 2), format="${FILE:kept}", preprocess=Preprocess(type="rgb")),),
        quantization=Quantization(dataset=("samples/*.jpg",)),
        security=Security(secure=True, encryption_key=Path("key")),
    )
    assert metafile.delegate[0].options == "num_threads=2"
    assert metafile.inputs[0].format == "${FILE:kept}"
    assert metafile.quantization is not None
    assert metafile.quantization.dataset == ("samples/*.jpg",)
    with pytest.raises(ValueError, match="metafile has 1 input"):
        Metafile(inputs=metafile.inputs, quantization=Quantization(dataset=("a", "b")))


DOUBTFUL = {
    "size": (
        "inputs: [{preprocess: {type: nv12, §size: [640, 480]}}]",
        "preprocess size [640, 480] is height 640, width 480; is the order right?",
    ),
    "output policy": (
        "outputs: [null, {§security: any}]",
        "security 'any' has no effect: the model is not secure",
    ),
    "input policy": (
        "security: {secure: false}\ninputs: [{§security: secure}]",
        "security 'secure' has no effect: the model is not secure",
    ),
}


@pytest.mark.parametrize("case", DOUBTFUL)
def test_doubtful_settings_are_warned_about(tmp_path: Path, case: str) -> None:
    text, warning = DOUBTFUL[case]
    plain, place = marked(text)
    assert load(tmp_path, plain).warnings == (f"{tmp_path}/{place}: {warning}",)


@pytest.mark.parametrize(
    "text",
    [
        "inputs: [{preprocess: {type: nv12, size: [480, 640]}}]",
        "inputs: [{preprocess: {type: nv12, size: {h: 640, w: 480}}}]",
        "inputs: [{preprocess: {type: rgb, size: [640, 480]}}]",
        "inputs: [{security: any}]\noutputs: [{security: secure-if-input-secure}]",
        "inputs: [{means: 0, scale: 1}]\nquantization: {dataset: a.npy}",
        "inputs: [{means: 1, scale: 2}]\nquantization: {dataset: a.jpg}",
        "inputs: [{means: 1, scale: 2}]",
        # An error when the samples are looked for.
        "inputs: [{means: 1, scale: 2}]\nquantization: {dataset: a.NPY}",
    ],
)
def test_ordinary_settings_are_not_warned_about(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text).warnings == ()
