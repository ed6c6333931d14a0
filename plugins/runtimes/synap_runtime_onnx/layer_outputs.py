"""Show what each operation of a model gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from synap_core.api import LayerOutput, ModelExecutionError, QuantParams, RuntimeModel
from synap_runtime_onnx.protos import PROTO_ERRORS, ModelProto, NodeProto, serialize
from synap_runtime_onnx.session import OnnxExecutable

Prepare = Callable[[bytes, str], bytes]
"""Makes plain operators of a model, given its content and its name; every output of the graph stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A value that an operation gives."""

    position: int
    layer: str
    type: str
    name: str
    quant: QuantParams | None


class InspectableOnnx(OnnxExecutable):
    """A model loaded into ONNX Runtime, which also shows what is between its operations.

    Args:
        model: The model.
        prepare: Makes it one that the library runs.
        notes: Lines that users must know of such models.

    Raises:
        ModelExecutionError: ONNX Runtime refuses the model, or it does not fit its metadata.
    """

    def __init__(
        self, model: RuntimeModel, prepare: Prepare = lambda content, _: content, notes: Sequence[str] = ()
    ) -> None:
        super().__init__(replace(model, model=prepare(model.model, model.name)))
        self.notes = (*notes, *self.notes)
        self._model, self._prepare = model, prepare

    def run_layers(self, inputs: Sequence[np.ndarray]) -> list[LayerOutput]:
        """Run once, in a session in which the results of all operations are outputs."""
        content, shown = _with_all_outputs(self._model)
        arrays = self.run_variant(self._prepare(content, self._model.name), inputs)
        return [
            LayerOutput(
                position=item.position,
                layer=item.layer,
                type=item.type,
                name=item.name,
                items=arrays[item.name],
                quant=item.quant if item.quant is None else replace(item.quant, dtype=str(arrays[item.name].dtype)),
            )
            for item in shown
            if item.name in arrays
        ]


def _with_all_outputs(model: RuntimeModel) -> tuple[bytes, list[_Shown]]:
    """The model with the results of all operations as outputs, behind its own."""
    try:
        parsed = ModelProto.FromString(model.model)
        shown = [item for position, node in enumerate(parsed.graph.node) for item in _results(position, node)]
        own = {value.name for value in parsed.graph.output}
        for name in dict.fromkeys(item.name for item in shown if item.name not in own):
            parsed.graph.output.add(name=name)
        return serialize(parsed), shown
    except PROTO_ERRORS as error:
        msg = "the model cannot be read as ONNX, so its operations cannot be shown"
        raise ModelExecutionError(msg, where=model.name) from error


def _results(position: int, node: NodeProto) -> Iterator[_Shown]:
    for number, name in enumerate(node.output):
        if name:
            yield _Shown(
                position=position,
                layer=node.name or f"{node.op_type}_{position}",
                type=node.op_type,
                name=name,
                quant=_quantization(node, f"output{number}"),
            )


def _quantization(node: NodeProto, stem: str) -> QuantParams | None:
    """What the attributes of an operation of a program say of a result; nothing for plain ONNX."""
    found = {item.name: item for item in node.attribute if item.name.startswith(f"{stem}_")}
    scale, zero_point = found.get(f"{stem}_scale"), found.get(f"{stem}_zero_point")
    if scale is None or zero_point is None or len(scale.floats) != len(zero_point.ints):
        return None
    axis = found.get(f"{stem}_axis")
    return QuantParams(
        dtype="",
        scheme="asymmetric_affine" if axis is None else "perchannel_symmetric_affine",
        scale=tuple(scale.floats),
        zero_point=tuple(zero_point.ints),
        axis=None if axis is None else axis.i,
    )
