"""Registration of the Synaptics targets: one entry point, and so one switch, for each chip."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from synap_core.api import Target, hookimpl
from synap_target_synaptics.parameters import ChipParameters

WITH_NPU = ("npu", "gpu", "cpu")
WITHOUT_NPU = ("cpu", "gpu")


@dataclass(frozen=True, slots=True)
class TargetPlugin:
    """A plugin that offers one target."""

    target: Target

    @hookimpl
    def synap_targets(self) -> Iterable[Target]:
        """Offer the target."""
        yield self.target


dvf120 = TargetPlugin(Target(name="DVF120", summary="DVF120, no NPU", delegates=WITHOUT_NPU))
sl1620 = TargetPlugin(Target(name="SL1620", summary="Astra SL1620, no NPU", delegates=WITHOUT_NPU))
sl1640 = TargetPlugin(
    Target(name="SL1640", summary="Astra SL1640", delegates=WITH_NPU, parameters=ChipParameters("VS640"))
)
sl1680 = TargetPlugin(
    Target(name="SL1680", summary="Astra SL1680", delegates=WITH_NPU, parameters=ChipParameters("VS680"))
)
vs640 = TargetPlugin(
    Target(
        name="VS640",
        summary="VideoSmart VS640",
        delegates=WITH_NPU,
        aliases=("VS640A0", "PLATYPUS"),
        parameters=ChipParameters("VS640"),
    )
)
vs680 = TargetPlugin(
    Target(
        name="VS680",
        summary="VideoSmart VS680",
        delegates=WITH_NPU,
        aliases=("VS680A0", "DOLPHIN"),
        parameters=ChipParameters("VS680"),
    )
)
