"""Which data type each layer gets from a metafile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from synap_core.errors import InputError
from synap_core.graph.annotations import Origin, State, set_origins, set_quant
from synap_core.graph.build import GraphBuilder
from synap_core.graph.groups import Group, group
from synap_core.graph.passes import normalise
from synap_core.graph.types import TensorType
from synap_core.metafile import Metafile, Quantization
from synap_core.quantization.data_types import main_origin, require_float, resolve_types
from synap_core.source import BoundarySpec, Slice, SourceModel
from synap_core.tensors import QuantParams
from tests.support.canonical import imported, whole
from tests.support.metafiles import metafile
from tests.support.onnx_models import model, node, open_made, value
from tests.support.single_operator import single, tensor
from tests.support.toy_source import graph_model

FLOAT = ir.DataType.FLOAT
WEIGHTS = np.ones((1, 1, 1, 1), np.float32)
MAP = [1, 1, 4, 4]


def sample() -> onnx.ModelProto:
    """The manual's sample model: input1 -> conv1 -> conv2, conv2 -> conv3 -> conv4, conv2 -> conv5 -> conv6."""
    edges = {1: "input1", 2: "t1", 3: "t2", 4: "t3", 5: "t2", 6: "t5"}
    nodes = [node("Conv", f"{read} w{i}", f"t{i}", f"conv{i}") for i, read in edges.items()]
    weights = {f"w{i}": WEIGHTS * i for i in edges}  # two equal layers would become one
    return model(nodes, [value("input1", MAP)], [value("t4", MAP), value("t6", MAP)], weights)


def fused() -> onnx.ModelProto:
    """From x: pad -> conv -> bn -> relu -> pool -> drop -> tail; all but the last three become one layer."""
    nodes = [
        node("Pad", "x pads", "a", "pad"),
        node("Conv", "a w", "b", "conv"),
        node("BatchNormalization", "b s o m v", "c", "bn"),
        node("Relu", "c", "d", "relu"),
        node("MaxPool", "d", "e", "pool", kernel_shape=[2, 2]),
        node("Dropout", "e", "f", "drop"),
        node("Conv", "f w", "y", "tail"),
    ]
    one = np.ones(1, np.float32)
    constants = {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "w": WEIGHTS, "s": one, "o": one, "m": one, "v": one}
    return model(nodes, [value("x", MAP)], [value("y", [1, 1, 5, 5])], constants)


def quantization(folder: Path, text: str) -> Metafile:
    return metafile(folder, f"quantization:\n  data_type: {text}\n")


def normalised(source: SourceModel, part: Slice | None = None) -> ir.Model:
    graph = source.canonical(part or whole(source))
    normalise(graph)
    return graph


def resolved(folder: Path, made: onnx.ModelProto, text: str) -> dict[str, str]:
    """Types by the name of the layer (that of the first one, when some are fused), graph inputs first."""
    source = open_made(folder, made)
    graph = normalised(source)
    groups = group(graph)
    types = resolve_types(quantization(folder, text), groups, graph, source)
    inputs = {str(v.name): types[f"Input_{v.name}"] for v in graph.graph.inputs}
    assert len(types) == len(groups) + len(inputs)
    return inputs | {item.origins[0].name: types[item.layer_id] for item in groups}


def of_sample(folder: Path, text: str) -> list[str]:
    """Types of input1 and conv1 to conv6, as one letter each: u(int8), i(nt8), s(hort), f(loat16)."""
    types = resolved(folder, sample(), text)
    letters = {"uint8": "u", "int8": "i", "int16": "s", "float16": "f"}
    return ["".join(letters[types[name]] for name in ("input1", *(f"conv{i}" for i in range(1, 7))))]


