"""Turn a network with a batch other than 1 into one with batch 1.

Caffe's shapes follow the inputs, so new inputs are all it takes, but for two cases: a ``Reshape`` layer may have the
batch built in, and a layer may work along the axis of the batch, so that samples are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from synap_core.api import InputError
from synap_frontend_caffe.inputs import InputRecord
from synap_frontend_caffe.network import LayerRecord
from synap_frontend_caffe.schema import LayerParameter, Message

_AXES = {
    "ArgMax": "argmax_param",
    "Concat": "concat_param",
    "Crop": "crop_param",
    "Flatten": "flatten_param",
    "InnerProduct": "inner_product_param",
    "Reduction": "reduction_param",
    "Slice": "slice_param",
    "Softmax": "softmax_param",
    "Tile": "tile_param",
}
"""Layers along an axis, or from one on, and the field that has it."""

_OLD_AXES = {"Concat": "concat_dim", "Slice": "slice_dim"}
"""What the axis was called before."""

KEPT = (0, -1)
"""Sizes of a ``Reshape`` that go with any batch: that of the bottom, and what remains."""


def with_batch_one(inputs: Sequence[InputRecord]) -> tuple[list[InputRecord], int | None]:
    """The inputs with batch 1, and the batch they had, None when it is 1.

    Raises:
        InputError: The inputs have different sizes in front, and none has 1.
    """
    shapes = {record.name: record.shape for record in inputs if record.shape is not None and len(record.shape) > 1}
    sizes = sorted({shape[0] for shape in shapes.values()})
    # Where one input has batch 1, what the others have in front is no batch.
    if not sizes or sizes[0] == 1:
        return list(inputs), None
    if len(sizes) > 1:
        listed = ", ".join(f"{name!r} {list(shape)}" for name, shape in shapes.items())
        msg = f"the batch must be 1, and the inputs have different first dimensions: {listed}"
        raise InputError(msg, hint="give their shapes in the metafile, batch 1 in front")
    batch = sizes[0]
    return [_shortened(record, batch) for record in inputs], batch


def _shortened(record: InputRecord, batch: int) -> InputRecord:
    if record.shape is None or record.shape[0] != batch:
        return record
    return replace(record, shape=(1, *record.shape[1:]))


def adapted(layer: LayerRecord, batch: int) -> LayerRecord:
    """A layer without the batch in its parameters.

    Raises:
        InputError: It makes another first dimension than the batch.
    """
    options = layer.message.reshape_param
    dims = options.shape.dim
    if layer.type != "Reshape" or options.axis != 0 or (dims and dims[0] in KEPT):
        return layer
    if not dims or dims[0] != batch:
        raise _refusal(layer, batch)
    message = LayerParameter()
    message.CopyFrom(layer.message)
    message.reshape_param.shape.dim[0] = 1
    return replace(layer, message=message)


def check_batch(layers: Sequence[LayerRecord], ranks: Mapping[str, int], batch: int) -> None:
    """Raise for the first layer that does not keep samples apart.

    Args:
        layers: The layers.
        ranks: Number of dimensions of each tensor whose shape is known.
        batch: The batch of the file.

    Raises:
        InputError: There is one; names it.
    """
    for layer in layers:
        rank = ranks.get(layer.bottoms[0]) if layer.bottoms else None
        axis = _axis(layer.type, layer.message)
        if (rank and axis is not None and axis % rank == 0) or _has_statistics_of_batch(layer):
            raise _refusal(layer, batch)


def _has_statistics_of_batch(layer: LayerRecord) -> bool:
    """Tell whether a layer normalises with the statistics of all samples, rather than with those of the file."""
    options = layer.message.batch_norm_param
    return layer.type == "BatchNorm" and options.HasField("use_global_stats") and not options.use_global_stats


def _axis(kind: str, message: Message) -> int | None:
    if kind not in _AXES:
        return None
    options = getattr(message, _AXES[kind])
    old = _OLD_AXES.get(kind)
    if old is not None and options.HasField(old):
        return int(getattr(options, old))
    return None if kind == "ArgMax" and not options.HasField("axis") else int(options.axis)


def _refusal(layer: LayerRecord, batch: int) -> InputError:
    msg = f"the batch of {batch} cannot become 1: layer {layer.name!r} ({layer.type}) mixes samples"
    return InputError(msg, hint="give a network with batch 1, or the input's shape in the metafile, 1 in front")
