"""The toy format: a model as lines of text.

The first line is ``toy 1``. Each further one is empty or a statement; ``#`` starts a comment::

    input NAME DIMENSION... TYPE       a tensor that is given
    layer NAME OPERATOR WORD...        a tensor that is computed, of numbers and earlier tensors
    anchors NUMBER...                  anchor boxes, for the format string of an output
    output NAME                        a tensor that is wanted

Operators work item by item, so what a layer reads and writes has one shape and type. Those the format does not define
may be written down, too: it is for whoever runs the model to refuse them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from synap_core.api import InputError

FORMAT = "toy"
MAGIC = b"toy "
VERSION = "1"

DTYPES = ("float32", "float16")
MAX_FILE_BYTES = 1 << 20
MAX_ITEMS = 1 << 24
"""Items that all tensors may have together: a short file must not ask for a lot of memory."""

OPERATORS = {"scale": (1, 1), "add": (0, 2), "accumulate": (0, 1)}
"""How many numbers and tensors each operator takes; ``accumulate`` adds up what it gets from one run to the next."""

MAX_DIMENSIONS = 8

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,99}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DIMENSION = re.compile(r"[1-9][0-9]{0,8}")
_SHOWN_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape and item type of a tensor."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A ``layer`` line.

    Attributes:
        name: The tensor it computes.
        operator: What it does.
        numbers: Parameters, all finite.
        operands: Tensors it reads, at least one.
    """

    name: str
    operator: str
    numbers: tuple[float, ...]
    operands: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyText:
    """What a file says, in the order it says it.

    Attributes:
        inputs: Names of the tensors that are given.
        operations: How the others are computed, in an order in which they can be.
        outputs: Names of the tensors that are wanted.
        tensors: Type of every tensor.
        anchors: Numbers of the ``anchors`` line.
    """

    inputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, TensorType]
    anchors: tuple[float, ...] = ()


def parse(data: bytes, where: str) -> ToyText:
    """Read a file.

    Args:
        data: Its content.
        where: Its name, for messages.

    Raises:
        InputError: It is too large or not a toy model; names the line.
    """
    if len(data) > MAX_FILE_BYTES:
        msg = f"the model has more than {MAX_FILE_BYTES} bytes"
        raise InputError(msg, where=where)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        msg = f"byte {data[error.start]:#04x} is not UTF-8 text"
        raise InputError(msg, where=f"{where}:{line}") from error
    return _Reader(where).read(text)


def render(text: ToyText) -> bytes:
    """Write a text that `parse` reads back; the same model always gives the same bytes."""
    lines = [f"{FORMAT} {VERSION}"]
    for name in text.inputs:
        kind = text.tensors[name]
        lines.append(f"input {name} {' '.join(map(str, kind.shape))} {kind.dtype}")
    lines += [
        " ".join(["layer", step.name, step.operator, *map(repr, step.numbers), *step.operands])
        for step in text.operations
    ]
    if text.anchors:
        lines.append(f"anchors {' '.join(map(repr, text.anchors))}")
    lines += [f"output {name}" for name in text.outputs]
    return "".join(f"{line}\n" for line in lines).encode()


