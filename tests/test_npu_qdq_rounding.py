"""Integers of ONNX models with QDQ nodes: the real number, rounded once, as ONNX Runtime computes the same nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from synap_core.convert import ConvertRequest, convert
from synap_core.host import PluginHost
from tests.support.npu_files import session

Attributes = dict[str, float]

EXACT: dict[str, tuple[str, Attributes]] = {
    **{f"LeakyRelu {alpha}": ("LeakyRelu", {"alpha": alpha}) for alpha in (0.01, 0.1, 0.25, 0.5, 3.0, -0.2)},
    "HardSwish": ("HardSwish", {}),
    "Sigmoid": ("Sigmoid", {}),
    "Elu": ("Elu", {"alpha": 0.7}),
}
"""Operators that are tables, in which ties are those of QuantizeLinear, too."""

RESCALED = {"Relu": ("Relu", {}), "Identity": ("Identity", {}), "PRelu": ("PRelu", {})}
"""Operators that rescale integers: a tie may go to either side."""


def qdq(op_type: str, attributes: Attributes, dtype: str, given: tuple[float, int], made: tuple[float, int]) -> bytes:
    """One operator of 256 items between quantized tensors with a step and a zero point."""
    constants = [
        *(numpy_helper.from_array(np.array(s, np.float32), f"s{k}") for k, (s, _) in enumerate((given, made))),
        *(numpy_helper.from_array(np.array(z, dtype), f"z{k}") for k, (_, z) in enumerate((given, made))),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s0", "z0"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s0", "z0"], ["xd"]),
        helper.make_node(op_type, ["xd", *(["slope"] if op_type == "PRelu" else [])], ["r"], name="op", **attributes),
        helper.make_node("QuantizeLinear", ["r", "s1", "z1"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "s1", "z1"], ["y"]),
    ]
    if op_type == "PRelu":
        slopes = np.random.default_rng(5).integers(-127, 128, 256).astype(np.int8)
        constants += [
            numpy_helper.from_array(slopes, "slopes"),
            numpy_helper.from_array(np.array(0.003, np.float32), "s2"),
            numpy_helper.from_array(np.array(0, np.int8), "z2"),
        ]
        nodes.insert(0, helper.make_node("DequantizeLinear", ["slopes", "s2", "z2"], ["slope"]))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 256]) for name in "xy"]
    graph = helper.make_graph(nodes, "net", values[:1], values[1:], constants)
    made_model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return bytes(made_model.SerializeToString())


def reference(content: bytes, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers and real numbers that ONNX Runtime computes, node by node."""
    model = onnx.load_from_string(content)
    # That they are outputs keeps them from being joined, too.
    model.graph.output.extend([onnx.ValueInfoProto(name="yq"), onnx.ValueInfoProto(name="r")])
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    _, integers, reals = ort.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})
    return np.asarray(integers), np.asarray(reals)


def compared(op: tuple[str, Attributes], folder: Path, host: PluginHost, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Differences from the reference for all integers; and whether the real number was a tie, within float32."""
    rng = np.random.default_rng(seed)
    dtype = ("int8", "uint8")[seed % 2]
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    step = 2.0**-5 if seed % 4 == 0 else float(np.float32(2.0 ** rng.uniform(-8, 0)))
    ratio = 2.0 ** rng.integers(-2, 4) if seed % 4 == 0 else 2.0 ** rng.uniform(-2, 5)
    given, made = ((float(np.float32(s)), int(rng.integers(low, high + 1))) for s in (step, step * ratio))
    content = qdq(*op, dtype, given, made)
    items = np.arange(low, high + 1).astype(dtype)[None]
    x = ((items.astype(np.int64) - given[1]) * np.float64(given[0])).astype(np.float32)
    wanted, reals = reference(content, x)
    (folder / "net.onnx").write_bytes(content)
    (artifact,) = convert(ConvertRequest(model=folder / "net.onnx", target="VS680"), host).conversion.artifacts
    program = session(artifact.model)
    (found,) = program.run(None, {program.get_inputs()[0].name: items})
    steps = reals.astype(np.float64) / made[0]
    ties = np.abs(np.abs(steps - np.trunc(steps)) - 0.5) < 1e-5
    return found.astype(int) - wanted.astype(int), ties


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", EXACT)
def test_functions_give_what_onnx_runtime_gives(name: str, tmp_path: Path, host: PluginHost, seed: int) -> None:
    difference, _ = compared(EXACT[name], tmp_path, host, seed)
    assert not difference.any()


@pytest.mark.parametrize("seed", range(16))
@pytest.mark.parametrize("name", RESCALED)
def test_rescaled_integers_are_rounded_once(name: str, tmp_path: Path, host: PluginHost, seed: int) -> None:
    difference, ties = compared(RESCALED[name], tmp_path, host, seed)
    assert not difference[~ties].any()
    assert np.abs(difference).max() <= 1
