"""What the npu delegate and its runtime refuse, in one line, and what they do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper
from pydantic import ValidationError

from synap_core.bundle_reader import load_bundle
from synap_core.convert import Converted, ConvertRequest, convert, write
from synap_core.errors import InputError, ModelExecutionError
from synap_core.host import PluginHost
from synap_core.network import Network
from synap_core.payloads import OutputFormat
from synap_core.programs import describe_program
from synap_delegate_npu.cost.parameters import NpuParameters
from tests.support.canonical import Reference
from tests.support.single_operator import options
from tests.support.tflite_models import ModelBuilder

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "examples" / "digits" / "digits_int8.tflite"


@pytest.fixture(scope="module")
def host() -> PluginHost:
    return PluginHost.from_environment()


@pytest.fixture(scope="module")
def digits(host: PluginHost) -> Converted:
    return convert(ConvertRequest(model=DIGITS, target="VS680"), host)


def bundle(converted: Converted, host: PluginHost, folder: Path, change: bytes | None = None) -> Path:
    """Write a conversion, with another program in the place of its own."""
    conversion = converted.conversion
    if change is not None:
        (artifact,) = conversion.artifacts
        conversion = replace(conversion, artifacts=(replace(artifact, model=change),))
    return write(conversion, host.find(OutputFormat, "synap"), folder, host).files[0]


def test_output_without_dimensions_is_refused(host: PluginHost, tmp_path: Path) -> None:
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [0, 1])
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [])
    model = helper.make_model(helper.make_graph([node], "g", [x], [y], [axes]), ir_version=9)
    model.opset_import[0].version = 19
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(InputError, match="tensor 'y' has no dimensions"):
        convert(ConvertRequest(model=tmp_path / "m.onnx", target="VS680"), host)


def test_text_behind_the_delegate_is_refused(host: PluginHost, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("delegate: npu threads=2\n", encoding="utf-8")
    with pytest.raises(InputError, match="takes no options, got 'threads=2'"):
        convert(ConvertRequest(model=DIGITS, target="VS680", meta=tmp_path / "m.yaml"), host)


def test_program_of_another_type_than_its_metadata_is_refused(
    digits: Converted, host: PluginHost, tmp_path: Path
) -> None:
    model = onnx.ModelProto.FromString(digits.conversion.artifacts[0].model)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    path = bundle(digits, host, tmp_path, model.SerializeToString())
    with pytest.raises(ModelExecutionError, match="'image' is uint8, its metadata says int8"):
        Network(path, host=host, isolate=False)


@pytest.mark.parametrize("content", [b"\0" * 400, b"half a program"], ids=["zeros", "text"])
def test_what_is_no_program_is_refused(digits: Converted, host: PluginHost, tmp_path: Path, content: bytes) -> None:
    path = bundle(digits, host, tmp_path, content)
    with pytest.raises(ModelExecutionError, match="no program for the neural processing unit"):
        Network(path, host=host, isolate=False)


def test_name_that_is_no_text_is_refused(digits: Converted, host: PluginHost, tmp_path: Path) -> None:
    content = digits.conversion.artifacts[0].model
    damaged = content.replace(b"CONV_2D_conv1_0.2", b"CONV_2D_\xffonv1_0.2")
    assert damaged != content
    path = bundle(digits, host, tmp_path, damaged)
    with pytest.raises(ModelExecutionError, match="a name is no text"):
        Network(path, host=host, isolate=False)
    with pytest.raises(InputError, match="a name is no text"):
        describe_program(load_bundle(path).subgraphs[0], host)


@pytest.mark.parametrize(("key", "value"), [("ppu", 1e-300), ("t_infer", 1e308), ("nn_cores", 10**12)])
def test_parameters_that_no_chip_has_are_refused(host: PluginHost, key: str, value: float) -> None:
    known = dict(host.targets["VS680"].parameters["npu"])
    assert NpuParameters.model_validate(known)
    with pytest.raises(ValidationError, match=key):
        NpuParameters.model_validate(known | {key: value})


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_positions_of_the_largest_items_stay_on_the_unit(host: PluginHost, tmp_path: Path, dtype: str) -> None:
    builder = ModelBuilder()
    quantization = {"scale": 0.05, "zero_point": 3} if dtype == "int8" else {}
    x, y = builder.tensor("x", [1, 4, 4, 6], dtype, **quantization), builder.tensor("y", [1, 4, 4], "int32")
    axis = builder.constant("axis", np.array(3, np.int32))
    builder.operator("ARG_MAX", [x, axis], [y], options("ArgMax", outputType=schema.TensorType.INT32), version=2)
    content = builder.finish([x], [y])
    (tmp_path / "m.tflite").write_bytes(content)
    network = Network(
        bundle(convert(ConvertRequest(model=tmp_path / "m.tflite", target="VS680"), host), host, tmp_path / "out"),
        host=host,
        isolate=False,
    )
    rng = np.random.default_rng(0)
    items = rng.integers(-128, 128, (1, 4, 4, 6)).astype(dtype)
    (found,) = network.predict([items.astype(network.inputs[0].dtype)])
    np.testing.assert_array_equal(found, Reference(content)([items])[0])
