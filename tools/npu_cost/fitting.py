"""Fits the parameters of the cost model to timings of whole networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.optimize import least_squares  # type: ignore[import-untyped]  # scipy ships no types

from synap_delegate_npu.cost.model import Workload
from synap_delegate_npu.cost.parameters import FITTED, PER_CHIP, NpuParameters
from tools.npu_cost.benchmarks import CHIPS, Timing, operations_of

PRIORS = Path(__file__).resolve().parents[1] / "npu-cost-priors.yaml"

PRECISION = 1e-10
"""Relative change at which the fit ends; so small that the result does not depend on the version of the solver."""

Reals = NDArray[np.float64]
Values = Mapping[str, Mapping[str, float]]
"""Fitted values, by chip and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One number that is fitted: a parameter of one chip, or of all."""

    name: str
    chip: str | None
    centre: float
    spread: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Priors:
    """What is known and expected of the parameters.

    Attributes:
        known: What is not fitted, by chip.
        slots: What is fitted, with its expected value and the spread of its logarithm.
        strength: Weight of a deviation by one spread, beside a relative error.
        tolerance: Relative error from which on timings lose weight.
        source: What the timings are, for the provenance.
        date: Day of the newest timing or change of the model.
        new_network_percent: Errors to expect on a new network, the least and the largest.
    """

    known: Mapping[str, Mapping[str, object]]
    slots: tuple[Slot, ...]
    strength: float
    tolerance: float
    source: str
    date: str
    new_network_percent: tuple[float, float]

    @classmethod
    def read(cls, path: Path = PRIORS) -> Priors:
        """Read them from a file."""
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        slots = []
        for name in FITTED:
            entry = data["fitted"][name]
            centres = {c: entry["centre"][c] for c in CHIPS} if name in PER_CHIP else {None: entry["centre"]}
            slots += [Slot(name=name, chip=c, centre=v, spread=entry["spread"]) for c, v in centres.items()]
        return cls(
            known={chip: data["known"]["shared"] | data["known"][chip] for chip in CHIPS},
            slots=tuple(slots),
            strength=data["strength"],
            tolerance=data["tolerance"],
            source=data["provenance"]["source"],
            date=str(data["provenance"]["date"]),
            new_network_percent=tuple(data["provenance"]["new_network_percent"]),
        )

    def centres(self) -> Reals:
        """Logarithms of the expected values, ``(slots,)``."""
        return np.log([slot.centre for slot in self.slots])

    def values(self, logarithms: Reals) -> Values:
        """Put numbers into their slots."""
        found = [(slot, float(value)) for slot, value in zip(self.slots, np.exp(logarithms), strict=True)]
        return {chip: {slot.name: v for slot, v in found if slot.chip in (None, chip)} for chip in CHIPS}

    def parameters(self, values: Values) -> dict[str, NpuParameters]:
        """Parameters by chip, not validated: they serve the fit alone, and need no provenance."""
        return {chip: NpuParameters.model_construct(**self.known[chip], **values[chip]) for chip in CHIPS}  # type: ignore[arg-type]  # from a file of this project


class Measurements:
    """Timings of networks, ready to be predicted many times.

    Args:
        timings: The timings; equal operations are costed once.
        priors: What is known of the chips.
    """

    def __init__(self, timings: Sequence[Timing], priors: Priors) -> None:
        self.timings = tuple(timings)
        self.seconds = np.array([timing.seconds for timing in timings])
        self._priors = priors
        self._chips = [(chip, *self._chip(chip)) for chip in CHIPS if any(t.chip == chip for t in timings)]

    def _chip(self, chip: str) -> tuple[Workload, NDArray[np.intp], Reals]:
        """Operations of all networks on a chip, indices of their timings, and how often each has each operation."""
        rows = np.array([i for i, timing in enumerate(self.timings) if timing.chip == chip])
        counts = [Counter(operations_of(self.timings[i].benchmark)) for i in rows]
        distinct = list(dict.fromkeys(operation for count in counts for operation in count))
        matrix = np.array([[count[operation] for operation in distinct] for count in counts], np.float64)
        cores = cast("int", self._priors.known[chip]["nn_cores"])
        return Workload(distinct, cores), rows, matrix

    def predict(self, values: Values) -> Reals:
        """Predicted times, s, ``(timings,)``."""
        parameters = self._priors.parameters(values)
        result = np.empty(len(self.timings))
        for chip, workload, rows, counts in self._chips:
            result[rows] = parameters[chip].t_infer + counts @ workload.seconds(parameters[chip])
        return result


def fit(timings: Sequence[Timing], priors: Priors) -> Values:
    """Find the most probable parameters, given timings and priors.

    The sum of a soft absolute value of relative errors and of squared deviations from the priors is minimized, by
    trust-region least squares from the priors' centres. All steps are deterministic.
    """
    measured = Measurements(timings, priors)
    centres = priors.centres()
    scale = priors.strength / np.array([slot.spread for slot in priors.slots])

    def residuals(logarithms: Reals) -> Reals:
        errors = np.log(measured.predict(priors.values(logarithms)) / measured.seconds)
        return np.concatenate([errors, scale * (logarithms - centres)])

    found = least_squares(
        residuals, centres, loss="soft_l1", f_scale=priors.tolerance, ftol=PRECISION, xtol=PRECISION, gtol=PRECISION
    )
    return priors.values(found.x)


def leave_families_out(timings: Sequence[Timing], priors: Priors) -> dict[Timing, float]:
    """Predict the time of each network, s, with parameters fitted to the networks of all other families."""
    result: dict[Timing, float] = {}
    for family in dict.fromkeys(timing.benchmark.family for timing in timings):
        left_out = [timing for timing in timings if timing.benchmark.family == family]
        values = fit([timing for timing in timings if timing.benchmark.family != family], priors)
        result |= zip(left_out, Measurements(left_out, priors).predict(values).tolist(), strict=True)
    return {timing: result[timing] for timing in timings}
