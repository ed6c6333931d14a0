"""A source model that is only a graph, for tests of what does not look into model files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from synap_core.api import INPUT_TYPE, GraphBuilder, Layer, LayerSupport, Origin, Slice, TensorInfo, TensorType


@dataclass
class GraphModel:
    """Layers and tensors, ids being names."""

    layers: Sequence[Layer]
    inputs: Sequence[str]
    outputs: Sequence[str]
    tensors: Mapping[str, TensorInfo]
    format: str = "tflite"
    layout: str = "nhwc"
    notes: Sequence[str] = field(default_factory=tuple)
    warnings: Sequence[str] = field(default_factory=tuple)

    def slice(self, part: Slice) -> bytes:
        """Name the layers of a part."""
        return ",".join(layer.name for layer in part.layers).encode()

    def canonical(self, part: Slice) -> ir.Model:
        """Nothing is known about the layers, so all of them are opaque."""
        build = GraphBuilder("toy")
        values = {name: build.input(name, ir.DataType.FLOAT, self.tensors[name].shape) for name in part.inputs}
        for layer in part.layers:
            with build.layer(Origin(layer.name, layer.type, layer.index or 0)):
                types = [TensorType(ir.DataType.FLOAT, self.tensors[name].shape) for name in layer.outputs]
                results = build.opaque(layer.type, [values[name] for name in layer.inputs], types, "only a graph")
                values |= {n: build.name_value(v, n, n) for n, v in zip(layer.outputs, results, strict=True)}
        return build.finish([values[name] for name in part.outputs])

    def support(self) -> list[LayerSupport]:
        """Nothing can be expressed."""
        layers = [layer for layer in self.layers if layer.index is not None]
        return [LayerSupport(layer=layer, status="opaque", reason="only a graph") for layer in layers]

    def anchors(self) -> tuple[float, ...]:
        """None."""
        return ()


def graph_model(
    inputs: Sequence[str],
    operators: Sequence[tuple[str, Sequence[str], Sequence[str]]],
    outputs: Sequence[str],
    state: Mapping[str, str] | None = None,
) -> GraphModel:
    """Build a model of (layer name, tensors read, tensors written)."""
    layers = [Layer(name=name, type=INPUT_TYPE, index=None, inputs=(), outputs=(name,)) for name in inputs]
    variables = state or {}
    for index, (name, read, written) in enumerate(operators):
        touched = frozenset({variables[name]}) if name in variables else frozenset[str]()
        layers.append(
            Layer(name=name, type="OP", index=index, inputs=tuple(read), outputs=tuple(written), state=touched)
        )
    names = [*inputs, *(tensor for _, _, written in operators for tensor in written)]
    tensors = {n: TensorInfo(id=n, name=n, shape=(1, 4), dtype="float32", layout="nhwc") for n in names}
    return GraphModel(layers=layers, inputs=inputs, outputs=outputs, tensors=tensors)


def six_graph() -> GraphModel:
    """c1 -> c2, c2 -> c3 -> c4, c2 -> c5 -> c6; outputs of c4 and c6."""
    edges = [("c1", "x"), ("c2", "t1"), ("c3", "t2"), ("c4", "t3"), ("c5", "t2"), ("c6", "t5")]
    return graph_model(["x"], [(name, [read], [f"t{name[1]}"]) for name, read in edges], ["t4", "t6"])
