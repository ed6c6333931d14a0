"""Transposes: cancelled, and moved through other operators until they can be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from synap_core.graph.annotations import quant_of
from synap_core.graph.edit import Attributes, Editor, is_operator
from synap_core.graph.passes.layouts import MOVABLE, Relaid, relaid
from synap_core.graph.passes.permutations import (
    Permutation,
    annotate_along,
    composed,
    inverse,
    is_identity,
    moves_data,
    permutation_of,
    permuted,
    quant_along,
)
from synap_core.graph.passes.rule import Rule
from synap_core.graph.passes.turning import bypass, bypass_refusal, moves, turned, turning_cost
from synap_core.graph.types import TensorType, shape_of, type_of

MAX_LOOK_AHEAD = 8
"""How far behind an operator is looked for transposes that undo the one to be moved, along all ways together."""


class CancelTransposes(Rule[tuple[ir.Node, ir.Node]]):
    """Two transposes become one, or none when the second undoes the first.

    Not when the value between them is a cut, or quantized in another way than the one before them. Where the values
    before and behind them must both stay (an input that is an output, say), an Identity takes their place.
    """

    name: ClassVar[str] = "cancel-transposes"
    op_types: ClassVar[frozenset[str]] = frozenset({"Transpose"})

    def match(self, node: ir.Node, editor: Editor) -> tuple[ir.Node, ir.Node] | None:
        """The first transpose and the second."""
        first = editor.producer(node.inputs[0], "Transpose")
        return None if first is None else (first, node)

    def check(self, found: tuple[ir.Node, ir.Node], editor: Editor) -> str | None:
        """Whether the value between them can be left out."""
        return bypass_refusal(editor, found[0])

    def rewrite(self, found: tuple[ir.Node, ir.Node], editor: Editor) -> None:
        """Transpose once, or not at all."""
        first, second = found
        source = bypass(first)
        old = second.outputs[0]
        both = composed(permutation_of(first), permutation_of(second))
        if is_identity(both) and editor.merge_refusal(old, source) is None:
            editor.merge(old, source)
            return
        op_type = "Identity" if is_identity(both) else "Transpose"
        attributes: Attributes = {} if is_identity(both) else {"perm": both}
        new = editor.insert(second, op_type, [source], [type_of(old)], attributes, origins=[second])
        editor.take_over(old, new.outputs[0])


@dataclass(frozen=True, slots=True)
class Move:
    """An operator that transposes are to be moved through.

    Attributes:
        node: The operator.
        permutation: Transposing what is in front of the transposes with it gives the operands.
        how: How it works there, or why it cannot.
    """

    node: ir.Node
    permutation: Permutation
    how: Relaid | str


class SinkTranspose(Rule[Move]):
    """Transposes in front of an operator that does not mind the layout move behind it.

    Constants among the operands are transposed themselves. An operand in another layout stops the move, unless the
    transpose that it needs moves fewer items than those that go.

    Not when an operand is a cut or quantized by the transpose; when axes or sizes that would change are computed; when
    the operator has more dimensions than the transpose.
    """

    name: ClassVar[str] = "sink-transpose"
    op_types: ClassVar[frozenset[str]] = MOVABLE

    def match(self, node: ir.Node, editor: Editor) -> Move | None:
        """The operator behind a transpose."""
        transposes = _transposes(editor, node.inputs)
        if not transposes:
            return None
        chosen = next((t for t in transposes if moves(t)), transposes[0])
        permutation = permutation_of(chosen)
        how = relaid(node, permutation)
        if how is None or (isinstance(how, Relaid) and not any(node.inputs[p] is chosen.outputs[0] for p in how.data)):
            return None
        return Move(node, permutation, how)

    def check(self, found: Move, editor: Editor) -> str | None:
        """Whether it can move, and saves more than it costs."""
        if isinstance(found.how, str):
            return found.how
        operands = _operands(found.node, found.how)
        for transpose in _transposes(editor, operands):
            reason = bypass_refusal(editor, transpose)
            if reason is not None:
                return reason
        back = inverse(found.permutation)
        if any(turning_cost(editor, value, back, reuse=False) for value in operands):
            # Ties go to one of two layouts, and so do all such moves: the other way they could be undone for ever.
            least = 0 if found.permutation < back else -1
            pays = found.permutation <= back and _balance(editor, found, operands) <= least
            return None if pays else "an operand is in another layout"
        return self._check_cost(found, editor, operands)

    def _check_cost(self, found: Move, editor: Editor, operands: Sequence[ir.Value]) -> str | None:  # noqa: ARG002 - as the base class has it
        return None

    def rewrite(self, found: Move, editor: Editor) -> None:
        """Compute in the layout in front of the transposes, and transpose the results."""
        node, how = found.node, found.how
        if isinstance(how, str):
            return
        new = relay(editor, found, how, before=node)
        for old, value, permutation in zip(node.outputs, new.outputs, how.outputs, strict=True):
            if is_identity(permutation):
                editor.take_over(old, value)
                continue
            annotate_along(value, old, inverse(permutation))
            if editor.is_pinned(old) or old.uses():
                attributes: Attributes = {"perm": permutation}
                behind = editor.insert(node, "Transpose", [value], [type_of(old)], attributes, origins=[node])
                editor.take_over(old, behind.outputs[0])
        editor.drop(node)


class SettleTranspose(SinkTranspose):
    """As `SinkTranspose`, where not more items are moved behind the operator than in front of it.

    A pass of its own, after `RaiseTranspose`: what one transpose does for all stays in front.

    Not when a transpose in front has other users, or a result more items than the operands.
    """

    name: ClassVar[str] = "settle-transpose"

    def _check_cost(self, found: Move, editor: Editor, operands: Sequence[ir.Value]) -> str | None:
        return None if _balance(editor, found, operands) <= 0 else "more items would be moved"


class RaiseTranspose(Rule[Move]):
    """A transpose moves in front of the operator that computes its operand, as far up as that costs nothing.

    Where several transposes meet at a value that others read, too, one does for all: it undoes moves of
    `SinkTranspose` that have not paid, and is a pass of its own after that.

    Not when the operand is needed in its own layout, too, or quantized in another way than the result; when the
    transposes in front would move more items.
    """

    name: ClassVar[str] = "raise-transpose"
    op_types: ClassVar[frozenset[str]] = frozenset({"Transpose"})

    def match(self, node: ir.Node, editor: Editor) -> Move | None:
        """The operator in front of a transpose."""
        producer = editor.producer(node.inputs[0])
        if producer is None or len(producer.outputs) != 1:
            return None
        permutation = inverse(permutation_of(node))
        how = relaid(producer, permutation)
        if not isinstance(how, Relaid) or how.outputs != (permutation,):
            return None
        cost = sum(turning_cost(editor, v, inverse(permutation)) for v in _operands(producer, how))
        own = type_of(node.outputs[0]).size
        return Move(producer, permutation, how) if cost <= own and moves(node) else None

    def check(self, found: Move, editor: Editor) -> str | None:
        """Whether nothing else needs the operand."""
        value = found.node.outputs[0]
        if editor.only_user(value) is None:
            return f"{value.name!r} is needed in its own layout, too"
        behind = value.consumers()[0].outputs[0]
        same = quant_of(value) is None or quant_along(quant_of(value), inverse(found.permutation)) == quant_of(behind)
        return None if same else f"{behind.name!r} is quantized in another way than {value.name!r}"

    def rewrite(self, found: Move, editor: Editor) -> None:
        """Transpose the operands."""
        transpose = found.node.outputs[0].consumers()[0]
        if isinstance(found.how, Relaid):
            new = relay(editor, found, found.how, before=transpose)
            editor.take_over(transpose.outputs[0], new.outputs[0])


def relay(editor: Editor, move: Move, how: Relaid, before: ir.Node) -> ir.Node:
    """Add the operator as it works in the layout in front of the transposes."""
    node, back = move.node, inverse(move.permutation)
    inputs = list(node.inputs)
    for position in how.data:
        value = inputs[position]
        if value is not None:
            inputs[position] = turned(editor, value, back, before)
    for position, array in how.parameters.items():
        inputs += [None] * (position + 1 - len(inputs))
        inputs[position] = editor.constant(array)
    types = [_behind(type_of(v), inverse(p)) for v, p in zip(node.outputs, how.outputs, strict=True)]
    return editor.insert(before, node.op_type, inputs, types, {**node.attributes, **how.attributes}, origins=[node])


def _behind(tensor: TensorType, permutation: Permutation) -> TensorType:
    return TensorType(tensor.dtype, permuted(tensor.shape, permutation))


def _operands(node: ir.Node, how: Relaid) -> list[ir.Value]:
    """Operands that change their layout, each once."""
    found = (node.inputs[position] for position in how.data)
    return list(dict.fromkeys(value for value in found if value is not None))


def _transposes(editor: Editor, values: Iterable[ir.Value | None]) -> list[ir.Node]:
    """The transposes that give some values."""
    return [node for value in values if (node := editor.producer(value, "Transpose")) is not None]


def _balance(editor: Editor, move: Move, operands: Iterable[ir.Value]) -> int:
    """How many items more are moved by the transposes that come than by those that go."""
    balance = 0
    for value in operands:
        transpose = editor.producer(value, "Transpose")
        balance += turning_cost(editor, value, inverse(move.permutation))
        if transpose is not None and moves(transpose) and _only_used_by(editor, value, move.node):
            balance -= type_of(value).size
    if isinstance(move.how, Relaid):
        for value, permutation in zip(move.node.outputs, move.how.outputs, strict=True):
            balance += _cost_behind(editor, value, permutation)
    return balance


def _only_used_by(editor: Editor, value: ir.Value, node: ir.Node) -> bool:
    return not editor.is_pinned(value) and all(usage.node is node for usage in value.uses())


def _cost_behind(editor: Editor, value: ir.Value, permutation: Permutation, depth: int = MAX_LOOK_AHEAD) -> int:
    """Items that are moved more when a value gets another layout.

    A user that transposes it back saves that; one with no other computed operand hands the layout on where that is
    cheaper; for the others, one transpose comes.
    """
    size = type_of(value).size
    users = value.uses()
    if not moves_data(shape_of(value), inverse(permutation)):
        return 0
    if len(users) > MAX_LOOK_AHEAD or not depth:
        return size
    stays = editor.is_pinned(value)
    balance = 0
    for node, _ in users:
        if is_operator(node, "Transpose") and permutation_of(node) == inverse(permutation):
            balance -= size
            continue
        how = relaid(node, permutation)
        cost = size
        if isinstance(how, Relaid) and len(how.outputs) == _computed_operands(node, how) == 1:
            cost = _cost_behind(editor, node.outputs[0], how.outputs[0], depth // len(users))
        balance += cost if cost < size else 0
        stays = stays or cost >= size
    return balance + size * int(stays)


def _computed_operands(node: ir.Node, how: Relaid) -> int:
    return sum(value.const_value is None for value in _operands(node, how))
