"""Pools of ``.onnx`` models: as many windows as ONNX Runtime computes, whatever the shape inference of onnx says."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnxruntime.capi import onnxruntime_pybind11_state as state

from synap_core.api import InputError
from synap_core.graph.qdq import to_qdq
from tests.support.canonical import opaque_reasons, run, whole
from tests.support.onnx_models import F32, Oracle, assert_near, model, node, open_made, value
from tests.support.streaming import Stream

REFUSALS = (state.Fail, state.InvalidArgument, state.RuntimeException)

NO_COUNTERPART = re.compile(
    "|".join(
        [
            r"a window of \d+ items in \d+, with padding",  # runtimes read beyond the input, or give nothing
            "padding .* beside a window of",
            "auto_pad with dilations",  # of strides larger than the window: runtimes pad by a negative number
            "its windows hang over the end",
            "its strides leave out",
        ]
    )
)
"""Why a pool may stay opaque."""

CEILING: dict[str, Any] = {"ceil_mode": 1}

CASES: dict[str, tuple[str, int, list[int], dict[str, Any]]] = {
    "last window behind the input": (
        "MaxPool",
        11,
        [8, 6],
        {"kernel_shape": [2, 3], "strides": [4, 3], "pads": [0, 1, 1, 1]},
    ),
    "one axis left out, one hangs over": ("MaxPool", 12, [9, 6], {"kernel_shape": [2, 1], "strides": [2, 4]}),
    "average": ("AveragePool", 19, [9, 6], {"kernel_shape": [2, 1], "strides": [2, 4]}),
    "average that counts the padding": (
        "AveragePool",
        19,
        [5, 5],
        {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [0, 0, 1, 1], "count_include_pad": 1},
    ),
    "power": ("LpPool", 18, [9, 6], {"kernel_shape": [2, 1], "strides": [2, 4], "p": 3}),
    "one dimension": ("MaxPool", 10, [6], {"kernel_shape": [1], "strides": [4]}),
    "three dimensions": ("AveragePool", 11, [6, 6, 9], {"kernel_shape": [1, 1, 2], "strides": [4, 4, 2]}),
    "dilations": ("MaxPool", 11, [9, 6], {"kernel_shape": [3, 1], "strides": [2, 4], "dilations": [2, 1]}),
    "window larger than the input": ("AveragePool", 19, [2, 6], {"kernel_shape": [3, 1], "strides": [2, 4]}),
    "same size": ("MaxPool", 11, [6, 7], {"kernel_shape": [2, 1], "strides": [2, 4], "auto_pad": "SAME_LOWER"}),
    "same size of newer definitions": (
        "LpPool",
        22,
        [8, 6],
        {"kernel_shape": [2, 1], "strides": [2, 3], "auto_pad": "SAME_UPPER"},
    ),
    "newest definition": ("AveragePool", 22, [9, 6], {"kernel_shape": [2, 1], "strides": [2, 4]}),
}


def pooled(op_type: str, opset: int, dims: list[int], attributes: dict[str, Any]) -> onnx.ModelProto:
    """A pool and a Neg, without any shape but the input's."""
    nodes = [node(op_type, "x", "v", "pool", **attributes), node("Neg", "v", "y")]
    return model(nodes, [value("x", [1, 2, *dims])], [value("y", None)], opset=opset)


def compare(folder: Path, made: onnx.ModelProto) -> list[str]:
    """Check values where ONNX Runtime takes the model and no layer is opaque; returns why layers are."""
    opened = open_made(folder, made)
    graph = opened.canonical(whole(opened))
    arrays = [np.random.default_rng(0).normal(size=opened.tensors["x"].shape).astype(F32)]
    try:
        expected = Oracle(made)(arrays)
    except REFUSALS:
        return opaque_reasons(graph)
    if not opaque_reasons(graph):
        for got, wanted in zip(run(graph, arrays), expected, strict=True):
            assert_near(got, wanted)
    return opaque_reasons(graph)


@pytest.mark.parametrize("case", CASES)
def test_sizes_rounded_up_are_those_of_the_runtime(tmp_path: Path, case: str) -> None:
    op_type, opset, dims, attributes = CASES[case]
    assert compare(tmp_path, pooled(op_type, opset, dims, attributes | CEILING)) == []


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(("op_type", "opset"), [("MaxPool", 11), ("AveragePool", 19), ("LpPool", 18)])
def test_same_padding_disregards_dilations_as_the_runtime_does(
    tmp_path: Path, op_type: str, opset: int, auto_pad: str
) -> None:
    attributes = {"kernel_shape": [3, 2], "strides": [2, 1], "dilations": [2, 3], "auto_pad": auto_pad}
    assert compare(tmp_path, pooled(op_type, opset, [9, 8], attributes)) == []


