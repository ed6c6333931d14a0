"""Damage ``.onnx`` models at random."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import Message


def fields(message: Message) -> Iterator[tuple[Message, Any]]:
    """Every message inside a message, with each field that is set."""
    for field, found in message.ListFields():
        yield message, field
        if field.type == field.TYPE_MESSAGE:
            for inner in [found] if isinstance(found, Message) else found:
                yield from fields(inner)


NUMBERS = (0, 1, -1, 2, 3, 7, 16, 255, 1 << 20, (1 << 31) - 1, -(1 << 31), 1 << 40, (1 << 63) - 1, -(1 << 63))


def other_value(field: Any, old: Any, names: list[str], rng: random.Random) -> Any:
    if field.type == field.TYPE_STRING:
        return rng.choice(names)
    if field.type == field.TYPE_BYTES:
        return old[: rng.randrange(len(old) + 1)]
    if field.type == field.TYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    return rng.choice([-1.0, 1e30, float("nan")]) if field.type == field.TYPE_FLOAT else rng.choice(NUMBERS)


def damage_meaning(made: onnx.ModelProto, rng: random.Random) -> None:
    """Remove, repeat, exchange or change one thing that a model says."""
    spots = list(fields(made))
    names = ["", *(str(getattr(m, f.name)) for m, f in spots if f.name in ("name", "op_type", "domain", "dim_param"))]
    message, field = rng.choice(spots)
    found, action = getattr(message, field.name), rng.randrange(4)
    if isinstance(found, Message | str | bytes | int | float):
        if isinstance(found, Message) or action == 0:
            message.ClearField(field.name)
        else:
            setattr(message, field.name, other_value(field, found, names, rng))
        return
    at = rng.randrange(len(found))
    if action == 0:
        del found[at]
    elif action == 1:
        found.extend([found[at]])
    elif field.type != field.TYPE_MESSAGE:
        found[at] = other_value(field, found[at], names, rng)
    else:
        found[at].CopyFrom(rng.choice(found))


def damage_bytes(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.randrange(1, 4)):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    return bytes(damaged)


def damaged(source: onnx.ModelProto, how: str, rng: random.Random) -> bytes:
    """A model with some bytes changed, or with one thing changed that it says."""
    if how == "bytes":
        return damage_bytes(source.SerializeToString(), rng)
    made = onnx.ModelProto()
    made.CopyFrom(source)
    with contextlib.suppress(ValueError):  # a number that does not fit the field
        damage_meaning(made, rng)
    return made.SerializeToString()
