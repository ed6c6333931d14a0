"""What is said of predictions: where the parameters come from, and how far off to expect them."""

from __future__ import annotations

from synap_delegate_npu.cost.parameters import NpuParameters, Provenance


def predicted(parameters: NpuParameters) -> str:
    """The line that goes with all figures that follow from some parameters."""
    provenance = parameters.provenance
    model = f"Cycles, times and bytes are predicted by a model that was fitted to: {provenance.source}"
    return f"{model}; {_expected(provenance)}."


def _expected(provenance: Provenance) -> str:
    known = []
    if provenance.expected_error_percent is not None:
        known.append(f"for kinds of networks not among them it was off by {provenance.expected_error_percent:g} %")
    if provenance.new_network_percent is not None:
        low, high = provenance.new_network_percent
        known.append(f"on a new network expect errors of {low:g} to {high:g} %")
    return "; ".join(known) or "how far off it is for other networks is not known"