def test_positions_of_the_largest_items_are_those_of_the_runtime(tmp_path: Path) -> None:
    attributes: dict[str, Any] = {"kernel_shape": [2, 1], "strides": [2, 4], **CEILING}
    nodes = [node("MaxPool", "x", "y places", "pool", **attributes)]
    outputs = [value("y", None), value("places", None, onnx.TensorProto.INT64)]
    assert compare(tmp_path, model(nodes, [value("x", [1, 2, 9, 6])], outputs, opset=12)) == []


@pytest.mark.parametrize("size", [2, 3], ids=["the runtime's", "the definition's"])
@pytest.mark.parametrize("batch", [1, "N"])
def test_whatever_shape_the_file_tells_the_runtime_is_right(tmp_path: Path, size: int, batch: int | str) -> None:
    nodes = [
        node("MaxPool", "x", "v", "pool", kernel_shape=[1, 1], strides=[2, 4], **CEILING),
        node("Neg", "v", "y", "neg"),
    ]
    made = model(nodes, [value("x", [batch, 2, 7, 6])], [value("y", [batch, 2, 4, size])], opset=11)
    made.graph.value_info.append(value("v", [batch, 2, 4, size]))
    assert compare(tmp_path, made) == []
    assert open_made(tmp_path, made).tensors["v"].shape == (1, 2, 4, 2)


def test_pools_in_a_row_see_the_right_sizes(tmp_path: Path) -> None:
    attributes: dict[str, Any] = {"kernel_shape": [1], "strides": [3], **CEILING}
    nodes = [node("MaxPool", f"{'xabc'[i]}", f"{'abcy'[i]}", f"pool{i}", **attributes) for i in range(4)]
    made = model(nodes, [value("x", [1, 2, 95])], [value("y", None)], opset=11)
    assert compare(tmp_path, made) == []
    opened = open_made(tmp_path, made)
    assert [opened.tensors[name].shape[2] for name in "abcy"] == [32, 11, 4, 2]


def test_shapes_computed_behind_a_pool_are_right(tmp_path: Path) -> None:
    nodes = [
        node("MaxPool", "x", "v", "pool", kernel_shape=[1, 1], strides=[2, 4], **CEILING),
        node("Shape", "v", "s", "shape"),
        node("Gather", "s last", "w", "gather"),
        node("Concat", "minus w", "to", "concat", axis=0),
        node("Reshape", "v to", "y", "reshape"),
    ]
    constants = {"last": np.array([3]), "minus": np.array([-1])}
    made = model(nodes, [value("x", [1, 2, 7, 6])], [value("y", None)], constants, opset=13)
    assert compare(tmp_path, made) == []
    assert open_made(tmp_path, made).tensors["y"].shape == (8, 2)


@pytest.mark.parametrize(
    ("op_type", "attributes", "reason"),
    [
        (
            "AveragePool",
            {"kernel_shape": [2, 1], "strides": [4, 4], "count_include_pad": 1},
            "AveragePool: its windows hang over the end of the padding, which counts, or begin in it",
        ),
        (
            "MaxPool",
            {"kernel_shape": [2, 1], "strides": [3, 4], "dilations": [4, 1]},
            "MaxPool: its windows hang over the end so far that [2, 0] items of padding would be needed",
        ),
        (
            "MaxPool",
            {"kernel_shape": [1, 1], "strides": [5, 1], "auto_pad": "SAME_UPPER"},
            "MaxPool: its strides leave out 3 items, and auto_pad SAME_UPPER does not say on which side",
        ),
    ],
    ids=["padding counts", "dilations", "gaps"],
)
def test_what_no_padding_can_express_stays_opaque(
    tmp_path: Path, op_type: str, attributes: dict[str, Any], reason: str
) -> None:
    made = pooled(op_type, 19, [9, 6], attributes | CEILING)
    assert compare(tmp_path, made) == [reason]


QUANTIZED: dict[str, tuple[str, list[int], dict[str, Any]]] = {
    "largest": ("MaxPool", [9, 6], {"kernel_shape": [2, 1], "strides": [2, 4], **CEILING}),
    "largest, same size": ("MaxPool", [6, 7], {"kernel_shape": [1, 2], "strides": [2, 1], "auto_pad": "SAME_UPPER"}),
    "average": ("QLinearAveragePool", [9, 6], {"kernel_shape": [2, 1], "strides": [2, 4], **CEILING}),
    "average that counts what hangs over": (
        "QLinearAveragePool",
        [9, 6],
        {"kernel_shape": [2, 1], "strides": [2, 4], "count_include_pad": 1, **CEILING},
    ),
    "average, no last window left out": (
        "QLinearAveragePool",
        [7, 9],
        {"kernel_shape": [3, 2], "strides": [3, 4], "count_include_pad": 1, **CEILING},
    ),
}