class _Reader:
    def __init__(self, where: str) -> None:
        self._where = where
        self._line = 0
        self._inputs: list[str] = []
        self._operations: list[Operation] = []
        self._outputs: list[str] = []
        self._tensors: dict[str, TensorType] = {}
        self._anchors: tuple[float, ...] = ()
        self._items = 0

    def read(self, text: str) -> ToyText:
        statements = {"input": self._input, "layer": self._layer, "anchors": self._set_anchors, "output": self._output}
        for number, line in enumerate(text.split("\n"), 1):
            self._line = number
            words = line.partition("#")[0].split()
            if number == 1:
                self._check_version(words)
            elif words and words[0] in statements:
                statements[words[0]](words[1:])
            elif words:
                self._refuse(f"unknown statement {_shown(words[0])}; allowed: {', '.join(statements)}")
        if not self._outputs:
            msg = "the model has no output"
            raise InputError(msg, where=self._where, hint="end it with a line such as 'output NAME'")
        return ToyText(
            inputs=tuple(self._inputs),
            operations=tuple(self._operations),
            outputs=tuple(self._outputs),
            tensors=self._tensors,
            anchors=self._anchors,
        )

    def _refuse(self, message: str, hint: str | None = None) -> NoReturn:
        raise InputError(message, where=f"{self._where}:{self._line}", hint=hint)

    def _check_version(self, words: Sequence[str]) -> None:
        if words != [FORMAT, VERSION]:
            start = _shown(" ".join(words))
            self._refuse(f"the first line must be '{FORMAT} {VERSION}', not {start}")

    def _input(self, words: Sequence[str]) -> None:
        if not 3 <= len(words) <= 2 + MAX_DIMENSIONS:
            self._refuse(
                f"an input needs a name, 1 to {MAX_DIMENSIONS} dimensions and a type", "write 'input x 1 4 float32'"
            )
        name, *shape, dtype = words
        for word in shape:
            if not _DIMENSION.fullmatch(word):
                self._refuse(f"dimension {_shown(word)} is not an integer from 1 to 999999999")
        if dtype not in DTYPES:
            self._refuse(f"unknown type {_shown(dtype)}; allowed: {', '.join(DTYPES)}")
        self._add(name, TensorType(tuple(map(int, shape)), dtype))
        self._inputs.append(name)

    def _layer(self, words: Sequence[str]) -> None:
        if len(words) < 3:
            self._refuse("a layer needs a name, an operator and a tensor", "write 'layer y scale 2.0 x'")
        name, operator, *rest = words
        if not _NAME.fullmatch(operator):
            self._refuse(f"{_shown(operator)} is not an operator")
        numbers = tuple(self._number(word) for word in rest if _NUMBER.fullmatch(word))
        operands = tuple(word for word in rest if not _NUMBER.fullmatch(word))
        counts = (len(numbers), len(operands))
        if OPERATORS.get(operator, counts) != counts:
            wanted = "{} numbers and {} tensors".format(*OPERATORS[operator])
            self._refuse(f"operator {operator!r} takes {wanted}, not {counts[0]} and {counts[1]}")
        self._add(name, self._common_type(operands))
        self._operations.append(Operation(name=name, operator=operator, numbers=numbers, operands=operands))

    def _set_anchors(self, words: Sequence[str]) -> None:
        if self._anchors or not words:
            self._refuse("a model has one line of anchors, with at least one number")
        self._anchors = tuple(self._number(word) for word in words)

    def _output(self, words: Sequence[str]) -> None:
        if len(words) != 1:
            self._refuse(f"an output has one name, not {len(words)}")
        self._type_of(words[0])
        if words[0] in self._outputs:
            self._refuse(f"output {_shown(words[0])} is listed twice")
        self._outputs.append(words[0])

    def _number(self, word: str) -> float:
        value = float(word) if _NUMBER.fullmatch(word) else math.nan
        if not math.isfinite(value):
            self._refuse(f"{_shown(word)} is not a finite number")
        return value

    def _common_type(self, operands: Sequence[str]) -> TensorType:
        kinds = [self._type_of(operand) for operand in operands]
        if not kinds:
            self._refuse("a layer needs a tensor to work on")
        for operand, kind in zip(operands, kinds, strict=True):
            if kind != kinds[0]:
                self._refuse(f"the tensors {operands[0]!r} and {operand!r} differ in shape or type")
        return kinds[0]

    def _type_of(self, name: str) -> TensorType:
        if name not in self._tensors:
            self._refuse(f"no line above gives or computes the tensor {_shown(name)}")
        return self._tensors[name]

    def _add(self, name: str, kind: TensorType) -> None:
        if not _NAME.fullmatch(name):
            self._refuse(f"{_shown(name)} is not a name", "up to 100 letters, digits and _ . / - are allowed")
        if name in self._tensors:
            self._refuse(f"the name {_shown(name)} is taken already")
        self._items += math.prod(kind.shape)
        if self._items > MAX_ITEMS:
            self._refuse(f"up to here the tensors have more than {MAX_ITEMS} items")
        self._tensors[name] = kind


def _shown(word: str) -> str:
    return repr(word if len(word) <= _SHOWN_CHARACTERS else f"{word[:_SHOWN_CHARACTERS]}…")
