"""A chip with round numbers, for hand-computed costs."""

from __future__ import annotations

from synap_delegate_npu.cost.parameters import NpuParameters

ROUND: dict[str, object] = {
    "npu": "TEST",
    "clock_hz": 1e9,
    "nn_cores": 4,
    "tp_units": 2.0,
    "ddr_limit": 10e9,
    "int16_factor": 0.25,
    "mac_core": 0.1e12,
    "ddr_eff": 0.2,
    "sram": 50e9,
    "keep": 1e6,
    "tp_unit": 0.5e9,
    "ppu": 0.5e9,
    "fc": 4e9,
    "transpose": 1e9,
    "s2d": 2e9,
    "copy_share": 0.5,
    "pool_share": 0.25,
    "weight": 0.75,
    "t_layer": 5e-6,
    "t_ppu": 20e-6,
    "t_infer": 50e-6,
    "q": 1.0,
    "softmax": 170e-6,
    "f16_rate": 2.5e9,
    "preprocess": 0.2e9,
    "preprocess_scaled": 0.1e9,
    "provenance": {"source": "made up", "date": "2024-02-29", "expected_error_percent": 10.0},
}


def chip(**changes: object) -> NpuParameters:
    """Parameters with round numbers, some of them changed."""
    return NpuParameters.model_validate(ROUND | changes)
