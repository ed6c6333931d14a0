"""Names of operations as profiles of the board show them."""

from __future__ import annotations

from synap_core.api import Group
from synap_delegate_npu.support import Unrecognised, parts_of
from synap_delegate_npu.support.answer import ARITHMETIC, CUTS

PUBLISHED = {
    ("CONV1D", "NN"): "ConvolutionReluPoolingLayer2",
    ("CONV2D", "NN"): "ConvolutionReluPoolingLayer2",
    ("GROUPED_CONV1D", "NN"): "ConvolutionReluPoolingLayer2",
    ("GROUPED_CONV2D", "NN"): "ConvolutionReluPoolingLayer2",
    ("FULLY_CONNECTED", "TP"): "FullyConnectedReluLayer",
    ("POOL", "NN"): "ConvolutionReluPoolingLayer2",
    ("PERMUTE", "TP"): "TensorTranspose",
    ("SOFTMAX", "PPU"): "Softmax2Layer",
}
"""Names in published profiles, by operator and engine. A convolution has its name whether ReLU and pooling follow or
not. Source: SyNAP manual, model profiling."""


def profile_name(group: Group, engine: str) -> str:
    """Name of an operation in profiles.

    The published names stand for their operators on their engines. The others, of which nothing is published, follow
    the same scheme from the manual's names of operators: ``Tensor`` and the name for those that only move numbers,
    the name and those of the activations and pools joined to it (``Relu`` for whatever cuts) and ``Layer`` for the
    others. What is no operator of the hardware has the name of its first node.

    Args:
        group: The operation.
        engine: Where it runs; of several joined by ``+``, the first one counts.
    """
    try:
        main, *others = parts_of(group)
    except Unrecognised:
        return f"{group.nodes[0].op_type}Layer"
    known = PUBLISHED.get((main.record.name, engine.partition("+")[0]))
    if known is not None:
        return known
    if main.record.moves:
        return f"Tensor{_word(main.record.name)}"
    behind = [part.record.name for part in others if part.record.name not in ARITHMETIC]
    words = [_word(main.record.name), *("Relu" if name in CUTS else _word(name) for name in behind)]
    return f"{''.join(words)}Layer"


def _word(name: str) -> str:
    """A name of the manual in mixed case.

    >>> _word("DEPTH2SPACE"), _word("HARD_SWISH")
    ('Depth2Space', 'HardSwish')
    """
    return name.title().replace("_", "")
