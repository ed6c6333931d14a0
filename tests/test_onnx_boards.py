"""Parts of ONNX models in the ONNX Runtime that the boards have, version 1.16."""

from __future__ import annotations

import os
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from synap_core.api import ModelRequest, Slice
from synap_frontend_onnx.model import OnnxModel
from tests.support.onnx_models import (
    F32,
    Oracle,
    assert_near,
    called,
    choice,
    conv5,
    flattened,
    googlenet_like,
    model,
    node,
    open_made,
    operators,
    quantized,
    save_external,
    value,
    whole,
)

RUN_IN_BOARD_RUNTIME = """
import sys, numpy, onnxruntime
from pathlib import Path
assert onnxruntime.__version__ == "1.16.3"
for path in Path(sys.argv[1]).glob("*.onnx"):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds = dict(numpy.load(path.with_suffix(".npz")))
    names = [output.name for output in session.get_outputs()]
    numpy.savez(path.with_suffix(".out.npz"), **dict(zip(names, session.run(names, feeds))))
"""

# Taken before any test changes it: pip must find the settings of the machine.
ENVIRONMENT = {key: word for key, word in os.environ.items() if not key.startswith(("SYNAP_", "PYTHON"))}


def of_today(rng: np.random.Generator) -> onnx.ModelProto:
    """Operators that operator set 25 defines anew, all of which only take more types than in 19."""
    nodes = [
        node("Conv", "x w", "a", pads=[1, 1, 1, 1]),
        node("InstanceNormalization", "a s b", "c"),
        node("HardSwish", "c", "d"),
        node("Pad", "d pads", "e"),
        node("MaxPool", "e", "f", kernel_shape=[2, 2], strides=[2, 2]),
        node("QuantizeLinear", "f qs qz", "g"),
        node("DequantizeLinear", "g qs qz", "h"),
        node("Transpose", "h", "i", perm=[0, 2, 3, 1]),
        node("Reshape", "i shape", "j"),
        node("TopK", "j k", "top place", axis=-1),
        node("Cast", "top", "half", to=TensorProto.FLOAT16),
        node("Cast", "half", "l", to=TensorProto.FLOAT),
        node("Unsqueeze", "l axes", "m"),
        node("Squeeze", "m axes", "n"),
        node("ReduceMax", "n axes", "o"),
        node("Round", "o", "y"),
    ]
    constants = {
        "w": rng.normal(size=(4, 3, 3, 3)).astype(F32),
        "s": np.full(4, 9, F32),
        "b": np.zeros(4, F32),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "qs": np.array(0.1, F32),
        "qz": np.array(3, np.int8),
        "shape": np.array([1, -1, 4]),
        "k": np.array([3]),
        "axes": np.array([1]),
    }
    return model(nodes, [value("x", [1, 3, 8, 8])], [value("y", [1, 1, 3])], constants, opset=25, ir=10)


def middle(source: OnnxModel) -> bytes:
    """The layers between the first and the last."""
    layers = operators(source)
    part = Slice(layers=layers[1:-1], inputs=layers[0].outputs, outputs=layers[-1].inputs)
    return source.slice(part)


def random_inputs(content: bytes, rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = zip((oracle := Oracle(content)).inputs, oracle.input_shapes, strict=True)
    return {name: rng.normal(size=shape).astype(F32) for name, shape in shapes}


WHOLE: dict[str, Callable[[np.random.Generator], onnx.ModelProto]] = {
    "plain": conv5,
    "today": of_today,
    "control-flow": lambda _: choice(),
    "functions": lambda _: called(opset=21, ir=10),
    "quantized": quantized,
    "batch": lambda rng: googlenet_like(rng, 4),
    "reshape": lambda rng: flattened(rng, "N"),
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_boards_runtime_loads_every_kind_of_part_and_gives_its_numbers(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    cases: dict[str, tuple[bytes, bytes]] = {}
    for name, build in WHOLE.items():
        made = build(rng)
        part = whole(open_made(tmp_path, made)).SerializeToString()
        # The file as it is shows that lowering keeps the numbers; with another batch it takes other inputs.
        cases[name] = (part, part if name == "batch" else made.SerializeToString())
    for name, made in (("functions-middle", called()), ("plain-middle", conv5(rng))):
        part = middle(open_made(tmp_path, made))
        cases[name] = (part, part)
    made = conv5(rng)
    content = made.SerializeToString()
    source = OnnxModel.open(ModelRequest(path=save_external(made, tmp_path / "net.onnx")))
    cases["external"] = (whole(source).SerializeToString(), content)
    expected = {}
    for name, (part, original) in cases.items():
        feeds = random_inputs(part, rng)
        (folder / f"{name}.onnx").write_bytes(part)
        np.savez(folder / f"{name}.npz", **feeds)
        expected[name] = Oracle(original)(feeds)

    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    venv.create(tmp_path / "venv", with_pip=True)
    install = [python, "-m", "pip", "install", "-q", "onnxruntime==1.16.3", "numpy<2"]
    subprocess.run(install, check=True, env=ENVIRONMENT)
    subprocess.run([python, "-c", RUN_IN_BOARD_RUNTIME, folder], check=True, env=ENVIRONMENT)
    for name, arrays in expected.items():
        outputs = np.load(folder / f"{name}.out.npz")
        for got, array in zip(outputs.values(), arrays, strict=True):
            assert_near(got, array)
