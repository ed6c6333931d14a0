"""Attention masks: how low the numbers in front of a Softmax matter, sample by sample.

A mask adds a very low number, or puts it in place, where a Softmax shall give zero. Ranges that cover such numbers
leave no steps for the others. But a number that is far below the largest one of its row gives next to nothing however
low it is, so all below a floor may be taken for the floor, in front of the Softmax and in what is added there:

- the floor of what a Softmax reads is the least largest number of a row, less `DEPTH`;
- of two tensors that are added, the floor of one is that of the sum, less the largest number of the other: whatever it
  is added to, the sum is then not above its floor;
- what is chosen from, and what is only moved, has the floor of what comes of it.

Floors hold only where all that reads a tensor is such a chain to a Softmax, and are applied only where a mask is seen
at work: elsewhere, ranges are what they are without this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from synap_core.graph.build import constant_of
from synap_core.quantization.operators import moved_inputs

DEPTH = 20.0
"""A number that is this much below the largest one of its row gives less than ``exp(-20)``, or 2.1e-9, of the sum."""

CLEAR = 20.0
"""Numbers that are masked are at least this much below all others of a mask."""

WHOLE_ROW = 1000.0
"""A row whose largest number is this much below that of another row is masked as a whole, and tells no floor."""

KINDS = {"Add": "sum", "Sub": "sum", "Mul": "scale", "Div": "scale", "Where": "choice"}
"""What nodes do to floors; all others move them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """What is added, or chosen from.

    Attributes:
        name: Name of the value or constant.
        sign: -1 for what is subtracted, otherwise 1.
        floored: Whether it has a floor: nothing else reads it, or what does has one, too.
        top: Largest number of a constant, with the sign applied; None when it is computed.
        masked: Largest number of a constant below the widest gap in its numbers, with the sign applied, if that is at
            least `CLEAR` wide; otherwise None.
    """

    name: str
    sign: int = 1
    floored: bool = False
    top: float | None = None
    masked: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A node in front of a Softmax.

    Attributes:
        kind: ``sum``, ``choice``, ``scale`` or ``move``.
        outputs: Names of what it computes.
        operands: What it computes that from, as far as it matters here.
        factor: What a ``scale`` multiplies with; positive.
    """

    kind: str
    outputs: tuple[str, ...]
    operands: tuple[Operand, ...]
    factor: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Masking:
    """A Softmax, and what is in front of it, perhaps a mask.

    Attributes:
        source: Name of what the Softmax reads.
        axis: Axis of its rows.
        steps: Nodes in front of it, backwards.
    """

    source: str
    axis: int
    steps: tuple[Step, ...]

    def reads(self) -> tuple[str, ...]:
        """Names of the values that tell the floors."""
        telling = [item for step in self.steps if step.kind in ("sum", "choice") for item in step.operands]
        return tuple(dict.fromkeys((self.source, *(item.name for item in telling if item.top is None))))

    def floored(self) -> tuple[str, ...]:
        """Names of the values and constants that have floors."""
        return (self.source, *(item.name for step in self.steps for item in step.operands if item.floored))


def find_maskings(graph: ir.Graph) -> tuple[Masking, ...]:
    """Find where a Softmax has something added to, or chosen for, what it reads, which may be a mask.

    Returns:
        What is in front of each Softmax that could have floors, masked or not, for they may read the same; nothing if
        none of them may be masked.
    """
    floored: set[ir.Value] = set()
    order = {node: position for position, node in enumerate(graph)}
    constants = [value for value in graph.initializers.values() if value.const_value is not None]
    for node in reversed(graph):
        floored.update(value for value in node.outputs if _has_floor(value, floored))
    floored.update(value for value in (*graph.inputs, *constants) if _has_floor(value, floored))
    found = []
    for node in graph:
        source = node.inputs[0] if _is_softmax(node) else None
        if source is None or source not in floored:
            continue
        nodes = sorted(_nodes_before(source, floored), key=order.__getitem__, reverse=True)
        steps = tuple(_step(item, floored) for item in nodes)
        found.append(Masking(source=str(source.name), axis=node.attributes.get_int("axis", -1), steps=steps))
    return tuple(found) if any(_may_mask(step) for masking in found for step in masking.steps) else ()


def floors_of(maskings: Sequence[Masking], values: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Floors that hold for one sample.

    Args:
        maskings: Where masks may be.
        values: All values that these read, for the sample.

    Returns:
        Floor of each value and constant that has one; -inf where all its numbers matter.
    """
    found: dict[str, float] = {}
    for masking in maskings:
        # What several of them read matters where it matters to one.
        for name, floor in _floors(masking, values).items():
            found[name] = min(floor, found.get(name, math.inf))
    return found


def _floors(masking: Masking, values: Mapping[str, np.ndarray]) -> dict[str, float]:
    found = {masking.source: _lowest_peak(values[masking.source], masking.axis) - DEPTH}
    seen = False
    for step in masking.steps:
        after = min(found[name] for name in step.outputs if name in found)
        tops = [_top(item, values) if step.kind == "sum" else 0.0 for item in step.operands]
        for position, operand in enumerate(step.operands):
            floor = after / step.factor - sum(tops[:position] + tops[position + 1 :])
            if not math.isfinite(floor):  # of what is added to nothing but -infinity, no number tells
                floor = -math.inf
            seen = seen or _masks(step, operand, floor, values)
            if operand.floored:
                found[operand.name] = min(floor, found.get(operand.name, math.inf))
    return found if seen else dict.fromkeys(found, -math.inf)


