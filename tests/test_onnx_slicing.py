"""Cutting parts out of ``.onnx`` files."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from synap_core.api import InputError, ModelRequest, Slice
from synap_frontend_onnx.model import OnnxModel
from tests.support.onnx_models import (
    F32,
    Oracle,
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
    run_in_a_row,
    save_external,
    value,
    whole,
)


def pieces(source: OnnxModel, sizes: Sequence[int]) -> list[bytes]:
    """Consecutive runs of layers, each as a model; constants are computed where they are needed."""
    layers = [layer for layer in operators(source) if set(layer.outputs) - source.slicer.constants]
    cuts = [0, *itertools.accumulate(sizes), len(layers)]
    parts = []
    for start, end in itertools.pairwise(cuts):
        group, rest = layers[start:end], layers[end:]
        written = {name for layer in group for name in layer.outputs}
        read = {name for layer in group for name in layer.inputs} - written
        wanted = {name for layer in rest for name in layer.inputs} | set(source.outputs)
        part = Slice(layers=tuple(group), inputs=tuple(sorted(read)), outputs=tuple(sorted(written & wanted)))
        parts.append(source.slice(part))
    return parts


def opset_of(content: bytes) -> tuple[int, int]:
    made = onnx.ModelProto.FromString(content)
    return made.opset_import[0].version, made.ir_version


CASES: list[tuple[str, Callable[[np.random.Generator], onnx.ModelProto], list[int]]] = [
    ("conv5", conv5, [1, 2]),
    ("row", googlenet_like, [4, 5]),
    ("before control flow", lambda _: choice(), [1]),
    ("behind control flow", lambda _: choice(), [4]),
    ("functions", lambda _: called(), [1, 1]),
    ("computed reshape", flattened, [1]),
    ("quantized", quantized, [2, 1]),
]


@pytest.mark.parametrize(("build", "sizes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_pieces_in_a_row_equal_the_whole(
    tmp_path: Path,
    rng: np.random.Generator,
    build: Callable[[np.random.Generator], onnx.ModelProto],
    sizes: list[int],
) -> None:
    made = build(rng)
    source = open_made(tmp_path, made)
    feeds = {name: rng.normal(size=source.tensors[name].shape).astype(F32) for name in source.inputs}
    parts = pieces(source, sizes)
    for part in parts:
        onnx.checker.check_model(part, full_check=True)
    got = run_in_a_row(parts, feeds)
    for name, expected in zip(source.outputs, Oracle(made)(feeds), strict=True):
        np.testing.assert_array_equal(got[name], expected)


def test_boundary_is_in_the_requested_order_with_types_and_shapes(tmp_path: Path, rng: np.random.Generator) -> None:
    source = open_made(tmp_path, conv5(rng))
    part = Slice(layers=operators(source)[2:], inputs=("b",), outputs=("y", "d", "c"))
    graph = onnx.ModelProto.FromString(source.slice(part)).graph
    described = [
        (v.name, v.type.tensor_type.elem_type, [d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in (*graph.input, *graph.output)
    ]
    shape = [1, 4, 8, 8]
    assert described == [(name, TensorProto.FLOAT, shape) for name in ("b", "y", "d", "c")]
    assert [tensor.name for tensor in graph.initializer] == ["w2"]


def test_inner_tensors_keep_their_shapes_and_the_file_its_metadata(tmp_path: Path, rng: np.random.Generator) -> None:
    part = whole(open_made(tmp_path, conv5(rng)))
    assert [v.name for v in part.graph.value_info] == ["a", "b", "c", "d"]
    assert {entry.key: entry.value for entry in part.metadata_props} == {"origin": "test"}
    assert part.producer_name == "a test"


def test_constants_keep_their_order_and_shared_ones_go_into_each_part(tmp_path: Path) -> None:
    nodes = [node("Mul", "x late", "m"), node("Add", "m early", "n"), node("Mul", "n late", "y")]
    constants = {"late": np.full((1, 4), 2, F32), "unused": np.zeros((1, 4), F32), "early": np.ones((1, 4), F32)}
    source = open_made(tmp_path, model(nodes, [value("x", [1, 4])], [value("y", [1, 4])], constants))
    names = [[t.name for t in onnx.ModelProto.FromString(p).graph.initializer] for p in pieces(source, [2])]
    assert names == [["late", "early"], ["late"]]


def test_only_called_functions_are_kept(tmp_path: Path) -> None:
    first, second, third = pieces(open_made(tmp_path, called()), [1, 1])
    names = [[f.name for f in onnx.ModelProto.FromString(p).functions] for p in (first, second, third)]
    assert names == [[], ["inner", "outer"], []]


def test_weights_behind_dequantize_go_with_their_reader(tmp_path: Path, rng: np.random.Generator) -> None:
    source = open_made(tmp_path, quantized(rng))
    conv = next(layer for layer in operators(source) if layer.name == "conv")
    assert conv.inputs == ("xd",)
    part = onnx.ModelProto.FromString(source.slice(Slice(layers=(conv,), inputs=("xd",), outputs=("c",))))
    assert [n.name for n in part.graph.node] == ["dq_weights", "conv"]


@pytest.mark.acceptance("P16")
def test_p16_slices_are_the_same_bytes_in_every_process(tmp_path: Path, rng: np.random.Generator) -> None:
    source = open_made(tmp_path, googlenet_like(rng))
    code = (
        "import hashlib, sys; from pathlib import Path\n"
        "from tests.support.onnx_models import open_made\n"
        "from tests.test_onnx_slicing import pieces\n"
        "path = Path(sys.argv[1])\n"
        "made = open_made(path.parent, path.read_bytes())\n"
        "print(*(hashlib.sha256(p).hexdigest() for p in pieces(made, [4, 5])))"
    )
    runs = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code, str(source.path)]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        root = Path(__file__).parents[1]
        result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
        runs.add(result.stdout)
    assert len(runs) == 1
    assert len(set(runs.pop().split())) == 3


def with_opset(made: onnx.ModelProto, opset: int, ir: int) -> onnx.ModelProto:
    made.opset_import[0].version = opset
    made.ir_version = ir
    return made


@pytest.mark.parametrize(
    ("opset", "ir", "expected"),
    [
        (7, 3, (7, 4)),
        (17, 8, (17, 8)),
        (19, onnx.IR_VERSION, (19, 9)),
        (21, 10, (19, 9)),
        (onnx.defs.onnx_opset_version(), onnx.IR_VERSION, (19, 9)),
    ],
    ids=["opset 7", "opset 17", "new IR", "opset 21", "newest"],
)
def test_versions_are_those_the_boards_know(
    tmp_path: Path, rng: np.random.Generator, opset: int, ir: int, expected: tuple[int, int]
) -> None:
    made = with_opset(conv5(rng), opset, ir)
    source = open_made(tmp_path, made)
    part = whole(source).SerializeToString()
    assert (opset_of(part), source.warnings) == (expected, ())
    x = [rng.normal(size=(1, 3, 8, 8)).astype(F32)]
    if ir <= 10:
        np.testing.assert_array_equal(Oracle(part)(x)[0], Oracle(made)(x)[0])


def mixed(opset: int, *, kind: str = "Gelu", **attributes: object) -> onnx.ModelProto:
    nodes = [node("Relu", "x", "r", "relu"), node(kind, "r", "g", "new", **attributes), node("Abs", "g", "y", "abs")]
    return model(nodes, [value("x", [1, 2, 4, 4])], [value("y", [1, 2, 4, 4])], opset=opset, ir=10)


def test_operator_of_a_later_operator_set_is_kept_and_named(tmp_path: Path) -> None:
    source = open_made(tmp_path, mixed(21))
    (warning,) = source.warnings
    assert "Gelu of operator set 20" in warning
    assert "layer 'new'" in warning
    assert [opset_of(part) for part in pieces(source, [1, 1])] == [(19, 9), (21, 10), (19, 9)]


@pytest.mark.parametrize(
    ("ceil_mode", "expected"), [(0, (19, 9)), (1, (22, 10))], ids=["same meaning", "other meaning"]
)
def test_changed_operator_is_lowered_only_if_its_meaning_is_the_same(
    tmp_path: Path, ceil_mode: int, expected: tuple[int, int]
) -> None:
    made = mixed(22, kind="MaxPool", kernel_shape=[1, 1], ceil_mode=ceil_mode)
    assert opset_of(whole(open_made(tmp_path, made)).SerializeToString()) == expected


def test_type_that_only_the_later_operator_takes_is_not_lowered(tmp_path: Path) -> None:
    nodes = [node("Cast", "x", "b", to=TensorProto.BFLOAT16), node("Sin", "b", "s"), node("Cast", "s", "y", to=1)]
    source = open_made(tmp_path, model(nodes, [value("x", [1, 4])], [value("y", [1, 4])], opset=22, ir=10))
    assert "Sin of operator set 22" in source.warnings[0]
    assert [opset_of(part) for part in pieces(source, [1, 1])] == [(19, 9), (22, 10), (19, 9)]


def test_functions_are_lowered_with_the_model(tmp_path: Path) -> None:
    part = whole(open_made(tmp_path, called(opset=21, ir=10)))
    assert {entry.version for f in part.functions for entry in f.opset_import if not entry.domain} == {19}
    x = [np.array([[-1, 0, 1, 2]], F32)]
    np.testing.assert_array_equal(Oracle(part)(x)[0], Oracle(called())(x)[0])


def test_function_that_takes_attributes_from_its_call_is_lowered(tmp_path: Path) -> None:
    turn = node("Transpose", "p", "q")
    turn.attribute.add(name="perm", ref_attr_name="order", type=onnx.AttributeProto.INTS)
    sets = [helper.make_opsetid("", 21)]
    function = helper.make_function("mine", "turn", ["p"], ["q"], [turn], sets, attributes=["order"])
    nodes = [node("turn", "x", "y", "call", domain="mine", order=[0, 2, 1])]
    made = model(nodes, [value("x", [1, 2, 3])], [value("y", [1, 3, 2])], opset=21, ir=10, imports={"mine": 1})
    made.functions.append(function)
    source = open_made(tmp_path, made)
    part = whole(source)
    assert (opset_of(part.SerializeToString()), source.warnings) == ((19, 9), ())
    x = np.arange(6, dtype=F32).reshape(1, 2, 3)
    np.testing.assert_array_equal(Oracle(part)([x])[0], x.transpose(0, 2, 1))


def test_weights_in_another_file_are_read_when_a_part_needs_them(tmp_path: Path, rng: np.random.Generator) -> None:
    made = conv5(rng)
    expected = Oracle(made)(x := [rng.normal(size=(1, 3, 8, 8)).astype(F32)])[0]
    source = OnnxModel.open(ModelRequest(path=save_external(made, tmp_path / "net.onnx")))
    first, second = pieces(source, [2])
    assert all(tensor.data_location == 0 for tensor in onnx.ModelProto.FromString(first).graph.initializer)
    np.testing.assert_array_equal(run_in_a_row([first, second], {"x": x[0]})["y"], expected)


def test_part_that_does_not_fit_in_a_file_is_refused(tmp_path: Path) -> None:
    made = model([node("Add", "x w", "y", "big")], [value("x", [1, 1])], [value("y", [1, 1 << 29])])
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 1 << 29], data_location=1)
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "net.data"
    made.graph.initializer.append(weights)
    with (tmp_path / "net.data").open("wb") as stream:
        stream.truncate(4 << 29)  # a hole: it takes no room
    source = open_made(tmp_path, made)
    with pytest.raises(InputError, match=r"net.onnx: the part with the layers 'big' to 'big' takes 2147\d+ bytes"):
        whole(source)


def test_boundary_without_dimensions_is_refused(tmp_path: Path) -> None:
    source = open_made(tmp_path, choice())
    part = Slice(layers=operators(source)[:2], inputs=("x",), outputs=("s",))
    with pytest.raises(InputError, match=r"tensor 's' has no dimensions \(shape is empty\)"):
        source.slice(part)


def test_part_that_lacks_an_input_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    source = open_made(tmp_path, conv5(rng))
    with pytest.raises(InputError, match="the part needs tensor 'b'"):
        source.slice(Slice(layers=operators(source)[2:3], inputs=(), outputs=("c",)))
