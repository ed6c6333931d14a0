"""What operations gave, on its way from the child process in which a model runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np

from synap_core.channel import Message
from synap_core.executor import SubgraphLayers
from synap_core.subgraphs import LayerOutput
from synap_core.tensors import QuantParams

KIND = "layers"

Values = dict[str, Any]
"""JSON values."""


def layers_message(found: Sequence[SubgraphLayers]) -> Message:
    """Put the outputs of operations into a message."""
    outputs = [item for subgraph in found for item in subgraph.outputs or ()]
    values: list[Values] = [
        {"name": item.model_name, "outputs": None if item.outputs is None else [_values(o) for o in item.outputs]}
        for item in found
    ]
    return Message(KIND, {"subgraphs": values}, tuple(item.items for item in outputs))


def layers_of(message: Message) -> list[SubgraphLayers]:
    """The outputs of operations that are in a message."""
    arrays = iter(message.arrays)
    return [
        SubgraphLayers(entry["name"], None if entry["outputs"] is None else tuple(_outputs(entry["outputs"], arrays)))
        for entry in cast("list[Values]", message.values["subgraphs"])
    ]


def _values(output: LayerOutput) -> Values:
    quant = None if output.quant is None else dataclasses.asdict(output.quant)
    return {
        "position": output.position,
        "layer": output.layer,
        "type": output.type,
        "name": output.name,
        "quant": quant,
    }


def _outputs(entries: Sequence[Values], arrays: Iterator[np.ndarray]) -> Iterator[LayerOutput]:
    for entry in entries:
        yield LayerOutput(
            position=entry["position"],
            layer=entry["layer"],
            type=entry["type"],
            name=entry["name"],
            items=next(arrays),
            quant=None if entry["quant"] is None else _quant(entry["quant"]),
        )


def _quant(values: Values) -> QuantParams:
    return QuantParams(
        dtype=values["dtype"],
        scheme=values["scheme"],
        scale=tuple(values["scale"]),
        zero_point=tuple(values["zero_point"]),
        axis=values["axis"],
        fractional_length=values["fractional_length"],
    )
