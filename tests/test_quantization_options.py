"""Algorithms and their options, as a metafile names them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from synap_core.errors import InputError, PluginError
from synap_core.metafile import Metafile, Quantization, load_metafile, metafile_schema
from synap_core.payloads import QuantizationAlgorithm
from synap_core.quantization.interface import Algorithm
from synap_core.quantization.options import load_options
from synap_core.restrictions import check_whole_graph, ineffective_on_whole_graph
from tests.support.metafiles import metafile


class Strict(BaseModel):
    """A section without other keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Watch(Strict):
    """Options of an observer."""

    bins: int = Field(default=2048, ge=2)
    trim: float | Literal["none"] = "none"


class Options(Strict):
    """Options of an algorithm."""

    observer: Watch = Watch()
    equalize: bool = False
    rounding: Literal["nearest", "adaptive"] = "adaptive"
    blocks: tuple[int, ...] = ()

    @field_validator("blocks")
    @classmethod
    def _ascending(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(value):
            msg = "blocks must not go down"
            raise ValueError(msg)
        return value


def no_algorithm(_: BaseModel) -> Algorithm:
    raise NotImplementedError


def algorithm(model: type[BaseModel] = Options) -> QuantizationAlgorithm:
    return QuantizationAlgorithm(name="widest", summary="", options_model=lambda: model, load=no_algorithm)


def options(folder: Path, text: str) -> BaseModel:
    return load_options(metafile(folder, f"quantization:\n  options: {text}\n"), algorithm())


@pytest.mark.parametrize("text", ["", "{}", "{observer: null, rounding: }", "{observer: {bins: null}}"])
def test_nothing_means_the_defaults(tmp_path: Path, text: str) -> None:
    assert options(tmp_path, text) == Options()


def test_no_section_means_the_defaults() -> None:
    assert load_options(Metafile(), algorithm()) == Options()


def test_values_are_taken_as_they_are_written(tmp_path: Path) -> None:
    found = options(tmp_path, "{observer: {bins: 8, trim: 1}, equalize: true, rounding: nearest, blocks: [1, 2]}")
    assert found == Options(observer=Watch(bins=8, trim=1.0), equalize=True, rounding="nearest", blocks=(1, 2))


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        (
            "{equalise: true}",
            13,
            "Invalid field(s): unknown key 'equalise' in quantization.options; allowed: observer, equalize, rounding,",
        ),
        (
            "{observer: {bin: 5}}",
            24,
            "Invalid field(s): unknown key 'bin' in quantization.options.observer; allowed: bins, trim ",
        ),
        (
            "{rounding: adaptiv}",
            13,
            "invalid quantization.options.rounding 'adaptiv': it should be 'nearest' or 'adaptive'; did you mean 'a",
        ),
        ("{equalize: yes}", 13, "invalid quantization.options.equalize 'yes': it should be a valid boolean"),
        ("{equalize: 1}", 13, "invalid quantization.options.equalize 1: it should be a valid boolean"),
        (
            "{observer: {bins: 1}}",
            24,
            "invalid quantization.options.observer.bins 1: it should be greater than or equal to 2",
        ),
        ("{observer: {bins: 2.5}}", 24, "invalid quantization.options.observer.bins 2.5: it should be a valid integer"),
        ("{observer: {trim: [1]}}", 24, "invalid quantization.options.observer.trim [1]: it should be a valid number"),
        ("{observer: 7}", 13, "invalid quantization.options.observer 7: it should be a mapping"),
        ("{blocks: [1, x]}", 25, "invalid quantization.options.blocks[1] 'x': it should be a valid integer"),
        ("{blocks: [2, 1]}", 13, "invalid quantization.options.blocks [2, 1]: blocks must not go down"),
        ("{blocks: .inf}", 13, "invalid quantization.options.blocks"),
        ("{observer: {bins: 1}, equalize: x, blocks: 5}", 24, "invalid quantization.options.observer.bins 1: it "),
    ],
)
def test_wrong_option_is_refused_in_one_line_with_its_place(
    tmp_path: Path, text: str, column: int, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        options(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/meta.yaml:2:{column}: {message}")


def test_unknown_option_names_the_algorithm_and_the_nearest_option(tmp_path: Path) -> None:
    expected = r"blocks \(with algorithm 'widest'\); did you mean 'equalize'\?$"
    with pytest.raises(InputError, match=expected):
        options(tmp_path, "{equalise: true}")


def test_other_problems_are_counted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"bins 1: .* equal to 2 \(and 2 more\)$"):
        options(tmp_path, "{observer: {bins: 1}, equalize: x, blocks: 5}")


def test_options_that_cannot_be_told_from_typing_errors_are_the_plugins_fault() -> None:
    class Loose(BaseModel):
        pass

    with pytest.raises(PluginError, match="'widest' has a model of its options that does not refuse unknown keys"):
        load_options(Metafile(), algorithm(Loose))


def loaded(folder: Path, name: str, algorithms: tuple[str, ...]) -> str:
    path = folder / "meta.yaml"
    path.write_text(f"quantization: {{algorithm: {name}}}\n")
    explain = {"auto": "plugin 'quantization-auto' is disabled"}.get
    found = load_metafile(path, delegates=(), algorithms=algorithms, explain=explain).quantization
    assert found is not None
    return found.algorithm


def test_algorithms_are_those_that_plugins_offer(tmp_path: Path) -> None:
    assert loaded(tmp_path, "widest", ("standard", "widest")) == "widest"


@pytest.mark.parametrize(
    ("name", "algorithms", "message"),
    [
        ("wides", ("standard", "widest"), "'wides'; allowed: standard, widest; did you mean 'widest'?"),
        ("kl_divergence", ("standard",), "'kl_divergence'; allowed: standard"),
        ("auto", ("standard",), "'auto'; allowed: standard; plugin 'quantization-auto' is disabled"),
        ("standard", (), "'standard'; allowed: none"),
        ("[]", ("standard",), "[]; allowed: standard"),
        ("''", ("standard",), "''; allowed: standard"),
    ],
)
def test_algorithm_that_no_plugin_offers_is_refused(
    tmp_path: Path, name: str, algorithms: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        loaded(tmp_path, name, algorithms)
    assert str(caught.value) == f"{tmp_path}/meta.yaml:1:27: invalid quantization algorithm {message}"


@pytest.mark.parametrize("name", ["standard", "moving_average", "kl_divergence", "auto"])
def test_names_of_the_manual_are_allowed_where_no_plugins_are_known(name: str) -> None:
    assert Quantization(algorithm=name).algorithm == name


def test_schema_names_the_algorithms_that_are_installed() -> None:
    schema = str(metafile_schema(delegates=(), algorithms=["widest"]))
    assert "'enum': ['widest']" in schema
    assert "moving_average" not in schema


@pytest.mark.parametrize("scheme", ["asymmetric_affine", "dynamic_fixed_point", "perchannel_symmetric_affine"])
@pytest.mark.parametrize("data_type", ["float16", "{'*': float16, conv: int16}"])
def test_float16_has_no_scheme_to_choose(tmp_path: Path, data_type: str, scheme: str) -> None:
    expected = f"quantization scheme '{scheme}' cannot be used with data_type 'float16'; allowed: default"
    with pytest.raises(InputError, match=expected):
        metafile(tmp_path, f"quantization: {{data_type: {data_type}, scheme: {scheme}}}")


def test_scheme_belongs_to_the_base_type_and_not_to_the_overrides(tmp_path: Path) -> None:
    types = "{'*': int8, conv: int16, tail: float16}"
    found = metafile(
        tmp_path, f"quantization: {{data_type: {types}, scheme: perchannel_symmetric_affine}}"
    ).quantization
    assert found is not None
    assert (found.base_type, found.scheme) == ("int8", "perchannel_symmetric_affine")


def test_whole_graph_can_be_quantized_but_not_dequantized(tmp_path: Path) -> None:
    check_whole_graph(metafile(tmp_path, "quantization: {dataset: random}"))
    meta = metafile(tmp_path, "quantization: {dataset: random}\ndequantize_outputs: true")
    with pytest.raises(InputError, match="meta.yaml:2:1: output dequantization cannot be written as one graph"):
        check_whole_graph(meta)


IMAGE = "inputs: [{means: 1, scale: 2, format: bgr}]\noutputs: [{format: x}]\ninput_format: rgb\n"


@pytest.mark.parametrize(
    ("quantization", "idle"),
    [
        ("quantization: {dataset: random}", ["format"]),
        ("quantization: {data_type: int8}", ["input_format", "format", "means", "scale", "format"]),
        ("", ["input_format", "format", "means", "scale", "format"]),
    ],
)
def test_description_of_the_images_has_an_effect_when_they_are_read(
    tmp_path: Path, quantization: str, idle: list[str]
) -> None:
    lines = list(ineffective_on_whole_graph(metafile(tmp_path, IMAGE + quantization)))
    assert [line.split("'")[1] for line in lines if "no effect" in line] == idle
