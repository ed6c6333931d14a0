"""Warnings of numbers that float16 cannot hold, against NumPy's float16, and what following them leads to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import yaml

from synap_core.graph.build import GraphBuilder
from synap_core.graph.groups import group
from synap_core.host import PluginHost
from synap_core.quantization.analysis import analyse
from synap_core.quantization.float16 import float16_warnings
from synap_core.quantization.pipeline import Quantized, open_quantizer
from synap_core.quantization.plan import Plan
from synap_core.quantization.planning import make_plan
from synap_core.request import ConvertRequest
from tests.support.onnx_models import F32, model, node, value

MOST_ROUNDS = 3
"""Times that warnings are followed: what then is of another type may have others, of its neighbours or of the mode."""


def plan_of(dtype: str, own: str) -> Plan:
    """Plan of a product of the input, which has one type, by a constant, which has another."""
    build = GraphBuilder("net")
    x = build.input("x", ir.DataType.FLOAT, (1, 4))
    graph = build.finish([build.emit("Mul", [x, build.constant(np.float32(1))])])
    groups = group(graph)
    return make_plan(graph, groups, {"Input_x": dtype, groups[0].layer_id: own}, scheme="default")


@pytest.mark.parametrize("reached", [1e-30, 2.9e-8, 3.1e-8, 6.0e-5, 6.2e-5, 1.0, 60_000.0, 65_504.0, 7e4, 1e30])
@pytest.mark.parametrize("sign", [1, -1])
def test_warned_of_is_what_becomes_infinite_or_loses_digits(reached: float, sign: int) -> None:
    lines = float16_warnings(plan_of("float16", "uint8"), {"x": (min(0.0, sign * reached), max(0.0, sign * reached))})
    with np.errstate(over="ignore"):
        found = np.float16(sign * reached)
    if np.isinf(found):
        assert "whose largest number is 65504, but reaches" in lines[0]
    elif found == 0:
        assert "and becomes zero; " in lines[0]
    elif abs(found) < np.finfo(np.float16).smallest_normal:
        assert "and loses digits; " in lines[0]
    assert len(lines) == (np.isinf(found) or abs(found) < np.finfo(np.float16).smallest_normal)


def test_zeros_and_other_types_are_not_warned_of() -> None:
    assert float16_warnings(plan_of("float16", "uint8"), {"x": (0.0, 0.0)}) == []
    assert float16_warnings(plan_of("int16", "uint8"), {"x": (0.0, 1e6)}) == []


def test_reader_is_named_in_place_of_the_conversion_in_front_of_it() -> None:
    plan = plan_of("uint8", "float16")
    (converted,) = (slot.key for slot in plan.slots.values() if slot.layer_id.startswith("Convert_"))
    (line,) = float16_warnings(plan, {converted: (-1e6, 2.0)})
    assert line == (
        f"what layer '@{plan.groups[-1].layer_id}' reads is kept in float16, whose largest number is 65504, but "
        "reaches 1e+06 and becomes infinite; give it another data_type"
    )


def test_numbers_that_no_type_has_are_to_be_scaled() -> None:
    (line,) = float16_warnings(plan_of("float16", "uint8"), {"x": (0.0, 1e-39)})
    assert line.endswith("; no data_type has numbers that small: scale those of the model")


def test_long_lists_of_layers_are_cut() -> None:
    build = GraphBuilder("net")
    x = build.input("x", ir.DataType.FLOAT, (1, 4))
    graph = build.finish([build.emit("Mul", [x, build.constant(np.float32(number))]) for number in range(5)])
    groups = group(graph)
    types = dict.fromkeys(["Input_x", *(g.layer_id for g in groups)], "float16")
    plan = make_plan(graph, groups, types, scheme="default")
    (line,) = float16_warnings(plan, {"x": (0.0, 1e6)})
    first, second = (g.layer_id for g in groups[:2])
    assert line.endswith(f"; give '@Input_x', '@{first}', '@{second}' and 3 more another data_type")


class Net:
    """A network whose numbers are all of about one size, with movements at both ends, and samples of it."""

    def __init__(self, folder: Path, host: PluginHost, rng: np.random.Generator, size: float) -> None:
        self._folder, self._host = folder, host
        nodes = [
            node("Reshape", "x rows", "a", "before"),
            node("MatMul", "a w1", "b", "one"),
            node("Relu", "b", "c", "relu"),
            node("MatMul", "c w2", "d", "two"),
            node("Reshape", "d flat", "y", "behind"),
        ]
        constants = {
            "rows": np.array([2, 8]),
            "w1": rng.normal(size=(8, 8)).astype(F32),
            "w2": rng.normal(size=(8, 4)).astype(F32),
            "flat": np.array([1, 8]),
        }
        made = model(nodes, [value("x", [1, 16])], [value("y", [1, 8])], constants)
        (folder / "net.onnx").write_bytes(made.SerializeToString())
        for number in range(8):
            np.save(folder / f"s{number}.npy", (rng.normal(size=(1, 16)) * size).astype(F32))

    def quantized(self, types: dict[str, str], mode: str) -> Quantized:
        options = {"rounding": "nearest", "bias_correction": False}
        section = {"data_type": types, "mode": mode, "dataset": "s*.npy", "options": options}
        meta = self._folder / "meta.yaml"
        meta.write_text(yaml.safe_dump({"quantization": section}, sort_keys=False), encoding="utf-8")
        request = ConvertRequest(model=self._folder / "net.onnx", meta=meta, target="GENERIC", whole_graph=True)
        return open_quantizer(request, self._host).run()


def ratio(found: Quantized) -> float:
    return analyse(found.plan, found.parameters, found.runner, range(8), alone=False).worst_db


def advised(warnings: Sequence[str]) -> tuple[list[str], bool]:
    """Layers that are to get another data type, and whether another mode is to be used."""
    layers: list[str] = []
    for line in warnings:
        kept, advice = line.split("; ")
        layers += re.findall(r"'(@[^']+)'", kept if "give it" in advice else advice)
    return list(dict.fromkeys(layers)), any("use 'mode: full'" in line for line in warnings)


@pytest.mark.parametrize("size", [1e7, 1e-9], ids=["large", "small"])
@pytest.mark.parametrize(
    ("types", "left"),
    [
        ({"*": "float16", "two": "uint8"}, False),
        ({"*": "uint8", "two": "float16"}, True),
        ({"*": "uint8", "one": "float16"}, True),
        ({"*": "uint8", "two": "int16"}, True),
    ],
    ids=["most", "last", "first", "moved alone"],
)
def test_a_metafile_that_does_what_warnings_say_leaves_none(
    types: dict[str, str], left: bool, size: float, tmp_path: Path, host: PluginHost, rng: np.random.Generator
) -> None:
    net = Net(tmp_path, host, rng, size)
    found = before = net.quantized(types, "standard")
    # Another mode is named where it alone keeps a movement in float16.
    assert advised(before.warnings)[1] == left
    mode = "standard"
    for _ in range(MOST_ROUNDS):
        if found.warnings:
            layers, full = advised(found.warnings)
            assert layers or full
            # The metafile takes the layers by the names that the warnings give them.
            types, mode = types | dict.fromkeys(layers, "int16"), "full" if full else mode
            found = net.quantized(types, mode)
    assert found.warnings == ()
    assert not ratio(before) > 1
    assert ratio(found) > 30