@pytest.mark.parametrize("data_type", ["uint8", "int8", "int16", "float16"])
def test_one_type_is_that_of_every_layer_and_input(tmp_path: Path, data_type: str) -> None:
    assert set(resolved(tmp_path, sample(), data_type).values()) == {data_type}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param(
            "input1: int16, conv1: int16, conv2: int16, conv3: int16, conv4: int16, conv5: int16, conv6: int16",
            "sssssss",
            id="every layer",
        ),
        pytest.param(
            "input1: uint8, conv1: uint8, conv2: int16, conv3: int16, conv4: float16, conv5: int16, conv6: float16",
            "uussfsf",
            id="three types",
        ),
        pytest.param("INPUTS: int8, '*': int16", "issssss", id="8-bit input"),
        pytest.param("'*': uint8, conv2...: int16", "uuussss", id="head"),
        pytest.param("conv2...: int16", "uuussss", id="head, base left out"),
        pytest.param("'*': uint8, conv2...: int16, conv5: float16", "uuussfs", id="one layer of the head"),
        pytest.param("'*': uint8, conv2...: int16, '@Conv_conv5_4': float16", "uuussfs", id="layer id"),
    ],
)
def test_examples_of_the_manual(tmp_path: Path, rules: str, expected: str) -> None:
    assert of_sample(tmp_path, f"{{{rules}}}") == [expected]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param("conv5: float16, conv2...: int16", "uuussss", id="later overwrites"),
        pytest.param("conv5...: int16, '*': uint8", "uuuuuus", id="everything is the base wherever it stands"),
        pytest.param("conv1...: int16, conv5...: uint8", "uussssu", id="base cancels"),
        pytest.param("conv3: int16, conv1: uint8", "uuusuuu", id="base where there is nothing to cancel"),
        pytest.param("'*': int16, conv4: float16", "ssssfss", id="everything is the base without an 8-bit type"),
        pytest.param("conv4: float16, conv6: int8", "iiiifii", id="8-bit type anywhere is the base"),
        pytest.param("4: int16, '@Conv_conv6_5': float16", "uuuuusf", id="operator index and layer id"),
        pytest.param("'1...': int16", "uuussss", id="behind an index"),
        pytest.param("'@Conv_conv5_4...': int16", "uuuuuus", id="behind a layer id"),
        pytest.param("input1...: int16", "ussssss", id="behind an input"),
        pytest.param("'@Input_input1...': int16", "ussssss", id="behind the id of an input"),
        pytest.param("'@Input_input1': int16", "suuuuuu", id="id of an input"),
        pytest.param("t3: int16", "uuusuuu", id="tensor that the layer writes"),
        pytest.param("conv6...: int16, conv1: int16", "usuuuuu", id="nothing behind the last"),
    ],
)
def test_entries_are_applied_in_order(tmp_path: Path, rules: str, expected: str) -> None:
    assert of_sample(tmp_path, f"{{{rules}}}") == [expected]


