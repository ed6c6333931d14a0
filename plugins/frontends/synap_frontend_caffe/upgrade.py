"""Make layers of the old kind (``layers {}``, V1) ones of Caffe 1.0 (``layer {}``)."""

from __future__ import annotations

from collections.abc import Iterator

from synap_frontend_caffe.schema import COMMON_PARAMETERS, LayerParameter, Message, V1LayerParameter
from synap_frontend_caffe.text import text_of

_IRREGULAR = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "IM2COL": "Im2col",
    "LRN": "LRN",
    "MVN": "MVN",
    "NONE": "",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
"""Types whose name of today is not the old one in capitalised words."""


def layers_of(network: Message) -> Iterator[Message]:
    """Layers of a ``NetParameter`` as ``LayerParameter``, whichever kind the file has."""
    yield from (upgraded(layer) for layer in network.layers)
    yield from network.layer


def upgraded(old: Message) -> Message:
    """The ``LayerParameter`` that means the same as a ``V1LayerParameter``.

    What only training reads (``blobs_lr``, ``weight_decay``, ``loss_weight``) is left out.
    """
    new = LayerParameter(name=text_of(old.name), type=type_name(old.type))
    for field in ("bottom", "top"):
        getattr(new, field).extend(map(text_of, getattr(old, field)))
    for field in ("blobs", "include", "exclude"):
        getattr(new, field).extend(getattr(old, field))
    for name in old.param:
        new.param.add(name=text_of(name))
    for field in COMMON_PARAMETERS:
        if old.HasField(field):
            getattr(new, field).CopyFrom(getattr(old, field))
    return new


def type_name(number: int) -> str:
    """Layer type of Caffe 1.0 for a number of the old enumeration."""
    word: str = V1LayerParameter.LayerType.Name(number)
    return _IRREGULAR.get(word, word.title().replace("_", ""))
