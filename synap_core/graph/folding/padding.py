"""Items added at the edges or cut off there."""

from __future__ import annotations

import numpy as np

from synap_core.graph.folding.movement import Move, as_stored, move, untouched
from synap_core.graph.folding.registry import Array, Computed, Constants, computes
from synap_core.graph.quantized import QuantizedTensor
from synap_core.graph.rules.padding import MODES, centred_pads, pads_by_axis

Pads = dict[int, tuple[int, int]]


@computes("Pad", any_type=True)
def pad(node: Constants) -> Computed:
    """The zero of a quantized constant is its zero point; other fill values would need integers of their own."""
    fill = node.items(2).reshape(-1)[0] if node.has(2) else 0
    return _pad(node, pads_by_axis(node, node.type(0).rank), node.word("mode", "constant", MODES), fill)


@computes("CenterCropPad", any_type=True)
def center_crop_pad(node: Constants) -> Computed:
    """The middle, or zeros around everything."""
    return _pad(node, centred_pads(node, node.type(0).shape), "constant", 0)


def _pad(node: Constants, pads: Pads, mode: str, fill: np.generic | int) -> Computed:
    source = as_stored(node)
    if isinstance(source, QuantizedTensor) and mode == "constant":
        if source.quant.axis is not None or fill:
            return None
        fill = source.quant.zero_point[0] if source.quant.zero_point else 0
    touched = (axis for axis, widths in pads.items() if any(widths))
    moved = move(source, Move(lambda array: padded(array, pads, mode, fill), untouched(*touched)))
    return None if moved is None else [moved]


def padded(array: Array, pads: Pads, mode: str, fill: np.generic | int) -> Array:
    """An array with other edges: what is to be cut off goes first, so that it is not copied either.

    Args:
        array: Any shape.
        pads: Items to add before and after each axis that has any; negative ones to cut off.
        mode: ``constant``, ``edge``, ``reflect`` or ``wrap``.
        fill: What a constant is filled with.
    """
    both = [pads.get(axis, (0, 0)) for axis in range(array.ndim)]
    cut = tuple(slice(max(-a, 0), dim - max(-b, 0)) for (a, b), dim in zip(both, array.shape, strict=True))
    widths = [(max(a, 0), max(b, 0)) for a, b in both]
    if mode == "constant":
        return np.pad(array[cut], widths, constant_values=fill)
    return np.asarray(np.pad(array[cut], widths, mode=mode))  # type: ignore[call-overload]  # any word of NumPy's