@pytest.mark.parametrize("case", QUANTIZED)
def test_quantized_pools_are_those_of_the_runtime(tmp_path: Path, case: str) -> None:
    op_type, dims, attributes = QUANTIZED[case]
    average = op_type.startswith("QLinear")
    operands, domain = ("q s z s z", "com.microsoft") if average else ("q", "")
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node(op_type, operands, "v", "pool", domain, **attributes),
        node("DequantizeLinear", "v s z", "y"),
    ]
    constants = {"s": F32(0.05), "z": np.uint8(120)}
    imports = {"com.microsoft": 1} if average else {}
    made = model(nodes, [value("x", [1, 2, *dims])], [value("y", None)], constants, opset=13, imports=imports)
    opened = open_made(tmp_path, made)
    graph = opened.canonical(whole(opened))
    assert opaque_reasons(graph) == []
    x = np.random.default_rng(0).normal(size=opened.tensors["x"].shape).astype(F32)
    (got,), (expected,) = Stream(to_qdq(graph))([x]), Oracle(made)([x])
    assert got.shape == expected.shape
    # Averages are rounded by other arithmetic: one step.
    assert np.abs(got - expected).max() <= (0.05 * 1.001 if average else 0)


@st.composite
def pools(draw: st.DrawFn) -> tuple[str, int, list[int], dict[str, Any]]:
    """A pool that some operator set defines, over one to three dimensions."""
    rank = draw(st.integers(1, 3))

    def some(low: int, high: int, count: int = rank) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    op_type = draw(st.sampled_from(["AveragePool", "LpPool", "MaxPool"]))
    opset = draw(st.sampled_from([7, 8, 10, 11, 12, 18, 19, 21, 22]))
    kernel = some(1, 4)
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": some(1, 4)}
    auto_pad = draw(st.sampled_from(["NOTSET", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    attributes["auto_pad"] = auto_pad
    if auto_pad == "NOTSET":
        attributes["pads"] = [draw(st.integers(0, size - 1)) for size in kernel * 2]
    if opset >= {"AveragePool": 19, "LpPool": 18, "MaxPool": 10}[op_type] and draw(st.integers(0, 3)) == 0:
        attributes["dilations"] = some(1, 2)
    if opset >= {"AveragePool": 10, "LpPool": 18, "MaxPool": 10}[op_type]:
        attributes["ceil_mode"] = draw(st.integers(0, 1))
    if op_type == "AveragePool":
        attributes["count_include_pad"] = draw(st.integers(0, 1))
    if op_type == "LpPool":
        attributes["p"] = draw(st.integers(1, 3))
    return op_type, opset, some(2, 11), attributes


@given(pool=pools())
@settings(
    derandomize=True, max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_pool_gives_other_numbers_than_the_runtime(
    tmp_path: Path, pool: tuple[str, int, list[int], dict[str, Any]]
) -> None:
    assert all(NO_COUNTERPART.search(reason) for reason in compare(tmp_path, pooled(*pool)))


ODD: st.SearchStrategy[Any] = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5),
    st.lists(st.floats(width=32), min_size=1, max_size=2),
    st.sampled_from([b"SAME_UPPER", b"\xff", 0.5, np.zeros(2, F32)]),
)


@given(
    odd=st.dictionaries(
        st.sampled_from(["kernel_shape", "strides", "dilations", "pads", "auto_pad", "ceil_mode", "count_include_pad"]),
        ODD,
    ),
    op_type=st.sampled_from(["AveragePool", "LpPool", "MaxPool"]),
)
@settings(
    derandomize=True, max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_odd_attributes_are_refused_or_make_the_layer_opaque(tmp_path: Path, odd: dict[str, Any], op_type: str) -> None:
    tensors = {k: onnx.numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v for k, v in odd.items()}
    attributes = {"kernel_shape": [2, 1], "strides": [2, 4], **CEILING} | tensors
    with contextlib.suppress(InputError):
        opened = open_made(tmp_path, pooled(op_type, 19, [9, 6], attributes))
        opened.canonical(whole(opened))


def test_an_attribute_of_no_type_is_refused(tmp_path: Path) -> None:
    made = pooled("MaxPool", 19, [9, 6], {"kernel_shape": [2, 1], **CEILING})
    made.graph.node[0].attribute.append(onnx.AttributeProto(name="dilations"))
    with pytest.raises(InputError, match="Invalid ONNX model"):
        open_made(tmp_path, made)
