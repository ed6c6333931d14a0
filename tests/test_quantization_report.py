"""What the reports of a quantization say."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from synap_core.graph.annotations import Origin
from synap_core.graph.build import GraphBuilder
from synap_core.graph.groups import group
from synap_core.quantization.interface import Range
from synap_core.quantization.parameters import Parameters, solve
from synap_core.quantization.plan import Plan
from synap_core.quantization.planning import make_plan
from synap_core.quantization.report import quantization_entropy, quantization_info, quoted

CONV, JOIN = "Conv_conv_Relu_relu_0", "Concat_join_3"
WEIGHTS = np.array([0.5, -1.0], np.float32).reshape(2, 1, 1, 1)


def reach(low: float, high: float, divergence: float | None = None) -> Range:
    return Range(low=np.array(low), high=np.array(high), divergence=divergence)


def quantized(
    dtype: str = "int8",
    scheme: str = "perchannel_symmetric_affine",
    *,
    name: str = "conv",
    divergence: float | None = None,
    **types: str,
) -> tuple[Plan, Parameters]:
    """From x: conv (0.5 and -1; bias 1 and 2) and its relu; sigmoid of that; both are joined; the sum with 3 is y."""
    build = GraphBuilder("g", ["x"])
    x = build.input("x", ir.DataType.FLOAT, [1, 1, 2, 2])
    bias = np.array([1, 2], np.float32)
    with build.layer(Origin(name, "Conv", 0)):
        y = build.emit("Conv", [x, build.constant(WEIGHTS, "w"), build.constant(bias, "b")])
    with build.layer(Origin("relu", "Relu", 1)):
        y = build.emit("Relu", [y])
    with build.layer(Origin("gate", "Sigmoid", 2)):
        z = build.emit("Sigmoid", [y])
    with build.layer(Origin("join", "Concat", 3)):
        y = build.emit("Concat", [y, z], {"axis": 1})
    with build.layer(Origin("sum", "Add", 4)):
        y = build.emit("Add", [y, build.constant(np.full((1, 1, 1, 1), 3, np.float32), "three")])
    graph = build.finish([y])
    groups = group(graph)
    ids = ["Input_x", *(item.layer_id for item in groups)]
    plan = make_plan(graph, groups, {layer_id: types.get(layer_id, dtype) for layer_id in ids}, scheme=scheme)
    ranges = {key: reach(0, 6, divergence) for key in plan.slots} | {"x": reach(-1, 3, 2.0), "three": reach(3, 3)}
    by_channel = scheme.startswith("perchannel")
    ranges["w"] = (
        Range(low=np.array([0.0, -1.0]), high=np.array([0.5, 0.0]), divergence=0.0123456)
        if by_channel
        else reach(-1, 0.5, 0.25)
    )
    if dtype == "float16":
        ranges = {}
    return plan, solve(plan, ranges)


def info(*args: str, **more: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(quantization_info(*quantized(*args, **more)))
    return found


def test_tensors_are_listed_in_execution_order_under_their_layer_ids() -> None:
    assert list(info()) == [
        "@Input_x:out0",
        f"@{CONV}:weight",
        f"@{CONV}:bias",
        f"@{CONV}:out0",
        "@Sigmoid_gate_2:out0",
        f"@{JOIN}:out0",
        "@Add_sum_4:constant0",
        "@Add_sum_4:out0",
    ]


def test_tensor_with_one_scale_is_described() -> None:
    found = info("uint8", "asymmetric_affine")["@Input_x:out0"]
    assert np.float32(found.pop("scale")) == np.float32(4 / 255)
    assert found == {
        "layer": "Input_x",
        "source": [],
        "dtype": "uint8",
        "scheme": "asymmetric_affine",
        "shape": [1, 1, 2, 2],
        "min": -1.0,
        "max": 3.0,
        "zero_point": 64,
    }


def test_weights_by_channel_are_described_with_their_axis() -> None:
    found = info()[f"@{CONV}:weight"]
    assert found.pop("scale") == pytest.approx([float(np.float32(v / 127)) for v in (0.5, 1)], rel=1e-8)
    assert found == {
        "layer": CONV,
        "source": ["conv", "relu"],
        "dtype": "int8",
        "scheme": "perchannel_symmetric_affine",
        "shape": [2, 1, 1, 1],
        "min": [0.0, -1.0],
        "max": [0.5, 0.0],
        "axis": 0,
        "zero_point": [0, 0],
    }


def test_list_of_channels_takes_one_line() -> None:
    text = quantization_info(*quantized())
    assert "  min: [0.0, -1.0]\n  max: [0.5, 0.0]\n  axis: 0\n  scale: [0.00" in text
    assert "]\n  zero_point: [0, 0]\n" in text


def test_fixed_point_has_a_fractional_length_instead_of_a_scale() -> None:
    found = info("int16", "default")["@Input_x:out0"]
    # 3 * 2**13 is the largest power of two times 3 that 16 bits hold.
    assert (found["fl"], found["scheme"]) == (13, "dynamic_fixed_point")
    assert not {"scale", "zero_point", "axis"} & found.keys()


def test_bias_has_the_scale_of_the_product_and_the_range_that_it_takes() -> None:
    found = info("uint8", "asymmetric_affine")
    bias, data, weight = (found[key] for key in (f"@{CONV}:bias", "@Input_x:out0", f"@{CONV}:weight"))
    assert bias["dtype"] == "int32"
    # A scale is written with nine digits.
    assert np.ravel(bias["scale"]) == pytest.approx(data["scale"] * weight["scale"], rel=1e-6)
    step = data["scale"] * weight["scale"]
    assert (bias["min"], bias["max"]) == (pytest.approx(1, abs=step), pytest.approx(2, abs=step))


def test_function_with_a_natural_range_has_that_one() -> None:
    found = info("uint8", "asymmetric_affine", Concat_join_3="int16")
    assert (found["@Sigmoid_gate_2:out0"]["min"], found["@Sigmoid_gate_2:out0"]["max"]) == (0.0, 1.0)


def test_tensors_that_share_parameters_are_all_listed_with_them() -> None:
    found = info("uint8", "asymmetric_affine")
    shared = [{**found[key], "layer": None, "source": None, "shape": None} for key in found if "_3:" in key]
    parts = [{**found[key], "layer": None, "source": None, "shape": None} for key in (f"@{CONV}:out0",)]
    assert shared == parts


def test_conversions_are_listed() -> None:
    found = info("uint8", "asymmetric_affine", Add_sum_4="int16")
    (key,) = (key for key in found if key.startswith("@Convert_"))
    assert (found[key]["dtype"], found[key]["source"]) == ("int16", [])


def test_float16_has_neither_scale_nor_range() -> None:
    found = info("float16", "default")[f"@{CONV}:out0"]
    assert found.keys() == {"layer", "source", "dtype", "scheme", "shape"}
    assert (found["dtype"], found["scheme"]) == ("float16", "float16")


def test_report_says_what_it_is_and_is_the_same_every_time() -> None:
    text = quantization_info(*quantized())
    assert text.startswith("# Quantization of the tensors of the converted model")
    assert text == quantization_info(*quantized())


@pytest.mark.parametrize("name", ["it's: #1", 'a "b" \\c', "new\nline", "ünï 🎉\x85\u2028", "x" * 2000, "- [a, {b"])
def test_names_come_back_as_they_are(name: str) -> None:
    found = info(name=name)
    assert found[f"@Conv_{name}_Relu_relu_0:weight"]["source"] == [name, "relu"]


@given(st.text())
def test_any_text_in_quotes_is_read_back(text: str) -> None:
    line = quoted(text)
    assert len(line.splitlines()) <= 1
    assert yaml.safe_load(f"[{line}]") == [text]


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_every_float32_is_read_back(value: float) -> None:
    plan, _ = quantized()
    text = quantization_info(
        plan, Parameters(activations={}, constants={}, ranges={"x": reach(-abs(value), abs(value))})
    )
    assert np.float32(yaml.safe_load(text)["@Input_x:out0"]["max"]) == np.float32(abs(value))


def test_entropy_lists_what_is_known_in_execution_order_within_0_and_1() -> None:
    lines = quantization_entropy(*quantized(divergence=0.5)).splitlines()
    assert lines == [
        "@Input_x:out0, 1.000000",
        f"@{CONV}:weight, 0.012346",
        f"@{CONV}:out0, 0.500000",
        "@Sigmoid_gate_2:out0, 0.500000",
        f"@{JOIN}:out0, 0.500000",
        "@Add_sum_4:out0, 0.500000",
    ]


def test_nothing_is_said_of_what_has_no_entropy() -> None:
    plan, parameters = quantized()
    assert quantization_entropy(plan, Parameters(activations={}, constants=parameters.constants, ranges={})) == ""


def test_hostile_name_does_not_forge_a_line_of_the_entropies() -> None:
    text = quantization_entropy(*quantized(name="a\n@b:out0, 0.0"))
    assert len(text.splitlines()) == 2
