"""Damaged and malicious ``.onnx`` files: each ends in one line."""

from __future__ import annotations

import random
import re
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from synap_core.api import InputError, ModelRequest
from synap_frontend_onnx.inspector import Inspector
from synap_frontend_onnx.model import OnnxModel
from tests.support.onnx_damage import damaged
from tests.support.onnx_models import (
    called,
    choice,
    conv5,
    flattened,
    googlenet_like,
    model,
    node,
    open_made,
    quantized,
    save_external,
    value,
    whole,
)

X = [value("x", [1, 4])]
Y = [value("y", [1, 4])]
ONE = onnx.TensorShapeProto.Dimension(dim_value=1)
GENERATOR = np.random.default_rng(0)


def refusal(folder: Path, made: onnx.ModelProto | bytes) -> str:
    """The message a model is refused with, less its path."""
    try:
        open_made(folder, made)
    except InputError as error:
        text = str(error)
        assert text.startswith(f"{folder / 'net.onnx'}: ")
        assert "\n" not in text
        return text.partition(": ")[2]
    msg = "the model was accepted"
    raise AssertionError(msg)


def changed(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    made = conv5(GENERATOR)
    change(made)
    return made


def twice(items: Any) -> None:
    items.add().CopyFrom(items[0])


def negative(made: onnx.ModelProto) -> None:
    made.graph.initializer[0].dims[0] = -4


def huge(made: onnx.ModelProto) -> None:
    made.graph.initializer[0].dims[0] = 1 << 62


def circle(made: onnx.ModelProto) -> None:
    made.graph.node[1].input[0] = "c"


def unknown_type(made: onnx.ModelProto) -> None:
    made.graph.initializer[0].data_type = 99


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (changed(lambda m: m.graph.ClearField("node")), "the model has 0 operators"),
        (changed(lambda m: twice(m.graph.input)), "tensor 'x' is defined by a graph input and a graph input"),
        (changed(lambda m: twice(m.graph.initializer)), "constant 'w1' is defined twice"),
        (changed(lambda m: m.graph.node[1].output.__setitem__(0, "a")), "'a' is defined by node 'conv1' and node 're"),
        (changed(lambda m: m.graph.node[1].input.__setitem__(0, "q")), "node 'relu' refers to the tensor 'q', which"),
        (changed(lambda m: setattr(m.graph.output[0], "name", "q")), "the list of graph outputs refers to the tensor"),
        (changed(lambda m: setattr(m.graph.input[0], "name", "")), "tensor '' is defined by a graph input: a name"),
        (changed(circle), "node 'relu' (Relu) needs its own result: nodes form a circle"),
        (changed(negative), "constant 'w1' has the shape [-4, 3, 3, 3]"),
        (changed(huge), "constant 'w1' has 432 items or bytes; its shape"),
        (changed(lambda m: m.graph.initializer[0].dims.extend([1] * 40)), "constant 'w1' has 44 dimensions; at most"),
        (changed(lambda m: m.graph.input[0].type.tensor_type.shape.dim.extend([ONE] * 40)), "input 'x' has 44 dimen"),
        (changed(unknown_type), "constant 'w1' has the unknown element type 99"),
        (changed(lambda m: setattr(m.graph.node[0], "op_type", "Foo")), "Invalid ONNX model: No Op registered for Foo"),
        (changed(lambda m: m.graph.input[0].type.ClearField("tensor_type")), "input 'x' is no tensor, but a value wit"),
        (changed(lambda m: setattr(m.graph.output[0].type.tensor_type, "elem_type", 7)), "Invalid ONNX model: "),
        (conv5(GENERATOR).SerializeToString()[:-9], "this ONNX file is truncated or damaged"),
        (b"this is no model", "this ONNX file is truncated or damaged"),
        (b"", "the model has 0 operators"),
        (conv5(GENERATOR).SerializeToString().replace(b"conv1", b"con\xff\xfe"), "this ONNX file is truncated"),
    ],
)  # fmt: skip
def test_inconsistent_file_is_refused(tmp_path: Path, made: onnx.ModelProto | bytes, message: str) -> None:
    assert message in refusal(tmp_path, made)


