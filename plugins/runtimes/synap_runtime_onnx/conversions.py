"""Leave out conversions to a memory type and back between one operation and the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence

import numpy as np

from synap_runtime_onnx.protos import FLOAT32, NodeProto, constant_of, integer_of, integer_range

FLOAT32_INTEGERS = 1 << 24
"""Sums of integers below this are exact in float32."""

WHOLE = frozenset({"Floor", "Round", "Ceil", "Sign"})
"""Operators whose results are integers."""

FAR = 8
"""Operators to look back at."""

MOST_BYTES = 1 << 16
"""Constants to look at."""

OPERANDS = {
    "Constant": 0,
    "Cast": 1,
    "Floor": 1,
    "Round": 1,
    "Ceil": 1,
    "Sign": 1,
    "Add": 2,
    "Sub": 2,
    "Mul": 2,
    "Clip": 3,
}
"""Operators that proofs look at, and the operands that they have; others are not looked through."""

MOVES = frozenset(
    {
        *("Concat", "DepthToSpace", "Flatten", "Reshape", "Slice"),
        *("SpaceToDepth", "Squeeze", "Transpose", "Unsqueeze"),
    }
)
"""Operators that proofs look through, too: the items of the result are those of the first operand, or of all operands
of Concat."""


def without_conversions(nodes: Sequence[NodeProto], outputs: Collection[str]) -> list[NodeProto]:
    """Operators with the same results, without conversions that change nothing.

    Integers in float32 that an operation cuts to the range of a memory type, and that the next one reads as float32
    again, are handed over as they are; so are those that the next one counts from the same zero point again. Each is
    proved from the operators in front: the number is whole, between the ends of the type, and not minus zero, which
    integers do not have. (NaN is not considered: no integer is defined for it.) Where integers in memory are only moved
    for one reader, they are moved as float32 in its place.

    Args:
        nodes: Operators of the standard domain, in execution order.
        outputs: Names of the values that are wanted.
    """
    rewriter = _Rewriter(nodes, outputs)
    kept = [node for node in nodes if not rewriter.leaves_out(node)]
    return _needed(kept, outputs)


def _needed(nodes: Sequence[NodeProto], outputs: Collection[str]) -> list[NodeProto]:
    needed, found = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            found.append(node)
    return found[::-1]


def _is_plain(node: NodeProto) -> bool:
    """Whether an operator is one to look at, with one result and all of its operands."""
    if len(node.output) != 1 or not node.output[0]:
        return False
    if node.op_type in MOVES or _is_pool(node):
        return len(node.input) > 0
    return OPERANDS.get(node.op_type) == len(node.input)


def _is_pool(node: NodeProto) -> bool:
    """Whether an operator gives the largest of some items of its operand: no window lies beside the map."""
    given = {attribute.name: list(attribute.ints) for attribute in node.attribute}
    kernel, pads, dilations = (given.get(name, []) for name in ("kernel_shape", "pads", "dilations"))
    unusual = {"auto_pad", "ceil_mode", "storage_order"}.intersection(given) or set(dilations) - {1}
    if node.op_type != "MaxPool" or unusual or len(pads) not in (0, 2 * len(kernel)):
        return False
    return all(0 <= pad < size for pad, size in zip(pads, kernel * 2, strict=False))


def _selected(node: NodeProto) -> Sequence[str]:
    """Operands whose items are the items of the result; none for operators that compute."""
    if node.op_type == "Concat":
        return list(node.input)
    return [node.input[0]] if node.op_type in MOVES or node.op_type == "MaxPool" else []


def _gives_integers(node: NodeProto) -> bool:
    """Whether an operator converts to a type of integers, which has no minus zero."""
    return node.op_type == "Cast" and integer_range(integer_of(node, "to") or 0) is not None


class _Rewriter:
    def __init__(self, nodes: Sequence[NodeProto], outputs: Collection[str]) -> None:
        self._producers = {node.output[0]: node for node in nodes if _is_plain(node)}
        self._outputs = outputs
        self._readers = Counter(name for node in nodes for name in node.input)
        self._readers.update(outputs)
        self._instead: dict[str, str] = {}
        self._found_ends: dict[str, tuple[float, float] | None] = {}
        self._whole: dict[str, bool] = {}
        self._never_minus_zero: dict[str, bool] = {}
        self._constants: dict[str, np.ndarray | None] = {}

    def leaves_out(self, node: NodeProto) -> bool:
        """Change a node's inputs to what is handed over, or all of it to a move; tell whether it is superfluous."""
        for position, name in enumerate(node.input):
            if name in self._instead:
                node.input[position] = self._instead[name]
        if node.op_type not in ("Cast", "Sub") or not _is_plain(node):
            return False
        before = self._unstored if node.op_type == "Cast" else self._recentred
        source = before(node, node.input[0])
        if source is not None and node.output[0] not in self._outputs:
            self._instead[node.output[0]] = source
            return True
        self._move_instead(node, before)
        return False

    def _move_instead(self, node: NodeProto, before: Callable[[NodeProto, str], str | None]) -> None:
        """Make a conversion of what was moved the move of what there was before."""
        move = self._producers.get(node.input[0])
        if move is None or move.op_type not in MOVES or self._readers[node.input[0]] != 1:
            return
        places = range(len(_selected(move)))
        sources = [before(node, move.input[place]) for place in places]
        if any(source is None for source in sources):
            return
        name, result = node.name, node.output[0]
        node.CopyFrom(move)
        node.name, node.output[0] = name, result
        for place, source in zip(places, sources, strict=True):
            node.input[place] = str(source)

    def _unstored(self, node: NodeProto, name: str) -> str | None:
        """What a conversion of a value to float32 gives back, if that was float32 before and fits the type between."""
        between = self._producers.get(name)
        if between is None or between.op_type != "Cast" or integer_of(node, "to") != FLOAT32:
            return None
        source = between.input[0]
        ends, limits = self._ends(source, FAR), integer_range(integer_of(between, "to") or 0)
        if ends is None or limits is None or not limits[0] <= ends[0] <= ends[1] <= limits[1]:
            return None
        return source if self._is_never_minus_zero(source, FAR) else None

    def _recentred(self, node: NodeProto, name: str) -> str | None:
        """What was shifted by a constant and is now shifted back."""
        shift = self._producers.get(name)
        if shift is None or shift.op_type != "Add":
            return None
        there, back, ends = self._number(shift.input[1]), self._number(node.input[1]), self._ends(shift.input[0], FAR)
        if there is None or there != back or there != round(there) or ends is None:
            return None
        small = max(abs(ends[0]), abs(ends[1])) + abs(there) < FLOAT32_INTEGERS
        return shift.input[0] if small and self._is_never_minus_zero(shift.input[0], FAR) else None

    def _ends(self, name: str, far: int) -> tuple[float, float] | None:
        """Ends of a float32 value that holds integers only; None when that is not evident; as `_is_whole`."""
        if name not in self._found_ends:
            node = self._producers.get(name)
            self._found_ends[name] = None if node is None or far <= 0 else self._ends_of(node, far)
        return self._found_ends[name]

    def _ends_of(self, node: NodeProto, far: int) -> tuple[float, float] | None:
        if node.op_type == "Add":
            shift, ends = self._number(node.input[1]), self._ends(node.input[0], far - 1)
            if ends is None or shift is None or shift != round(shift):
                return None
            sums = ends[0] + shift, ends[1] + shift
            return sums if max(abs(end) for end in (*ends, *sums)) < FLOAT32_INTEGERS else None
        selected = [self._ends(source, far - 1) for source in _selected(node)]
        known = [ends for ends in selected if ends is not None]
        if known and len(known) == len(selected):
            return min(low for low, _ in known), max(high for _, high in known)
        return self._cut(node, far)

    def _cut(self, node: NodeProto, far: int) -> tuple[float, float] | None:
        if node.op_type != "Clip":
            return None
        low, high = self._number(node.input[1]), self._number(node.input[2])
        if low is None or high is None or not low <= high or low != round(low) or high != round(high):
            return None
        return (low, high) if self._is_whole(node.input[0], far) else None

    def _is_whole(self, name: str, far: int) -> bool:
        """Whether a value is evidently an integer; what is too far away to tell counts as not, for good."""
        if name not in self._whole:
            node = self._producers.get(name)
            self._whole[name] = node is not None and far > 0 and self._gives_whole(node, far - 1)
        return self._whole[name]

    def _gives_whole(self, node: NodeProto, far: int) -> bool:
        if node.op_type == "Clip":
            return self._cut(node, far) is not None
        operands = node.input if node.op_type in ("Cast", "Mul") else _selected(node)
        if _gives_integers(node):
            return True
        if operands:
            return all(self._is_whole(operand, far) for operand in operands)
        return node.op_type in WHOLE

    def _is_never_minus_zero(self, name: str, far: int) -> bool:
        """Whether a value is evidently not minus zero; as `_is_whole`."""
        if name not in self._never_minus_zero:
            node = self._producers.get(name)
            found = node is not None and far > 0 and self._gives_no_minus_zero(name, node, far - 1)
            self._never_minus_zero[name] = found
        return self._never_minus_zero[name]

    def _gives_no_minus_zero(self, name: str, node: NodeProto, far: int) -> bool:
        if node.op_type == "Add":  # it is for two minus zeros only
            return any(self._is_never_minus_zero(term, far) for term in node.input)
        if _gives_integers(node):
            return True
        if node.op_type == "Cast" and not self._is_whole(node.input[0], far):  # what is almost zero may become zero
            return False
        operands = node.input if node.op_type in ("Floor", "Cast", "Clip") else _selected(node)
        if operands:
            return all(self._is_never_minus_zero(operand, far) for operand in operands)
        constant = self._constant(name)
        return constant is not None and not bool(np.any((constant == 0) & np.signbit(constant)))

    def _number(self, name: str) -> float | None:
        """A finite constant of float32 and no axes, which would give more to what it is added to."""
        found = self._constant(name)
        if found is None or found.dtype != np.float32 or found.ndim or not np.isfinite(found).all():
            return None
        return float(found[()])

    def _constant(self, name: str) -> np.ndarray | None:
        if name not in self._constants:
            node = self._producers.get(name)
            self._constants[name] = None if node is None else constant_of(node, MOST_BYTES)
        return self._constants[name]
