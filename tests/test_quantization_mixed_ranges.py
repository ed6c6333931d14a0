"""Tensors that mix ranges are found, and the advice can be followed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import yaml

from synap_core.graph.annotations import Origin
from synap_core.graph.build import GraphBuilder
from synap_core.graph.groups import group
from synap_core.metafile import Metafile, Quantization
from synap_core.quantization.data_types import resolve_types
from synap_core.quantization.interface import Range
from synap_core.quantization.mixed_ranges import mixed_ranges
from synap_core.quantization.parameters import solve
from synap_core.quantization.planning import make_plan
from tests.support.cli import Synap
from tests.support.metafiles import metafile
from tests.support.toy_source import GraphModel, graph_model

Extents = Mapping[str, tuple[float, float]]

BOXES, SCORES = (0.0, 640.0), (0.0, 0.9)


def detector() -> tuple[ir.Model, GraphModel]:
    """From x: boxes and scores, joined, and the magnitudes of that; from x, too: features."""
    build = GraphBuilder("g", ["x", "boxes", "scores", "joined", "y", "features"])
    x = build.input("x", ir.DataType.FLOAT, [1, 4], source="x")
    made = {}
    for index, (name, operator) in enumerate((("boxes", "Exp"), ("scores", "Softplus"), ("features", "Neg"))):
        with build.layer(Origin(name, operator, index)):
            made[name] = build.name_value(build.emit(operator, [x]), name, name)
    with build.layer(Origin("join", "Concat", 3)):
        joined = build.name_value(
            build.emit("Concat", [made["boxes"], made["scores"]], {"axis": 1}), "joined", "joined"
        )
    with build.layer(Origin("last", "Abs", 4)):
        y = build.name_value(build.emit("Abs", [joined]), "y", "y")
    operators = [(name, ["x"], [name]) for name in ("boxes", "scores", "features")]
    operators += [("join", ["boxes", "scores"], ["joined"]), ("last", ["joined"], ["y"])]
    return build.finish([y, made["features"]]), graph_model(["x"], operators, ["y", "features"])


def warned(
    extents: Extents,
    data_type: str | dict[str, str] = "uint8",
    *,
    scheme: str = "default",
    names: Mapping[str, str] | None = None,
) -> list[str]:
    graph, model = detector()
    if names is not None:
        model.tensors = {key: replace(item, name=names.get(key, key)) for key, item in model.tensors.items()}
    meta = Metafile(quantization=Quantization(data_type=data_type))
    groups = group(graph)
    plan = make_plan(graph, groups, resolve_types(meta, groups, graph, model), scheme=scheme)
    known = {"x": (-1.0, 1.0), "features": (-1.0, 1.0), **extents}
    ranges = {}
    for key, slot in plan.slots.items():
        ends = [known.get(name, (0.0, 640.0)) for name in slot.observed]
        ranges[key] = Range(low=np.array(min(low for low, _ in ends)), high=np.array(max(high for _, high in ends)))
    warnings, notes = mixed_ranges(plan, known, solve(plan, ranges), None if names is None else model)
    return [*warnings, *notes]


def test_parts_of_very_different_ranges_are_found_with_what_is_left_of_them() -> None:
    (line,) = warned({"boxes": BOXES, "scores": SCORES})
    # One step of uint8 is 640 / 255 = 2.51, of which 0.9 is a third.
    assert line.startswith(
        "layer '@Concat_join_3' puts numbers of very different ranges on one uint8 scale with steps of 2.51, which "
        "leaves too little of @Softplus_scores_1:out0: @Exp_boxes_0:out0 (0 to 640: 255 steps), "
        "@Softplus_scores_1:out0 (0 to 0.9: 0.359 steps); "
    )
    assert "\n" not in line


@pytest.mark.parametrize(
    ("high", "found"), [(640 / 255 * 15.9, True), (640 / 255 * 16.1, False)], ids=["below 16 steps", "above 16 steps"]
)
def test_sixteen_steps_are_enough(high: float, found: bool) -> None:
    assert bool(warned({"boxes": BOXES, "scores": (0.0, high)})) == found


@pytest.mark.parametrize(
    ("scores", "found"),
    [
        pytest.param((0.0, 0.0), False, id="zeros"),
        pytest.param((0.5, 0.5), True, id="small constant"),
        pytest.param((600.0, 600.0), False, id="large constant"),
        pytest.param((600.0, 620.0), True, id="varies little"),
    ],
)
def test_what_counts_is_how_much_a_part_varies(scores: tuple[float, float], found: bool) -> None:
    assert bool(warned({"boxes": BOXES, "scores": scores})) == found


def test_parts_of_like_ranges_are_not_reported() -> None:
    assert warned({"boxes": (0.0, 1.0), "scores": (0.0, 0.9)}) == []


def test_fixed_point_has_steps_of_a_power_of_two() -> None:
    (line,) = warned({"boxes": BOXES, "scores": SCORES}, "int8", scheme="dynamic_fixed_point")
    # 640 / 8 = 80 fits in -128..127, 640 / 4 = 160 does not.
    assert "int8 scale with steps of 8, which" in line
    assert "'data_type: {'*': int8, " in line


@pytest.mark.parametrize("data_type", ["int16", "float16"])
def test_types_of_more_bits_are_not_reported(data_type: str) -> None:
    assert warned({"boxes": BOXES, "scores": SCORES}, data_type) == []


def advice(line: str, key: str) -> Any:
    """What a warning says to write in the metafile."""
    found = re.search(
        rf"'({key}: .*[}}\]])'",
        re.split(r" \(or \w+\)$", line)[0] if key == "data_type" else line.partition(", or ")[0],
    )
    assert found is not None
    return yaml.safe_load(found[1])[key]


def test_types_that_are_advised_can_be_written_in_a_metafile_and_help(tmp_path: Path) -> None:
    (line,) = warned({"boxes": BOXES, "scores": SCORES})
    types = advice(line, "data_type")
    assert types == {"*": "uint8", "@Concat_join_3": "int16", "@Concat_join_3...": "int16"}
    assert line.endswith(" (or float16)")
    graph, source = detector()
    text = f"quantization: {{data_type: {yaml.safe_dump(types, default_flow_style=True)}}}"
    found = resolve_types(metafile(tmp_path, text), group(graph), graph, source)
    assert [name for name, dtype in found.items() if dtype == "int16"] == ["Concat_join_3", "Abs_last_4"]
    assert warned({"boxes": BOXES, "scores": SCORES}, types) == []


def test_outputs_that_are_advised_cut_in_front_of_the_layer_and_keep_the_others(tmp_path: Path) -> None:
    (line,) = warned({"boxes": BOXES, "scores": SCORES})
    outputs = advice(line, "outputs")
    assert outputs == [{"name": "boxes"}, {"name": "scores"}, {"name": "features"}]
    assert len(metafile(tmp_path, yaml.safe_dump({"outputs": outputs})).outputs) == 3


def test_tensors_have_the_names_of_the_source_model_rather_than_their_ids() -> None:
    names = {"boxes": "StatefulPartitionedCall:0", "scores": "it's", "features": "x"}
    (line,) = warned({"boxes": BOXES, "scores": SCORES}, names=names)
    assert advice(line, "outputs") == [{"name": name} for name in names.values()]


def test_layer_that_only_hands_a_mixed_tensor_on_is_not_reported_again() -> None:
    build = GraphBuilder("g", ["x", "z"])
    x = build.input("x", ir.DataType.FLOAT, [1, 4], source="x")
    with build.layer(Origin("small", "Softplus", 0)):
        small = build.emit("Softplus", [x])
    with build.layer(Origin("large", "Exp", 1)):
        large = build.emit("Exp", [x])
    with build.layer(Origin("inner", "Concat", 2)):
        inner = build.emit("Concat", [small, large], {"axis": 1})
    with build.layer(Origin("outer", "Concat", 3)):
        outer = build.emit("Concat", [inner, large], {"axis": 1})
    with build.layer(Origin("last", "Abs", 4)):
        graph = build.finish([build.emit("Abs", [outer])])
    groups = group(graph)
    ids = ["Input_x", *(item.layer_id for item in groups)]
    plan = make_plan(graph, groups, dict.fromkeys(ids, "uint8"), scheme="default")
    ranges = {key: Range(low=np.array(0.0), high=np.array(100.0)) for key in plan.slots}
    extents = {str(small.name): (0.0, 1.0), str(large.name): (0.0, 100.0)}
    ((line,), _) = mixed_ranges(plan, extents, solve(plan, ranges))
    assert line.startswith("layer '@Concat_inner_2' puts")
    # Without a name in the source model there is nothing to cut at.
    assert "outputs:" not in line


def left(
    data_type: str = "uint8",
    *,
    scheme: str = "default",
    scores: tuple[float, float] = SCORES,
    mode: str = "standard",
    last: bool = False,
    types: Mapping[str, str] | None = None,
) -> list[str]:
    """Lines for boxes and scores that are joined in an output, which a layer may move on."""
    build = GraphBuilder("g", ["x", "boxes", "scores", "joined"])
    x = build.input("x", ir.DataType.FLOAT, [1, 4], source="x")
    made = []
    for index, (name, operator) in enumerate((("boxes", "Exp"), ("scores", "Softplus"))):
        with build.layer(Origin(name, operator, index)):
            made.append(build.name_value(build.emit(operator, [x]), name, name))
    with build.layer(Origin("join", "Concat", 2)):
        y = build.name_value(build.emit("Concat", made, {"axis": 1}), "joined", "joined")
    if last:
        with build.layer(Origin("last", "Reshape", 3)):
            y = build.emit("Reshape", [y, build.constant(np.array([2, 4]))])
    graph = build.finish([y])
    source = graph_model(["x"], [("boxes", ["x"], ["boxes"]), ("scores", ["x"], ["scores"])], ["boxes", "scores"])
    groups = group(graph)
    ids = dict.fromkeys(["Input_x", *(item.layer_id for item in groups)], data_type)
    plan = make_plan(graph, groups, {**ids, **(types or {})}, scheme=scheme, mode=mode)
    known = {"boxes": BOXES, "scores": scores}
    extents, ranges = {}, {}
    for key, slot in plan.slots.items():
        for name in slot.observed:
            # A conversion has the numbers of what it converts.
            extents[name] = next((ends for part, ends in known.items() if part in name), (-1.0, 1.0))
        ends = [extents[name] for name in slot.observed]
        ranges[key] = Range(low=np.array(min(low for low, _ in ends)), high=np.array(max(high for _, high in ends)))
    warnings, notes = mixed_ranges(plan, extents, solve(plan, ranges), source)
    return [*warnings, *notes]


@pytest.mark.parametrize("last", [False, True], ids=["output", "moved on to the output"])
def test_parts_that_are_joined_in_float16_at_the_end_are_told_of_with_what_would_be_left_of_them(last: bool) -> None:
    (line,) = left(last=last)
    # One step of uint8 is 640 / 255 = 2.51, of which 0.9 is a third.
    assert line.startswith(
        "layer '@Concat_join_2' joins numbers of very different ranges; nothing is lost, because mode 'standard' "
        "leaves it in float16, but one uint8 scale, as with 'mode: full', has steps of 2.51, which leaves too little "
        "of @Softplus_scores_1:out0: @Exp_boxes_0:out0 (0 to 640: 255 steps), @Softplus_scores_1:out0 (0 to 0.9: "
        "0.359 steps); "
    )
    assert advice(line, "outputs") == [{"name": "boxes"}, {"name": "scores"}]
    tail = {"@Concat_join_2...": "float16"} if last else {}
    assert advice(line, "data_type") == {"*": "uint8", "@Concat_join_2": "float16", **tail}
    assert line.endswith(" (or int16)")


def test_types_that_are_advised_for_the_end_help_in_any_mode() -> None:
    (line,) = left(mode="full")
    assert "puts numbers of very different ranges on one uint8 scale" in line
    for dtype in ("float16", "int16"):
        assert left(mode="full", types={"Concat_join_2": dtype}) == []


def test_parts_in_float16_that_are_alike_are_not_told_of() -> None:
    assert left(scores=(0.0, 640 / 255 * 16.1)) == []
    assert len(left(scores=(0.0, 640 / 255 * 15.9))) == 1


def test_steps_that_parts_in_float16_would_have_are_those_of_the_scheme() -> None:
    (line,) = left("int8", scheme="dynamic_fixed_point")
    # 640 / 8 = 80 fits in -128..127, 640 / 4 = 160 does not.
    assert "one int8 scale, as with 'mode: full', has steps of 8, which" in line


@pytest.mark.parametrize("data_type", ["int16", "float16"])
def test_parts_that_would_have_more_bits_are_not_told_of(data_type: str) -> None:
    assert left(data_type) == []


def test_a_join_that_was_given_float16_is_not_told_of() -> None:
    assert left(types={"Concat_join_2": "float16"}) == []


@pytest.mark.zoo
def test_mixed_output_of_a_detector_is_told_of_by_name(synap: Synap, zoo: Path, tmp_path: Path) -> None:
    scenes = np.load(zoo / "images/digit_scenes_60.npz")["images"][:2]
    for number, scene in enumerate(scenes):
        np.save(tmp_path / f"{number}.npy", scene[np.newaxis].transpose(0, 3, 1, 2).astype(np.float32) / 255)
    meta = tmp_path / "meta.yaml"
    meta.write_text("quantization: {dataset: '*.npy'}\n", encoding="utf-8")
    words = ["--model", zoo / "models/detection/digits_det_160.onnx", "--meta", meta, "--target", "GENERIC"]
    result = synap("convert", *words, "--out-format", "onnx", "--out-dir", tmp_path / "out")
    assert result.code == 0
    (line,) = (line for line in (result.out + result.err).splitlines() if "layer '@Concat_/Concat_9_" in line)
    assert "joins numbers of very different ranges; nothing is lost" in line
    assert "'outputs: [{name: '/Mul_output_0'}, {name: '/Sigmoid_output_0'}]'" in line


@pytest.mark.parametrize(
    ("join", "found"), [("uint8", "Concat_join_3"), ("float16", "Concat_join_3"), ("int16", "Concat_join_3")]
)
def test_parts_that_are_joined_with_more_bits_and_then_converted_to_fewer_are_found(join: str, found: str) -> None:
    (line,) = warned({"boxes": BOXES, "scores": SCORES}, {"*": "uint8", "@Concat_join_3": join, "x": "int16"})
    assert line.startswith(
        f"layer '@{found}' puts numbers of very different ranges on one uint8 scale with steps of 2.51, which leaves "
        "too little of @Softplus_scores_1:out0: "
    )
    assert advice(line, "outputs") == [{"name": "boxes"}, {"name": "scores"}, {"name": "features"}]
    types = advice(line, "data_type")
    assert types == {"*": "uint8", "@Concat_join_3": "int16", "@Concat_join_3...": "int16"}
    assert warned({"boxes": BOXES, "scores": SCORES}, types) == []


def test_inputs_that_are_joined_in_float16_and_then_read_with_8_bits_are_found() -> None:
    build = GraphBuilder("g", ["x", "y", "z"])
    inputs = [build.input(name, ir.DataType.FLOAT, [1, 4], source=name) for name in ("x", "y")]
    with build.layer(Origin("join", "Concat", 0)):
        joined = build.emit("Concat", inputs, {"axis": 1})
    with build.layer(Origin("move", "Reshape", 1)):
        joined = build.emit("Reshape", [joined, build.constant(np.array([2, 4]))])
    with build.layer(Origin("last", "Abs", 2)):
        graph = build.finish([build.emit("Abs", [joined])])
    groups = group(graph)
    ids = ["Input_x", "Input_y", *(item.layer_id for item in groups)]
    plan = make_plan(graph, groups, dict.fromkeys(ids, "uint8"), scheme="default")
    assert {"Input_x", "Input_y", "Concat_join_0", "Reshape_move_1"} == set(plan.left)
    extents = {
        name: (0.0, 1.0) if name == "y" else (0.0, 255.0) for slot in plan.slots.values() for name in slot.values
    }
    ranges = {key: Range(low=np.array(0.0), high=np.array(255.0)) for key in plan.slots}
    ((line,), _) = mixed_ranges(plan, extents, solve(plan, ranges))
    assert line.startswith(
        "layer '@Concat_join_0' puts numbers of very different ranges on one uint8 scale with steps of 1, which leaves "
        "too little of @Input_y:out0: @Input_x:out0 (0 to 255: 255 steps), @Input_y:out0 (0 to 1: 1 steps); use more"
    )
    assert "outputs:" not in line


def test_input_that_is_joined_cannot_be_cut_in_front_of() -> None:
    build = GraphBuilder("g", ["x"])
    x = build.input("x", ir.DataType.FLOAT, [1, 4], source="x")
    with build.layer(Origin("large", "Exp", 0)):
        y = build.name_value(build.emit("Exp", [x]), "t", "t")
    with build.layer(Origin("join", "Concat", 1)):
        y = build.emit("Concat", [x, y], {"axis": 1})
    with build.layer(Origin("last", "Abs", 2)):
        graph = build.finish([build.emit("Abs", [y])])
    groups = group(graph)
    ids = ["Input_x", *(item.layer_id for item in groups)]
    plan = make_plan(graph, groups, dict.fromkeys(ids, "uint8"), scheme="default")
    ranges = {key: Range(low=np.array(0.0), high=np.array(100.0)) for key in plan.slots}
    ((line,), _) = mixed_ranges(plan, {"x": (0.0, 1.0), "t": (0.0, 100.0)}, solve(plan, ranges))
    assert "leaves too little of @Input_x:out0: " in line
    assert ", @Input_x:out0 (0 to 1: 2.55 steps); " in line
    assert "outputs:" not in line