@pytest.mark.parametrize("rules", ["conv1: uint8", "'*': int16", "'*': int16, conv1: int16", "conv1: int8, '*': int8"])
def test_mapping_without_an_override_is_refused(tmp_path: Path, rules: str) -> None:
    base = rules.rpartition(" ")[2]
    with pytest.raises(InputError, match=rf"meta.yaml:2:3: No layers to requantize: .*'{base}'; write 'data_type: "):
        of_sample(tmp_path, f"{{{rules}}}")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("conv9", "Layer name 'conv9' not in the model; did you mean 'conv"),
        ("conv9...", "Layer name 'conv9' not in the model; did you mean 'conv"),
        ("'77'", "Layer name '77' not in the model; available: input1, conv1"),
        ("zzz", "Layer name 'zzz' not in the model; available: input1, conv1, conv2"),
        ("'@Conv_conv5_9'", "Layer ID 'Conv_conv5_9' not in the model; did you mean '@Conv_conv5_4'?"),
        ("'@Conv_conv1'", "Layer ID 'Conv_conv1' not in the model; did you mean '@Conv_conv1_0'?"),
        ("'@conv5'", "Layer ID 'conv5' not in the model; write 'conv5' without '@'"),
        ("'@zzz'", "Layer ID 'zzz' not in the model; available: '@Input_input1' or '@Conv_conv1_0' or "),
        ("''", "Layer name '' not in the model"),
    ],
)
def test_unknown_layer_is_refused_with_its_place_and_the_nearest_one(tmp_path: Path, key: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        of_sample(tmp_path, f"{{conv1: int16, {key}: int16}}")
    assert str(caught.value).startswith(f"{tmp_path}/meta.yaml:2:29: {message}")


def test_name_of_the_convolution_stands_for_what_is_fused_with_it(tmp_path: Path) -> None:
    types = resolved(tmp_path, fused(), "{conv: int16}")
    assert types == {"x": "uint8", "pad": "int16", "pool": "uint8", "tail": "uint8"}


@pytest.mark.parametrize("name", ["pad", "bn", "relu"])
def test_other_part_of_a_fused_layer_is_refused_with_the_layer_id(tmp_path: Path, name: str) -> None:
    layer_id = "Pad_pad_Conv_conv_BatchNormalization_bn_Relu_relu_0"
    message = (
        rf"meta.yaml:2:15: Layer name '{name}' is part of the fused layer pad \+ conv \+ bn \+ relu; "
        rf"use '@{layer_id}', or 'conv', which stands for all of it"
    )
    with pytest.raises(InputError, match=message):
        resolved(tmp_path, fused(), f"{{{name}: int16}}")
    assert resolved(tmp_path, fused(), f"{{'@{layer_id}': int16}}")["pad"] == "int16"


@pytest.mark.parametrize("name", ["pad", "conv", "relu"])
def test_layers_behind_a_part_of_a_fused_layer_leave_all_of_it_out(tmp_path: Path, name: str) -> None:
    types = resolved(tmp_path, fused(), f"{{{name}...: int16}}")
    assert types == {"x": "uint8", "pad": "uint8", "pool": "int16", "tail": "int16"}


def test_fused_layer_is_covered_when_a_part_of_it_follows(tmp_path: Path) -> None:
    assert resolved(tmp_path, fused(), "{x...: int16}")["pad"] == "int16"


def shuffled() -> onnx.ModelProto:
    """From x: first -> flat -> square -> last, the two in the middle cancel out; six is a constant."""
    nodes = [
        node("Relu", "x", "a", "first"),
        node("Reshape", "a flat", "b", "flat"),
        node("Reshape", "b square", "c", "square"),
        node("Neg", "five", "d", "six"),
        node("Add", "c d", "y", "last"),
    ]
    constants = {"flat": np.array([1, 16]), "square": np.array(MAP), "five": np.ones(MAP, np.float32)}
    return model(nodes, [value("x", MAP)], [value("y", MAP)], constants)


def test_layer_that_was_optimised_away_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'six' has no layer in the converted model: it was optimised away, .*remove"):
        resolved(tmp_path, shuffled(), "{six: int16}")


def test_layer_keeps_its_name_when_others_were_optimised_into_it(tmp_path: Path) -> None:
    expected = {"x": "uint8", "first": "int16", "last": "uint8"}
    assert resolved(tmp_path, shuffled(), "{first: int16}") == expected
    with pytest.raises(InputError, match=r"'flat' is part of the fused layer first \+ .* or 'first', which stands for"):
        resolved(tmp_path, shuffled(), "{flat: int16}")
    assert resolved(tmp_path, shuffled(), "{flat...: int16}") == {"x": "uint8", "first": "uint8", "last": "int16"}


def test_two_convolutions_in_one_layer_are_named_by_the_layer_id_alone() -> None:
    build = GraphBuilder("g")
    x = build.input("x", FLOAT, MAP)
    with build.layer(Origin("conv5", "Conv", 0)):
        y = build.emit("Conv", [x, build.constant(WEIGHTS)], result=TensorType(FLOAT, tuple(MAP)))
    graph = build.finish([y])
    set_origins(next(iter(graph.graph)), [Origin("conv5", "Conv", 0), Origin("conv6", "Conv", 1)])
    source = graph_model(["x"], [("conv5", ["x"], ["t"]), ("conv6", ["t"], ["y"])], ["y"])
    meta = Metafile(quantization=Quantization(data_type={"conv5": "int16"}))
    expected = r"'conv5' is part of the fused layer conv5 \+ conv6; use '@Conv_conv5_Conv_conv6_0'$"
    with pytest.raises(InputError, match=expected):
        resolve_types(meta, group(graph), graph, source)


@pytest.mark.parametrize(
    ("op_type", "types", "main"),
    [
        ("Conv", ["FULLY_CONNECTED", "MUL", "ADD"], "FULLY_CONNECTED"),
        ("Conv", ["PAD", "DEPTHWISE_CONV_2D"], "DEPTHWISE_CONV_2D"),
        ("Conv", ["SPACE_TO_BATCH_ND", "CONV_2D", "BATCH_TO_SPACE_ND"], "CONV_2D"),
        ("Gemm", ["Reshape", "MatMul", "Add"], "MatMul"),
        ("Conv", ["Conv", "Conv"], None),
        ("Gemm", ["FULLY_CONNECTED", "FULLY_CONNECTED"], None),
        ("Conv", ["MUL", "ADD"], None),
        ("MaxPool", ["MAX_POOL_2D", "RESHAPE"], "MAX_POOL_2D"),
        ("Sigmoid", ["LOGISTIC", "Dropout"], "LOGISTIC"),
        ("HardSwish", ["Add", "Clip", "Mul", "Div"], None),
        ("Transpose", ["Transpose", "CONV_2D"], "Transpose"),
        ("Transpose", ["CONV_2D", "ADD"], None),
    ],
)
def test_main_layer_is_the_only_one_of_the_operators_kind(op_type: str, types: list[str], main: str | None) -> None:
    node = ir.Node("", op_type, [])
    origins = tuple(Origin(f"l{i}", source_type, i) for i, source_type in enumerate(types))
    set_origins(node, origins)
    found = main_origin(Group(layer_id="", nodes=(node,), origins=origins))
    assert (found and found.type) == main


def test_same_name_twice_is_ambiguous_and_the_index_is_not(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "a", "same"), node("Conv", "a w", "y", "same")]
    made = model(nodes, [value("x", MAP)], [value("y", MAP)], {"w": WEIGHTS})
    with pytest.raises(InputError, match=r"'same' is ambiguous: 2 layers have it; use one of '0' .*, '1' \(the Conv\)"):
        resolved(tmp_path, made, "{same: int16}")
    source = open_made(tmp_path, made)
    graph = normalised(source)
    types = resolve_types(quantization(tmp_path, "{1: int16}"), group(graph), graph, source)
    assert types == {"Input_x": "uint8", "Conv_same_0": "uint8", "Conv_same_1": "int16"}


