"""Predictions against published timings, by parameters as they are committed and by fits without a family."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synap_core.host import PluginHost
from synap_delegate_npu.cost.layers import elementwise
from synap_delegate_npu.cost.model import estimate, estimate_all, total
from synap_delegate_npu.cost.parameters import FITTED, NpuParameters
from tools import fit_npu_cost
from tools.npu_cost import result as results
from tools.npu_cost.benchmarks import BENCHMARKS, CONVERSIONS, Timing, operations_of, published, timings
from tools.npu_cost.fitting import Measurements, Priors, fit
from tools.npu_cost.result import Result

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "tools" / "npu-benchmarks.csv"


@pytest.fixture(scope="module")
def chips(host: PluginHost) -> dict[str, NpuParameters]:
    """Parameters as the targets have them."""
    found = {}
    for name in ("VS640", "VS680", "SL1640", "SL1680"):
        found[name] = NpuParameters.model_validate(host.targets[name].parameters["npu"])
    return found


def mape(pairs: list[tuple[float, float]]) -> float:
    """Mean absolute error of pairs of prediction and truth, percent of the truth."""
    return 100 * sum(abs(predicted - true) / true for predicted, true in pairs) / len(pairs)


def predicted(timing: Timing, chips: Mapping[str, NpuParameters]) -> float:
    parameters = chips[timing.chip]
    return total(estimate_all(operations_of(timing.benchmark), parameters), parameters).seconds


@pytest.mark.parametrize(("chip", "count", "limit"), [("VS640", 17, 6.2), ("VS680", 21, 5.7)])
def test_committed_parameters_explain_published_timings(
    chips: dict[str, NpuParameters], chip: str, count: int, limit: float
) -> None:
    pairs = [(predicted(timing, chips), timing.seconds) for timing in timings("fit") if timing.chip == chip]
    assert len(pairs) == count
    assert mape(pairs) <= limit


def test_networks_that_were_never_fitted_are_within_the_practical_bound(chips: dict[str, NpuParameters]) -> None:
    pairs = [(predicted(timing, chips), timing.seconds) for timing in timings("never_fitted")]
    assert len(pairs) == 15
    assert max(mape([pair]) for pair in pairs) <= 35


def test_other_types_are_predicted(chips: dict[str, NpuParameters]) -> None:
    pairs = [(predicted(timing, chips), timing.seconds) for timing in timings("other_type")]
    assert len(pairs) == 4
    assert max(mape([pair]) for pair in pairs) <= 5


def test_image_conversions_are_predicted(chips: dict[str, NpuParameters]) -> None:
    known = published()
    for name, (kind, elements) in CONVERSIONS.items():
        for chip in ("VS640", "VS680"):
            cost = estimate(elementwise(kind, elements), chips[chip])  # type: ignore[arg-type] # one of the kinds
            assert total([cost], chips[chip]).seconds == pytest.approx(known[name, chip], rel=0.08)


def test_boards_with_the_same_unit_have_the_same_parameters(chips: dict[str, NpuParameters]) -> None:
    assert chips["SL1680"] == chips["VS680"]
    assert chips["SL1640"] == chips["VS640"]
    assert (chips["VS680"].nn_cores, chips["VS640"].nn_cores) == (22, 4)
    assert chips["VS680"].npu == "VIP9000NANOQI_PLUS_PID0XC1"
    assert chips["VS640"].npu == "VIP9000NANOSI_PID0XC2"


def test_target_lists_its_delegates_without_reading_a_file() -> None:
    script = (
        "import sys; from synap_target_synaptics.plugin import vs680; p = vs680.target.parameters;"
        "print(list(p), len(p), 'npu' in p, 'cpu' in p, 'yaml' in sys.modules, p['npu']['nn_cores'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "['npu'] 1 True False False 22\n"


def test_target_has_no_parameters_of_other_delegates(host: PluginHost) -> None:
    with pytest.raises(KeyError, match="gpu"):
        host.targets["VS680"].parameters["gpu"]
    assert dict(host.targets["SL1620"].parameters) == {}


def test_networks_have_the_published_sizes() -> None:
    with TABLE.open(newline="", encoding="utf-8") as stream:
        rows = {row["model"]: row for row in csv.DictReader(stream)}
    for benchmark in BENCHMARKS:
        net, row = benchmark.network(), rows[benchmark.name]
        assert (net.macs, net.weights) == (int(row["macs"]), int(row["params"])), benchmark.name


def test_all_timings_of_known_networks_take_part() -> None:
    with TABLE.open(newline="", encoding="utf-8") as stream:
        known = {
            (row["model"], row["target"])
            for row in csv.DictReader(stream)
            if row["mode"] == "offline_npu" and row["macs"]
        }
    used = {(t.benchmark.name, t.chip) for role in ("fit", "never_fitted", "other_type") for t in timings(role)}
    assert known - used == {("yolov5s_face_640x640_tflite", "VS680")}
    assert used <= known


def test_measurements_predict_what_the_model_does() -> None:
    priors, rows = Priors.read(), timings("fit")
    values = priors.values(priors.centres())
    found = Measurements(rows, priors).predict(values)
    assert found == pytest.approx([predicted(timing, priors.parameters(values)) for timing in rows], rel=1e-12)


def test_fit_finds_parameters_that_made_the_timings() -> None:
    priors = Priors.read()
    truth = priors.values(priors.centres() + 0.1 * np.cos(np.arange(len(priors.slots))))
    rows = timings("fit")
    made = Measurements(rows, priors).predict(truth)
    exact = [replace(timing, seconds=float(s)) for timing, s in zip(rows, made, strict=True)]
    found = fit(exact, replace(priors, strength=1e-4))
    for chip in ("VS640", "VS680"):
        for name in FITTED:
            assert found[chip][name] == pytest.approx(truth[chip][name], rel=0.02), name


def test_unknown_argument_of_the_fit_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit_npu_cost.main(["--write"]) == 2
    assert capsys.readouterr().out == "unknown arguments ['--write']; allowed: --check\n"


def committed_result() -> Result:
    """A result whose values are the committed ones and whose left-out predictions are exact."""
    chips = results.committed()
    values = {chip: {name: getattr(p, name) for name in FITTED} for chip, p in chips.items()}
    return Result(priors=Priors.read(), values=values, left_out={t: t.seconds for t in timings("fit")})


def test_inaccurate_model_is_reported() -> None:
    good = committed_result()
    assert list(fit_npu_cost.too_inaccurate(good)) == []
    bad = replace(good, left_out={t: s * (1.2 if t.chip == "VS640" else 1) for t, s in good.left_out.items()})
    assert list(fit_npu_cost.too_inaccurate(bad)) == [
        "VS640: mean error of families left out is 20.00 %, at most 13.1 % is allowed"
    ]


def test_stale_data_is_named() -> None:
    old = committed_result()
    changed = {chip: {**v, "fc": v["fc"] * 1.02, "q": v["q"] * 1.005} for chip, v in old.values.items()}
    (problem,) = fit_npu_cost.stale(replace(old, values=changed))
    assert problem.startswith("plugins/targets/synap_target_synaptics/data/npu.yaml is stale (VS640.provenance.")
    assert "shared.fc" in problem
    assert "shared.q" not in problem


def test_written_files_are_fresh_until_they_are_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, page = tmp_path / "data" / "npu.yaml", tmp_path / "page.md"
    page.write_text("Before\n<!-- fit: begin -->\n<!-- fit: end -->\nBehind\n", encoding="utf-8")
    made = committed_result()
    made = replace(made, left_out={timing: 1.1 * seconds for timing, seconds in made.left_out.items()})
    monkeypatch.setattr(Result, "compute", lambda _: made)
    monkeypatch.setattr(results, "DATA", data)
    monkeypatch.setattr(results, "PAGE", page)
    monkeypatch.setattr(fit_npu_cost, "ROOT", tmp_path)
    assert fit_npu_cost.main([]) == 0
    assert fit_npu_cost.main(["--check"]) == 0
    assert results.committed(data)["VS640"].provenance.expected_error_percent == pytest.approx(10)
    text = page.read_text(encoding="utf-8")
    assert (
        "| **mean of all, each left out** | **10.0 %** of 17, at most 10 % | **10.0 %** of 21, at most 10 % |" in text
    )
    page.write_text(text.replace("**10.0 %** of 17", "**9.5 %** of 17"), encoding="utf-8")
    capsys.readouterr()
    assert fit_npu_cost.main(["--check"]) == 1
    assert capsys.readouterr().out.endswith("page.md is stale: run python tools/fit_npu_cost.py\n")


@pytest.fixture(scope="module")
def real_fit() -> Result:
    """The fit to all timings, and once without each family."""
    return Result.compute(Priors.read())


@pytest.mark.slow
@pytest.mark.parametrize(("chip", "limit"), [("VS640", 13.1), ("VS680", 11.7)])
def test_families_left_out_of_the_fit_are_predicted(real_fit: Result, chip: str, limit: float) -> None:
    pairs = [(seconds, timing.seconds) for timing, seconds in real_fit.left_out.items() if timing.chip == chip]
    assert len(pairs) == {"VS640": 17, "VS680": 21}[chip]
    assert mape(pairs) <= limit


@pytest.mark.slow
def test_committed_parameters_and_tables_are_those_of_the_fit(real_fit: Result) -> None:
    assert list(fit_npu_cost.stale(real_fit)) == []


@pytest.mark.slow
def test_family_that_is_left_out_has_no_influence(real_fit: Result) -> None:
    family = "yolov4_tiny"
    others = [timing for timing in timings("fit") if timing.benchmark.family != family]
    own = [timing for timing in timings("fit") if timing.benchmark.family == family]
    priors = Priors.read()
    found = Measurements(own, priors).predict(fit(others, priors))
    assert found == pytest.approx([real_fit.left_out[timing] for timing in own], rel=1e-9)
