"""Types of the results of nodes: against a runtime, the shape inference of onnx and the operator schemas."""

from __future__ import annotations

import contextlib
import math
import random
from typing import Any

import ml_dtypes
import numpy as np
import onnx.defs
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnxruntime.capi import onnxruntime_pybind11_state as state

from synap_core.graph import infer as module
from synap_core.graph.infer import infer, rule
from synap_core.graph.rules.registry import RULES, broadcast
from synap_core.graph.rules.signatures import SIGNATURES
from synap_core.graph.types import GraphError, TensorType
from tests.support.node_cases import CASES, Case, ints, reals, scalar
from tests.support.one_node import infer_node, run_node, type_of_array, types_by_onnx

FLOAT, INT64 = ir.DataType.FLOAT, ir.DataType.INT64
REFUSALS = (state.Fail, state.InvalidArgument, state.RuntimeException)

NO_RULE = {
    "blocks of other nodes": {"If", "Loop", "Scan", "SequenceMap"},
    "sequences and optional values": {
        "ConcatFromSequence",
        "Optional",
        "OptionalGetElement",
        "OptionalHasElement",
        "SequenceAt",
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceLength",
        "SplitToSequence",
    },
    "strings": {"StringNormalizer"},
    "deprecated at opset 19, as operator set 21 has scale and bias for channels instead of groups": {
        "GroupNormalization"
    },
    "replaced by Resize and ScatterElements before opset 19": {"Scatter", "Upsample"},
}
"""Operators of opset 19 that deliberately have no rule."""

NO_RUNTIME = {"LSTM": "layout 1", "RNN": "layout 1"}
"""What ONNX Runtime does not implement."""

NOT_INFERRED = {
    "Compress": "how many items are taken is not computed",
    "MaxPool": "at opset 19 a last window that begins behind the input is counted, which runtimes leave out",
    "MaxUnpool": "the operand with the shape is not read",
    "MeanVarianceNormalization": "its function body is refused",
    "NonZero": "how many items there are is not computed",
    "STFT": "both sides of the spectrum are counted by default",
}
"""What the shape inference of onnx does not know, or not as the specification and ONNX Runtime have it."""


def test_every_operator_of_the_set_has_a_rule_or_deliberately_none() -> None:
    names = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    current = {name for name in names if onnx.defs.has(name, 19, "")}
    without = set().union(*NO_RULE.values())
    assert set(RULES) == current - without
    assert without <= current


def test_every_rule_has_a_case() -> None:
    assert set(RULES) - {case.op_type for case in CASES} == {"NonMaxSuppression", "Unique"}


@pytest.mark.parametrize("op_type", sorted(RULES))
def test_signature_is_that_of_the_operator_schema(op_type: str) -> None:
    schema = onnx.defs.get_schema(op_type, 19, "")
    allowed = {each.type_param_str: set(each.allowed_type_strs) for each in schema.type_constraints}
    ours = SIGNATURES[op_type]
    assert set(ours.attributes) == set(schema.attributes)
    assert ours.variadic == any(each.option.name == "Variadic" for each in schema.inputs)
    assert [each.optional for each in ours.inputs] == [each.option.name == "Optional" for each in schema.inputs]
    for mine, theirs in zip(ours.inputs, schema.inputs, strict=True):
        wanted = {text for text in allowed.get(theirs.type_str, {theirs.type_str}) if text.startswith("tensor")}
        assert {f"tensor({dtype.name.lower()})" for dtype in mine.allowed} == wanted
    for one, first in zip(ours.inputs, schema.inputs, strict=True):
        for other, second in zip(ours.inputs, schema.inputs, strict=True):
            same = one.letter != "" and one.letter == other.letter
            single = len(one.allowed) == 1
            assert single or one is other or same == (first.type_str == second.type_str)


@pytest.mark.parametrize("case", [c for c in CASES if not c.attributes.get("layout")], ids=str)
def test_types_are_those_that_a_runtime_computes(case: Case) -> None:
    found = run_node(case.op_type, case.inputs, case.attributes, case.outputs)
    wanted = [type_of_array(array) for array in found]
    assert infer_node(case.op_type, case.inputs, case.attributes, case.outputs) == wanted


@pytest.mark.parametrize("case", [c for c in CASES if c.op_type not in NOT_INFERRED], ids=str)
def test_types_are_those_of_shape_inference(case: Case) -> None:
    wanted = types_by_onnx(case.op_type, case.inputs, case.attributes, case.outputs, range(len(case.inputs)))
    assert infer_node(case.op_type, case.inputs, case.attributes, case.outputs) == wanted


