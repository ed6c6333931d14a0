"""Parameters of a chip, adapted to the profile of a model: against profiles of chips that are known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from synap_core.convert import ConvertRequest
from synap_core.errors import InputError
from synap_core.estimation import Estimate, estimate_model
from synap_core.host import PluginHost
from synap_delegate_npu.calibration import Step, calibrate, match, steps_of
from synap_delegate_npu.cost.layers import elementwise
from synap_delegate_npu.cost.parameters import NpuParameters
from synap_delegate_npu.cost.profile import ProfileLine
from tests.support.canonical_models import int8_net, small_net
from tests.support.cli import Synap
from tests.support.npu_cost import chip

UNITS = {"NN": "NN", "TP": "TP", "PPU": "SH"}
HEADER = "| lyr |    cycle | time_us |  byte_rd |  byte_wr | ot | name"


def step(name: str, engine: str, seconds: float, parts: int = 1) -> Step:
    work = (elementwise("tensor", max(int(seconds * 1e9), 1)),) * parts
    return Step(layer_id=f"{name}_{seconds}", name=name, engine=engine, work=work, seconds=seconds)


def line(layer: int, name: str, unit: str | None, seconds: float, clock_hz: float = 1e9) -> ProfileLine:
    cycles = round(seconds * clock_hz)
    return ProfileLine(layer=layer, cycles=cycles, microseconds=0, bytes_read=0, bytes_written=0, unit=unit, name=name)


def profile(
    steps: Sequence[Step], clock_hz: float, factor: Callable[[Step], float] = lambda _: 1.0
) -> list[ProfileLine]:
    return [line(i, s.name, UNITS[s.engine], s.seconds * factor(s), clock_hz) for i, s in enumerate(steps)]


def names(pairs: list[tuple[ProfileLine, Step]]) -> list[tuple[int, str]]:
    return [(measured.layer, found.layer_id) for measured, found in pairs]


STEPS = [
    step("Convolution", "NN", 1e-4),
    step("Convolution", "NN", 1e-5),
    step("Convolution", "NN", 4e-4),
    step("PoolLayer", "TP", 2e-5),
    step("Softmax2Layer", "PPU", 1e-4),
]


def test_profile_of_the_same_operations_is_matched_one_to_one() -> None:
    lines = profile(STEPS, 1e9, lambda s: 3.0 if s.engine == "NN" else 0.4)
    assert names(match(lines, STEPS, 1e9)) == [(i, s.layer_id) for i, s in enumerate(STEPS)]


@pytest.mark.parametrize("missing", range(len(STEPS)))
def test_layer_that_the_board_does_not_have_is_left_out(missing: int) -> None:
    kept = [s for i, s in enumerate(STEPS) if i != missing]
    assert names(match(profile(kept, 1e9), STEPS, 1e9)) == [(i, s.layer_id) for i, s in enumerate(kept)]


@pytest.mark.parametrize("place", range(len(STEPS) + 1))
def test_layer_that_the_model_does_not_have_is_left_out(place: int) -> None:
    lines = profile(STEPS, 1e9)
    lines.insert(place, line(99, "TensorCopy", "SW", 1e-5))
    assert names(match(lines, STEPS, 1e9)) == [(i, s.layer_id) for i, s in enumerate(STEPS)]


def test_names_that_are_not_published_are_matched_by_their_unit() -> None:
    assert len(match([line(0, "Unheard", "TP", 1e-5)], [step("PoolLayer", "TP", 1e-5)], 1e9)) == 1
    for unit in ("SH", None):
        assert match([line(0, "Unheard", unit, 1e-5)], [step("PoolLayer", "TP", 1e-5)], 1e9) == []
    assert len(match([line(0, "PoolLayer", None, 1e-5)], [step("PoolLayer", "TP", 1e-5)], 1e9)) == 1


def test_no_pairing_is_worth_more_than_the_one_that_is_found(rng: np.random.Generator) -> None:
    def best(lines: Sequence[ProfileLine], steps: Sequence[Step]) -> int:
        """Most pairs of one name and unit, by trying all."""
        if not lines or not steps:
            return 0
        same = lines[0].name == steps[0].name
        paired = 1 + best(lines[1:], steps[1:]) if same else 0
        return max(paired, best(lines[1:], steps), best(lines, steps[1:]))

    kinds = [("Convolution", "NN"), ("PoolLayer", "TP"), ("Softmax2Layer", "PPU")]
    for _ in range(40):
        chosen, other = (rng.integers(0, 3, rng.integers(0, 8)) for _ in range(2))
        steps = [step(*kinds[k], 1e-5) for k in chosen]
        lines = [line(i, kinds[k][0], UNITS[kinds[k][1]], 1e-5) for i, k in enumerate(other)]
        assert len(match(lines, steps, 1e9)) == best(lines, steps)


@pytest.fixture
def estimate(tmp_path: Path, host: PluginHost) -> Estimate:
    (tmp_path / "net.onnx").write_bytes(small_net().SerializeToString())
    return estimate_model(ConvertRequest(model=tmp_path / "net.onnx", target="VS680"), host, "int8")


def known(estimate: Estimate) -> NpuParameters:
    return NpuParameters.model_validate(dict(estimate.target.parameters["npu"]))


def test_free_operations_are_not_among_those_that_take_time(estimate: Estimate) -> None:
    steps = steps_of(estimate, known(estimate), None)
    costly = [op.group.layer_id for op in estimate.operations if op.cost is not None and op.cost.cycles]
    assert [s.layer_id for s in steps] == costly
    assert len(steps) < len(estimate.operations)
    for s, op in zip(steps, (op for op in estimate.operations if op.cost is not None and op.cost.cycles), strict=True):
        assert op.cost is not None
        assert s.seconds == pytest.approx(op.cost.seconds)


def test_start_of_operations_on_another_chip_is_found(estimate: Estimate) -> None:
    before = known(estimate)
    truth = before.model_copy(update={"t_layer": 3 * before.t_layer, "t_ppu": 3 * before.t_ppu})
    lines = profile(steps_of(estimate, truth, None), truth.clock_hz)
    found = calibrate(lines, steps_of(estimate, before, None), before)
    assert (found.measured, found.matched) == (len(lines), len(lines))
    assert found.before == pytest.approx(0.6, abs=0.1)
    assert found.after < 0.1
    assert found.parameters.t_layer == pytest.approx(truth.t_layer, rel=0.15)


def test_operations_of_several_parts_are_matched_but_not_fitted() -> None:
    steps = [step("Convolution", "NN", 1e-5), step("ConvolutionSwish", "NN", 1e-5, parts=2)]
    found = calibrate(profile(steps, 1e9), steps, chip())
    assert (found.matched, found.fitted) == (2, 1)


def test_time_of_the_whole_tells_the_start() -> None:
    lines = profile(STEPS, 1e9)
    whole = sum(s.seconds for s in STEPS)
    assert calibrate(lines, STEPS, chip(), inference_seconds=whole + 3e-4).parameters.t_infer == pytest.approx(3e-4)
    with pytest.raises(InputError, match="the inference takes no longer than its measured layers"):
        calibrate(lines, STEPS, chip(), inference_seconds=whole)
    with pytest.raises(InputError, match="with 1 of 5 measured layers not found, the start cannot be told from them"):
        calibrate(lines, STEPS[:-1], chip(), inference_seconds=1.0)


def test_profile_of_another_model_is_refused() -> None:
    lines = [line(i, "Other", "SW", 1e-5) for i in range(4)] + profile(STEPS[:1], 1e9)
    message = "only 1 of 5 measured layers were found among 5 operations of the model; check that the profile is"
    with pytest.raises(InputError, match=message):
        calibrate(lines, STEPS, chip())
    with pytest.raises(InputError, match="only 0 of 0 measured layers"):
        calibrate([line(0, "Free", "--", 0)], STEPS, chip())


def test_endless_profile_is_refused() -> None:
    lines = [line(i, "Convolution", "NN", 1e-5) for i in range(2001)]
    with pytest.raises(InputError, match="2001 measured layers and 5 operations are too many; at most 2000"):
        calibrate(lines, STEPS, chip())


def test_subgraph_must_be_one_of_the_unit(synap: Synap, model_file: Callable[..., Path], tmp_path: Path) -> None:
    board = tmp_path / "board.txt"
    board.write_text(f"{HEADER}\n| 0 | 1 | 2 | 3 | 4 | NN | x\n")
    options = ["--model", model_file(int8_net()), "--target", "VS680", "--profile", board]
    assert (
        "the model has no subgraph 3 on npu; there are 0; say whose profile it is with --subgraph 0"
        in synap("calibrate-target", *options, "--subgraph", 3).error
    )
    (tmp_path / "meta.yaml").write_text("delegate: {'*': npu, sum: cpu}")
    assert (
        "the model has several subgraphs on npu; there are 0, 2"
        in synap("calibrate-target", *options, "--meta", tmp_path / "meta.yaml").error
    )
    (tmp_path / "meta.yaml").write_text("delegate: cpu")
    assert (
        "no layer of the model runs on npu"
        in synap("calibrate-target", *options, "--meta", tmp_path / "meta.yaml").error
    )


def test_command_writes_parameters_that_estimates_take(synap: Synap, estimate: Estimate, tmp_path: Path) -> None:
    before = known(estimate)
    steps = steps_of(estimate, before, None)
    rows = [
        f"| {i} | {round(2 * s.seconds * before.clock_hz)} | 0 | 0 | 0 | {UNITS[s.engine]} | {s.name}"
        for i, s in enumerate(steps)
    ]
    (tmp_path / "board.txt").write_text(
        "\n".join(["pid: 1, nid: 1", HEADER, *rows, "| 90 | 0 | 0 | 0 | 0 | -- | Free"])
    )
    model = ["--model", tmp_path / "net.onnx", "--target", "VS680", "--data-type", "int8"]
    out = tmp_path / "own.yaml"
    result = synap("calibrate-target", "--profile", tmp_path / "board.txt", *model, "--out", out)
    assert (result.code, result.err) == (0, "")
    assert f"Found {len(steps)} of {len(steps)} measured layers among {len(steps)} operations" in result.out
    errors = re.search(r"error of an operation: ([\d.]+) % before, ([\d.]+) % after", result.out)
    assert errors is not None
    assert float(errors[1]) == pytest.approx(50, abs=0.2)
    assert float(errors[2]) < 15
    NpuParameters.model_validate(yaml.safe_load(out.read_text())["npu"])
    plain, own = (
        1000 * json.loads(synap("estimate", *model, "--json", *options).out)["seconds"]
        for options in ([], ["--target-parameters", out])
    )
    source = f"fitted to: {len(steps)} measured operations, beginning with parameters from: Published timings"
    line = re.compile(source + ".*; how far off it is for other networks is not known")
    assert line.search(synap("estimate", *model, "--target-parameters", out).out)
    to = ["--target-parameters", out, "--out-dir", tmp_path / "o"]
    assert synap("convert", *model[:4], *to).code == 0
    for text in (
        (tmp_path / "o/model_info.txt").read_text(encoding="utf-8"),
        synap("info", tmp_path / "o/model.synap").out,
        synap("run", "-m", tmp_path / "o/model.synap", "zero", "--profiling", "-").out,
    ):
        assert line.search(text)
        assert "15 to 20 %" not in text
    start = 1000 * before.t_infer
    assert own - start == pytest.approx(2 * (plain - start), rel=0.15)


def test_profile_of_the_host_is_no_measurement(synap: Synap, model_file: Callable[..., Path], tmp_path: Path) -> None:
    path = model_file(int8_net())
    assert synap("convert", "--model", path, "--target", "VS680", "--out-dir", tmp_path / "o").code == 0
    assert synap("run", "-m", tmp_path / "o/model.synap", "zero", "--profiling", tmp_path / "p.txt").code == 0
    error = synap("calibrate-target", "--profile", tmp_path / "p.txt", "--model", path, "--target", "VS680").error
    assert "this profile was written on a host, by 'synap run', and not by a board" in error