def _lowest_peak(array: np.ndarray, axis: int) -> float:
    """Least of the largest numbers of rows that are not masked as a whole; -inf when there is none."""
    if not array.size:
        return -math.inf
    peaks = array.max(axis=axis)
    finite = peaks[np.isfinite(peaks)].astype(np.float64)
    return float(finite[finite > finite.max() - WHOLE_ROW].min()) if finite.size else -math.inf


def _top(operand: Operand, values: Mapping[str, np.ndarray]) -> float:
    if operand.top is not None:
        return operand.top
    array = values[operand.name]
    if not array.size:
        return 0.0
    return float(array.max()) if operand.sign > 0 else -float(array.min())


def _masks(step: Step, operand: Operand, floor: float, values: Mapping[str, np.ndarray]) -> bool:
    """Whether an operand has numbers that are a mask: below the floor, and clearly apart from the others."""
    if step.kind == "choice":
        return _top(operand, values) < floor
    if step.kind != "sum":
        return False
    if operand.top is not None:
        return operand.masked is not None and operand.masked < floor
    if not _is_computed(step):
        return False
    array = values[operand.name] if operand.sign > 0 else -values[operand.name]
    low = array < floor
    if not low.any():
        return False
    return float(array.min(where=~low, initial=math.inf)) - float(array.max(where=low, initial=-math.inf)) >= CLEAR


def _is_softmax(node: ir.Node) -> bool:
    return not node.domain and node.op_type == "Softmax"


def _has_floor(value: ir.Value, floored: set[ir.Value]) -> bool:
    """Whether all that reads a value is in front of a Softmax and nothing else."""
    if value.dtype != ir.DataType.FLOAT or value.is_graph_output() or not value.uses():
        return False
    return all(_leads_to_softmax(use.node, use.idx, floored) for use in value.uses())


def _leads_to_softmax(node: ir.Node, position: int, floored: set[ir.Value]) -> bool:
    if _is_softmax(node):
        return True
    passes = position in _positions(node)
    return passes and all(value in floored or not (value.uses() or value.is_graph_output()) for value in node.outputs)


def _positions(node: ir.Node) -> tuple[int, ...]:
    """Inputs whose floors follow from those of the output."""
    if node.domain:
        return ()
    match node.op_type:
        case "Add" | "Max" | "Min" | "Concat":
            return tuple(range(len(node.inputs)))
        case "Where":
            return (1, 2)
        case "Sub" | "Clip":
            return (0,)
        case "Mul" if _number(node.inputs[0]) is not None:
            return (1,)
        case "Mul" | "Div" if _number(node.inputs[1]) is not None:
            return (0,)
    return (0,) if moved_inputs(node) else ()


def _number(value: ir.Value | None) -> float | None:
    """A constant that is one positive number; None for any other value."""
    items = constant_of(value)
    number = math.nan if items is None or items.size != 1 else float(items.reshape(-1)[0])
    return number if 0 < number < math.inf else None


def _factor(node: ir.Node) -> float:
    """The positive number that a node multiplies with."""
    number = next((found for value in node.inputs if (found := _number(value)) is not None), 1.0)
    return 1 / number if node.op_type == "Div" else number


def _nodes_before(source: ir.Value, floored: set[ir.Value]) -> set[ir.Node]:
    found: set[ir.Node] = set()
    pending = [source]
    while pending:
        node = pending.pop().producer()
        if node is None or node in found or not _positions(node):
            continue
        found.add(node)
        operands = [node.inputs[position] for position in _positions(node)]
        pending += [value for value in operands if value is not None and value in floored]
    return found


def _step(node: ir.Node, floored: set[ir.Value]) -> Step:
    kind = KINDS.get(node.op_type, "move")
    positions = (0, 1) if kind == "sum" else _positions(node)
    operands = [(position, node.inputs[position]) for position in positions]
    return Step(
        kind=kind,
        outputs=tuple(str(value.name) for value in node.outputs if value in floored),
        operands=tuple(_operand(node, at, value, floored) for at, value in operands if value is not None),
        factor=_factor(node) if kind == "scale" else 1.0,
    )


def _operand(node: ir.Node, position: int, value: ir.Value, floored: set[ir.Value]) -> Operand:
    sign = -1 if node.op_type == "Sub" and position == 1 else 1
    floored_here = value in floored and sign > 0
    if value.const_value is None:
        return Operand(name=str(value.name), sign=sign, floored=floored_here)
    numbers = np.unique(sign * value.const_value.numpy().astype(np.float64))
    top = float(numbers[-1]) if numbers.size else 0.0
    gaps = np.diff(numbers)
    widest = int(gaps.argmax()) if gaps.size else -1
    masked = float(numbers[widest]) if gaps.size and gaps[widest] >= CLEAR else None
    return Operand(name=str(value.name), sign=sign, floored=floored_here, top=top, masked=masked)


def _may_mask(step: Step) -> bool:
    if step.kind == "choice":
        return True
    return step.kind == "sum" and (_is_computed(step) or any(item.masked is not None for item in step.operands))


def _is_computed(step: Step) -> bool:
    """Whether a node has no constant operand: what a constant is added to is no mask by that."""
    return all(item.top is None for item in step.operands)
