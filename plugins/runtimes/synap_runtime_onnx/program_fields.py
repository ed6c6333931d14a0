"""What programs say of themselves: values from files that nobody has checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from synap_core.api import InputError
from synap_runtime_onnx.inlining import DOMAIN
from synap_runtime_onnx.protos import AttributeProto, ModelProto, NodeProto

MAX_NUMBER = 1 << 48
"""Largest size, offset, count or time that is taken for real."""

MAX_DIGITS = 15

VERSION = 1
"""Version of the programs that this runtime knows."""

VERSION_PROPERTY = "format_version"
"""Property that repeats it."""

SILICON_MAGICS = (b"EBGX", b"VPMN")
"""First bytes of what the vendor's compiler makes."""

ANOTHER_VERSION = "convert the model with this version of the toolkit, or run it with the one that made it"


@dataclass(frozen=True, slots=True)
class Fields:
    """Named values, and what they belong to.

    Attributes:
        values: Integers, numbers, texts and lists of integers.
        where: What they belong to, for messages.
    """

    values: Mapping[str, object]
    where: str

    def text(self, name: str) -> str:
        """A text; empty when it is not there, or something else."""
        value = self.values.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int:
        """A number that is not negative; 0 when it is not there.

        Raises:
            InputError: It is something else.
        """
        return int(self._checked(name, self.values.get(name, 0), whole=True))

    def real(self, name: str) -> float:
        """A real number that is not negative; 0 when it is not there.

        Raises:
            InputError: It is something else.
        """
        return self._checked(name, self.values.get(name, 0.0), whole=False)

    def numbers(self, name: str) -> list[int]:
        """Numbers that are not negative, as a list or as words; none when they are not there.

        Raises:
            InputError: They are something else.
        """
        value = self.values.get(name, [])
        items = value.split() if isinstance(value, str) else value
        if not isinstance(items, list):
            raise self._wrong(name, value)
        return [int(self._checked(name, item, whole=True)) for item in items]

    def _checked(self, name: str, value: object, *, whole: bool) -> float:
        found = _number(value) if isinstance(value, str) else value
        good = isinstance(found, int) or (isinstance(found, float) and not whole)
        if not good or not isinstance(found, int | float) or not 0 <= found <= MAX_NUMBER:
            raise self._wrong(name, value)
        return found

    def _wrong(self, name: str, value: object) -> InputError:
        shown = repr(value)
        msg = f"{name} is {shown if len(shown) <= 80 else shown[:80] + '…'}, which cannot be"
        return InputError(msg, where=self.where, hint="convert the model again")


def attributes_of(node: NodeProto, where: str) -> Fields:
    """The plain attributes of an operation."""
    values: dict[str, object] = {}
    for attribute in node.attribute:
        if attribute.type == AttributeProto.INT:
            values[attribute.name] = attribute.i
        elif attribute.type == AttributeProto.FLOAT:
            values[attribute.name] = attribute.f
        elif attribute.type == AttributeProto.STRING:
            values[attribute.name] = attribute.s.decode("utf-8", "replace")
        elif attribute.type == AttributeProto.INTS and len(attribute.ints) <= len(node.output):
            values[attribute.name] = list(attribute.ints)
    return Fields(values, where)


def version_problem(model: ModelProto) -> str | None:
    """What is wrong with the version of a program; None when this toolkit knows it.

    The file says it twice: where ONNX keeps versions of operators, and in a property for those who look for it there.
    One that does not have the property is accepted.
    """
    found: list[object] = [item.version for item in model.opset_import if item.domain == DOMAIN]
    if not found:
        return f"the program has no version of the operators {DOMAIN}; this runtime knows version {VERSION}"
    found += [entry.value for entry in model.metadata_props if entry.key == VERSION_PROPERTY]
    other = next((str(item) for item in found if str(item) != str(VERSION)), None)
    if other is None:
        return None
    shown = other if other.isdecimal() and len(other) <= MAX_DIGITS else repr(other[:MAX_DIGITS])
    return f"the program has version {shown} of the operators {DOMAIN}; this runtime knows version {VERSION}"


def properties_of(model: ModelProto, where: str) -> Fields:
    """What describes a program as a whole."""
    return Fields({entry.key: entry.value for entry in model.metadata_props}, where)


def _number(text: str) -> int | float | None:
    if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS:
        return int(text)
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
