"""Spectra of signals; the last dimension holds real and imaginary parts."""

from __future__ import annotations

from synap_core.graph.rules.registry import Operands, rule
from synap_core.graph.types import TensorType


@rule("DFT")
def dft(node: Operands) -> list[TensorType]:
    """As the input ``(N, ..., 1 or 2)``, but complex, and along the axis as long as asked for.

    Of a real signal one side can be had, and the real signal again of that.
    """
    first = node.ranked(0, 2)
    node.require(first.shape[-1] in (1, 2), f"signal of shape {list(first.shape)}, whose last dimension must be 1 or 2")
    axis = node.axis(first.rank, 1)
    node.require(axis < first.rank - 1, f"axis {axis} holds the parts of the numbers")
    one_sided, back = node.flag("onesided"), node.flag("inverse")
    if one_sided:
        wanted = 2 if back else 1
        node.require(first.shape[-1] == wanted, f"the last dimension is {first.shape[-1]} where it must be {wanted}")
    natural = 2 * (first.shape[axis] - 1) if one_sided and back else first.shape[axis]
    length = _positive(node, 1) if node.has(1) else natural
    length = length // 2 + 1 if one_sided and not back else length
    parts = 1 if one_sided and back else 2
    return [TensorType(first.dtype, (*first.shape[:axis], length, *first.shape[axis + 1 : -1], parts))]


def _positive(node: Operands, position: int) -> int:
    found = node.known_integer(position)
    node.require(found > 0, f"input {position} is {found}, which is not positive")
    return found


@rule("STFT")
def stft(node: Operands) -> list[TensorType]:
    """``(N, frames, bins, 2)`` of a signal ``(N, length, 1 or 2)``."""
    first = node.ranked(0, 3, 3)
    batch, length, parts = first.shape
    node.require(parts in (1, 2), f"signal of shape {list(first.shape)}, whose last dimension must be 1 or 2")
    step, frame = _positive(node, 1), _frame_length(node)
    node.require(0 < frame <= length, f"frames of {frame} items of a signal of {length}")
    one_sided = node.flag("onesided", 1)
    node.require(parts == 1 or not one_sided, "one side of the spectrum of a complex signal")
    bins = frame // 2 + 1 if one_sided else frame
    return [TensorType(first.dtype, (batch, (length - frame) // step + 1, bins, 2))]


def _frame_length(node: Operands) -> int:
    """Length of the frames: that of the window, of the last input, or both."""
    if not node.has(2):
        return _positive(node, 3)
    window = node.ranked(2, 1, 1).shape[0]
    if node.has(3):
        frame = _positive(node, 3)
        node.require(frame == window, f"frames of {frame} items under a window of {window}")
    return window
