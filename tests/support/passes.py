"""Small canonical graphs, and normalising them under the eye of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from synap_core.graph import passes
from synap_core.graph.annotations import Origin, origins_of, quant_of, set_quant
from synap_core.graph.build import Attribute, GraphBuilder
from synap_core.graph.passes import Pass, Report, Rule
from synap_core.graph.types import TensorType, type_of
from synap_core.tensors import QuantParams

FLOAT = ir.DataType.FLOAT
TO_NCHW = (0, 3, 1, 2)
TO_NHWC = (0, 2, 3, 1)


def int8(scale: float = 0.5, zero_point: int = 0) -> QuantParams:
    """Parameters of a whole tensor."""
    return QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(scale,), zero_point=(zero_point,))


def by_channel(channels: int, axis: int) -> QuantParams:
    """Parameters along an axis, all different."""
    scale = tuple(0.25 * (1 + i) for i in range(channels))
    return QuantParams(
        dtype="int8", scheme="perchannel_symmetric_affine", scale=scale, zero_point=(0,) * channels, axis=axis
    )


class Net:
    """Builds a graph; every node comes from a layer of its own, called after its operator and number."""

    def __init__(self) -> None:
        self.build = GraphBuilder("net")
        self.rng = np.random.default_rng(7)
        self._layers = 0

    def input(self, *shape: int, name: str = "x", quant: QuantParams | None = None) -> ir.Value:
        return self.build.input(name, FLOAT, shape, quant=quant, source=name)

    def weights(self, *shape: int) -> ir.Value:
        """A constant of random numbers."""
        return self.build.constant(self.rng.normal(0, 0.5, shape).astype(np.float32))

    def quantized(self, *shape: int, quant: QuantParams) -> ir.Value:
        """A constant that is stored as integers."""
        return self.build.quantized_constant(self.rng.integers(-99, 99, shape).astype(np.int8), quant)

    def number(self, number: float, *shape: int) -> ir.Value:
        """A constant of one number, repeated."""
        return self.build.constant(np.full(shape, number, np.float32))

    def integers(self, *items: int) -> ir.Value:
        return self.build.constant(items)

    def __call__(self, op_type: str, *inputs: ir.Value | None, **attributes: Attribute) -> ir.Value:
        return self.many(op_type, *inputs, results=1, **attributes)[0]

    def many(
        self, op_type: str, *inputs: ir.Value | None, results: int | Sequence[TensorType], **attributes: Attribute
    ) -> list[ir.Value]:
        with self.build.layer(Origin(f"{op_type.lower()}{self._layers}", op_type.upper(), self._layers)):
            self._layers += 1
            return self.build.emit_many(op_type, inputs, attributes, results=results)

    def to_nchw(self, value: ir.Value) -> ir.Value:
        return self("Transpose", value, perm=TO_NCHW)

    def to_nhwc(self, value: ir.Value) -> ir.Value:
        return self("Transpose", value, perm=TO_NHWC)

    def conv(
        self, value: ir.Value, channels: int, kernel: int = 1, *, bias: bool = True, **attributes: Attribute
    ) -> ir.Value:
        shape = type_of(value).shape
        group = int(attributes.get("group", 1))  # type: ignore[arg-type]
        operands = [value, self.weights(channels, shape[1] // group, kernel, kernel)]
        return self("Conv", *operands, *([self.weights(channels)] if bias else []), **attributes)

    def model(self, *outputs: ir.Value) -> ir.Model:
        return self.build.finish(outputs)


def annotated(value: ir.Value, quant: QuantParams | None) -> ir.Value:
    set_quant(value, quant)
    return value


def op_types(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def origins(model: ir.Model) -> list[list[str]]:
    """Layers of every node."""
    return [[origin.name for origin in origins_of(node)] for node in model.graph]


def value_named(model: ir.Model, name: str) -> ir.Value:
    known = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    return next(value for value in known if value.name == name)


def random_inputs(model: ir.Model) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    types = {str(value.name): type_of(value) for value in model.graph.inputs}
    return {name: rng.normal(0, 2, t.shape).astype(t.dtype.numpy()) for name, t in types.items()}


def results(model: ir.Model, names: Collection[str]) -> dict[str, np.ndarray]:
    """Values of a model on random inputs."""
    proto = ir.to_proto(model)
    known = {output.name for output in proto.graph.output}
    proto.graph.output.extend(ir.serde.serialize_value(value_named(model, name)) for name in names if name not in known)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = [output.name for output in proto.graph.output]
    return dict(zip(wanted, session.run(wanted, random_inputs(model)), strict=True))


def normalised(
    model: ir.Model,
    *rules: type[Rule[Any]],
    keep: Collection[ir.Value | str] = (),
    relative: float = 1e-5,
) -> Report:
    """Normalise a graph, by some rules or all passes, and compare numbers, names, types and annotations.

    Args:
        model: Changed in place.
        rules: To apply together; none stands for all passes.
        keep: Cuts, or their names.
        relative: What a number may differ by, of max(1, largest number): sums change their order.
    """
    names = [value if isinstance(value, str) else str(value.name) for value in keep]
    before, wanted = boundary(model, names), results(model, names)
    report = applied(model, *rules, keep=names) if rules else passes.normalise(model, names)
    assert boundary(model, names) == before
    for name, found in results(model, names).items():
        largest = np.abs(wanted[name], dtype=np.float64).max(initial=0, where=np.isfinite(wanted[name]))
        limit = relative * max(1.0, float(largest))
        np.testing.assert_allclose(found, wanted[name], rtol=0, atol=limit, err_msg=name)
    return report


def applied(model: ir.Model, *rules: type[Rule[Any]], keep: Collection[str] = ()) -> Report:
    """Apply some rules without running the graph, which may hold what no runtime knows."""
    return passes._run(model, keep, (Pass("chosen", lambda: [rule() for rule in rules]),))


def boundary(model: ir.Model, names: Collection[str]) -> list[tuple[str | None, TensorType, QuantParams | None]]:
    """What the world sees of a graph: inputs, outputs and cuts."""
    outer = [*model.graph.inputs, *model.graph.outputs, *(value_named(model, name) for name in names)]
    return [(value.name, type_of(value), quant_of(value)) for value in outer]


def reasons(report: Report, rule: type[Rule[Any]]) -> list[str]:
    """Why a rule refused."""
    return [refusal.reason for refusal in report.refusals if refusal.rule == rule.name]
