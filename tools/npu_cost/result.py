"""What a fit finds, as data file of the target and as tables of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import yaml

from synap_delegate_npu.cost.parameters import FITTED, PER_CHIP, NpuParameters
from tools.npu_cost.benchmarks import CHIPS, CONVERSIONS, Timing, published, timings
from tools.npu_cost.fitting import Measurements, Priors, Values, fit, leave_families_out

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "plugins" / "targets" / "synap_target_synaptics" / "data" / "npu.yaml"
PAGE = ROOT / "docs" / "npu-cost-model.md"

DIGITS = 4
"""Significant digits of fitted parameters; their uncertainty is far larger."""

HEADER = """\
# Parameters of the NPU cost model; docs/npu-cost-model.md says what they mean.
# Written by tools/fit_npu_cost.py from tools/npu-cost-priors.yaml and published timings; do not edit.
"""

Predictions = Mapping[Timing, float]
"""Predicted seconds."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """A fit to all timings, and what it says of networks that took no part.

    Attributes:
        priors: What was known before.
        values: Fitted values by chip and name.
        left_out: Predictions for each family by a fit to the others.
    """

    priors: Priors
    values: Values
    left_out: Predictions

    @classmethod
    def compute(cls, priors: Priors) -> Result:
        """Fit to all timings, and once without each family."""
        measured = timings("fit")
        return cls(priors=priors, values=fit(measured, priors), left_out=leave_families_out(measured, priors))

    @cached_property
    def data(self) -> dict[str, dict[str, object]]:
        """Content of the target's data file: what is shared, and what each chip has of its own."""
        known = self.priors.known
        shared: dict[str, object] = {
            name: value for name, value in known[CHIPS[0]].items() if all(known[c].get(name) == value for c in CHIPS)
        }
        shared |= {name: _rounded(self.values[CHIPS[0]][name]) for name in FITTED if name not in PER_CHIP}
        shared |= _conversion_rates(self.values[CHIPS[0]])
        own = {chip: {n: v for n, v in known[chip].items() if n not in shared} for chip in CHIPS}
        for chip in CHIPS:
            own[chip] |= {name: _rounded(self.values[chip][name]) for name in PER_CHIP}
            error = round(mean_error(select(self.left_out, chip)), 1)
            own[chip]["provenance"] = {
                "source": self.priors.source,
                "date": self.priors.date,
                "expected_error_percent": error,
                "new_network_percent": list(self.priors.new_network_percent),
            }
        return {"shared": shared, **own}

    def data_file(self) -> str:
        """Text of the target's data file."""
        return HEADER + yaml.safe_dump(self.data, sort_keys=False, width=120)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _conversion_rates(values: Mapping[str, float]) -> dict[str, object]:
    """Rates of image conversion: the geometric means of what the published timings say, less constant times."""
    start, known, rates = values["t_infer"] + values["t_ppu"], published(), {}
    for kind in ("preprocess", "preprocess_scaled"):
        models = [(name, elements) for name, (its_kind, elements) in CONVERSIONS.items() if its_kind == kind]
        logs = [np.log(elements / (known[name, chip] - start)) for name, elements in models for chip in CHIPS]
        rates[kind] = _rounded(float(np.exp(np.mean(logs))))
    return dict(rates)


def committed(path: Path = DATA) -> dict[str, NpuParameters]:
    """Parameters by chip, as the data file of the target has them."""
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {chip: NpuParameters.model_validate(data["shared"] | data[chip]) for chip in CHIPS}


def predictions(measured: Iterable[Timing], parameters: Mapping[str, NpuParameters], priors: Priors) -> Predictions:
    """Predict times with given parameters."""
    rows = list(measured)
    values = {chip: {name: getattr(parameters[chip], name) for name in FITTED} for chip in CHIPS}
    return dict(zip(rows, Measurements(rows, priors).predict(values).tolist(), strict=True))


def select(found: Predictions, chip: str, family: str | None = None) -> Predictions:
    """The predictions for a chip, and for a family."""
    return {t: s for t, s in found.items() if t.chip == chip and family in (None, t.benchmark.family)}


def mean_error(found: Predictions) -> float:
    """Mean absolute error, percent of the published time."""
    return float(np.mean(_errors(found)))


def _errors(found: Predictions) -> list[float]:
    return [100 * abs(seconds / timing.seconds - 1) for timing, seconds in found.items()]


def accuracy_table(result: Result) -> str:
    """Table of the errors of predictions for families that were left out, and of other evaluations."""
    return "\n".join(
        _table(("Networks", *(f"{chip}: mean error of timings" for chip in CHIPS)), _accuracy_rows(result))
    )


def _accuracy_rows(result: Result) -> Iterator[tuple[str, ...]]:
    inside = predictions(timings("fit"), committed_from(result), result.priors)
    for family in dict.fromkeys(timing.benchmark.family for timing in result.left_out):
        yield f"`{family}` left out", *(_summary(select(result.left_out, chip, family)) for chip in CHIPS)
    yield "**mean of all, each left out**", *(_summary(select(result.left_out, chip), bold=True) for chip in CHIPS)
    yield "the same networks, in the fit", *(_summary(select(inside, chip)) for chip in CHIPS)
    others = predictions(timings("never_fitted"), committed_from(result), result.priors)
    yield "batches, image to image, SSD: never in a fit", *(_summary(select(others, chip)) for chip in CHIPS)
    types = predictions(timings("other_type"), committed_from(result), result.priors)
    for dtype, how in (("int16", "never in a fit"), ("float16", "one rate set from these")):
        chosen = {t: s for t, s in types.items() if t.benchmark.dtype == dtype}
        yield f"{dtype}: {how}", *(_summary(select(chosen, chip)) for chip in CHIPS)


def committed_from(result: Result) -> dict[str, NpuParameters]:
    """Parameters by chip, as a data file with this result would have them."""
    return {chip: NpuParameters.model_validate(result.data["shared"] | result.data[chip]) for chip in CHIPS}


def _summary(found: Predictions, *, bold: bool = False) -> str:
    if not found:
        return "none published"
    errors = _errors(found)
    mean = f"{np.mean(errors):.1f} %"
    text = f"**{mean}**" if bold else mean
    return f"{text} of {len(errors)}, at most {max(errors):.0f} %" if len(errors) > 1 else f"{text} of 1"


def parameter_table(result: Result) -> str:
    """Table of all parameters with their values and where these come from."""
    return "\n".join(_table(("Parameter", "Meaning", *CHIPS, "From"), _parameter_rows(result)))


def _parameter_rows(result: Result) -> Iterator[tuple[str, ...]]:
    parameters = committed_from(result)
    for name, field in NpuParameters.model_fields.items():
        if name == "provenance":
            continue
        origin = "fit" if name in FITTED else "known"
        if name.startswith("preprocess"):
            origin = "mean of timings"
        values = (getattr(parameters[chip], name) for chip in CHIPS)
        yield f"`{name}`", field.description or "", *(_shown(value) for value in values), origin


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(headers: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(headers)} |"
    yield "|---" * len(headers) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
