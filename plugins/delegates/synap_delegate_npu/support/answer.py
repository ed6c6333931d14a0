"""Whether the hardware runs an operation, on which engine, and why not."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from synap_core.api import Group, Support
from synap_delegate_npu.support.operation import Operation
from synap_delegate_npu.support.recognise import Part, Unrecognised, parts_of
from synap_delegate_npu.support.record import DTYPES, Record, clause
from synap_delegate_npu.support.table import GENERAL, UNLESS_CONVERSION

STORED = DTYPES[:-1]
"""Data types that tensors on the way through a network have."""

CONVERSION = "DATACONVERT"

CUTS = frozenset({"RELU", "RELUN", "CLIP"})
"""They cost nothing behind an operation: its results are cut when they are stored."""

ARITHMETIC = frozenset({"ADD", "SUBTRACT", "MULTIPLY", "DIVIDE", "BATCH_NORM"})
"""They cost nothing behind a product when their other operands are constants: weights and biases take them up.

Behind an activation they cost nothing when the other operand is one number: the steps of the result take it up.
"""

WITH_WEIGHTS = frozenset(
    {
        *("CONV1D", "CONV2D", "GROUPED_CONV1D", "GROUPED_CONV2D"),
        *("DECONVOLUTION", "DECONVOLUTION1D", "FULLY_CONNECTED"),
    }
)
"""Products: another operation may follow in the same group."""

FUNCTIONS = CUTS | {
    *(
        "ELU",
        "GELU",
        "HARD_SIGMOID",
        "HARD_SWISH",
        "LEAKY_RELU",
        "MISH",
        "PRELU",
        "SIGMOID",
        "SOFTRELU",
        "SWISH",
        "TANH",
    ),
}
"""Activations: behind a product, those that do not cut need their own engine."""

WHOLE_TYPES = frozenset({"int32", "int64", "bool"})
"""Types of positions and truth values, which have no column in the table."""

CUTTING = frozenset({"ADD", "CONCAT", "DIVIDE", "MULTIPLY", "POOL", "SQUARE", "SUBTRACT"})
"""What is no product of matrices, and may be followed by a cut all the same."""


def check(group: Group, dtype: str) -> Support:
    """Whether the hardware runs a group with a data type.

    The first node decides the operator, and every other one must be one that belongs behind it. Where the tensor
    processor has to help the NN cores, or an activation follows that they do not know, the engines are joined by
    ``+``: ``NN+TP``.

    Args:
        group: Of the canonical graph.
        dtype: Data type of its result.
    """
    if dtype in WHOLE_TYPES:
        dtype = "uint8"  # its conditions tell whether an operator takes them; the engine is that of any other type
    if dtype not in DTYPES:
        return Support(ok=False, reason=f"data are {_listed(STORED)}, not {dtype}")
    try:
        parts = parts_of(group)
    except Unrecognised as finding:
        return Support(ok=False, reason=str(finding))
    engines: list[str] = []
    for part in parts:
        reason = _order_refusal(parts[0], part) or _refusal(part, dtype)
        if reason:
            return Support(ok=False, reason=reason)
        engines += _engines(parts[0], part, dtype)
    return Support(ok=True, engine="+".join(dict.fromkeys(engines)))


def check_network(types: Mapping[str, str], conversions: Collection[str] = ()) -> str | None:
    """Why the operations of a network cannot be together; None when they can.

    Args:
        types: Data type of each operation, by layer id.
        conversions: Layer ids of the conversions at the network's inputs and outputs, whose types do not count.
    """
    first: dict[str, str] = {}
    for layer, dtype in types.items():
        if layer not in conversions:
            first.setdefault(dtype, layer)
    if "uint8" in first and "int8" in first:
        return f"uint8 and int8 cannot both occur in one network: {first['uint8']!r} is uint8, {first['int8']!r} int8"
    return None


def _listed(words: tuple[str, ...]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _order_refusal(main: Part, part: Part) -> str:
    """Why an operator cannot be behind the first one in the same group."""
    if part is main or _belongs(main.record, part):
        return ""
    return f"{part.record.name} {Operation(nodes=part.nodes, dtype='').layer!r} is no part of {main.record.name}"


def _belongs(main: Record, part: Part) -> bool:
    """Whether an operator can be behind the first one."""
    if main.name in CUTTING:
        return part.record.name in CUTS
    if part.record.name in ARITHMETIC:
        operands = [operand for operand in part.nodes[0].inputs if operand is not None]
        sizes = [operand.const_value.size for operand in operands if operand.const_value is not None]
        single = main.name in FUNCTIONS and set(sizes) == {1}
        return len(sizes) == len(operands) - 1 and (main.name in WITH_WEIGHTS or single)
    return main.name in WITH_WEIGHTS and (part.record.name in FUNCTIONS or part.record.name == "POOL")


def _refusal(part: Part, dtype: str) -> str:
    """Why an engine does not run an operator."""
    record, operation = part.record, Operation(nodes=part.nodes, dtype=dtype)
    subject = f"{record.name} {operation.layer!r}"
    allowed = record.dtypes if record.name == CONVERSION else tuple(t for t in record.dtypes if t in STORED)
    if dtype not in allowed:
        return f"{subject} needs data of {_listed(allowed)}, got {dtype}"
    general = GENERAL if record.name == CONVERSION else (*GENERAL, *UNLESS_CONVERSION)
    for condition in (*general, *record.conditions):
        value = condition(operation)
        if value is not None:
            return f"{subject} needs that {clause(condition)}, got {value}"
    return ""


def _engines(main: Part, part: Part, dtype: str) -> tuple[str, ...]:
    """Engines that work for an operator of a group."""
    record, choices = part.record, part.record.choices(dtype)
    if part is not main:
        stored = record.name in CUTS or record.name in ARITHMETIC
        pooled = record.name == "POOL" and main.record.choices(dtype)[0] == "NN"
        return () if stored or pooled else (choices[-1] if record.name == "POOL" else choices[0],)
    operation = Operation(nodes=part.nodes, dtype=dtype)
    if choices[0] != "NN" or all(condition(operation) is None for condition in record.unaided):
        return choices[:1]
    return ("TP",) if "TP" in choices else ("NN", "TP")
