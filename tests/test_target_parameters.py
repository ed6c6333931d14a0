"""A user's own parameters of a target."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from synap_core.convert import ConvertRequest, convert, find_target
from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.target_parameters import with_parameters
from synap_delegate_npu.cost.parameters import NpuParameters
from tests.support.canonical_models import int8_net
from tests.support.toynpu import ToyNpu, toy_host


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "own.yaml"


def test_parameters_in_the_file_take_the_place_of_the_targets(file: Path) -> None:
    host = toy_host()
    target = find_target(host, "TOY")
    file.write_text("toynpu:\n  cores: 7\n")
    assert with_parameters(target, file, host).parameters == {"toynpu": {"cores": 7}}
    assert target.parameters == {"toynpu": {"cores": 2}}


def test_conversion_gets_the_parameters_of_the_file(file: Path, tmp_path: Path) -> None:
    toy = ToyNpu()
    file.write_text("toynpu: {cores: 7}")
    (tmp_path / "net.tflite").write_bytes(int8_net())
    request = ConvertRequest(model=tmp_path / "net.tflite", target="TOY", target_parameters=file)
    convert(request, toy_host(toy))
    assert [subgraph.parameters.model_dump() for subgraph in toy.compiled if subgraph.parameters] == [{"cores": 7}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "own.yaml: the file has no parameters; begin it with one of: toynpu", id="empty"),
        pytest.param(
            "\ntoynp: {cores: 1}",
            r"own.yaml:2:1: target TOY takes no parameters for 'toynp'; allowed: toynpu; did you mean 'toynpu'\?",
            id="unknown delegate",
        ),
        pytest.param("cpu: {cores: 1}", "own.yaml:1:1: target TOY takes no parameters for 'cpu'", id="takes none"),
        pytest.param(
            "toynpu: 3", "own.yaml:1:9: parameters of 'toynpu' must be a mapping, not an integer", id="number"
        ),
        pytest.param(
            "toynpu:\n  core: 1",
            r"own.yaml:2:3: toynpu.core: unknown parameter \(and 1 more\); did you mean 'cores'\?",
            id="misspelt",
        ),
        pytest.param("toynpu: {}", "own.yaml:1:9: toynpu.cores: missing parameter", id="missing"),
        pytest.param(
            "toynpu:\n  cores: many",
            "own.yaml:2:10: toynpu.cores: Input should be a valid integer.*, got 'many'",
            id="wrong type",
        ),
        pytest.param("toynpu: {cores: 1, cores: 2}", "own.yaml:1:20: .*duplicate key 'cores'", id="twice"),
        pytest.param("toynpu: [", "own.yaml:1:", id="no yaml"),
    ],
)
def test_wrong_file_is_refused_with_the_place(file: Path, text: str, message: str) -> None:
    host = toy_host()
    file.write_text(text)
    with pytest.raises(InputError, match=message):
        with_parameters(find_target(host, "TOY"), file, host)


def test_missing_file_is_an_input_error(file: Path) -> None:
    host = toy_host()
    with pytest.raises(InputError, match="own.yaml: "):
        with_parameters(find_target(host, "TOY"), file, host)


@pytest.mark.parametrize("target", ["VS680", "SL1680"])
def test_parameters_of_the_unit_of_another_chip_are_refused_with_both_names(
    file: Path, host: PluginHost, target: str
) -> None:
    other = {name: dict(values) for name, values in find_target(host, "VS640").parameters.items()}
    file.write_text(yaml.safe_dump(other, sort_keys=False))
    line = next(k for k, text in enumerate(file.read_text().splitlines(), 1) if text.startswith("  npu:"))
    match = (
        f"own.yaml:{line}:8: npu.npu: these are parameters of the unit 'VIP9000NANOSI_PID0XC2',"
        f" and target {target} has the unit 'VIP9000NANOQI_PLUS_PID0XC1'; name the target that they are for$"
    )
    with pytest.raises(InputError, match=match):
        with_parameters(find_target(host, target), file, host)


def test_chips_with_the_same_unit_take_each_others_parameters(file: Path, host: PluginHost) -> None:
    file.write_text(yaml.safe_dump({"npu": dict(find_target(host, "VS640").parameters["npu"])}))
    changed = with_parameters(find_target(host, "SL1640"), file, host)
    assert changed.parameters["npu"]["npu"] == "VIP9000NANOSI_PID0XC2"


def test_chip_accepts_its_own_parameters(file: Path, host: PluginHost) -> None:
    target = find_target(host, "VS680")
    own = {name: dict(values) for name, values in target.parameters.items()}
    file.write_text(yaml.safe_dump(own))
    changed = with_parameters(target, file, host)
    assert NpuParameters.model_validate(changed.parameters["npu"]) == NpuParameters.model_validate(own["npu"])
