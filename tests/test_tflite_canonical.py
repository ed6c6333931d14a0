"""How the importer goes through a ``.tflite`` graph: names, origins, parts, and what cannot be expressed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from ai_edge_litert import schema_py_generated as schema

from synap_core.errors import InputError
from synap_core.graph.annotations import (
    Origin,
    Twin,
    is_opaque,
    origins_of,
    quant_of,
    source_of,
    states_of,
    twin_of,
)
from synap_core.source import ModelRequest, Slice
from synap_frontend_tflite.model import TfliteModel
from tests.support.canonical import conforms, imported, opaque_reasons, run, whole
from tests.support.tflite_models import ModelBuilder, chain, six


def _values(model: ir.Model) -> dict[str, ir.Value]:
    return {str(v.name): v for v in (*model.graph.inputs, *(out for node in model.graph for out in node.outputs))}


def _names(model: ir.Model) -> list[str]:
    """Names of all values, those of constants included."""
    constants = [str(value.name) for value in model.graph.initializers.values()]
    computed = [str(value.name) for node in model.graph for value in node.outputs]
    return [*(str(value.name) for value in model.graph.inputs), *constants, *computed]


def _add(builder: ModelBuilder, left: int, right: int, result: int) -> None:
    builder.operator("ADD", [left, right], [result], schema.AddOptionsT())


def test_every_tensor_has_its_name_and_id(tmp_path: Path) -> None:
    model, source = imported(six(), tmp_path)
    sources = {source_of(value): name for name, value in _values(model).items() if source_of(value) is not None}
    assert sources == {info.id: info.name for info in source.tensors.values()}
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert [value.name for value in model.graph.outputs] == ["c4", "c6"]


def test_every_node_says_which_layer_it_came_from(tmp_path: Path) -> None:
    model, _ = imported(six(), tmp_path)
    assert [origins_of(node) for node in model.graph] == [
        (Origin(f"c{i + 1}", {2: "NEG", 4: "EXP"}.get(i, "ABS"), i),) for i in range(6)
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["a", "a", "a"], ["a", "a#2", "a#3"], id="one name"),
        pytest.param(["a", "a", "a#2"], ["a", "a#2#2", "a#2"], id="a name like the one that is made"),
        pytest.param(["x", "b", "x"], ["x#1", "b", "x#3"], id="the name of the input"),
        pytest.param(["", "", "b"], ["tensor_1", "tensor_2", "b"], id="no name"),
        pytest.param(["Abs_1", "Abs_1_out", "constant_1"], ["Abs_1", "Abs_1_out", "constant_1"], id="ours"),
    ],
)
def test_names_are_unique(tmp_path: Path, names: list[str], expected: list[str]) -> None:
    model, _ = imported(chain(names), tmp_path)
    by_source = {source_of(value): name for name, value in _values(model).items()}
    assert [by_source[str(i + 1)] for i in range(len(names))] == expected
    assert len(set(_names(model))) == len(_names(model))
    (result,) = run(model, [np.array([[-1, 2, -3, 4]], np.float32)])
    np.testing.assert_array_equal(result, [[1, 2, 3, 4]])


def test_a_quantized_tensor_is_one_of_real_numbers_with_an_annotation(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, y = (builder.tensor(name, [1, 3], "int8", scale=scale, zero_point=3) for name, scale in (("x", 0.5), ("y", 1)))
    _add(builder, x, x, y)
    model, source = imported(builder.finish([x], [y]), tmp_path)
    for value in (*model.graph.inputs, *model.graph.outputs):
        assert value.dtype == ir.DataType.FLOAT
        assert quant_of(value) == source.tensors[str(source_of(value))].quant is not None


def test_quantization_of_other_types_is_left_by_mistake(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 3], scale=0.5), builder.tensor("y", [1, 3], scale=0.5)
    _add(builder, x, x, y)
    model, _ = imported(builder.finish([x], [y]), tmp_path)
    assert [quant_of(value) for value in (*model.graph.inputs, *model.graph.outputs)] == [None, None]


def test_the_channels_first_twin_of_a_tensor_says_whose_it_is(tmp_path: Path, rng: np.random.Generator) -> None:
    builder = ModelBuilder()
    x = builder.tensor("x", [1, 4, 6, 3], "int8", scale=0.5)
    y = builder.tensor("y", [1, 2, 3, 3], "int8", scale=0.5)
    options = schema.Pool2DOptionsT()
    options.strideH = options.strideW = options.filterHeight = options.filterWidth = 2
    builder.operator("MAX_POOL_2D", [x], [y], options)
    content = builder.finish([x], [y])
    model, _ = imported(content, tmp_path)
    (twin,) = (value for value in _values(model).values() if twin_of(value) is not None)
    assert twin_of(twin) == Twin(str(y), (0, 3, 1, 2))
    assert quant_of(twin) == quant_of(model.graph.outputs[0])
    conforms(content, tmp_path, [rng.integers(-128, 128, (1, 4, 6, 3)).astype(np.int8)], units=0)


def test_an_output_that_is_an_input_gets_a_name_of_its_own(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [2]), builder.tensor("y", [2])
    _add(builder, x, x, y)
    model, _ = imported(builder.finish([x], [x, y]), tmp_path)
    assert [value.name for value in model.graph.outputs] == ["x/output", "y"]
    first, second = run(model, [np.array([1, 2], np.float32)])
    np.testing.assert_array_equal(first, [1, 2])
    np.testing.assert_array_equal(second, [2, 4])


def test_an_output_that_is_listed_twice_is_there_twice(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [2]), builder.tensor("y", [2])
    _add(builder, x, x, y)
    model, _ = imported(builder.finish([x], [y, y]), tmp_path)
    assert [value.name for value in model.graph.outputs] == ["y", "y/output"]
    for result in run(model, [np.array([1, 2], np.float32)]):
        np.testing.assert_array_equal(result, [2, 4])


def test_an_output_that_is_constant_is_computed_all_the_same(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, y, fixed = (builder.tensor(name, [1, 2]) for name in ("x", "y", "fixed"))
    stored = builder.constant("stored", np.array([[3, 4]], np.float32))
    builder.operator("DENSIFY", [stored], [fixed], schema.DensifyOptionsT())
    _add(builder, x, x, y)
    model, _ = imported(builder.finish([x], [fixed, y]), tmp_path)
    assert [value.name for value in model.graph.outputs] == ["fixed", "y"]
    np.testing.assert_array_equal(run(model, [np.zeros((1, 2), np.float32)])[0], [[3, 4]])


def _part(source: TfliteModel, names: Sequence[str], inputs: Sequence[str], outputs: Sequence[str]) -> Slice:
    ids = {info.name: info.id for info in source.tensors.values()}
    layers = tuple(layer for layer in whole(source).layers if layer.name in names)
    return Slice(layers=layers, inputs=tuple(ids[n] for n in inputs), outputs=tuple(ids[n] for n in outputs))


def test_a_part_has_the_boundary_that_was_asked_for(tmp_path: Path) -> None:
    _, source = imported(six(), tmp_path)
    assert isinstance(source, TfliteModel)
    model = source.canonical(_part(source, ["c3", "c5", "c6"], ["c2"], ["c6", "c3"]))
    assert [value.name for value in model.graph.inputs] == ["c2"]
    assert [value.name for value in model.graph.outputs] == ["c6", "c3"]
    assert [origins_of(node)[0].index for node in model.graph] == [2, 4, 5]
    found = run(model, [np.array([[0, 1, -1, 2]], np.float32)])
    np.testing.assert_allclose(found[0], np.exp([[0, 1, -1, 2]]), rtol=1e-6)
    np.testing.assert_array_equal(found[1], [[0, -1, 1, -2]])


def test_a_part_may_begin_and_end_anywhere(tmp_path: Path) -> None:
    _, source = imported(chain(["a", "b", "c"]), tmp_path)
    assert isinstance(source, TfliteModel)
    model = source.canonical(_part(source, ["b"], ["a"], ["b", "a"]))
    assert [value.name for value in model.graph.outputs] == ["b", "a/output"]


def test_a_constant_is_shared_by_its_readers(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, y, z = (builder.tensor(name, [2]) for name in "xyz")
    shared = builder.constant("c", np.array([1, 2], np.float32))
    _add(builder, x, shared, y)
    _add(builder, y, shared, z)
    model, _ = imported(builder.finish([x], [z]), tmp_path)
    assert len(model.graph.initializers) == 1


def test_a_constant_without_items_is_a_constant(tmp_path: Path) -> None:
    """An empty buffer is all that a file has of it: reshaping to a scalar takes such a shape."""
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 1]), builder.tensor("y", [])
    shape = builder.tensor("shape", [0], "int32")
    builder.operator("RESHAPE", [x, shape], [y], schema.ReshapeOptionsT())
    conforms(builder.finish([x], [y]), tmp_path, [np.array([[3]], np.float32)])


def _unknown_then_known() -> bytes:
    builder = ModelBuilder()
    x, odd, y = builder.tensor("x", [1, 3]), builder.tensor("odd", [1, 3]), builder.tensor("y", [1, 3])
    builder.operator("CUSTOM", [x], [odd], custom="odd")
    _add(builder, odd, x, y)
    return builder.finish([x], [y])


def test_an_opaque_layer_stands_among_the_others(tmp_path: Path) -> None:
    model, _ = imported(_unknown_then_known(), tmp_path)
    first, second = model.graph
    assert is_opaque(first)
    assert (first.domain, first.op_type) == ("synap.opaque", "CUSTOM:odd")
    assert origins_of(first) == (Origin("odd", "CUSTOM:odd", 0),)
    assert [value.name for value in first.inputs if value is not None] == ["x"]
    assert second.inputs[0] is first.outputs[0]
    assert opaque_reasons(model) == ["CUSTOM:odd: custom operator 'odd' is known to no importer"]


def test_what_reads_a_tensor_of_no_known_type_is_opaque_too(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, text, y = builder.tensor("x", [1, 3]), builder.tensor("text", [1]), builder.tensor("y", [1, 3])
    builder.graph.tensors[text].type = schema.TensorType.STRING
    builder.operator("CUSTOM", [x], [text], custom="to-text")
    _add(builder, text, x, y)
    model, _ = imported(builder.finish([x], [y]), tmp_path)
    assert opaque_reasons(model) == [
        "CUSTOM:to-text: custom operator 'to-text' is known to no importer",
        "ADD: it needs 'text', which cannot be expressed",
    ]


@pytest.mark.parametrize("side", ["input", "output"])
def test_a_boundary_of_no_known_type_is_the_users_affair(tmp_path: Path, side: str) -> None:
    builder = ModelBuilder()
    x, text = builder.tensor("x", [1, 3]), builder.tensor("text", [1])
    builder.graph.tensors[text].type = schema.TensorType.STRING
    operands = ([text], [x]) if side == "input" else ([x], [text])
    builder.operator("CUSTOM", *operands, custom="text")
    expected = rf"net: tensor 'text' of type string cannot be an {side} of a converted model; cut the model"
    path = tmp_path / "net"
    path.write_bytes(builder.finish(*operands))
    source = TfliteModel.open(ModelRequest(path=path))
    with pytest.raises(InputError, match=expected):
        source.canonical(whole(source))


@pytest.mark.parametrize(
    ("activation", "width", "reason"),
    [
        pytest.param("SIGN_BIT", 4, "the activation function SIGN_BIT", id="before it keeps its state"),
        pytest.param("RELU", 5, "its result is FLOAT [1, 4]; the file says FLOAT [1, 5]", id="behind that"),
    ],
)
def test_nothing_is_left_of_a_layer_that_fails_half_way(
    tmp_path: Path, activation: str, width: int, reason: str
) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 3]), builder.tensor("y", [1, width])
    operands = [builder.constant("w", np.zeros(shape, np.float32)) for shape in ((4, 3), (4, 4), (4,))]
    hidden = builder.tensor("h", [1, 4], variable=True)
    options = schema.RNNOptionsT()
    options.fusedActivationFunction = getattr(schema.ActivationFunctionType, activation)
    builder.operator("RNN", [x, *operands, hidden], [y], options)
    model, _ = imported(builder.finish([x], [y]), tmp_path)
    assert opaque_reasons(model) == [f"RNN: {reason}"]
    (node,) = model.graph
    assert set(model.graph.initializers.values()) <= set(node.inputs)
    assert states_of(model) == ()


def test_nothing_is_left_of_a_stateless_layer_that_fails_half_way(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 3]), builder.tensor("y", [1, 4])
    _add(builder, x, x, y)
    model, _ = imported(builder.finish([x], [y]), tmp_path)
    assert opaque_reasons(model) == ["ADD: its result is FLOAT [1, 3]; the file says FLOAT [1, 4]"]
    assert [is_opaque(node) for node in model.graph] == [True]


def test_copies_of_what_an_opaque_layer_computes_stay(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 3]), builder.tensor("y", [1, 3])
    builder.operator("ADD", [x, x], [y])
    model, _ = imported(builder.finish([x], [y, y]), tmp_path)
    assert opaque_reasons(model) == ["ADD: it lacks the option fusedActivationFunction"]
    assert [node.op_type for node in model.graph] == ["ADD", "Identity"]
    assert [value.name for value in model.graph.outputs] == ["y", "y/output"]


def test_copies_at_the_end_come_from_the_layers_that_computed_them(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [2]), builder.tensor("y", [2])
    _add(builder, x, x, y)
    model, _ = imported(builder.finish([x], [y, y]), tmp_path)
    assert [origins_of(node) for node in model.graph] == [(Origin("y", "ADD", 0),)] * 2


def test_huge_shapes_take_no_memory(tmp_path: Path) -> None:
    builder = ModelBuilder()
    shape = [1, 2**31 - 1, 2**31 - 1, 2**31 - 1]
    x, y, z = builder.tensor("x", shape), builder.tensor("y", shape), builder.tensor("z", shape)
    _add(builder, x, x, y)
    builder.operator("CUSTOM", [y], [z], custom="odd")
    first, second = opaque_reasons(imported(builder.finish([x], [z]), tmp_path)[0])
    assert "too large" in first
    assert second.startswith("CUSTOM:odd")


def test_a_huge_variable_tensor_is_not_filled(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 3]), builder.tensor("y", [1, 3])
    state = builder.tensor("state", [1 << 20, 1 << 20], variable=True)
    _add(builder, x, state, y)
    reasons = opaque_reasons(imported(builder.finish([x], [y]), tmp_path)[0])
    assert reasons == ["ADD: the first value of the variable 'state' is not in the file"]


@pytest.mark.parametrize(
    ("dtype", "zero_point", "first"), [("int8", 5, 0.0), ("uint8", 5, -2.5), ("float32", 0, 0.0), ("int16", 0, 0.0)]
)
def test_a_variable_tensor_begins_as_the_runtime_fills_it(
    tmp_path: Path, dtype: str, zero_point: int, first: float
) -> None:
    """With the zero point for int8 alone; with bytes of 0 for every other type."""
    builder = ModelBuilder()
    scale = None if dtype == "float32" else 0.5
    x, y, state = (
        builder.tensor(name, [1, 3], dtype, scale=scale, zero_point=zero_point, variable=name == "state")
        for name in ("x", "y", "state")
    )
    _add(builder, x, state, y)
    model, _ = imported(builder.finish([x], [y]), tmp_path)
    (found,) = states_of(model)
    assert (found.name, found.input, found.output) == ("state", "state/old", "state/new")
    np.testing.assert_array_equal(found.initial.numpy(), np.full((1, 3), first, np.float32))


def test_variable_tensors_of_one_name_keep_apart(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, y, z = (builder.tensor(name, [1, 3]) for name in "xyz")
    states = [builder.tensor("state", [1, 3], variable=True) for _ in range(2)]
    _add(builder, x, states[0], y)
    _add(builder, y, states[1], z)
    model, _ = imported(builder.finish([x], [z]), tmp_path)
    assert [state.name for state in states_of(model)] == ["state", f"state#{states[1]}"]


@pytest.mark.parametrize("length", [1, 2, 6])
def test_variables_that_hang_together_are_expressed_together(tmp_path: Path, length: int) -> None:
    """Each layer reads two variables, and the first one stays opaque: that goes from one to the next."""
    builder = ModelBuilder()
    x = last = builder.tensor("x", [1, 3])
    states = [builder.tensor(f"state{i}", [1, 3], variable=True) for i in range(length + 1)]
    odd = builder.tensor("odd", [1, 3])
    builder.operator("CUSTOM", [last, states[0]], [odd], custom="odd")
    for left, right in itertools.pairwise(states):
        y = builder.tensor(f"y{left}", [1, 3])
        _add(builder, left, right, y)
        last = y
    model, _ = imported(builder.finish([x], [odd, last]), tmp_path)
    first, *others = opaque_reasons(model)
    assert first == "CUSTOM:odd: custom operator 'odd' is known to no importer"
    assert len(others) == length
    assert all("it shares the variable" in reason for reason in others)
    assert states_of(model) == ()
    assert [value.name for value in model.graph.inputs] == ["x"]


def test_other_variables_are_expressed_beside_opaque_ones(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, odd, y = (builder.tensor(name, [1, 3]) for name in ("x", "odd", "y"))
    lost, kept = (builder.tensor(name, [1, 3], variable=True) for name in ("lost", "kept"))
    builder.operator("CUSTOM", [x, lost], [odd], custom="odd")
    _add(builder, x, kept, y)
    model, _ = imported(builder.finish([x], [odd, y]), tmp_path)
    assert len(opaque_reasons(model)) == 1
    assert [state.name for state in states_of(model)] == ["kept"]


def test_support_says_what_becomes_of_each_layer(tmp_path: Path) -> None:
    """Also where a boundary of no known type keeps the model from being imported as a whole."""
    builder = ModelBuilder()
    x, y, text, late = (builder.tensor(name, [1, 3]) for name in ("x", "y", "text", "late"))
    builder.graph.tensors[text].type = schema.TensorType.STRING
    _add(builder, x, x, y)
    builder.operator("CUSTOM", [y], [text], custom="to-text")
    _add(builder, text, y, late)
    path = tmp_path / "net.tflite"
    path.write_bytes(builder.finish([x], [text, late]))
    found = TfliteModel.open(ModelRequest(path=path)).support()
    assert [(entry.layer.name, entry.status, entry.reason) for entry in found] == [
        ("y", "imported", ""),
        ("text", "unknown", "custom operator 'to-text' is known to no importer"),
        ("late", "opaque", "it needs 'text', which cannot be expressed"),
    ]
