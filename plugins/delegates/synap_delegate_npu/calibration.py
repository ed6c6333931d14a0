"""Find the operations of a model in what a board measured of it, and adapt the parameters of the chip to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synap_core.api import Estimate, InputError
from synap_delegate_npu.cost.layers import Operation
from synap_delegate_npu.cost.model import estimate_all
from synap_delegate_npu.cost.parameters import NpuParameters
from synap_delegate_npu.cost.profile import ProfileLine
from synap_delegate_npu.cost.refit import refit
from synap_delegate_npu.fusion import profile_name
from synap_delegate_npu.workload import workload

DELEGATE = "npu"
UNITS = {"NN": "NN", "TP": "TP", "SH": "PPU"}
"""Engines, by the names that profiles have for them."""

MAX_LINE = 10_000
"""Characters of the first line that are looked at."""

MAX_ROWS = 2000
"""Most layers of a profile, and most operations; time to match them grows with the product."""

LEAST_SHARE = 0.5
"""Share of the measured layers that must be found in the model."""

SAME_NAME, SAME_UNIT, UNLIKE = 2.0, 1.0, 0.2
"""What it is worth for a match that names, and units, are the same; and what a factor of e in time takes off."""

MAX_UNLIKE = 0.8
"""Most that a difference in time takes off: never so much that no match would be better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An operation of the model that takes time.

    Attributes:
        layer_id: Id of the layer.
        name: As profiles name it.
        engine: Where it runs.
        work: What the cost model is told of it; of several parts, a measured time cannot be told apart.
        seconds: What it is predicted to take.
    """

    layer_id: str
    name: str
    engine: str
    work: tuple[Operation, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """Parameters that were adapted to a profile.

    Attributes:
        parameters: The parameters.
        measured: Layers of the profile that took time.
        operations: Operations of the model that take time.
        matched: Layers that were found in the model.
        fitted: Those of them that the parameters were adapted to.
        before: Mean error of the prediction for these, as a share of the measured time.
        after: The same with the new parameters.
    """

    parameters: NpuParameters
    measured: int
    operations: int
    matched: int
    fitted: int
    before: float
    after: float


def require_measured(profile: Path) -> None:
    """Refuse a table of predictions: its only use would be to confirm them.

    Args:
        profile: A file that was read as a profile.

    Raises:
        InputError: ``synap run`` wrote it.
    """
    with profile.open(encoding="utf-8") as stream:
        first = stream.readline(MAX_LINE)
    if "source: " in first:
        msg = "this profile was written on a host, by 'synap run', and not by a board"
        raise InputError(msg, where=profile, hint="give the file that synap_cli --profiling writes on the board")


def known_parameters(estimate: Estimate) -> NpuParameters:
    """Parameters of the chip that a model was estimated for.

    Raises:
        InputError: The target has none.
    """
    if DELEGATE not in estimate.target.parameters:
        msg = f"target {estimate.target.name} has no parameters for {DELEGATE}, which a calibration begins with"
        raise InputError(msg, hint="give some with --target-parameters")
    return NpuParameters.model_validate(dict(estimate.target.parameters[DELEGATE]))


def steps_of(estimate: Estimate, parameters: NpuParameters, subgraph: int | None) -> tuple[Step, ...]:
    """Operations of one subgraph that take time, in execution order.

    Args:
        estimate: The model.
        parameters: Those of the chip.
        subgraph: Position of the subgraph; None for the only one that the unit runs.

    Raises:
        InputError: The unit does not run that subgraph, or runs none or several.
    """
    own = [index for index, (delegate, _) in enumerate(estimate.parts) if delegate == DELEGATE]
    if not own:
        msg = f"no layer of the model runs on {DELEGATE}, so there is nothing to compare the profile with"
        raise InputError(msg, hint="see 'synap estimate' for where layers run, and why")
    chosen = subgraph if subgraph is not None else own[0]
    if chosen not in own or (subgraph is None and len(own) > 1):
        what = "several subgraphs" if subgraph is None else f"no subgraph {subgraph}"
        msg = f"the model has {what} on {DELEGATE}; there are {', '.join(map(str, own))}"
        raise InputError(msg, hint=f"say whose profile it is with --subgraph {own[0]}")
    found = []
    for op in estimate.operations:
        if op.subgraph != chosen or not op.engine:
            continue
        engine = op.engine.partition("+")[0]
        work = workload(op.group, op.dtype, engine)
        if work:
            seconds = sum(cost.seconds for cost in estimate_all(work, parameters))
            name = profile_name(op.group, op.engine)
            found.append(Step(layer_id=op.group.layer_id, name=name, engine=engine, work=work, seconds=seconds))
    return tuple(found)


def match(lines: Sequence[ProfileLine], steps: Sequence[Step], clock_hz: float) -> list[tuple[ProfileLine, Step]]:
    """Pair layers of a profile with operations, both in their order; what fits nothing is left out.

    The pairing with the largest sum of `SAME_NAME` and so on, found by dynamic programming. A layer and an operation
    with different names are only paired when the profile says that the unit is the same: of most kinds, no names are
    published.
    """
    count = len(steps)
    best = [0.0] * (count + 1)
    choices: list[list[int]] = []
    for line in lines:
        row, chosen = [0.0] * (count + 1), [0] * (count + 1)
        for i, step in enumerate(steps):
            worth = _worth(line, step, clock_hz)
            # 0: leave the operation out, 1: leave the layer out, 2: pair them.
            options = (row[i], best[i + 1], best[i] + worth if worth > 0 else -math.inf)
            chosen[i + 1] = max(range(3), key=options.__getitem__)
            row[i + 1] = options[chosen[i + 1]]
        best = row
        choices.append(chosen)
    pairs, position = [], count
    number = len(lines)
    while number and position:
        choice = choices[number - 1][position]
        if choice == 2:
            pairs.append((lines[number - 1], steps[position - 1]))
        number -= choice != 0
        position -= choice != 1
    return pairs[::-1]


def _worth(line: ProfileLine, step: Step, clock_hz: float) -> float:
    same_unit = line.unit is not None and UNITS.get(line.unit) == step.engine
    likeness = SAME_NAME * (line.name == step.name) + SAME_UNIT * same_unit
    if not likeness:
        return 0.0
    ratio = abs(math.log(line.seconds(clock_hz) / step.seconds))
    return likeness - min(UNLIKE * ratio, MAX_UNLIKE)


def calibrate(
    lines: Sequence[ProfileLine],
    steps: Sequence[Step],
    parameters: NpuParameters,
    *,
    inference_seconds: float | None = None,
) -> Calibrated:
    """Adapt parameters to a profile.

    Args:
        lines: The profile.
        steps: Operations of the model that take time.
        parameters: What is known before.
        inference_seconds: Time of a whole inference without profiling; of it, `t_infer` is what layers do not take.

    Raises:
        InputError: The profile is not that of the model, or too long; or a whole inference takes no longer than its
            layers, or some of these were not found.
    """
    ran = [line for line in lines if line.cycles]
    if max(len(ran), len(steps)) > MAX_ROWS:
        msg = f"{len(ran)} measured layers and {len(steps)} operations are too many; at most {MAX_ROWS} are compared"
        raise InputError(msg, hint="profile a smaller model")
    pairs = match(ran, steps, parameters.clock_hz)
    if not pairs or len(pairs) < LEAST_SHARE * len(ran):
        msg = f"only {len(pairs)} of {len(ran)} measured layers were found among {len(steps)} operations of the model"
        raise InputError(msg, hint="check that the profile is that of this model and this target")
    if inference_seconds is not None and len(pairs) < len(ran):
        msg = (
            f"with {len(ran) - len(pairs)} of {len(ran)} measured layers not found, the start cannot be told from them"
        )
        raise InputError(msg, hint="leave the time of the inference out")
    whole = [(line.seconds(parameters.clock_hz), step) for line, step in pairs if len(step.work) == 1]
    if not whole:
        msg = "no layer that was found is a single operation, so nothing can be adapted"
        raise InputError(msg, hint="profile another model")
    work, measured = [step.work[0] for _, step in whole], [seconds for seconds, _ in whole]
    found = refit(work, measured, parameters)
    if inference_seconds is not None:
        found = _with_start(found, inference_seconds - sum(line.seconds(parameters.clock_hz) for line in ran))
    return Calibrated(
        parameters=found,
        measured=len(ran),
        operations=len(steps),
        matched=len(pairs),
        fitted=len(whole),
        before=_error(work, measured, parameters),
        after=_error(work, measured, found),
    )


def _with_start(parameters: NpuParameters, seconds: float) -> NpuParameters:
    if not (math.isfinite(seconds) and seconds > 0):
        msg = "the inference takes no longer than its measured layers"
        raise InputError(msg, hint="give the time without profiling, in ms, or leave it out")
    return NpuParameters.model_validate(parameters.model_dump() | {"t_infer": seconds})


def _error(work: Sequence[Operation], measured: Sequence[float], parameters: NpuParameters) -> float:
    predicted = (cost.seconds for cost in estimate_all(work, parameters))
    return sum(abs(found / seconds - 1) for found, seconds in zip(predicted, measured, strict=True)) / len(measured)
