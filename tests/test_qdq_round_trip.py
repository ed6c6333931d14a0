"""Quantized models written as ONNX and imported again: annotations and integers are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from synap_core.graph.annotations import quant_of
from synap_core.graph.build import GraphBuilder
from synap_core.graph.passes import normalise
from synap_core.graph.qdq import to_qdq
from synap_core.graph.quantized import QuantizedTensor
from synap_core.host import PluginHost
from synap_core.model_files import open_model
from synap_core.source import ModelRequest
from synap_core.tensors import QuantParams
from tests.support.canonical import opaque_reasons, run, whole

ROOT = Path(__file__).parents[1]
FLOAT = ir.DataType.FLOAT


def affine(dtype: str, scale: float, zero_point: int = 0) -> QuantParams:
    return QuantParams(
        dtype=dtype, scheme="asymmetric_affine", scale=(float(np.float32(scale)),), zero_point=(zero_point,)
    )


def reimported(model: ir.Model, folder: Path) -> ir.Model:
    path = folder / "again.onnx"
    path.write_bytes(ir.to_proto(to_qdq(model)).SerializeToString())
    source = open_model(PluginHost(), ModelRequest(path=path))
    again = source.canonical(whole(source))
    assert opaque_reasons(again) == []
    normalise(again)
    return again


def integers(model: ir.Model) -> list[tuple[str, QuantParams, bytes]]:
    """Quantized constants that nodes read, in the order of the nodes: operator, parameters, stored integers."""
    tensors = [(n.op_type, v.const_value) for n in model.graph for v in n.inputs if v is not None]
    return [(kind, t.quant, t.integers.tobytes()) for kind, t in tensors if isinstance(t, QuantizedTensor)]


def annotations(model: ir.Model) -> list[QuantParams]:
    """Parameters of computed values, in the order of the nodes."""
    quants = [quant_of(v) for n in model.graph for v in n.outputs]
    return [quant for quant in quants if quant is not None]


def dense(activations: str, weights: str, bias: str, *, per_channel: bool) -> ir.Model:
    """``y = relu(x · w + b)``, everything quantized."""
    rng = np.random.default_rng(5)
    build = GraphBuilder("g", ["x", "y"])
    point = 0 if activations == "int16" else 3
    x = build.input("x", FLOAT, (1, 6), quant=affine(activations, 0.02, point))
    scale = tuple(float(np.float32(s)) for s in rng.uniform(0.01, 0.1, 4 if per_channel else 1))
    axis = 0 if per_channel else None
    limits = np.iinfo(weights) if weights != "int4" else np.iinfo(np.int8)
    low, high = (-8, 7) if weights == "int4" else (limits.min, limits.max)
    stored = rng.integers(low, high, (4, 6), endpoint=True).astype("int8" if weights == "int4" else weights)
    quant = QuantParams(dtype=weights, scheme="asymmetric_affine", scale=scale, zero_point=(0,) * len(scale), axis=axis)
    w = build.quantized_constant(stored, quant)
    bias_scale = tuple(float(np.float32(s * np.float32(0.02))) for s in scale)
    bias_quant = QuantParams(
        dtype=bias, scheme="asymmetric_affine", scale=bias_scale, zero_point=(0,) * len(scale), axis=axis
    )
    b = build.quantized_constant(np.array([3, -200_000_000, 0, 2_000_000_001], np.int32), bias_quant)
    y = build.emit("Relu", [build.emit("Gemm", [x, w, b], {"transB": 1})])
    return build.finish([build.name_value(y, "y", "y", affine(activations, 0.5, point))])


@pytest.mark.parametrize("per_channel", [False, True], ids=["per-tensor", "per-channel"])
@pytest.mark.parametrize(
    ("activations", "weights"),
    [("uint8", "uint8"), ("int8", "int8"), ("int16", "int8"), ("int16", "int16"), ("int8", "int4")],
    ids=["u8", "i8", "i16-i8", "i16", "i8-i4"],
)
def test_every_type_comes_back_exactly(tmp_path: Path, activations: str, weights: str, per_channel: bool) -> None:
    model = dense(activations, weights, "int32", per_channel=per_channel)
    again = reimported(model, tmp_path)
    for before, after in zip(
        (*model.graph.inputs, *model.graph.outputs), (*again.graph.inputs, *again.graph.outputs), strict=True
    ):
        assert (after.name, after.dtype, quant_of(after)) == (before.name, FLOAT, quant_of(before))
    assert integers(again) == integers(model)
    assert annotations(again) == annotations(model)


@pytest.mark.parametrize("name", ["digits_int8.tflite"])
def test_exported_model_comes_back_and_gives_the_same_numbers(
    tmp_path: Path, rng: np.random.Generator, name: str
) -> None:
    source = open_model(PluginHost(), ModelRequest(path=ROOT / "examples/digits" / name))
    model = source.canonical(whole(source))
    normalise(model)
    again = reimported(model, tmp_path)
    assert integers(again) == integers(model)
    assert annotations(again) == annotations(model)
    x = rng.integers(-128, 128, (1, 8, 8, 1), np.int8)
    np.testing.assert_array_equal(run(to_qdq(again), [x])[0], run(to_qdq(model), [x])[0])
