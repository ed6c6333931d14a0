"""Adapts the parameters to what a board measured of single operations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from synap_core.api import InputError
from synap_delegate_npu.cost.layers import Operation
from synap_delegate_npu.cost.model import Workload
from synap_delegate_npu.cost.parameters import NpuParameters
from synap_delegate_npu.cost.profile import ProfileLine, read_profile
from synap_delegate_npu.cost.robust import Reals, least_squares, softened

__all__ = ["SPREADS", "ProfileLine", "parameters_text", "read_profile", "refit"]

SPREADS = {
    "mac_core": 0.3,
    "ddr_eff": 0.5,
    "sram": 0.7,
    "keep": 0.5,
    "tp_unit": 0.7,
    "ppu": 0.7,
    "fc": 0.7,
    "transpose": 0.5,
    "s2d": 0.7,
    "copy_share": 0.7,
    "pool_share": 0.7,
    "weight": 0.3,
    "t_layer": 1.0,
    "t_ppu": 1.0,
    "q": 0.3,
    "softmax": 0.7,
    "f16_rate": 0.5,
    "preprocess": 0.5,
    "preprocess_scaled": 0.5,
}
"""How far the logarithm of each parameter is expected to be from what is known; others stay as they are."""

SCATTER = 0.2
"""Relative error of the model for a single operation; larger ones count as outliers."""

RESOLUTION = 1e-6
"""Differences of times that do not matter, s."""

NO_CHANGE = 1e-9
"""Change of a logarithm that is an error of rounding."""

_LIMITS = {"ddr_eff": (0.0, 1.0), "q": (1.0, 64.0)}


def refit(
    operations: Sequence[Operation],
    measured: Sequence[float],
    parameters: NpuParameters,
    *,
    inference_seconds: float | None = None,
) -> NpuParameters:
    """Find parameters that explain measured times and are not far from the given ones.

    The most probable ones are taken, if logarithms of parameters and of times scatter by `SPREADS` and `SCATTER`. A
    parameter of which the measurements tell nothing keeps its value.

    Args:
        operations: Operations that were measured, each alone.
        measured: Time of each, s; from the cycles of a profile rather than its times, which come in coarse steps.
        parameters: What is known before.
        inference_seconds: Time of a whole inference without profiling; these must be all of its operations then. What
            it takes more than they do becomes `t_infer`.

    Raises:
        InputError: There are no measurements, one is not a positive time, or the whole takes no longer than its parts.
        ValueError: There is not one measurement for each operation.
    """
    if len(operations) != len(measured):
        msg = f"{len(operations)} operations and {len(measured)} times"
        raise ValueError(msg)
    if not operations:
        msg = "no operation was measured"
        raise InputError(msg, hint="give the profile of a network that ran")
    for index, seconds in enumerate(measured):
        if not (math.isfinite(seconds) and seconds > 0):
            msg = f"measured time {index} is {seconds!r} s, positive ones are allowed"
            raise InputError(msg, hint="leave out layers that did not run")
    if inference_seconds is not None:
        parameters = parameters.model_copy(update={"t_infer": _start(inference_seconds, sum(measured))})
    workload = Workload(operations, parameters.nn_cores)
    times = np.array(measured)

    def residuals(changes: Reals) -> Reals:
        predicted = workload.seconds(_changed(parameters, changes))
        errors = np.log((predicted + RESOLUTION) / (times + RESOLUTION))
        return np.concatenate([softened(errors, SCATTER) / SCATTER, changes / np.array(list(SPREADS.values()))])

    found = _changed(parameters, least_squares(residuals, np.zeros(len(SPREADS))))
    note = f"{len(operations)} measured operations, beginning with parameters from: {parameters.provenance.source}"
    # What was found out about the old parameters is not true of these.
    unknown = {"expected_error_percent": None, "new_network_percent": None}
    provenance = parameters.provenance.model_copy(update={"source": note[:500], **unknown})
    return NpuParameters.model_validate(found.model_dump() | {"provenance": provenance.model_dump()})


def _start(inference_seconds: float, operations_seconds: float) -> float:
    start = inference_seconds - operations_seconds
    if not (math.isfinite(start) and start > 0):
        msg = f"an inference of {inference_seconds!r} s takes no longer than its operations, {operations_seconds:.6g} s"
        raise InputError(msg, hint="leave the time of the inference out")
    return start


def _changed(parameters: NpuParameters, changes: Reals) -> NpuParameters:
    """Parameters whose logarithms are changed; not validated, as this is done for every step of the search."""
    update: dict[str, float] = {}
    for name, change in zip(SPREADS, changes.tolist(), strict=True):
        if abs(change) > NO_CHANGE:
            low, high = _LIMITS.get(name, (0.0, math.inf))
            update[name] = min(max(getattr(parameters, name) * math.exp(min(max(change, -50.0), 50.0)), low), high)
    return parameters.model_copy(update=update)


def parameters_text(parameters: NpuParameters) -> str:
    """The parameters as YAML, as `NpuParameters` reads them."""
    import yaml

    text: str = yaml.safe_dump(parameters.model_dump(), sort_keys=False, width=120)
    return text