def agrees(case: Case) -> None:
    """Our rule and the runtime give the same types, or both refuse."""
    try:
        ours: object = infer_node(case.op_type, case.inputs, case.attributes, case.outputs)
    except GraphError as error:
        ours = str(error)
    try:
        found = run_node(case.op_type, case.inputs, case.attributes, case.outputs)
        theirs: object = [type_of_array(array) for array in found]
    except REFUSALS as error:
        theirs = str(error)
    if isinstance(ours, str):
        # A runtime gives an empty result where a window does not fit, which no network means.
        assert isinstance(theirs, str) or any(0 in each.shape for each in theirs), (ours, theirs)  # type: ignore[attr-defined]
    else:
        assert ours == theirs


FUZZ = settings(derandomize=True, max_examples=60, deadline=None)


@st.composite
def windows(draw: st.DrawFn) -> tuple[list[int], list[int], dict[str, Any]]:
    """Spatial dimensions, a kernel, and attributes of its window."""
    rank = draw(st.integers(1, 2))

    def some(low: int, high: int, count: int = rank) -> list[int]:
        return draw(st.lists(st.integers(low, high), min_size=count, max_size=count))

    attributes: dict[str, Any] = {"strides": some(1, 3)}
    auto_pad = draw(st.sampled_from(["NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if auto_pad == "NOTSET":
        attributes["pads"] = some(0, 2, 2 * rank)
    if not auto_pad.startswith("SAME"):
        attributes["dilations"] = some(1, 2)
    return some(1, 9), some(3 if auto_pad.startswith("SAME") else 1, 3), attributes | {"auto_pad": auto_pad}


@FUZZ
@given(windows(), st.sampled_from(["AveragePool", "LpPool", "MaxPool"]), st.integers(0, 1))
def test_pool_has_as_many_positions_as_in_a_runtime(
    window: tuple[list[int], list[int], dict[str, Any]], op_type: str, ceil_mode: int
) -> None:
    dims, kernel, attributes = window
    agrees(Case(op_type, [reals(1, 2, *dims)], attributes | {"kernel_shape": kernel, "ceil_mode": ceil_mode}))


@FUZZ
@given(windows())
def test_convolution_has_as_many_positions_as_in_a_runtime(window: tuple[list[int], list[int], dict[str, Any]]) -> None:
    dims, kernel, attributes = window
    agrees(Case("Conv", [reals(1, 2, *dims), reals(3, 2, *kernel)], attributes))


@FUZZ
@given(windows(), st.integers(0, 1), st.one_of(st.none(), st.integers(1, 25)))
def test_transposed_convolution_grows_as_in_a_runtime(
    window: tuple[list[int], list[int], dict[str, Any]], extra: int, wanted: int | None
) -> None:
    dims, kernel, attributes = window
    if attributes["auto_pad"] == "NOTSET":
        # A runtime also wants the items added at the end to be less than the strides, whatever the dilations are.
        attributes["output_padding"] = [min(extra, stride - 1) for stride in attributes["strides"]]
    if wanted is not None and attributes["auto_pad"] != "VALID":
        attributes["output_shape"] = [wanted] * len(dims)
    agrees(Case("ConvTranspose", [reals(1, 2, *dims), reals(2, 3, *kernel)], attributes))


@FUZZ
@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=2),
    st.lists(st.floats(0.125, 3.0, width=32), min_size=2, max_size=2),
)
def test_resize_rounds_scaled_dimensions_down_as_a_runtime(dims: list[int], scales: list[float]) -> None:
    agrees(Case("Resize", [reals(1, 1, *dims), None, np.array([1, 1, *scales], np.float32)]))


@FUZZ
@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=2),
    st.lists(st.integers(1, 40), min_size=2, max_size=2),
    st.sampled_from(["stretch", "not_larger", "not_smaller"]),
)
def test_resize_keeps_aspect_ratios_as_a_runtime(dims: list[int], sizes: list[int], policy: str) -> None:
    attributes = {"axes": [2, 3], "keep_aspect_ratio_policy": policy}
    agrees(Case("Resize", [reals(1, 1, *dims), None, None, ints(*sizes)], attributes))


DIMS = st.lists(st.integers(1, 4), max_size=3).map(tuple)


