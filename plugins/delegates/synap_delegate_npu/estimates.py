"""What operations are predicted to cost before they are compiled."""

from __future__ import annotations

from synap_core.api import Cost, Group, Overhead, Target
from synap_delegate_npu.cost.model import estimate_all
from synap_delegate_npu.cost.parameters import NpuParameters
from synap_delegate_npu.predictions import predicted
from synap_delegate_npu.support import check
from synap_delegate_npu.workload import workload

DELEGATE = "npu"

COMPILER = "The unit itself executes only what the vendor's compiler emits, which may join operations in other ways."


def estimate_group(group: Group, dtype: str, target: Target) -> Cost | None:
    """Predicted cost of an operation; None for one that the unit does not run, or a target without parameters."""
    support = check(group, dtype)
    if not support.ok or DELEGATE not in target.parameters:
        return None
    costs = estimate_all(workload(group, dtype, support.engine.partition("+")[0]), _parameters(target))
    return Cost(
        seconds=sum(cost.seconds for cost in costs),
        cycles=sum(cost.cycles for cost in costs),
        bytes_read=sum(cost.bytes_read for cost in costs),
        bytes_written=sum(cost.bytes_written for cost in costs),
    )


def inference_overhead(target: Target) -> Overhead | None:
    """Predicted time to start an inference; None for a target without parameters."""
    if DELEGATE not in target.parameters:
        return None
    parameters = _parameters(target)
    return Overhead(
        seconds=parameters.t_infer,
        cycles=round(parameters.t_infer * parameters.clock_hz),
        notes=(predicted(parameters), COMPILER),
    )


def _parameters(target: Target) -> NpuParameters:
    return NpuParameters.model_validate(dict(target.parameters[DELEGATE]))
