"""Checks of single values. Each returns the value in its final type or raises `FieldError`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from synap_core.metafile.problems import DataPath, FieldError, inside, kind, not_allowed, show, unknown_key
from synap_core.metafile.vocabulary import DATA_TYPES, DEFAULT_DATA_TYPE, EIGHT_BIT_TYPES

FLOAT32_MAX = 3.4028234663852886e38
FLOAT32_TINY = 1.1754943508222875e-38
"""Smallest normal number: a divisor below it may be flushed to zero."""

MAX_RANK = 16
MAX_ITEMS = 2**31 - 1
"""Most items of a tensor: its size must fit in 32 bits."""

MAX_SIDE = 65535
"""Largest width or height of an image, in pixels."""


def flag(value: object, name: str) -> bool:
    """Check a boolean."""
    if isinstance(value, bool):
        return value
    msg = f"{name!r} must be true or false, not {show(value)}"
    raise FieldError(msg, hint="YAML 1.2 knows no other booleans" if isinstance(value, str) else None)


def text(value: object, name: str) -> str:
    """Check a text."""
    if isinstance(value, str):
        return value
    plain = isinstance(value, bool | int | float)
    msg = f"{name!r} must be a string, not {kind(value)} {show(value)}"
    raise FieldError(msg, hint="put it in quotes" if plain else "write one text")


def tensor_name(value: object, name: str) -> str:
    """Check the name of a tensor."""
    if checked := text(value, name):
        return checked
    msg = f"{name!r} must be a string that is not empty"
    raise FieldError(msg, hint="leave the key out to use the model's own tensor")


def word(allowed: Sequence[str], what: str, *, fold: bool = False) -> Callable[[object], str]:
    """Make a check for one of some words.

    Args:
        allowed: The words.
        what: What they are, for messages.
        fold: Accept them in upper case, too.
    """

    def check(value: object) -> str:
        """Check a word."""
        found = value.lower() if fold and isinstance(value, str) else value
        if isinstance(found, str) and found in allowed:
            return found
        raise not_allowed(what, value, allowed)

    return check


def number(value: object, message: str, *, at: DataPath = ()) -> float:
    """Check a number that a 32-bit float can hold; a boolean is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= FLOAT32_MAX:
        return float(value)
    msg = f"{message} {show(value)}: it must be a number between -{FLOAT32_MAX:.4g} and {FLOAT32_MAX:.4g}"
    raise FieldError(msg, at=at)


def means(value: object) -> float | tuple[float, ...]:
    """Check one mean, or one per channel."""
    if not isinstance(value, list | tuple):
        return number(value, "invalid means")
    if not value:
        msg = "invalid means []: it must be a number or a list of one number per channel"
        raise FieldError(msg, hint="leave the key out for no means")
    return tuple(number(item, f"invalid means: item {i} is", at=(i,)) for i, item in enumerate(value))


def scale(value: object) -> float:
    """Check a divisor."""
    if isinstance(value, list | tuple):
        msg = f"invalid scale {show(value)}: it must be one number for all channels"
        raise FieldError(msg, hint="write a single number")
    checked = number(value, "invalid scale")
    if abs(checked) < FLOAT32_TINY:
        msg = f"invalid scale {show(value)}: it must be a number other than 0, as values are divided by it"
        raise FieldError(msg, hint="leave the key out for no scaling")
    return checked


def integers(value: object, what: str, lowest: int, highest: int) -> tuple[int, ...]:
    """Check a list of integers, both limits allowed; a boolean is none."""
    if not isinstance(value, list | tuple):
        msg = f"{what} must be a list of integers, not {kind(value)} {show(value)}"
        raise FieldError(msg, hint="write it as [1, 2, 3]")
    for i, item in enumerate(value):
        if not isinstance(item, int) or isinstance(item, bool) or not lowest <= item <= highest:
            msg = f"{what} {show(value)}: item {i} must be an integer from {lowest} to {highest}, not {show(item)}"
            raise FieldError(msg, at=(i,))
    return tuple(value)