@FUZZ
@given(DIMS, DIMS, st.integers(1, 3), st.booleans(), st.booleans())
def test_product_of_stacks_has_the_shape_of_numpy(
    left: tuple[int, ...], right: tuple[int, ...], inner: int, row: bool, column: bool
) -> None:
    a = np.zeros((inner,) if row else (*left, 2, inner), np.float32)
    b = np.zeros((inner,) if column else (*right, inner, 5), np.float32)
    try:
        wanted = np.matmul(a, b).shape
    except ValueError:
        with pytest.raises(GraphError, match="do not broadcast"):
            infer_node("MatMul", [a, b], {})
    else:
        assert infer_node("MatMul", [a, b], {}) == [TensorType(FLOAT, wanted)]


@FUZZ
@given(st.lists(DIMS, max_size=3))
def test_shapes_broadcast_as_in_numpy(shapes: list[tuple[int, ...]]) -> None:
    try:
        wanted = np.broadcast_shapes(*shapes)
    except ValueError:
        with pytest.raises(GraphError, match="Sum of the shapes .* do not broadcast"):
            broadcast("Sum", *shapes)
    else:
        assert broadcast("Sum", *shapes) == wanted


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk", [(2, 3), (3, 4)]),
        ("...ij,...jk->...ik", [(5, 1, 2, 3), (6, 3, 4)]),
        ("i...->...", [(2, 3, 4)]),
        ("...", [(2, 3)]),
        ("ij->ji", [(2, 3)]),
        ("bhwc,hkc->bhwk", [(2, 3, 4, 5), (3, 6, 5)]),
        ("i,j->", [(2,), (3,)]),
    ],
)
def test_einsum_has_the_shape_of_numpy(equation: str, shapes: list[tuple[int, ...]]) -> None:
    operands = [np.zeros(shape, np.float32) for shape in shapes]
    wanted = np.einsum(equation, *operands).shape
    assert infer_node("Einsum", operands, {"equation": equation}) == [TensorType(FLOAT, wanted)]


