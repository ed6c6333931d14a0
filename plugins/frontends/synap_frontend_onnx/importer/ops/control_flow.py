"""Branches whose condition and loops whose length are constant: what would run is imported."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from synap_core.api import TensorType, shape_of
from synap_frontend_onnx.importer.call import Call
from synap_frontend_onnx.importer.registry import UnsupportedError, operator

MAX_ITERATIONS = 2_000
"""Of one loop that is written out."""


@operator("If", since=1)
def branch(call: Call) -> list[ir.Value]:
    """The branch that a constant condition chooses."""
    chosen = bool(call.constant(0, "condition").any())
    return call.run_body("then_branch" if chosen else "else_branch", [], len(call.results))


@operator("Loop", since=1)
def loop(call: Call) -> list[ir.Value]:
    """Iterations one after the other."""
    limit = MAX_ITERATIONS + 1 if call.optional(0) is None else _number(call, 0, "trip count")
    go_on = call.optional(1) is None or bool(_number(call, 1, "condition"))
    carried = [call.input(place) for place in range(2, len(call.inputs))]
    pieces: list[list[ir.Value]] = [[] for _ in call.results[len(carried) :]]
    iteration = 0
    while iteration < limit and go_on:
        _check_iterations(iteration + 1)
        number = call.build.constant(np.asarray(iteration, np.int64))
        condition = call.build.constant(np.asarray(True))
        results = call.run_body("body", [number, condition, *carried], 1 + len(carried) + len(pieces))
        go_on = _truth(results[0])
        carried, added = results[1 : len(carried) + 1], results[len(carried) + 1 :]
        for piece, value in zip(pieces, added, strict=True):
            piece.append(call.emit("Unsqueeze", value, call.build.constant([0])))
        iteration += 1
    types = call.results[len(carried) :]
    return [*carried, *(_joined(call, piece, 0, kind) for piece, kind in zip(pieces, types, strict=True))]


def _number(call: Call, place: int, what: str) -> int:
    items = call.constant(place, what).reshape(-1)
    if items.size != 1:
        msg = f"its {what} has {items.size} items"
        raise UnsupportedError(msg)
    return int(items[0])


def _truth(value: ir.Value) -> bool:
    if value.const_value is None:
        msg = "whether it goes on depends on data"
        raise UnsupportedError(msg)
    return bool(value.const_value.numpy().any())


def _check_iterations(number: int) -> None:
    if number > MAX_ITERATIONS:
        msg = f"it has more than {MAX_ITERATIONS} iterations"
        raise UnsupportedError(msg)


def _joined(call: Call, pieces: Sequence[ir.Value], axis: int, kind: TensorType | None) -> ir.Value:
    """Put together what the iterations gave."""
    if pieces:
        return pieces[0] if len(pieces) == 1 else call.emit("Concat", *pieces, axis=axis)
    if kind is None or 0 not in kind.shape:
        msg = "it has no iterations, and the shape of its results is not known"
        raise UnsupportedError(msg)
    return call.build.constant(np.zeros(kind.shape, kind.dtype.numpy()))


@operator("Scan", since=9)
def scan(call: Call) -> list[ir.Value]:
    """Iterations over the items of sequences, which have static lengths."""
    count = call.integer("num_scan_inputs", 0)
    states = [call.input(place) for place in range(len(call.inputs) - count)]
    scanned = [call.input(place) for place in range(len(states), len(call.inputs))]
    if not 0 < count <= len(call.inputs):
        msg = f"it has {count} sequences among {len(call.inputs)} operands"
        raise UnsupportedError(msg)
    axes = _axes(call, "scan_input_axes", [len(shape_of(value)) for value in scanned])
    lengths = {shape_of(value)[axis] for value, axis in zip(scanned, axes, strict=True)}
    if len(lengths) != 1:
        msg = f"its sequences have the lengths {sorted(lengths)}"
        raise UnsupportedError(msg)
    (length,) = lengths
    _check_iterations(length)
    backwards = _flags(call, "scan_input_directions", count)
    pieces: list[list[ir.Value]] = [[] for _ in call.results[len(states) :]]
    for step in range(length):
        places = [length - 1 - step if back else step for back in backwards]
        items = [
            call.emit("Gather", value, call.build.constant(np.asarray(place, np.int64)), axis=axis)
            for value, place, axis in zip(scanned, places, axes, strict=True)
        ]
        results = call.run_body("body", [*states, *items], len(states) + len(pieces))
        states, added = results[: len(states)], results[len(states) :]
        for piece, value in zip(pieces, added, strict=True):
            piece.append(value)
    return [*states, *_sequences(call, pieces, call.results[len(states) :])]


def _sequences(call: Call, pieces: Sequence[list[ir.Value]], types: Sequence[TensorType | None]) -> list[ir.Value]:
    """Outputs of a scan: items of the iterations along an axis each, the last one first where it says so."""
    ranks = [len(shape_of(piece[0])) + 1 if piece else 1 for piece in pieces]
    axes = _axes(call, "scan_output_axes", ranks)
    found = []
    for piece, axis, back, kind in zip(
        pieces, axes, _flags(call, "scan_output_directions", len(pieces)), types, strict=True
    ):
        ordered = piece[::-1] if back else piece
        items = [call.emit("Unsqueeze", value, call.build.constant([axis])) for value in ordered]
        found.append(_joined(call, items, axis, kind))
    return found


def _axes(call: Call, name: str, ranks: Sequence[int]) -> list[int]:
    axes = call.integers(name) or [0] * len(ranks)
    if len(axes) != len(ranks) or any(not -rank <= axis < rank for axis, rank in zip(axes, ranks, strict=True)):
        msg = f"its attribute {name!r} is {axes}; the sequences have {list(ranks)} dimensions"
        raise UnsupportedError(msg)
    return [axis % rank for axis, rank in zip(axes, ranks, strict=True)]


def _flags(call: Call, name: str, count: int) -> list[int]:
    flags = call.integers(name) or [0] * count
    if len(flags) != count:
        msg = f"its attribute {name!r} has {len(flags)} entries for {count} sequences"
        raise UnsupportedError(msg)
    return flags