def shape(value: object, name: str) -> tuple[int, ...]:
    """Check the shape of a tensor; the first dimension may be anything, as every batch is converted to 1."""
    dims = integers(value, name, -MAX_ITEMS, MAX_ITEMS)
    if len(dims) > MAX_RANK:
        msg = f"{name} with {len(dims)} dimensions; at most {MAX_RANK} are allowed"
        raise FieldError(msg)
    for i, dim in enumerate(dims[1:], 1):
        if dim < 1:
            msg = f"{name} {show(value)}: dimension {i} must be at least 1, not {dim}"
            raise FieldError(msg, at=(i,))
    if math.prod(dims[1:]) > MAX_ITEMS:
        msg = f"{name} {show(value)} has {math.prod(dims[1:])} items; at most {MAX_ITEMS} are allowed"
        raise FieldError(msg)
    return dims


def input_shape(value: object, name: str) -> tuple[int, ...]:
    """Check the shape of an input, which has a batch dimension."""
    dims = shape(value, name)
    if len(dims) < 2:
        msg = f"{name} {show(value)} doesn't include batch dimension: at least 2 dimensions are needed"
        raise FieldError(msg, hint="write the number of samples first, as in [1, 10]")
    return dims


def image_size(value: object) -> tuple[int, int]:
    """Check an image size, ``[H, W]`` or ``{h: H, w: W}``, in pixels."""
    if isinstance(value, dict):
        for key in value:
            if key not in ("h", "w"):
                raise unknown_key(key, "size", ("h", "w"))
        if len(value) < 2:
            msg = f"size {show(value)} must have both 'h' and 'w'"
            raise FieldError(msg, hint="write it as [H, W] or {h: H, w: W}")
        value = [value["h"], value["w"]]
    sides = integers(value, "size", 1, MAX_SIDE)
    if len(sides) != 2:
        msg = f"size {show(value)} must have two items, height and width"
        raise FieldError(msg, hint="write it as [H, W]")
    return sides[0], sides[1]


def crop(value: object) -> bool | tuple[int, int, int, int]:
    """Check a crop setting: whether there is one, or its four numbers."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, list | tuple):
        msg = f"'crop' must be true, false or a list of 4 integers, not {show(value)}"
        raise FieldError(msg)
    sides = integers(value, "crop", 0, MAX_SIDE)
    if len(sides) != 4:
        msg = f"crop {show(value)} must have 4 items: width, height, left, top"
        raise FieldError(msg)
    return sides[0], sides[1], sides[2], sides[3]


def data_type(value: object) -> str | dict[str, str]:
    """Check the type to quantize to, for the whole network or by layer."""
    check = word(DATA_TYPES, "quantization data_type")
    if not isinstance(value, dict):
        return check(value)
    for layer, name in value.items():
        with inside(layer):
            check(name)
    if set(EIGHT_BIT_TYPES) <= set(value.values()):
        last = [layer for layer, name in value.items() if name in EIGHT_BIT_TYPES][-1]
        msg = "mixed quantization with int8 and uint8 not allowed"
        raise FieldError(msg, hint="use one of them for all 8-bit layers", at=(last,))
    return value or DEFAULT_DATA_TYPE


def globs(value: object) -> tuple[str, ...]:
    """Check the dataset: one glob, or a list with one for each input."""
    items = value if isinstance(value, list | tuple) else (value,)
    for i, item in enumerate(items):
        if not isinstance(item, str) or not item:
            msg = f"a quantization dataset must be a glob such as 'samples/*.jpg' or 'random', not {show(item)}"
            raise FieldError(msg, at=(i,) if isinstance(value, list | tuple) else ())
    return tuple(items)


def mapping(value: object, name: str) -> object:
    """Check that a section has keys; models check them."""
    if isinstance(value, list | str | int | float):
        msg = f"{name!r} must be a mapping of keys to values, not {kind(value)} {show(value)}"
        raise FieldError(msg, hint=f"write its keys on lines of their own, indented below '{name}:'")
    return value


def entries(value: object, name: str) -> tuple[object, ...]:
    """Check a list of sections; an empty entry stands for one with no key."""
    if not isinstance(value, list | tuple):
        msg = f"{name!r} must be a list, not {kind(value)} {show(value)}"
        raise FieldError(msg, hint="start each entry with '- '")
    for i, item in enumerate(value):
        if isinstance(item, list | str | int | float):
            msg = f"each entry of {name!r} must be a mapping of keys to values or empty, not {show(item)}"
            raise FieldError(msg, hint="write it as '- name: ...'", at=(i,))
    return tuple({} if item is None else item for item in value)
