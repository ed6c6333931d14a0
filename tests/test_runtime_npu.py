"""The runtime of programs for the neural processing unit: results, what is left out at load time, and refusals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from synap_core.api import FormatString, InputError, ModelExecutionError, RuntimeModel, TensorMeta
from synap_runtime_onnx import inlining
from synap_runtime_onnx.plugin import load_program
from synap_runtime_onnx.program import flattened
from tests.support.npu_files import EXAMPLE, ZOO, call, constant, feeds, function, program, programs, session

META = TensorMeta(label="x", name="x", shape=(2000,), dtype="float32")


def require_same_results(content: bytes, rng: np.random.Generator) -> None:
    """Compare with the program as it is: ONNX Runtime calls its functions."""
    plain, whole = session(flattened(content, "net")), session(content)
    for _ in range(3):
        given = feeds(whole, rng)
        for one, other in zip(plain.run(None, given), whole.run(None, given), strict=True):
            np.testing.assert_array_equal(one, other)
            if one.dtype.kind == "f":
                np.testing.assert_array_equal(np.signbit(one), np.signbit(other))


def operators(content: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(content).graph.node if node.op_type != "Constant"]


def loaded(content: bytes, options: str = "npu ") -> list[np.ndarray]:
    model = RuntimeModel(
        name="0/model.nb", model=content, inputs=(META,), outputs=(META,), options=FormatString.parse(options)
    )
    return list(load_program(model).run([np.linspace(-9, 9, 2000, dtype=np.float32)]))


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.zoo
def test_program_without_its_functions_has_the_same_results(name: str, zoo: Path, rng: np.random.Generator) -> None:
    made = programs(zoo / "models" / name)
    assert made
    for content in made:
        require_same_results(content, rng)


def test_example_without_its_functions_has_the_same_results(rng: np.random.Generator) -> None:
    (content,) = programs(EXAMPLE)
    require_same_results(content, rng)
    plain = onnx.load_from_string(flattened(content, "net"))
    assert {node.domain for node in plain.graph.node} == {""}
    assert not plain.functions
    assert operators(flattened(content, "net")).count("Cast") < sum(
        node.op_type == "Cast" for f in onnx.load_from_string(content).functions for node in f.node
    )


def put(
    rounding: str = "Floor", ends: tuple[float, float] = (-131, 124), zero_point: float = 3, half: float = 0.5
) -> onnx.FunctionProto:
    """From real numbers to int8, as operations store results."""
    nodes = [
        *(constant(name, value) for name, value in (("h", half), ("l", ends[0]), ("u", ends[1]), ("z", zero_point))),
        helper.make_node("Add", ["x", "h"], ["a"]),
        helper.make_node(rounding, ["a"], ["r"]),
        helper.make_node("Clip", ["r", "l", "u"], ["c"]),
        *([helper.make_node("Add", ["c", "z"], ["s"])] if zero_point else []),
        helper.make_node("Cast", ["s" if zero_point else "c"], ["y"], to=TensorProto.INT8),
    ]
    return function(nodes, "Put")


def get(zero_point: float = 3) -> onnx.FunctionProto:
    """From int8 to real numbers, as operations load what they read."""
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        constant("z", zero_point),
        helper.make_node("Sub", ["f", "z"], ["s"]),
        helper.make_node("Neg", ["s"], ["y"]),
    ]
    return function(nodes, "Get")


def test_integers_between_operations_are_handed_over_as_they_are(rng: np.random.Generator) -> None:
    made = program([put(), get()]).SerializeToString()
    assert operators(flattened(made, "net")) == ["Add", "Floor", "Clip", "Neg"]
    require_same_results(made, rng)


@pytest.mark.parametrize(
    "first",
    [
        put(ends=(-132, 124)),
        put(ends=(-131, 125)),
        put(ends=(-130.5, 124)),
        put(rounding="Neg"),
        put(rounding="Round", zero_point=0, ends=(-128, 127)),
        put(half=-0.0, zero_point=0, ends=(-128, 127)),
    ],
    ids=["below the type", "above the type", "ends are not whole", "not rounded", "may round to -0", "may be -0"],
)
def test_conversion_that_may_change_a_number_stays(first: onnx.FunctionProto) -> None:
    made = flattened(program([first, get()]).SerializeToString(), "net")
    assert operators(made).count("Cast") == 2


def test_minus_zero_becomes_zero_as_in_memory(rng: np.random.Generator) -> None:
    first = put(rounding="Round", zero_point=0, ends=(-128, 127), half=0.0)
    made = program([first, get(0.0)]).SerializeToString()
    require_same_results(made, rng)
    first = put(rounding="Round", zero_point=0, ends=(-128, 127), half=-0.0)
    require_same_results(program([first, get(0.0)]).SerializeToString(), rng)


def integers(values: Sequence[int], name: str = "i") -> onnx.NodeProto:
    return constant(name, values, "int64")


MOVES = {
    "Transpose": [
        integers([1, 1, 40, 50]),
        helper.make_node("Reshape", ["x", "i"], ["r"]),
        helper.make_node("Transpose", ["r"], ["y"], perm=[0, 1, 3, 2]),
    ],
    "Flatten": [helper.make_node("Flatten", ["x"], ["y"], axis=0)],
    "Unsqueeze": [integers([0]), helper.make_node("Unsqueeze", ["x", "i"], ["y"])],
    "Slice": [
        *(integers([number], name) for name, number in (("i", 1999), ("e", -2001), ("a", 0), ("s", -1))),
        helper.make_node("Slice", ["x", "i", "e", "a", "s"], ["y"]),
    ],
    "Concat": [helper.make_node("Concat", ["x", "x"], ["y"], axis=0)],
}
"""Functions that move integers; their last operator does."""


def moving(name: str) -> onnx.ModelProto:
    """A program that stores results, moves them, loads them, and makes them flat again."""
    flat = function(
        [integers([2000]), integers([0], "o"), helper.make_node("Slice", ["f", "o", "i"], ["y"])], "Flat", inputs=["x"]
    )
    flat.node.insert(2, helper.make_node("Reshape", ["x", "m"], ["f"]))
    flat.node.insert(0, integers([-1], "m"))
    return program([put(), function(MOVES[name], "Move"), get(), flat])


@pytest.mark.parametrize("name", [name for name in MOVES if name != "Transpose"])
def test_integers_that_are_moved_in_between_are_moved_as_they_are(name: str, rng: np.random.Generator) -> None:
    made = moving(name).SerializeToString()
    assert operators(flattened(made, "net")) == ["Add", "Floor", "Clip", name, "Neg", "Reshape", "Slice"]
    require_same_results(made, rng)


def test_integers_that_are_moved_twice_are_stored(rng: np.random.Generator) -> None:
    made = moving("Transpose").SerializeToString()
    assert operators(flattened(made, "net")).count("Cast") == 2
    require_same_results(made, rng)


@pytest.mark.parametrize("zero_point", [5, 0, -3, 3.5])
def test_another_zero_point_is_subtracted_from_what_is_moved(zero_point: float, rng: np.random.Generator) -> None:
    made = program([put(), function(MOVES["Flatten"], "Move"), get(zero_point)])
    made.graph.output[0].type.tensor_type.shape.dim.insert(0, onnx.TensorShapeProto.Dimension(dim_value=1))
    content = made.SerializeToString()
    assert operators(flattened(content, "net")) == ["Add", "Floor", "Clip", "Add", "Flatten", "Sub", "Neg"]
    require_same_results(content, rng)


@pytest.mark.parametrize("name", ["Flatten", "Concat"])
def test_minus_zero_that_is_moved_becomes_zero_as_in_memory(name: str, rng: np.random.Generator) -> None:
    made = moving(name)
    made.functions[0].CopyFrom(put(half=-0.0, zero_point=0, ends=(-128, 127)))
    made.functions[2].CopyFrom(get(0.0))
    content = made.SerializeToString()
    assert operators(flattened(content, "net")).count("Cast") == 2
    require_same_results(content, rng)


@pytest.mark.parametrize("name", ["Flatten", "Concat"])
def test_numbers_beyond_the_type_are_moved_in_memory(name: str) -> None:
    made = moving(name)
    made.functions[0].CopyFrom(put(ends=(-132, 124)))
    assert operators(flattened(made.SerializeToString(), "net")).count("Cast") == 2


def test_what_several_read_is_moved_once_in_memory(rng: np.random.Generator) -> None:
    nodes = [
        call("Put", "input", "a"),
        call("Move", "a", "b"),
        call("Get", "b", "c"),
        call("Get", "b", "d"),
        helper.make_node("Sum2", ["c", "d"], ["output"], domain=inlining.DOMAIN),
    ]
    total = function([helper.make_node("Sub", ["x", "z"], ["y"])], "Sum2", inputs=["x", "z"])
    functions = [put(), function(MOVES["Slice"], "Move"), get(), total]
    content = program(functions, nodes).SerializeToString()
    assert operators(flattened(content, "net")).count("Slice") == 1
    require_same_results(content, rng)


def test_tensors_of_which_one_is_not_handed_over_are_joined_in_memory(rng: np.random.Generator) -> None:
    nodes = [
        call("Put", "input", "a"),
        call("Far", "input", "b"),
        helper.make_node("Join", ["a", "b"], ["c"], domain=inlining.DOMAIN),
        call("Get", "c", "output"),
    ]
    join = function([helper.make_node("Concat", ["x", "z"], ["y"], axis=0)], "Join", inputs=["x", "z"])
    far = put(rounding="Neg")
    far.name = "Far"
    made = program([put(), far, join, get()], nodes)
    made.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 4000
    content = made.SerializeToString()
    assert operators(flattened(content, "net")).count("Cast") == 3
    require_same_results(content, rng)


def largest(**attributes: object) -> onnx.FunctionProto:
    """The largest of integers in windows, as a pool computes it; as many as there are."""
    nodes = [
        *get().node[:-1],
        integers([1, 1, 2000], "w"),
        integers([2000], "v"),
        helper.make_node("Reshape", ["s", "w"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], **attributes),  # type: ignore[arg-type]  # of the operator
        helper.make_node("Reshape", ["p", "v"], ["q"]),
        helper.make_node("Add", ["q", "z"], ["t"]),
        helper.make_node("Cast", ["t"], ["y"], to=TensorProto.INT8),
    ]
    return function(nodes, "Largest")


@pytest.mark.parametrize(
    "attributes",
    [{"kernel_shape": [3], "pads": [1, 1]}, {"kernel_shape": [2], "pads": [1, 0], "dilations": [1]}],
    ids=str,
)
def test_the_largest_integers_are_handed_over(attributes: dict[str, object], rng: np.random.Generator) -> None:
    made = program([put(), largest(**attributes), get()]).SerializeToString()
    kept = ["Add", "Floor", "Clip", "Reshape", "MaxPool", "Reshape", "Neg"]
    assert operators(flattened(made, "net")) == kept
    require_same_results(made, rng)


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [3], "dilations": [2], "pads": [2, 2]},
        {"kernel_shape": [3], "pads": [1, 1], "ceil_mode": 1},
        {"kernel_shape": [3], "auto_pad": "SAME_UPPER"},
    ],
    ids=str,
)
def test_pools_that_may_have_windows_beside_the_map_are_stored(
    attributes: dict[str, object], rng: np.random.Generator
) -> None:
    made = program([put(), largest(**attributes), get()]).SerializeToString()
    assert operators(flattened(made, "net")).count("Cast") == 2
    require_same_results(made, rng)


@pytest.mark.parametrize("zero_point", [5, 0, -3, 3.5])
def test_another_zero_point_is_subtracted(zero_point: float, rng: np.random.Generator) -> None:
    made = program([put(), get(zero_point)]).SerializeToString()
    assert operators(flattened(made, "net")) == ["Add", "Floor", "Clip", "Add", "Sub", "Neg"]
    require_same_results(made, rng)


def test_zero_point_that_adds_an_axis_is_subtracted(rng: np.random.Generator) -> None:
    first, second = put(), get()
    for step in (first, second):
        (place,) = (i for i, node in enumerate(step.node) if node.output[0] == "z")
        step.node[place].CopyFrom(constant("z", [[[3]]]))
    made = program([first, second])
    for _ in range(2):
        made.graph.output[0].type.tensor_type.shape.dim.insert(0, onnx.TensorShapeProto.Dimension(dim_value=1))
    content = made.SerializeToString()
    assert "Sub" in operators(flattened(content, "net"))
    require_same_results(content, rng)


def test_what_others_read_from_memory_stays(rng: np.random.Generator) -> None:
    made = program([put(), get()])
    made.graph.output.append(helper.make_tensor_value_info("t1", TensorProto.INT8, [2000]))
    content = made.SerializeToString()
    assert operators(flattened(content, "net")) == ["Add", "Floor", "Clip", "Add", "Cast", "Neg"]
    require_same_results(content, rng)


def test_values_of_functions_do_not_meet_others_of_the_same_name(rng: np.random.Generator) -> None:
    nodes = [call("Twice", "input", "~0~0/v"), call("Twice", "~0~0/v", "v"), call("Twice", "v", "output")]
    twice = function([helper.make_node("Neg", ["x"], ["v"]), helper.make_node("Sub", ["x", "v"], ["y"])], "Twice")
    made = program([twice], nodes).SerializeToString()
    require_same_results(made, rng)
    x = np.linspace(-9, 9, 2000, dtype=np.float32)
    assert np.array_equal(loaded(made)[0], 8 * x)


def test_function_may_give_back_an_input_or_one_value_twice() -> None:
    same = function([], "Same", outputs=["x"])
    both = function([helper.make_node("Neg", ["x"], ["v"])], "Both", outputs=["v", "v"])
    nodes = [
        call("Same", "input", "a"),
        helper.make_node("Both", ["a"], ["b", "c"], domain=inlining.DOMAIN),
        helper.make_node("Sum2", ["b", "c"], ["output"], domain=inlining.DOMAIN),
    ]
    total = function([helper.make_node("Add", ["x", "z"], ["y"])], "Sum2", inputs=["x", "z"])
    made = program([same, both, total], nodes).SerializeToString()
    x = np.linspace(-9, 9, 2000, dtype=np.float32)
    assert np.array_equal(loaded(made)[0], -2 * x)


def test_options_of_the_delegate_set_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def noted(content: bytes, options: object) -> object:
        seen.append(options.intra_op_num_threads)  # type: ignore[attr-defined]  # the library has no types
        return session(content)

    monkeypatch.setattr("synap_runtime_onnx.session.open_session", noted)
    for options in ("npu ", "npu num_threads=1"):
        loaded(program([put(), get()]).SerializeToString(), options)
    assert seen == [0, 1]


@pytest.mark.parametrize("magic", [b"EBGX", b"VPMN"])
def test_binary_for_the_chip_is_refused(magic: bytes) -> None:
    with pytest.raises(InputError, match="binary for the chip's own processor, which cannot run on this machine"):
        loaded(magic + bytes(100))


NEG = helper.make_node("Neg", ["x"], ["y"])


def changed(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    """A program of one operation, with something wrong with it."""
    made = program([function([NEG])])
    change(made)
    return made


def external() -> onnx.TensorProto:
    made = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[2000], data_location=TensorProto.EXTERNAL)
    made.external_data.add(key="location", value="/etc/passwd")
    return made


def other_default(made: onnx.ModelProto) -> None:
    made.functions[0].opset_import[0].version = 13


def versioned(made: onnx.ModelProto, version: str) -> None:
    """Give a program a version, and variables as no version had them: it is the version that must be named."""
    made.metadata_props.add(key="format_version", value=version)
    made.metadata_props.add(key="states", value="{}")


def graph_of_its_own() -> onnx.NodeProto:
    """An operator without control flow that has a graph nevertheless."""
    made = control_flow()
    made.op_type = "Neg"
    return made


def control_flow() -> onnx.NodeProto:
    body = helper.make_graph([], "body", [], [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)])
    return helper.make_node("Loop", ["n", "c", "x"], ["y"], body=body)


def referring() -> onnx.NodeProto:
    made = helper.make_node("Elu", ["x"], ["y"])
    made.attribute.add(name="alpha", ref_attr_name="alpha", type=onnx.AttributeProto.FLOAT)
    return made


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (
            program([function([NEG])], version=2),
            "has version 2 of the operators synap.npu; this runtime knows",
        ),
        (changed(lambda m: m.ClearField("opset_import")), "has no version of the operators"),
        (
            changed(lambda m: versioned(m, "2")),
            "has version 2 of the operators synap.npu; this runtime knows version 1",
        ),
        (changed(lambda m: versioned(m, "1.1")), "has version '1.1' of the operators synap.npu"),
        (program([], [call("Step", "input", "output")]), "'layer output' of type 'Step' has no function '' that"),
        (program([function([NEG])], [call("Step", "input", "output", "7")]), "has no function '7' that computes it"),
        (program([function([NEG])], [call("Relu", "input", "output", domain="")]), "is of domain '', not synap.npu"),
        (
            program([function([helper.make_node("Step", ["x"], ["y"], domain=inlining.DOMAIN)])]),
            "function 'Step' '' has an operator 'Step' of domain 'synap.npu'; only standard ones",
        ),
        (
            program([function([helper.make_node("Inverse", ["x"], ["y"], domain="com.microsoft")])]),
            "operator 'Inverse' of domain 'com.microsoft'",
        ),
        (changed(lambda m: m.functions.append(function([NEG]))), "two functions have the same name"),
        (changed(other_default), "another version of the standard operators than the program"),
        (changed(lambda m: m.graph.initializer.append(external())), "constant 'c' is in another file"),
        (
            program([function([helper.make_node("Constant", [], ["y"], value=external())])]),
            "constant 'c' is in another file",
        ),
        (program([function([graph_of_its_own()])]), "Neg has an attribute 'body' that is no plain constant"),
        (program([function([control_flow()])]), "has an operator 'Loop'; there is no control flow in programs"),
        *(
            (
                program([function([helper.make_node(name, ["x"], ["y"])])]),
                f"function 'Step' '' has an operator '{name}'; there is no control flow in programs",
            )
            for name in ("If", "Loop", "Scan", "SequenceMap")
        ),
        (program([function([referring()])]), "Elu has an attribute 'alpha' that is no plain constant"),
        (changed(lambda m: m.functions[0].input.append("z")), "1 inputs and 1 outputs, its function others"),
        (changed(lambda m: m.functions[0].output.append("x")), "1 inputs and 1 outputs, its function others"),
        (
            program(
                [function([NEG], inputs=["x", "x"])],
                [helper.make_node("Step", ["input"] * 2, ["output"], domain=inlining.DOMAIN)],
            ),
            "the inputs and outputs of function 'Step' '' have no names of their own",
        ),
        (changed(lambda m: m.graph.sparse_initializer.add()), "neither sparse constants nor training"),
        (changed(lambda m: setattr(m.functions[0], "domain", "x")), "is of domain 'x', not synap.npu"),
    ],
)
def test_program_that_the_toolkit_does_not_make_is_refused(made: onnx.ModelProto, match: str) -> None:
    with pytest.raises(ModelExecutionError, match=match) as refusal:
        loaded(made.SerializeToString())
    assert "\n" not in str(refusal.value)


def test_long_names_do_not_multiply() -> None:
    nodes = [NEG if i == 0 else helper.make_node("Neg", ["x"], [f"y{i}"]) for i in range(300)]
    made = program([function(nodes)], [call("Step", "input", "o" * 10_000_000), call("Step", "input", "output")])
    with pytest.raises(ModelExecutionError, match="the operations take more than"):
        loaded(made.SerializeToString())


def test_proofs_end_soon_whatever_the_operators_are() -> None:
    """Each operator looks at the one before several times."""
    nodes = [helper.make_node("Floor", ["x"], ["v0"])]
    nodes += [helper.make_node("Mul", [f"v{i}"] * 2, [f"v{i + 1}"]) for i in range(3000)]
    nodes += [helper.make_node("Add", ["v3000"] * 2, ["a0"])]
    nodes += [helper.make_node("Add", [f"a{i}"] * 2, [f"a{i + 1}"]) for i in range(3000)]
    nodes += [helper.make_node("Cast", ["a3000"], ["c"], to=TensorProto.INT8)]
    nodes += [helper.make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT)]
    assert operators(flattened(program([function(nodes)]).SerializeToString(), "net"))[-2:] == ["Cast", "Cast"]


def test_proofs_of_moves_end_soon_whatever_they_are() -> None:
    """Each operator looks at the one before a hundred times."""
    nodes = [constant("l", -9), constant("u", 9), helper.make_node("Floor", ["x"], ["f"])]
    nodes += [helper.make_node("Clip", ["f", "l", "u"], ["v0"])]
    nodes += [helper.make_node("Concat", [f"v{i}"] * 100, [f"v{i + 1}"], axis=0) for i in range(300)]
    nodes += [helper.make_node("Cast", ["v300"], ["c"], to=TensorProto.INT8)]
    nodes += [helper.make_node("Cast", ["c"], ["y"], to=TensorProto.FLOAT)]
    assert operators(flattened(program([function(nodes)]).SerializeToString(), "net"))[-2:] == ["Cast", "Cast"]


@pytest.mark.parametrize("node", ["Sub", "Add", "Clip", "Cast", "Mul", "Floor", "Concat", "MaxPool", "Transpose"])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
def test_operators_with_other_numbers_of_operands_are_refused_by_onnx_runtime(node: str, count: int) -> None:
    nodes = [
        helper.make_node(node, ["x"] * count, ["v"]),
        helper.make_node("Cast", ["v"], ["c"], to=TensorProto.INT8),
        helper.make_node("Cast", ["c"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["f", "v"], ["y"]),
    ]
    if (node, count) in {("Sub", 2), ("Add", 2), ("Clip", 1), ("Mul", 2), ("Floor", 1), ("Transpose", 1)}:
        assert np.isfinite(loaded(program([function(nodes)]).SerializeToString())[0]).all()
    else:
        with pytest.raises(ModelExecutionError, match="ONNX Runtime"):
            loaded(program([function(nodes)]).SerializeToString())


def test_constants_that_nothing_reads_are_left_out() -> None:
    made = program([function([NEG])])
    made.graph.initializer.append(numpy_helper.from_array(np.ones(3), "unused"))
    assert not onnx.load_from_string(flattened(made.SerializeToString(), "net")).graph.initializer


@pytest.mark.parametrize("limit", ["MOST_NODES", "MOST_BYTES"])
def test_program_that_grows_without_bounds_is_refused_before_it_does(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [NEG if i == 0 else helper.make_node("Neg", ["y"], [f"y{i}"]) for i in range(100)]
    calls = [call("Step", "input", "output" if i == 0 else f"o{i}") for i in range(50)]
    made = program([function(nodes)], calls).SerializeToString()
    assert np.isfinite(loaded(made)[0]).all()
    monkeypatch.setattr(inlining, limit, 2000)
    with pytest.raises(ModelExecutionError, match="the operations take more than"):
        loaded(made)


def broken(step: int, content: bytes) -> bytes:
    rng = np.random.default_rng(step)
    array = np.frombuffer(content, np.uint8).copy()
    places = rng.integers(0, array.size, rng.integers(1, 8))
    array[places] = rng.integers(0, 256, places.size)
    return array.tobytes()[: int(rng.integers(1, array.size + 1)) if step % 3 == 0 else None]


def refusal_of(content: bytes) -> str:
    """What is said of a program that is refused."""
    try:
        loaded(content)
    except ModelExecutionError as error:
        return str(error)
    return ""


def test_damaged_program_is_refused_in_one_line() -> None:
    content = program([put(), get()]).SerializeToString()
    messages = [message for step in range(300) if (message := refusal_of(broken(step, content)))]
    assert len(messages) > 100
    assert not any("\n" in message for message in messages)


@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Neg", ["missing"], ["y"])],
        [helper.make_node("Neg", ["y"], ["v"]), helper.make_node("Neg", ["v"], ["y"])],
        [NEG, NEG],
        [helper.make_node("Nothing", ["x"], ["y"])],
    ],
    ids=["unknown value", "cycle", "computed twice", "unknown operator"],
)
def test_what_onnx_runtime_refuses_is_told_in_one_line(nodes: Sequence[onnx.NodeProto]) -> None:
    with pytest.raises(ModelExecutionError, match="ONNX Runtime refused the model") as refusal:
        loaded(program([function(nodes)]).SerializeToString())
    assert "\n" not in str(refusal.value)
