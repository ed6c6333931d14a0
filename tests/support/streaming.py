"""Run models that keep variables, inference after inference, beside LiteRT's reference kernels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort

from synap_core.graph.annotations import quant_of, states_of
from synap_core.graph.qdq import to_qdq
from synap_core.source import ModelRequest
from tests.support.canonical import Reference, checked_proto, opaque_reasons, real, stored, whole


class Stream:
    """A graph in ONNX Runtime, without optimisation; its variables go from one run to the next."""

    def __init__(self, model: ir.Model) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        content = checked_proto(model).SerializeToString()
        self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._states = states_of(model)
        self._inputs = [value.name for value in model.graph.inputs]
        self._outputs = [value.name for value in model.graph.outputs]
        self.variables = {state.input: state.initial.numpy() for state in self._states}

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run once; gives the outputs without those of variables."""
        given = [name for name in self._inputs if name not in self.variables]
        results = self._session.run(None, dict(zip(given, inputs, strict=True)) | self.variables)
        found = dict(zip(self._outputs, results, strict=True))
        self.variables = {state.input: found.pop(state.output) for state in self._states}
        return list(found.values())


def imported_as_is(content: bytes, folder: Path) -> ir.Model:
    """Canonical graph of a whole ``.tflite`` model, whatever its first dimension is."""
    from synap_frontend_tflite.model import TfliteModel

    path = folder / "model.tflite"
    path.write_bytes(content)
    # A time-major sequence has its steps where other models have the batch, which would be made 1.
    source = TfliteModel.open(ModelRequest(path=path, inspect=True))
    return source.canonical(whole(source))


def follows(
    content: bytes,
    folder: Path,
    steps: Sequence[Sequence[np.ndarray]],
    *,
    units: int = 0,
    relative: float = 1e-5,
    rounded: bool = False,
) -> None:
    """Import a model and run it as often as there are steps; after each, compare with the reference kernels.

    Args:
        content: The ``.tflite`` file.
        folder: For the file.
        steps: Stored values of the inputs, step by step.
        units: Steps by which a quantized output may differ.
        relative: What a float output may differ by, of max(1, largest value).
        rounded: Run the graph with a rounding at every value that is annotated, rather than that of real numbers.
    """
    model = imported_as_is(content, folder)
    assert opaque_reasons(model) == []
    quants = [quant_of(value) for value in model.graph.outputs]
    input_quants = [quant_of(value) for value in model.graph.inputs]
    stream, reference = Stream(to_qdq(model) if rounded else model), Reference(content)
    for number, inputs in enumerate(steps):
        given = inputs if rounded else [real(a, q) for a, q in zip(inputs, input_quants, strict=False)]
        for found, wanted, quant in zip(stream(given), reference(inputs), quants, strict=False):
            assert found.shape == wanted.shape
            result = stored(found, quant) if quant is not None and not rounded else found
            difference = np.abs(result.astype(np.float64) - wanted.astype(np.float64)).max(initial=0)
            allowed = units if quant is not None else relative * max(1.0, float(np.abs(wanted).max(initial=0)))
            assert difference <= allowed, (number, difference)
