"""The file of a program: it is an ONNX model that the package's checker, shape inference and runtime take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from synap_core.convert import ConvertRequest, convert
from synap_core.graph.annotations import Twin, set_source, set_twin
from synap_core.host import PluginHost
from synap_delegate_npu.operators.families import REGISTRY
from synap_delegate_npu.program.body import DOMAIN
from synap_delegate_npu.program.names import real_name, tensor_names
from synap_delegate_npu.program.operation import Tensor
from synap_delegate_npu.program.schemas import operators, register_schemas
from synap_delegate_npu.program.writer import VERSION, _Values
from synap_delegate_npu.support import RECORDS
from tests.support.npu_files import EXAMPLE, ZOO, feeds, programs


@pytest.fixture(scope="module")
def example() -> bytes:
    (content,) = programs(EXAMPLE)
    return content


def require_well_formed(content: bytes) -> onnx.ModelProto:
    """Check a program with the ``onnx`` package, which knows nothing of how it was made."""
    register_schemas()
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True, check_custom_domain=True)
    graph = model.graph
    known = {value.name: value for value in (*graph.value_info, *graph.input, *graph.output)}
    constants = {tensor.name for tensor in graph.initializer}
    names = [name for node in graph.node for name in node.output]
    assert len(set(names)) == len(names)
    for name in {name for node in graph.node for name in (*node.input, *node.output)} - constants:
        tensor = known[name].type.tensor_type
        assert tensor.elem_type
        assert tensor.HasField("shape")
        assert all(dim.dim_value for dim in tensor.shape.dim)
    return model


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.zoo
def test_program_of_the_zoo_is_well_formed(name: str, zoo: Path) -> None:
    for content in programs(zoo / "models" / name):
        require_well_formed(content)


@pytest.mark.parametrize("dtype", ["float16", "int16", "uint8"])
def test_program_of_a_model_that_is_quantized_here_is_well_formed(dtype: str, tmp_path: Path) -> None:
    meta = tmp_path / "net.yaml"
    meta.write_text(f"quantization:\n  data_type: {dtype}\n  dataset: random\n")
    request = ConvertRequest(model=EXAMPLE.with_name("digits.onnx"), target="SL1680", meta=meta)
    found = [a.model for a in convert(request, PluginHost()).conversion.artifacts if a.delegate == "npu"]
    assert found
    for content in found:
        require_well_formed(content)


def test_program_says_what_it_is_and_what_it_is_for(example: bytes) -> None:
    model = require_well_formed(example)
    assert (model.producer_name, model.producer_version) == ("synap", "0.1.0")
    assert "executes only what the vendor's compiler makes" in model.doc_string
    assert "\n" not in model.doc_string
    about = {item.key: item.value for item in model.metadata_props}
    assert about["format_version"] == str(VERSION) == str({o.domain: o.version for o in model.opset_import}[DOMAIN])
    assert about["target"] == "SL1680"
    assert about["unit"] == "VIP9000NANOQI_PLUS_PID0XC1"
    assert {node.domain for node in model.graph.node} == {DOMAIN}


def test_shapes_and_types_that_functions_compute_are_those_of_the_program(example: bytes) -> None:
    model = require_well_formed(example)
    session = onnxruntime.InferenceSession(example, providers=["CPUExecutionProvider"])
    told = {value.name: value for value in model.graph.value_info}
    given = feeds(session, np.random.default_rng(1))
    inner = [value for name, value in told.items() if name not in {t.name for t in model.graph.initializer}]
    model.graph.output.extend(inner)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    whole = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results = dict(zip([value.name for value in whole.get_outputs()], whole.run(None, given), strict=True))
    assert len(inner) > 3
    for value in inner:
        shape = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        assert (results[value.name].shape, results[value.name].dtype) == (shape, dtype)


def test_every_operator_is_defined_once() -> None:
    register_schemas()
    register_schemas()
    names = {*REGISTRY.operators, *(real_name(record.name) for record in RECORDS)}
    assert set(operators()) == names
    for name in names:
        schema = onnx.defs.get_schema(name, VERSION, DOMAIN)
        assert schema.doc
        assert not any(attribute.required for attribute in schema.attributes.values())
        assert set(operators()[name]) <= set(schema.attributes)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda node: node.attribute.add(name="nothing", i=1, type=onnx.AttributeProto.INT), "Unrecognized attribute"),
        (lambda node: node.ClearField("output"), "has output size 0 not in range"),
        (lambda node: node.ClearField("input"), "has input size 0 not in range"),
        (lambda node: setattr(node, "op_type", "Nothing"), "No Op registered for Nothing"),
    ],
    ids=["attribute", "outputs", "inputs", "operator"],
)
def test_checker_refuses_what_is_not_defined(change: object, match: str, example: bytes) -> None:
    register_schemas()
    model = onnx.load_from_string(example)
    assert callable(change)
    change(model.graph.node[1])
    with pytest.raises(onnx.checker.ValidationError, match=match):
        onnx.checker.check_model(model, check_custom_domain=True)


def test_values_are_named_after_the_tensors_of_the_source() -> None:
    x = ir.Value(name="x")
    nodes = [ir.Node("", "Relu", [x], outputs=[ir.Value(name=f"Relu_{number}")]) for number in range(7)]
    values = [node.outputs[0] for node in nodes]
    set_source(values[0], "conv")
    set_twin(values[1], Twin("conv", (0, 3, 1, 2)))
    set_twin(values[2], Twin("conv", (0, 3, 1, 2)))
    set_source(values[3], "x")
    set_twin(values[4], Twin("conv", (1, 0, 2, 3)))
    values[6].name = "conv/2"
    names = tensor_names(ir.Graph([x], [values[6]], nodes=nodes))
    found = [names[value] for value in values]
    assert found == ["conv", "conv/nchw", "conv/nchw/2", "x/2", "conv/3", "Relu_5", "conv/2"]
    assert names[x] == "x"


def test_ids_of_source_tensors_are_shown_by_their_names() -> None:
    x = ir.Value(name="x")
    nodes = [ir.Node("", "Relu", [x], outputs=[ir.Value(name=f"Relu_{number}")]) for number in range(3)]
    first, second, third = (node.outputs[0] for node in nodes)
    set_source(first, "7")
    set_twin(second, Twin("7", (0, 3, 1, 2)))
    set_source(third, "8")
    names = tensor_names(ir.Graph([x], [], nodes=nodes), {"7": "conv/Relu6;conv/BiasAdd", "8": ""})
    assert [names[value] for value in (first, second, third)] == ["conv/Relu6", "conv/Relu6/nchw", "8"]


def test_constants_of_one_name_are_kept_apart_unless_they_are_equal() -> None:
    values = _Values()

    def tensor(*items: int, dtype: str = "int8", name: str = "c") -> Tensor:
        return Tensor(name=name, shape=(len(items),), dtype=dtype, constant=np.array(items, dtype))

    first = values.of(tensor(1, 2))
    assert values.of(tensor(1, 2)) is first
    second, third = values.of(tensor(1, 3)), values.of(tensor(1, 2, dtype="int16"))
    assert [value.name for value in (first, second, third)] == ["c", "c/2", "c/3"]
    assert values.of(tensor(1, 3)) is second
    assert [value.name for value in values.constants] == ["c", "c/2", "c/3"]
    assert values.of(Tensor(name="c", shape=(2,), dtype="int8")).name == "c/4"