def test_input_of_a_cut_model_has_the_name_of_its_tensor(tmp_path: Path) -> None:
    source = open_made(tmp_path, sample(), BoundarySpec(name="t2", shape=tuple(MAP)))
    part = Slice(layers=whole(source).layers[2:], inputs=("t2",), outputs=("t4", "t6"))
    graph = normalised(source, part)
    types = resolve_types(quantization(tmp_path, "{t2: int16, conv4: float16}"), group(graph), graph, source)
    assert types == {
        "Input_t2": "int16",
        "Conv_conv3_2": "uint8",
        "Conv_conv4_3": "float16",
        "Conv_conv5_4": "uint8",
        "Conv_conv6_5": "uint8",
    }
    with pytest.raises(InputError, match="'conv1' has no layer in the converted model: .* or is not needed"):
        resolve_types(quantization(tmp_path, "{conv1: int16}"), group(graph), graph, source)


def moved(origins: list[Origin]) -> tuple[ir.Model, SourceModel]:
    """From x: a -> a transpose that comes from some layers -> b; and a variable that b writes."""
    build = GraphBuilder("g")
    x, state = build.input("x", FLOAT, MAP), build.input("old", FLOAT, MAP)
    with build.layer(Origin("a", "Relu", 0)):
        y = build.emit("Relu", [x])
    with build.layer(*origins):
        y = build.emit("Transpose", [y], {"perm": (0, 1, 3, 2)})
    with build.layer(Origin("b", "Add", 1)):
        y = build.name_value(build.emit("Add", [y, state]), "y", "y")
    build.add_state(State("v", "old", "y", ir.Tensor(np.zeros(MAP, np.float32))))
    return build.finish([y]), graph_model(["x"], [("a", ["x"], ["t"]), ("b", ["t"], ["y"])], ["y"])


