"""Run canonical graphs in ONNX Runtime, and compare imported operators with LiteRT's reference kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - registers the types that onnx-ir's arrays may have
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from synap_core.graph.annotations import is_opaque, quant_of, reason_of, states_of
from synap_core.graph.quantized import scale_and_zero_point
from synap_core.source import ModelRequest, Slice, SourceModel
from synap_core.tensors import QuantParams


def whole(source: SourceModel) -> Slice:
    """All layers of a model as a part."""
    layers = tuple(layer for layer in source.layers if layer.index is not None)
    return Slice(layers=layers, inputs=tuple(source.inputs), outputs=tuple(source.outputs))


def opaque_reasons(model: ir.Model) -> list[str]:
    return [f"{node.op_type}: {reason_of(node)}" for node in model.graph if is_opaque(node)]


def checked_proto(model: ir.Model) -> onnx.ModelProto:
    """The model as a protobuf that passes the checker, shape inference included."""
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def run(model: ir.Model, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run a canonical graph of real numbers without optimisation; variables get their first values."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    content = checked_proto(model).SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    first = [state.initial.numpy() for state in states_of(model)]
    names = [value.name for value in model.graph.inputs]
    results = session.run(None, dict(zip(names, [*inputs, *first], strict=True)))
    return list(results[: len(results) - len(first)])


def real(array: np.ndarray, quant: QuantParams | None) -> np.ndarray:
    """Real numbers behind stored ones."""
    if quant is None:
        return array
    scale, zero_point = scale_and_zero_point(quant, array.ndim)
    return np.asarray((array.astype(np.int64) - zero_point) * scale, np.float32)


def stored(array: np.ndarray, quant: QuantParams | None) -> np.ndarray:
    """Real numbers quantized: rounded half to even, saturated."""
    if quant is None:
        return array
    scale, zero_point = scale_and_zero_point(quant, array.ndim)
    limits = np.iinfo(quant.dtype)
    units = np.rint(array.astype(np.float64) / scale) + zero_point
    return np.clip(units, limits.min, limits.max).astype(quant.dtype)


class Reference:
    """A model in LiteRT with reference kernels; every tensor can be read afterwards."""

    def __init__(self, model: bytes | Path) -> None:
        content = model.read_bytes() if isinstance(model, Path) else model
        self._interpreter = Interpreter(
            model_content=content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True,
        )
        self._interpreter.allocate_tensors()
        self.inputs = self._interpreter.get_input_details()
        self.outputs = self._interpreter.get_output_details()

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        for detail, array in zip(self.inputs, inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(detail["index"]) for detail in self.outputs]

    def tensor(self, index: int) -> np.ndarray:
        """Value of any tensor after a run."""
        return np.asarray(self._interpreter.get_tensor(index))

    def details(self) -> list[dict[str, Any]]:
        """Details of every tensor."""
        return list(self._interpreter.get_tensor_details())


def imported(content: bytes, folder: Path) -> tuple[ir.Model, SourceModel]:
    """Canonical graph of a whole ``.tflite`` model."""
    from synap_frontend_tflite.model import TfliteModel

    path = folder / "model.tflite"
    path.write_bytes(content)
    source = TfliteModel.open(ModelRequest(path=path))
    return source.canonical(whole(source)), source


def conforms(
    content: bytes,
    folder: Path,
    inputs: Sequence[np.ndarray],
    *,
    units: int = 1,
    relative: float = 1e-5,
) -> Mapping[str, float]:
    """Import a model, run it, and compare with the reference kernels.

    Args:
        content: The ``.tflite`` file.
        folder: For the file.
        inputs: Stored values of the inputs.
        units: Steps by which a quantized output may differ.
        relative: What a float output may differ by, of max(1, largest value).

    Returns:
        Largest difference of each output, in steps of quantized ones.
    """
    model, _ = imported(content, folder)
    assert opaque_reasons(model) == []
    expected = Reference(content)(inputs)
    given = [real(array, quant_of(value)) for array, value in zip(inputs, model.graph.inputs, strict=False)]
    found = run(model, given)
    worst = {}
    for value, result, wanted in zip(model.graph.outputs, found, expected, strict=False):
        quant = quant_of(value)
        assert result.shape == wanted.shape, value.name
        if quant is not None:
            difference = np.abs(stored(result, quant).astype(np.int64) - wanted.astype(np.int64)).max(initial=0)
            assert difference <= units, (value.name, difference)
        elif wanted.dtype.kind == "f":
            np.testing.assert_array_equal(np.isnan(result), np.isnan(wanted))
            finite = np.isfinite(wanted)
            np.testing.assert_array_equal(result[~finite], wanted[~finite])
            difference = np.abs(result[finite] - wanted[finite]).max(initial=0)
            assert difference <= relative * max(1.0, np.abs(wanted[finite]).max(initial=0)), (value.name, difference)
        else:
            np.testing.assert_array_equal(result, wanted)
            difference = 0
        worst[str(value.name)] = float(difference)
    return worst