@pytest.mark.parametrize(
    ("op_type", "inputs", "constants"),
    [
        ("Reshape", [reals(4), ints(2, 2)], ()),
        ("Expand", [reals(4), ints(2, 4)], (0,)),
        ("Tile", [reals(4), ints(2)], ()),
        ("Slice", [reals(4), ints(0), ints(2)], (1,)),
        ("Pad", [reals(4), ints(0, 2)], ()),
        ("Squeeze", [reals(1), ints(0)], ()),
        ("ReduceSum", [reals(1), ints(0)], ()),
        ("TopK", [reals(4), ints(1)], ()),
        ("Range", [scalar(0), scalar(4), scalar(1)], (0, 2)),
        ("Resize", [reals(1, 1, 2, 2), None, reals(4)], ()),
        ("OneHot", [ints(0), scalar(3), ints(0, 1)], ()),
        ("ConstantOfShape", [ints(3)], ()),
        ("Compress", [reals(2), np.array([True, False])], (0,)),
        ("NonZero", [reals(2)], ()),
        ("Unique", [reals(2)], (0,)),
        ("NonMaxSuppression", [reals(1, 2, 4), reals(1, 1, 2)], (0, 1)),
    ],
)
def test_shape_that_depends_on_data_is_refused(op_type: str, inputs: list[Any], constants: tuple[int, ...]) -> None:
    with pytest.raises(GraphError, match=f"{op_type}: the shape of its result depends on data"):
        infer_node(op_type, inputs, {"axis": 0} if op_type == "Compress" else {}, 1, constants)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (Case("NoSuchOperator", []), "the type of the result of NoSuchOperator is not known"),
        (Case("Add", [reals(2)]), "Add has no input 1"),
        (Case("Add", [reals(2), None]), "Add has no input 1"),
        (Case("Add", [reals(2), reals(2), reals(2)]), "Add: 3 inputs, where it has 2"),
        (Case("Concat", [], {"axis": 0}), "Concat has no input 0"),
        (Case("Add", [reals(2), ints(1, 2)]), "Add: input 1 is of INT64, another input of FLOAT"),
        (Case("Sqrt", [ints(4)]), "Sqrt: input 0 is of INT64, which must be one of BFLOAT16"),
        (
            Case("ReduceSum", [reals(2)], {"axes": [0]}),
            "ReduceSum: attributes axes, which it does not have at opset 19",
        ),
        (Case("Relu", [reals(2)], {}, 2), "Relu: 2 outputs, where it has 1"),
        (Case("Add", [reals(2), reals(3)]), r"Add of the shapes \[2\], \[3\], which do not broadcast"),
        (
            Case("PRelu", [reals(2), reals(3, 2)]),
            r"PRelu: input 1 of shape \[3, 2\], which does not broadcast to \[2\]",
        ),
        (Case("Softmax", [reals(2, 3)], {"axis": 2}), "Softmax: axis 2 of a tensor of 2 dimensions"),
        (Case("Softmax", [reals(2)], {"axis": "0"}), "Softmax: attribute axis is '0', not an integer"),
        (Case("Softmax", [reals(2)], {"axis": 1 << 70}), "Softmax: attribute axis is 118059.*, not an integer"),
        (Case("Cast", [reals(2)], {"to": 0}), "Cast: attribute to is 0, not an element type"),
        (Case("Cast", [reals(2)], {"to": 22}), "Cast: attribute to is 22, not an element type"),
        (Case("Cast", [reals(2)]), "Cast: attribute to is None, not an integer"),
        (Case("BitShift", [ints(1), ints(1)]), "BitShift: input 0 is of INT64"),
        (Case("Mod", [reals(2), reals(2)]), "Mod: attribute fmod must be 1 for real numbers"),
        (Case("Clip", [reals(2), reals(1)]), r"Clip: input 1 of shape \[1\], which must be \[\]"),
        (Case("Transpose", [reals(2, 3)], {"perm": [0, 0]}), r"Transpose: \[0, 0\] is no permutation of 2 dimensions"),
        (Case("Transpose", [reals(2)], {"perm": 0}), "Transpose: attribute perm is 0, not a list of integers"),
        (
            Case("Transpose", [reals(2)], {"perm": [0.0]}),
            r"Transpose: attribute perm is \[0.0\], not a list of integers",
        ),
        (Case("Transpose", [reals(2)], {"perm": [0] * 9999}), r"perm is \[0, 0, .*, \.\.\.\], not a list of integers"),
        (Case("Concat", [reals(2, 3), reals(3, 3)], {"axis": 1}), r"Concat: inputs of the shapes \[2, 3\], \[3, 3\]"),
        (Case("Concat", [reals(2, 3), reals(2)], {"axis": 1}), "Concat: inputs of the shapes"),
        (Case("Split", [reals(5), ints(2, 2)], {}, 2), r"Split: pieces of \[2, 2\] for 2 outputs from 5 along axis 0"),
        (Case("Split", [reals(5)], {"num_outputs": 4}, 4), r"Split: pieces of \[2, 2, 2, -1\] for 4 outputs from 5"),
        (Case("Split", [reals(5)], {"num_outputs": 2}, 3), "Split: 2 pieces for 3 outputs"),
        (Case("Split", [reals(5)], {"num_outputs": 0}, 1), "Split: attribute num_outputs is 0, not positive"),
        (Case("Split", [reals(5), ints()], {}, 1), r"Split: pieces of \[\] for 1 outputs"),
        (Case("Slice", [reals(4), ints(0), ints(1), ints(0), ints(0)]), "Slice: a step is 0"),
        (Case("Slice", [reals(4), ints(0), ints(1, 2)]), "Slice: 1 starts, 2 ends, 1 axes and 1 steps"),
        (Case("Slice", [reals(4), ints(0, 0), ints(1, 1), ints(0, -1)]), "Slice: axes .* name one axis twice"),
        (
            Case("Slice", [reals(4), ints(3), ints(2**63 - 1), ints(0), ints(-1)]),
            "Slice: backwards to 92233720368547758",
        ),
        (
            Case("Slice", [reals(4), ints(1).reshape(1, 1), ints(1)]),
            "Slice: input 1 of shape .*, which must have 1 dimensions",
        ),
        (Case("Expand", [reals(2), ints(-1)]), r"Expand: shape \[-1\] has a negative dimension"),
        (
            Case("Expand", [reals(1), ints(1 << 62)]),
            r"Expand: its result would have the shape \[461.*, which is too large",
        ),
        (Case("Expand", [reals(1), ints(0, 1 << 62)]), r"Expand: its result would have the shape \[0, 461.*too large"),
        (Case("Expand", [reals(1), ints(*[1] * 33)]), "Expand: its result would have the shape .*, which is too large"),
        (Case("Tile", [reals(2), ints(-1)]), r"Tile: repeats \[-1\] for a tensor of shape \[2\]"),
        (Case("DepthToSpace", [reals(1, 3, 2, 2)], {"blocksize": 2}), "3 channels are no multiple of the block 2"),
        (Case("DepthToSpace", [reals(1, 4, 2, 2)], {"blocksize": 2, "mode": "X"}), "mode is 'X', not one of DCR, CRD"),
        (
            Case("SpaceToDepth", [reals(1, 4, 3, 2)], {"blocksize": 2}),
            "SpaceToDepth: 3 by 2 is no multiple of the block 2",
        ),
        (Case("SpaceToDepth", [reals(4, 3, 2)], {"blocksize": 2}), "input 0 of shape .*, which must have 4 dimensions"),
        (
            Case("Reshape", [reals(4), ints(3, -1)]),
            r"Reshape: a tensor of shape \[4\] does not have the shape \[3, -1\]",
        ),
        (Case("Reshape", [reals(4), ints(-1, -1)]), "Reshape: .* does not have the shape"),
        (Case("Reshape", [reals(4), ints(-4)]), "Reshape: .* does not have the shape"),
        (Case("Reshape", [reals(0), ints(0, -1)], {"allowzero": 1}), None),
        (Case("Reshape", [reals(4), ints(4, 0)]), "Reshape: shape .* takes over a dimension that .* does not have"),
        (Case("Reshape", [reals(4), ints(4)], {"allowzero": 2}), "Reshape: attribute allowzero is 2, not 0 or 1"),
        (Case("Flatten", [reals(4)], {"axis": 2}), "Flatten: axis 2 of a tensor of 1 dimensions"),
        (Case("Squeeze", [reals(2, 1), ints(0)]), r"Squeeze: axes \[0\] of shape \[2, 1\] are not all 1"),
        (Case("Squeeze", [reals(2, 1), ints()]), "Squeeze: its list of axes is empty"),
        (Case("Unsqueeze", [reals(2), ints(3)]), "Unsqueeze: axis 3 of a tensor of 2 dimensions"),
        (Case("Pad", [reals(2), ints(1)]), "Pad: 1 pads for 1 axes, which need two each"),
        (Case("Pad", [reals(2), ints(-3, 0)]), r"Pad: its result would have the shape \[-1\]"),
        (Case("Pad", [reals(2), ints(2, 0)], {"mode": "reflect"}), r"Pad: pads \[2, 0\] in mode reflect of 2 items"),
        (Case("CenterCropPad", [reals(2), ints(1, 1)]), r"CenterCropPad: the shape \[1, 1\] for 1 axes"),
        (Case("GatherElements", [reals(2, 2), ints(0)]), "GatherElements: indices of shape .* for data of shape"),
        (Case("GatherND", [reals(2), ints(0, 0)]), "GatherND: indices of shape"),
        (Case("GatherND", [reals(2), ints(0)], {"batch_dims": -1}), "GatherND: indices of shape .* with batch_dims -1"),
        (
            Case("ScatterND", [reals(2), ints(0).reshape(1, 1), reals(2)]),
            "ScatterND: data, indices and updates of the shapes",
        ),
        (Case("ArgMax", [reals(0)]), r"ArgMax: axis 0 of the shape \[0\] has no items"),
        (Case("TopK", [reals(3), ints(4)], {}, 2), "TopK: the 4 largest of 3 along axis 0"),
        (Case("TopK", [reals(3), ints(1, 1)], {}, 2), r"TopK: input 1 of shape \[2\], which must be \[1\]"),
        (Case("OneHot", [ints(1), scalar(0), ints(0, 1)]), r"OneHot: a depth of \[0\], which must be at least 1"),
        (Case("OneHot", [ints(1), scalar(1e30, np.float32), ints(0, 1)]), "OneHot: a depth of .*, which is too large"),
        (
            Case("OneHot", [ints(1), scalar(np.nan, np.float32), ints(0, 1)]),
            "OneHot: a depth of .*, which must be at least",
        ),
        (Case("ReduceSum", [reals(2), ints(0, 0)]), r"ReduceSum: axes \[0, 0\] name one axis twice"),
        (Case("Constant", []), "Constant: attributes missing, not one of value, value_float"),
        (Case("Constant", [], {"value": 3}), "Constant: attribute value is 3, not a tensor"),
        (
            Case("Constant", [], {"value": np.array(["x"])}),
            "Constant: attribute value is an array of shape .*, not a tensor",
        ),
        (
            Case("Constant", [], {"value": np.array(["x"], object)}),
            "attribute value is an array of shape .*, not a tensor",
        ),
        (
            Case("Constant", [], {"value": np.zeros(2, ml_dtypes.int4)}),
            "attribute value is an array of .*, not a tensor",
        ),
        (
            Case("Constant", [], {"value": ir.StringTensor([b"x"], shape=ir.Shape([1]))}),
            "Constant: attribute value is a tensor of strings",
        ),
        (
            Case("Constant", [], {"value_floats": [1, "x"]}),
            "attribute value_floats is .*, not a list of finite numbers",
        ),
        (Case("ConstantOfShape", [ints(-1)]), r"ConstantOfShape: shape \[-1\] has a negative dimension"),
        (
            Case("ConstantOfShape", [ints(1 << 50)]),
            "ConstantOfShape: its result would have the shape .*, which is too large",
        ),
        (Case("ConstantOfShape", [ints(2)], {"value": reals(2)}), "ConstantOfShape: its value is not one item"),
        (Case("Range", [scalar(0), scalar(4), scalar(0)]), "Range: from 0 to 4 by 0"),
        (
            Case("Range", [scalar(0), scalar(2**62), scalar(1)]),
            "Range: its result would have the shape .*, which is too large",
        ),
        (
            Case("Range", [scalar(0.0, np.float32), scalar(np.inf, np.float32), scalar(1.0, np.float32)]),
            "from 0.0 to inf",
        ),
        (Case("HannWindow", [ints(1, 2)]), "HannWindow: input 0 has 2 items where one belongs"),
        (
            Case("Reshape", [reals(4), np.zeros(4097, np.int64)]),
            r"input 1 of shape \[4097\] where a short list belongs",
        ),
        (Case("Reshape", [reals(4), np.ones(4096, np.int64)]), r"Reshape: a tensor of shape \[4\] .{350,380}\.\.\.$"),
        (Case("RandomNormal", [], {"shape": [-1]}), r"attribute shape is \(-1,\), not a list of dimensions"),
        (Case("HannWindow", [scalar(-1)]), "HannWindow: input 0 is -1, which is negative"),
        (
            Case("Conv", [reals(1, 2, 5), reals(3, 2, 3)], {"strides": [0]}),
            r"strides is \[0\], not 1 integers of at least 1",
        ),
        (
            Case("Conv", [reals(1, 2, 5), reals(3, 2, 3)], {"pads": [-1, 0]}),
            r"pads is \[-1, 0\], not 2 integers of at least 0",
        ),
        (Case("Conv", [reals(1, 2, 5), reals(3, 2, 6)]), "Conv: a window of 6 items in 5, with padding, of axis 2"),
        (
            Case("Conv", [reals(1, 2, 5), reals(3, 2, 0)]),
            r"Conv: attribute kernel_shape is None, the weights have \[0\]",
        ),
        (
            Case("Conv", [reals(1, 2, 5), reals(3, 2, 3)], {"group": 3}),
            "Conv: 2 channels in 3 groups for 3 filters of 2",
        ),
        (
            Case("Conv", [reals(1, 2, 5), reals(3, 2, 3), reals(2)]),
            r"Conv: input 2 of shape \[2\], which must be \[3\]",
        ),
        (Case("Conv", [reals(1, 2), reals(3, 2)]), "Conv: input 0 of shape .*, which must have at least 3 dimensions"),
        (Case("Conv", [reals(1, 2, 5), reals(3, 2, 3)], {"auto_pad": "X"}), "auto_pad is 'X', not one of NOTSET"),
        (
            Case("Conv", [reals(1, 2, 5), reals(3, 2, 3)], {"auto_pad": "VALID", "pads": [1, 1]}),
            "pads is .* beside auto_pad",
        ),
        (
            Case("ConvTranspose", [reals(1, 2, 5), reals(2, 3, 3)], {"output_padding": [1]}),
            "must be less than the strides",
        ),
        (
            Case("ConvTranspose", [reals(1, 2, 5), reals(2, 3, 3)], {"output_shape": [9]}),
            r"dimensions are \[9\], of \[7\]",
        ),
        (Case("ConvTranspose", [reals(1, 2, 5), reals(3, 3, 3)]), "2 channels in 1 groups for weights of shape"),
        (Case("MaxPool", [reals(1, 2, 5)]), "MaxPool: attribute kernel_shape is missing"),
        (
            Case("MaxPool", [reals(1, 2, 5)], {"kernel_shape": [2], "pads": [2, 0]}),
            r"padding \[2, 0\] beside a window of \[2\]",
        ),
        (
            Case("MaxPool", [reals(1, 2, 5)], {"kernel_shape": [2], "dilations": [2], "auto_pad": "SAME_UPPER"}),
            "auto_pad with dilations, where it must have pads",
        ),
        (
            Case("RoiAlign", [reals(1, 1, 2, 2), reals(1, 5), ints(0)]),
            r"input 1 of shape \[1, 5\], which must be \[1, 4\]",
        ),
        (Case("Col2Im", [reals(1, 4, 5), ints(3, 4), ints(2, 2)]), "input of shape .* for 6 blocks of 4 items"),
        (Case("MatMul", [reals(2, 3), reals(2, 3)]), r"MatMul: matrices of the shapes \[2, 3\] and \[2, 3\]"),
        (Case("MatMul", [reals(), reals(2)]), "MatMul: input 0 of shape .*, which must have at least 1 dimensions"),
        (
            Case("Gemm", [reals(2, 3), reals(3, 4), reals(2, 2, 4)]),
            "Gemm: input 2 of shape .*, which does not broadcast",
        ),
        (Case("Det", [reals(2, 3)]), "Det: matrices of shape .*, which are not square"),
        (Case("Einsum", [reals(2)], {"equation": "i,j"}), "equation 'i,j' is of 2 operands, there are 1"),
        (Case("Einsum", [reals(2)], {"equation": "ij"}), "the term 'ij' for a tensor of shape"),
        (Case("Einsum", [reals(2, 3)], {"equation": "ii"}), "'i' is 2 and 3"),
        (Case("Einsum", [reals(2)], {"equation": "i->j"}), "a result of unknown or repeated letters"),
        (Case("Einsum", [reals(2)], {"equation": "i.->i"}), "the term 'i.', where letters and one ellipsis belong"),
        (Case("BatchNormalization", [reals(1, 2), *[reals(3)] * 4]), r"input 1 of shape \[3\], which must be \[2\]"),
        (Case("LayerNormalization", [reals(2, 3), reals(2)]), r"input 1 of shape \[2\], which does not broadcast to"),
        (Case("LSTM", [reals(5, 2, 3), reals(1, 16, 3), reals(1, 16, 5)]), "LSTM: input 1 of shape"),
        (
            Case("RNN", [reals(5, 2, 3), reals(1, 4, 3), reals(1, 4, 4)], {"direction": "up"}),
            "direction is 'up', not one of",
        ),
        (Case("QuantizeLinear", [reals(2, 3), reals(2)]), "QuantizeLinear: 2 scales for 3 items of axis 1"),
        (
            Case("DequantizeLinear", [ints(1, dtype=np.int8), reals(), ints(1, 2, dtype=np.int8)]),
            "2 zero points for 1 scales",
        ),
        (Case("Resize", [reals(2)]), "Resize: it has neither scales nor sizes"),
        (Case("Resize", [reals(2), None, reals(1), ints(3)]), "Resize: it has scales and sizes"),
        (Case("Resize", [reals(2), None, np.array([-1], np.float32)]), "scales .* are not positive numbers"),
        (Case("Resize", [reals(2), None, np.array([np.inf], np.float32)]), "scales .* are not positive numbers"),
        (
            Case("Resize", [reals(2), None, np.array([1e38], np.float32)]),
            "scales .* are not positive numbers below 2..40",
        ),
        (Case("GridSample", [reals(1, 1, 2, 2), reals(1, 2, 2, 3)]), "GridSample: a grid of shape"),
        (Case("DFT", [reals(1, 4, 3)]), "DFT: signal of shape .*, whose last dimension must be 1 or 2"),
        (Case("DFT", [reals(1, 4, 2)], {"onesided": 1}), "the last dimension is 2 where it must be 1"),
        (Case("STFT", [reals(1, 4, 1), scalar(0), reals(2)]), "STFT: input 1 is 0, which is not positive"),
        (Case("STFT", [reals(1, 4, 1), scalar(1), reals(5)]), "STFT: frames of 5 items of a signal of 4"),
        (Case("NegativeLogLikelihoodLoss", [reals(2, 3), ints(1)]), "labels of shape .* for scores of shape"),
    ],
    ids=str,
)
def test_operands_that_cannot_be_are_refused_in_words(case: Case, message: str | None) -> None:
    if message is None:
        assert infer_node(case.op_type, case.inputs, case.attributes, case.outputs)
        return
    with pytest.raises(GraphError, match=message):
        infer_node(case.op_type, case.inputs, case.attributes, case.outputs)


