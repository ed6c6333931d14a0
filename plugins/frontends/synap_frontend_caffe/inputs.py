"""Inputs of a network: declared ones, ``Input`` layers, and data layers that inference replaces."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from synap_core.api import BoundarySpec, InputError
from synap_frontend_caffe.schema import Message

INPUT = "Input"

DATA_TYPES = frozenset({"Data", "DummyData", "HDF5Data", "ImageData", "MemoryData", "WindowData"})
"""Layers that read samples from elsewhere: what they give is an input of the model."""

MAX_RANK = 32
MAX_ITEMS = (1 << 31) - 1
"""What a blob of Caffe may have."""

OLD_RANK = 4
"""Numbers of ``input_dim`` that belong to one input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRecord:
    """An input of the network.

    Attributes:
        name: Its blob.
        shape: None when the file does not give it.
        origin: What declares it, for messages.
    """

    name: str
    shape: tuple[int, ...] | None
    origin: str = "the network"


def declared_inputs(network: Message) -> list[InputRecord]:
    """Inputs that stand at the head of the file, as ``input`` with ``input_shape`` or ``input_dim``.

    Raises:
        InputError: The shapes do not go with the inputs.
    """
    if network.input_shape and network.input_dim:
        msg = "the network has both 'input_shape' and 'input_dim'"
        raise InputError(msg, hint="remove 'input_dim'")
    old = [network.input_dim[at : at + OLD_RANK] for at in range(0, len(network.input_dim), OLD_RANK)]
    shapes = [shape.dim for shape in network.input_shape] or old
    if shapes and (len(shapes) != len(network.input) or len(network.input_dim) % OLD_RANK):
        given = f"{len(network.input_dim)} 'input_dim'" if network.input_dim else f"{len(shapes)} 'input_shape'"
        msg = f"the network has {len(network.input)} 'input' and {given}"
        raise InputError(msg, hint="give one 'input_shape', or four 'input_dim', for each input")
    listed: Sequence[Sequence[int] | None] = shapes or [None] * len(network.input)
    return [_record(name, shape, "the network") for name, shape in zip(network.input, listed, strict=True)]


def is_source(layer: Message) -> bool:
    """Tell whether a layer gives samples; a ``Python`` layer that reads nothing does."""
    return layer.type == INPUT or layer.type in DATA_TYPES or (layer.type == "Python" and not layer.bottom)


def inputs_of_layer(layer: Message) -> list[InputRecord]:
    """The results of an ``Input`` layer or a data layer as inputs.

    Raises:
        InputError: Its shapes do not go with its tops.
    """
    shapes = list(_shapes(layer))
    tops = list(layer.top)
    if len(shapes) == 1 and layer.type != "MemoryData":
        shapes *= len(tops)
    if shapes and len(shapes) != len(tops):
        msg = f"layer {layer.name!r} ({layer.type}) has {len(tops)} tops and {len(shapes)} shapes"
        raise InputError(msg, hint="give one shape, or one for each top")
    origin = f"layer {layer.name!r} ({layer.type})"
    listed: Sequence[Sequence[int] | None] = shapes or [None] * len(tops)
    return [_record(top, shape, origin) for top, shape in zip(tops, listed, strict=True)]


def _shapes(layer: Message) -> Iterator[Sequence[int]]:
    if layer.type == INPUT:
        yield from (shape.dim for shape in layer.input_param.shape)
    elif layer.type == "DummyData":
        options = layer.dummy_data_param
        yield from (shape.dim for shape in options.shape)
        old = (options.num, options.channels, options.height, options.width)
        yield from zip(*old, strict=False)
    elif layer.type == "MemoryData":
        options = layer.memory_data_param
        shapes = ((options.batch_size, options.channels, options.height, options.width), (options.batch_size,))
        yield from shapes[: len(layer.top)]


def preparation(layer: Message) -> str:
    """What a data layer does to its samples, as advice for the metafile; empty when it gives them as they are."""
    options = [layer.transform_param, *(getattr(layer, name) for name in ("data_param", "image_data_param"))]
    scales = [item.scale for item in options if item.scale != 1]
    files = [item.mean_file for item in options if item.mean_file]
    means = [f"{value:g}" for value in layer.transform_param.mean_value]
    if not (layer.top and (scales or files or means)):
        return ""
    done = [f"subtracts the mean in {files[0]!r}"] if files else []
    done += [f"subtracts [{', '.join(means)}]"] if means else []
    done += [f"multiplies by {scales[0]:g}"] if scales else []
    advice = [f"means: [{', '.join(means)}]" if means else "means"] if means or files else []
    advice += [f"scale: {1 / scales[0]:g}" if scales[0] else "scale"] if scales else []
    return (
        f"layer {layer.name!r} ({layer.type}), which became the input {layer.top[0]!r}, {' and '.join(done)}: "
        f"give that in the metafile as {', '.join(advice)}"
    )


def _record(name: str, shape: Sequence[int] | None, origin: str) -> InputRecord:
    if shape is not None:
        _check(name, shape)
    return InputRecord(name=name, shape=None if shape is None else tuple(shape), origin=origin)


def _check(name: str, shape: Sequence[int]) -> None:
    if not 1 <= len(shape) <= MAX_RANK or any(size < 1 for size in shape) or math.prod(shape) > MAX_ITEMS:
        msg = f"input {name!r} has the shape {list(shape)[: MAX_RANK + 1]}"
        raise InputError(msg, hint=f"a shape has up to {MAX_RANK} sizes of 1 or more, and at most {MAX_ITEMS} items")


def with_shapes(inputs: Sequence[InputRecord], asked: Sequence[BoundarySpec]) -> list[InputRecord]:
    """Inputs with the shapes that a metafile gives, by name or by position; they replace those of the file.

    Raises:
        InputError: A shape has another number of dimensions than that of the file.
    """
    named = any(spec.name is not None for spec in asked)
    found = []
    for position, record in enumerate(inputs):
        specs = [s for s in asked if is_name_of(s.name, record.name)] if named else asked[position : position + 1]
        shape = next((spec.shape for spec in specs if spec.shape is not None), None)
        found.append(record if shape is None else _reshaped(record, shape))
    return found


def is_name_of(asked: str | None, name: str) -> bool:
    """Whether a name in a metafile, in which ``:`` may be written ``/``, means a blob."""
    return asked is not None and asked.replace(":", "/") == name.replace(":", "/")


def _reshaped(record: InputRecord, shape: Sequence[int]) -> InputRecord:
    if record.shape is not None and len(record.shape) != len(shape):
        msg = f"the metafile gives input {record.name!r} the shape {list(shape)}; it has {len(record.shape)} dimensions"
        raise InputError(msg, hint=f"give a shape like {list(record.shape)}")
    _check(record.name, shape)
    return replace(record, shape=tuple(shape))


def require_shapes(inputs: Sequence[InputRecord], asked: Sequence[BoundarySpec]) -> None:
    """Raise for the first input without a shape; one that is not among those named in a metafile is cut away.

    Raises:
        InputError: There is one; says how to give it.
    """
    names = [spec.name for spec in asked if spec.name is not None]
    for record in inputs:
        if record.shape is None and (not names or any(is_name_of(name, record.name) for name in names)):
            listing = ", ".join(f"{{name: {item.name}, shape: [1, C, H, W]}}" for item in inputs if item.shape is None)
            msg = f"{record.origin} gives {record.name!r}, and the file does not say its shape"
            raise InputError(msg, hint=f"give it in the metafile: inputs: [{listing}]")
