"""Operators that hand their operands on."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator


@operator(
    "CheckNumerics",
    "DeepCopy",
    "EnsureShape",
    "Enter",
    "Identity",
    "PlaceholderWithDefault",
    "PreventGradient",
    "RefEnter",
    "RefIdentity",
    "Snapshot",
    "StopGradient",
)
def hand_on(call: Call) -> ir.Value:
    """The operand itself; the layer remains as a place where the model can be cut."""
    return call.input()


@operator("IdentityN")
def hand_all_on(call: Call) -> Sequence[ir.Value]:
    """All operands."""
    return call.inputs


@operator("Merge", "RefMerge", "RefSwitch", "Switch")
def chosen(call: Call) -> ir.Value | Sequence[ir.Value]:
    """The operand, where the condition is settled; see `synap_frontend_tensorflow.conditions`."""
    if len(call.inputs) != 1:
        msg = "a condition that is computed decides which nodes run: name outputs that do without it, or freeze the "
        msg += "graph with a constant condition"
        raise UnsupportedError(msg)
    return call.input() if call.type.endswith("Merge") else [call.input()] * len(call.tensors[:2])