@pytest.mark.parametrize(
    ("positions", "shape", "message"),
    [
        ([1, 6], [2, 3], "positions outside of its shape"),
        ([[0, 1], [2, 0]], [2, 3], "positions outside of its shape"),
        ([-1, 0], [2, 3], "positions outside of its shape"),
        ([0, 1], [1 << 40, 1 << 20], "is too large to be made dense"),
        ([0, 1], [-2, 3], "is damaged, or of a type"),
    ],
    ids=["linear", "by axis", "negative", "huge", "negative shape"],
)
def test_damaged_sparse_constant_is_refused(
    tmp_path: Path, positions: Sequence[Any], shape: list[int], message: str
) -> None:
    made = model([node("Add", "x k", "y")], X, Y)
    indices = onnx.numpy_helper.from_array(np.array(positions, np.int64), "i")
    made.graph.sparse_initializer.add(
        values=helper.make_tensor("k", TensorProto.FLOAT, [2], [5, 7]), indices=indices, dims=shape
    )
    text = refusal(tmp_path, made)
    assert text.startswith("sparse constant 'k'")
    assert message in text


def external(folder: Path, **changes: str) -> onnx.ModelProto:
    """conv5 with weights in another file, and a change to how the first is found."""
    folder.mkdir(exist_ok=True)
    save_external(conv5(GENERATOR), folder / "net.onnx")
    made = onnx.load(folder / "net.onnx", load_external_data=False)
    for entry in made.graph.initializer[0].external_data:
        entry.value = changes.get(entry.key, entry.value)
    return made


def test_data_file_in_a_folder_beside_the_model_is_read(tmp_path: Path) -> None:
    made = external(tmp_path, location="deeper/net.data")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "net.data").write_bytes((tmp_path / "net.data").read_bytes())
    assert [t.name for t in whole(open_made(tmp_path, made)).graph.initializer] == ["w1", "w2"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"location": "../net.data"}, "it must be inside the model's folder"),
        ({"location": "deeper\\..\\..\\net.data"}, "it must be inside the model's folder"),
        ({"location": "/etc/hostname"}, "it must be inside the model's folder"),
        ({"location": "C:\\net.data"}, "it must be inside the model's folder"),
        ({"location": ""}, "it must be inside the model's folder"),
        ({"location": "link"}, "a link out of the model's folder"),
        ({"location": "loop"}, "the data file 'loop' of constant 'w1' is missing"),
        ({"location": "n" * 300}, "is missing"),
        ({"location": "absent.data"}, "the data file 'absent.data' of constant 'w1' is missing"),
        ({"offset": "4096"}, "needs the bytes up to 4528 of 'net.data', which has"),
        ({"offset": "-8"}, "needs 432 bytes of 'net.data'; the model says offset -8"),
        ({"offset": "9" * 30}, "needs 432 bytes of 'net.data'; the model says offset 999"),
        ({"length": "400"}, "needs 432 bytes of 'net.data'; the model says offset 0, length 400"),
    ],
    ids=lambda v: next(iter(v.items()))[1][:9] if isinstance(v, dict) else "",
)
def test_data_outside_of_the_folder_or_the_file_are_refused(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    folder = tmp_path / "model"
    made = external(folder, **changes)
    (tmp_path / "secret").write_bytes(bytes(5000))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "loop").symlink_to(folder / "loop")
    assert message in refusal(folder, made)


def doubling_rank() -> onnx.ModelProto:
    """Each node doubles the number of dimensions: 35 of them need a terabyte for the shape alone."""
    nodes = [node("Gather", f"t{i} t{i}", f"t{i + 1}") for i in range(35)]
    ends = [value("t0", [1, 2], TensorProto.INT64)], [value("t35", [1], TensorProto.INT64)]
    return model(nodes, *ends)