def test_second_rule_for_an_operator_is_a_mistake() -> None:
    with pytest.raises(RuntimeError, match="two rules for Add"):
        rule("Add")(RULES["Add"])


def test_optional_outputs_that_are_not_asked_for_have_no_type() -> None:
    assert len(infer_node("MaxPool", [reals(1, 1, 4)], {"kernel_shape": [2]})) == 1
    assert len(infer_node("MaxPool", [reals(1, 1, 4)], {"kernel_shape": [2]}, 2)) == 2


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, -1), r"Relu: input 0 has the shape \[2, -1\]$"),
        ((0, 1 << 200), r"Relu: input 0 has the shape .* too large$"),
    ],
    ids=["negative", "endless"],
)
def test_operand_of_a_shape_that_cannot_be_is_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        infer("Relu", [TensorType(FLOAT, shape)], {}, [None])


def test_rule_loads_no_constant_that_the_type_does_not_depend_on() -> None:
    def load() -> ir.TensorProtocol:
        raise AssertionError

    lazy = ir.LazyTensor(load, FLOAT, ir.Shape((2, 3)))
    kind = TensorType(FLOAT, (2, 3))
    assert infer("Add", [kind, kind], {}, [lazy, lazy]) == [kind]


JUNK: list[Any] = [
    *(None, -3, -1, 0, 1, 2, 3, 5, 1 << 31, -(1 << 63), 1 << 63, 1 << 200, 0.5, math.nan, math.inf),
    *("", "NOTSET", "SAME_UPPER", "wrap", "...ij->", "ij,jk", "bidirectional", b"constant", b"\xff"),
    *([], [1], [0, 1], (2, 2), [1, 1, 1, 1], [-1, 0], [1 << 31, 1 << 40], [1 << 63], [0.5], ["x"], [None], {}),
    *(np.zeros((2, 2)), ir.Tensor(np.array([3], np.int32))),
]
"""Attributes as damaged files have them."""

