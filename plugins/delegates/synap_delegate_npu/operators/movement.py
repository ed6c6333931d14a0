"""Operations that move numbers and compute none: they work on the stored integers as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from synap_delegate_npu.operators.integers import NARROW
from synap_delegate_npu.program.body import Attributes, Body
from synap_delegate_npu.program.operation import Form, Request, Tensor
from synap_delegate_npu.program.registry import Build, operator

MOVES = {
    "Copy": "Identity",
    "Depth2Space": "DepthToSpace",
    "ExpandBroadcast": "Expand",
    "Gather": "Gather",
    "GatherElements": "GatherElements",
    "GatherNd": "GatherND",
    "Permute": "Transpose",
    "Reshape": "Reshape Flatten Unsqueeze",
    "ReverseSequence": "ReverseSequence",
    "ScatterElements": "ScatterElements",
    "ScatterNd": "ScatterND",
    "Select": "Where",
    "Slice": "Slice",
    "Space2Depth": "SpaceToDepth",
    "Split": "Split",
    "Squeeze": "Squeeze",
    "Tile": "Tile",
}
"""Operators by name, with those of the canonical graph that they express."""

DATA = {"Concat": None, "ScatterElements": (0, 2), "ScatterND": (0, 2), "Where": (1, 2)}
"""Places of the operands whose items are moved, where it is not the first alone; None for all of them."""

ATTRIBUTES = {
    "allowzero": "INT: 1 when a size of 0 is one, and not that of the input",
    "axis": "INT: axis along which items are moved",
    "batch_axis": "INT: axis of the sequences",
    "batch_dims": "INT: leading axes that items and indices share",
    "blocksize": "INT: height and width of the blocks",
    "mode": "STRING: order of the items of a block: `DCR` or `CRD`",
    "num_outputs": "INT: number of equal parts",
    "perm": "INTS: the axis of the input that each axis of the output is",
    "time_axis": "INT: axis of the items in a sequence",
}
"""Attributes of the standard operators; they are the same here."""

OWN = {
    "Concat": "axis",
    "DepthToSpace": "blocksize mode",
    "Flatten": "axis",
    "Gather": "axis",
    "GatherElements": "axis",
    "GatherND": "batch_dims",
    "Reshape": "allowzero",
    "ReverseSequence": "batch_axis time_axis",
    "ScatterElements": "axis",
    "SpaceToDepth": "blocksize",
    "Split": "axis num_outputs",
    "Transpose": "perm",
}
"""Attributes of each; those that are not here have none."""

FLOAT32_ONLY = frozenset({"DepthToSpace", "SpaceToDepth", "Where"})
"""Standard operators that runtimes lack for integers of 16 bits; float32 holds these."""


def moved(request: Request) -> Form | None:
    """Move stored items as the operator of the canonical graph does.

    All tensors of items have the same type and quantization. Operands that say where items go, and attributes, are
    those of the standard operator: {standard}.
    """
    node = request.node
    data = {value: request.tensors[value] for value in _data(node)}
    tensors = [*data.values(), *request.outputs]
    if request.tail or all(tensor.constant is not None for tensor in tensors) or not _same_meaning(tensors):
        return None
    if node.attributes.get_string("reduction", "none") != "none":
        return None
    operands = request.operands

    def lower(body: Body, inputs: Sequence[ir.Value]) -> list[ir.Value]:
        given = dict(zip(operands, inputs, strict=True))
        wide = node.op_type in FLOAT32_ONLY and tensors[0].dtype in NARROW
        if wide:
            given.update((value, body.cast(given[value], np.float32)) for value in data)
        found = body.inline([node], given)
        results = [found[value] for value in request.results]
        return [body.cast(value, tensors[0].dtype) for value in results] if wide else results

    inputs = tuple(request.tensors[value] for value in operands)
    return Form(inputs=inputs, attributes=_attributes(node), lower=lower)


def _data(node: ir.Node) -> list[ir.Value]:
    """Operands whose items are moved; the others say where to."""
    places = DATA.get(node.op_type, (0,))
    operands = node.inputs if places is None else [node.inputs[place] for place in places]
    return [value for value in operands if value is not None]


def _same_meaning(tensors: Sequence[Tensor]) -> bool:
    """Whether an item stands for the same in all tensors; not where steps differ from channel to channel."""
    first = tensors[0]
    if first.quant is not None and first.quant.axis is not None:
        return False
    return all((tensor.dtype, tensor.quant) == (first.dtype, first.quant) for tensor in tensors)


def _attributes(node: ir.Node) -> Attributes:
    found = ((name, node.attributes.get(name)) for name in OWN.get(node.op_type, "").split())
    return {name: attribute.value for name, attribute in found if attribute is not None}


def _register(name: str, canonical: str) -> Build:
    words = canonical.split()
    attributes = {own: ATTRIBUTES[own] for word in words for own in OWN.get(word, "").split()}
    return operator(name, *words, attributes=attributes)(_copy(moved, name, canonical))


def _copy(build: Build, name: str, canonical: str) -> Build:
    """The same builder under the documentation of one operator."""

    def own(request: Request) -> Form | None:
        return build(request)

    own.__name__ = name
    own.__doc__ = (build.__doc__ or "").format(standard=canonical.replace(" ", ", "))
    return own


for _name, _canonical in MOVES.items():
    _register(_name, _canonical)