def doubling_shape() -> onnx.ModelProto:
    nodes = [node("Shape", "x", "t0"), *(node("Concat", f"t{i} t{i}", f"t{i + 1}", axis=0) for i in range(35))]
    return model(nodes, X, [value("t35", [1], TensorProto.INT64)])


def nested_optionals() -> onnx.ModelProto:
    nodes = [node("Optional", f"t{i}", f"t{i + 1}") for i in range(5_000)]
    return model([*nodes, node("Relu", "t0", "y")], [value("t0", [1, 4])], Y)


def functions_in_functions(depth: int, *, last: str) -> onnx.ModelProto:
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)]
    functions = []
    for i in range(depth):
        body = [node(f"f{i + 1}", "a", "b", domain="d"), node(f"f{i + 1}", "b", "c", domain="d")]
        functions.append(helper.make_function("d", f"f{i}", ["a"], ["c"], body, sets))
    end = [node(last, "a", "b", domain="" if last == "Relu" else "d")]
    functions.append(helper.make_function("d", f"f{depth}", ["a"], ["b"], end, sets))
    return model([node("f0", "x", "y", domain="d")], X, Y, imports={"d": 1}, functions=functions)


def nested_bodies() -> bytes:
    """Graphs in attributes of nodes of graphs, deeper than the parser goes."""
    content = b""
    for field in [*[6, 5, 1] * 60, 7]:
        size = len(content)
        content = bytes([field << 3 | 2, size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14]) + content
    return content


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (doubling_rank(), "too much memory"),
        (doubling_shape(), "too much memory"),
        (nested_optionals(), "too much memory|Invalid ONNX model"),
        (functions_in_functions(40, last="Relu"), "the calls of functions expand to more than"),
        (functions_in_functions(3, last="f1"), "the calls of the function d.f0 never end"),
        (nested_bodies(), "truncated or damaged"),
    ],
    ids=["rank", "shape", "optionals", "functions", "recursion", "bodies"],
)
def test_small_file_that_asks_for_the_world_is_refused(
    tmp_path: Path, made: onnx.ModelProto | bytes, message: str
) -> None:
    # A child that is only forked yet has the size of this process, so earlier ones may have been larger.
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert re.search(message, refusal(tmp_path, made))
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < max(1 << 20, before + 1, own + 1)  # KiB


def test_computation_on_constants_stays_small(tmp_path: Path) -> None:
    nodes = [
        node("ConstantOfShape", "n", "zeros"),
        node("ReduceMax", "zeros", "m", keepdims=0),
        node("Add", "x m", "y"),
    ]
    opened = open_made(tmp_path, model(nodes, X, Y, {"n": np.array([1 << 40])}))
    assert opened.tensors["y"].shape == (1, 4)


def test_library_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    inspector = Inspector(timeout=0.001)
    path = tmp_path / "net.onnx"
    path.write_bytes(conv5(GENERATOR).SerializeToString())
    with pytest.raises(InputError, match=r"does not come to an end on this model within 0.001 s"):
        OnnxModel.open(ModelRequest(path=path), inspector=inspector)
    inspector.close()


def test_inspector_works_again_after_a_crash(tmp_path: Path) -> None:
    refusal(tmp_path, doubling_rank())
    assert open_made(tmp_path, conv5(GENERATOR)).inputs == ("x",)


@pytest.mark.parametrize("how", ["bytes", "meaning"])
def test_random_damage_ends_in_one_line_or_not_at_all(tmp_path: Path, how: str) -> None:
    rng = random.Random(20240229)
    sources = [conv5(GENERATOR), googlenet_like(GENERATOR, "N"), googlenet_like(GENERATOR, 3), choice(), called(21, 10)]
    sources += [quantized(GENERATOR), flattened(GENERATOR), flattened(GENERATOR, 4)]
    refused, lines = 0, set[int]()
    for number in range(1500):
        try:
            whole(open_made(tmp_path, damaged(sources[number % len(sources)], how, rng)))
        except InputError as error:
            refused += 1
            lines.add(str(error).count("\n"))
    assert 300 < refused < 1500
    assert lines == {0}