@pytest.mark.parametrize(
    ("origins", "rules", "expected"),
    [
        ([Origin("a", "Relu", 0)], {"a": "int16"}, "int16"),
        ([Origin("b", "Add", 1)], {"a": "int16"}, "uint8"),
        ([Origin("b", "Add", 1)], {"b": "int16"}, "int16"),
        ([Origin("a", "Relu", 0), Origin("b", "Add", 1)], {"a": "int16"}, "int16"),
        ([Origin("a", "Relu", 0), Origin("b", "Add", 1)], {"b": "int16"}, "uint8"),
        ([], {"a": "int16"}, "int16"),
        ([Origin("a", "Relu", 0), Origin("b", "Add", 1)], {"@Relu_a_Add_b_0": "int16"}, "int16"),
    ],
)
def test_inserted_movement_has_the_type_of_its_layer_or_else_of_what_it_moves(
    origins: list[Origin], rules: dict[str, str], expected: str
) -> None:
    graph, source = moved(origins)
    groups = group(graph)
    types = resolve_types(Metafile(quantization=Quantization(data_type=rules)), groups, graph, source)
    (transpose,) = (item.layer_id for item in groups if item.nodes[0].op_type == "Transpose")
    assert types[transpose] == expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [({"b": "int16"}, "int16"), ({"a": "int16"}, "uint8"), ({"INPUTS": "int16"}, "uint8"), ({"old": "int16"}, "int16")],
)
def test_variable_has_the_type_of_the_layer_that_computes_it(rules: dict[str, str], expected: str) -> None:
    graph, source = moved([])
    types = resolve_types(Metafile(quantization=Quantization(data_type=rules)), group(graph), graph, source)
    assert types["Input_old"] == expected


@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_model_that_is_quantized_already_is_refused(tmp_path: Path, dtype: str) -> None:
    graph, _ = imported(single("RELU", [tensor([1, 4], dtype)], [tensor([1, 4], dtype)]), tmp_path)
    meta = metafile(tmp_path, "delegate: cpu\nquantization: {dataset: random}")
    expected = r"meta.yaml:2:1: the model is quantized already: layer 'out0' .*; remove the 'quantization' section"
    with pytest.raises(InputError, match=expected):
        require_float(graph, meta)


def test_constant_that_is_stored_as_integers_makes_a_model_quantized() -> None:
    build = GraphBuilder("g")
    quant = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(0.5,), zero_point=(0,))
    weights = build.quantized_constant(np.ones((4, 4), np.int8), quant)
    set_quant(weights, None)
    graph = build.finish([build.emit("MatMul", [build.input("x", FLOAT, (1, 4)), weights])])
    with pytest.raises(InputError, match="layer 'MatMul_2' has quantization parameters"):
        require_float(graph, Metafile())


def test_model_of_real_numbers_can_be_quantized(tmp_path: Path) -> None:
    require_float(normalised(open_made(tmp_path, fused())), Metafile())
