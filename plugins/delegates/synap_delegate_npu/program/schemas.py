"""Definitions of the operators of programs, as the ``onnx`` package checks models with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from synap_delegate_npu.operators.families import REGISTRY
from synap_delegate_npu.program.body import DOMAIN
from synap_delegate_npu.program.names import real_name
from synap_delegate_npu.program.protos import Schema, has_schema, register_schema
from synap_delegate_npu.program.writer import VERSION
from synap_delegate_npu.support import RECORDS

TYPES = (
    *(f"tensor(int{bits})" for bits in (8, 16, 32, 64)),
    *(f"tensor(uint{bits})" for bits in (8, 16, 32, 64)),
    *(f"tensor({name})" for name in ("float16", "float", "double", "bool")),
)
"""Types of tensors in memory; those of more than 16 bits are constants, indices or real numbers."""

DESCRIBING = {
    "arithmetic": "STRING: `integer`, or `real` for an operation in real numbers",
    "engine": "STRING: unit that runs it: `NN`, `TP`, `PPU`, `NN+TP`, or `none` where nothing is moved",
    "layer": "STRING: name in profiles",
    "bound": "STRING: what is predicted to take longest: `compute`, `memory` or `overhead`",
    "predicted_cycles": "INT: clock cycles",
    "predicted_microseconds": "FLOAT: time",
    "predicted_bytes_read": "INT: bytes read from memory outside of the chip",
    "predicted_bytes_written": "INT: bytes written there",
    "output_memory": "STRING: memory that each output is in, with blanks between",
    "output_offset": "INTS: byte of that memory at which each output begins",
    "stored_weight_bytes": "INT: estimated bytes of the weights when they are compressed",
}
"""Attributes that every operation may have and that only describe it: type and meaning."""

QUANTIZATION = {
    "scale": "FLOATS: steps of the integers: one, or one for each channel",
    "zero_point": "INTS: integers that stand for zero, as many",
    "axis": "INT: axis of the channels, where there are several",
}
"""The same for each input and output that holds integers, behind ``input0_`` and the like."""

MOST_TENSORS = 16
"""Inputs and outputs that have such attributes; more in operators that take any number."""

MANY_TENSORS = 512

TAKE_MANY = frozenset({"Addn", "Concat", "Concatshift", "Maximum", "Minimum", "Stack"})
GIVE_MANY = frozenset({"Split", "Unstack"})


def register_schemas() -> None:
    """Make the operators of programs known to the ``onnx`` package of this process.

    ``onnx.checker.check_model(model, check_custom_domain=True)`` then checks attributes and numbers of tensors, too.
    """
    for name, attributes in operators().items():
        if not has_schema(name, VERSION, DOMAIN):
            register_schema(_schema(name, attributes))


def operators() -> dict[str, Mapping[str, str]]:
    """All operators, and the attributes that define what they compute: type and meaning."""
    real = {real_name(record.name): dict[str, str]() for record in RECORDS}
    return {**real, **{name: operator.attributes for name, operator in REGISTRY.operators.items()}}


def definition(name: str) -> str:
    """What an operator computes, in words."""
    found = REGISTRY.operators.get(name)
    return "Computed in real numbers." if found is None else found.definition


def _schema(name: str, attributes: Mapping[str, str]) -> Schema:
    one_type = [("T", list(TYPES), "Types of tensors in memory.")]
    return Schema(
        name,
        DOMAIN,
        VERSION,
        doc=definition(name),
        inputs=[_tensors("inputs", "Tensors that it reads, constants included.")],
        outputs=[_tensors("outputs", "Tensors that it computes.")],
        type_constraints=one_type,
        attributes=list(_attributes(name, attributes)),
    )


def _tensors(name: str, text: str) -> Schema.FormalParameter:
    return Schema.FormalParameter(
        name,
        "T",
        text,
        param_option=Schema.FormalParameterOption.Variadic,
        is_homogeneous=False,
        min_arity=1,
    )


def _attributes(name: str, own: Mapping[str, str]) -> Iterator[Schema.Attribute]:
    texts = {**DESCRIBING, **own}
    counts = {
        "input": MANY_TENSORS if name in TAKE_MANY else MOST_TENSORS,
        "output": MANY_TENSORS if name in GIVE_MANY else MOST_TENSORS,
    }
    for side, count in counts.items():
        for number in range(count):
            texts |= {f"{side}{number}_{key}": text for key, text in QUANTIZATION.items()}
    for key, text in texts.items():
        kind, _, meaning = text.partition(": ")
        yield Schema.Attribute(key, getattr(Schema.AttrType, kind), meaning, required=False)