SHAPES = [(), (0,), (1,), (2,), (4,), (2, 3), (3, 3), (0, 2), (1, 2, 4), (1, 2, 4, 4), (2, 4, 3, 2), (1, 1, 1, 1, 1)]
LISTS = [[], [0], [1], [-1], [3], [1, 1], [-1, 0], [2, 2], [0, 1, 0, 1], [2**63 - 1], [-(2**63), 1], [1 << 40, 1 << 40]]
NUMBERS = [math.nan, math.inf, -math.inf, 1e38, -1.0, 0.0, 0.5, 2.0]
"""Operands as damaged files have them."""


def damaged_operand(rng: random.Random, dtype: ir.DataType) -> tuple[TensorType, ir.TensorProtocol | None]:
    """A type and, of half of the operands that NumPy can hold, the items."""
    array = np.zeros(rng.choice(SHAPES), np.int8)
    if dtype in (INT64, ir.DataType.INT32) and rng.random() < 0.7:
        array = np.array(rng.choice(LISTS), np.int64).astype(dtype.numpy())
    elif dtype in (FLOAT, ir.DataType.DOUBLE) and rng.random() < 0.3:
        array = np.array(rng.choices(NUMBERS, k=rng.randint(1, 4)), dtype.numpy())
    kind = TensorType(dtype, array.shape)
    known = dtype != ir.DataType.STRING and rng.random() < 0.7
    return kind, ir.Tensor(array.astype(dtype.numpy())) if known else None


@pytest.mark.parametrize("op_type", sorted(RULES))
def test_only_a_graph_error_comes_out_of_hostile_operands(op_type: str) -> None:
    rng = random.Random(op_type)
    signature = SIGNATURES[op_type]
    for _ in range(300):
        same: dict[str, ir.DataType] = {}
        operands: list[tuple[TensorType | None, ir.TensorProtocol | None]] = []
        for each in signature.inputs * (rng.randint(1, 3) if signature.variadic else 1):
            dtype = rng.choice(sorted(each.allowed))
            dtype = same.setdefault(each.letter, dtype) if each.letter else dtype
            absent = rng.random() < (0.3 if each.optional else 0.02)
            operands.append((None, None) if absent else damaged_operand(rng, dtype))
        names = [name for name in sorted(signature.attributes) if rng.random() < 0.4]
        attributes = {name: rng.choice(JUNK) for name in names}
        types, constants = [kind for kind, _ in operands], [items for _, items in operands]
        with contextlib.suppress(GraphError):
            for found in infer(op_type, types, attributes, constants, rng.randint(1, 3)):
                assert all(0 <= dim <= module.MAX_ITEMS for dim in found.shape)


@pytest.mark.parametrize("op_type", sorted(RULES))
def test_hostile_operands_are_refused_in_one_short_line(op_type: str) -> None:
    long = TensorType(FLOAT, (1 << 40,) * 40)
    with pytest.raises(GraphError, match=rf"^{op_type}:? .{{1,400}}$"):
        infer(op_type, [long] * 9, {"axis": "\n" * 99}, [None] * 9)
