"""Parameters as bytes, and the key they are kept under."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from pydantic import BaseModel

from synap_core.api import GraphBuilder, Origin, QuantizationAlgorithm, QuantizedTensor, QuantParams
from synap_core.host import PluginHost
from synap_core.quantization.dataset import Dataset, SampleInput
from synap_core.quantization.interface import QuantSpec, Range
from synap_core.quantization.parameters import Parameters
from synap_core.quantization.plan import Bias, ConstantSlot, Plan, Slot
from synap_core.quantization.stored import calibration_key, pack, unpack
from synap_core.tensors import TensorMeta

F32 = np.float32
U8 = QuantSpec(dtype="uint8", scheme="asymmetric_affine")
I16 = QuantSpec(dtype="int16", scheme="dynamic_fixed_point")
HALF = QuantSpec(dtype="float16", scheme="float16")
CHANNELS = QuantSpec(dtype="int8", scheme="perchannel_symmetric_affine", axis=1)


def plan(weight: np.ndarray | None = None, name: str = "product", spec: QuantSpec = U8) -> Plan:
    """Product, bias and scaling: slots and constants of integers and of reals, and a bias."""
    build = GraphBuilder("toy")
    x = build.input("x", ir.DataType.FLOAT, (1, 3))
    weights = np.arange(6, dtype=F32).reshape(3, 2) if weight is None else weight
    with build.layer(Origin(name, "Dense", 0)):
        y = build.emit("MatMul", [x, build.constant(weights, "w")])
        y = build.emit("Add", [y, build.constant(np.ones(weights.shape[1], F32), "b")])
    with build.layer(Origin("scaled", "Mul", 1)):
        z = build.emit("Mul", [y, build.constant(np.full((1, weights.shape[1]), 0.1, F32), "c")])
    y.name, z.name = "y", "z"
    slots = [
        Slot(key="x", spec=spec, values=("x",), observed=("x",), layer_id="Input_x"),
        Slot(key="y", spec=I16, values=("y",), observed=("y",), layer_id="product"),
        Slot(key="z", spec=HALF, values=("z",), observed=("z",), layer_id="scaled"),
    ]
    constants = [
        ConstantSlot(key="w", spec=CHANNELS, role="weight", layer_id="product", label="@product:weight"),
        ConstantSlot(key="c", spec=HALF, role="constant", layer_id="scaled", label="@scaled:constant0"),
    ]
    return Plan(
        graph=build.finish([z]),
        groups=(),
        types={"product": "uint8"},
        slots={item.key: item for item in slots},
        constants={item.key: item for item in constants},
        biases={"b": Bias(key="b", data="x", weight="w", axis=0, layer_id="product")},
    )


def parameters() -> Parameters:
    x = QuantParams(dtype="uint8", scheme="asymmetric_affine", scale=(0.1,), zero_point=(7,))
    y = QuantParams(dtype="int16", scheme="dynamic_fixed_point", fractional_length=-3)
    z = QuantParams(dtype="float16", scheme="float16")
    w = QuantParams(dtype="int8", scheme=CHANNELS.scheme, scale=(1 / 3, 2e-7), zero_point=(0, 0), axis=1)
    b = QuantParams(dtype="int32", scheme=CHANNELS.scheme, scale=(1 / 30, 2e-8), zero_point=(0, 0), axis=0)
    return Parameters(
        activations={"x": x, "y": y, "z": z},
        constants={
            "w": QuantizedTensor(np.array([[1, -127], [0, 5], [127, 3]], np.int8), w),
            "c": QuantizedTensor(np.array([[0.1, -2]], np.float16), z),
            "b": QuantizedTensor(np.array([-(2**30), 77], np.int32), b),
        },
        ranges={
            "x": Range(low=np.array(-0.7), high=np.array(1 / 3), divergence=0.1),
            "w": Range(low=np.array([-1 / 7, 0.0]), high=np.array([1 / 7, 1e-300])),
        },
        notes=("a note", "ein Märchen"),
    )


def test_parameters_come_back_exactly() -> None:
    before = parameters()
    found = unpack(pack(before, ["careful"]), plan())
    assert found is not None
    after, warnings = found
    assert (warnings, after.notes) == (("careful",), before.notes)
    assert dict(after.activations) == dict(before.activations)
    assert list(after.constants) == list(before.constants)
    for key, tensor in before.constants.items():
        assert after.constants[key].quant == tensor.quant
        assert after.constants[key].integers.dtype == tensor.integers.dtype
        np.testing.assert_array_equal(after.constants[key].integers, tensor.integers)
    for key, item in before.ranges.items():
        np.testing.assert_array_equal(after.ranges[key].low, item.low)
        np.testing.assert_array_equal(after.ranges[key].high, item.high)
        assert (after.ranges[key].divergence, after.ranges[key].low.shape) == (item.divergence, item.low.shape)


def test_equal_parameters_have_equal_bytes() -> None:
    assert pack(parameters()) == pack(parameters())


def test_every_truncated_file_is_refused() -> None:
    data = pack(parameters())
    assert all(unpack(data[:size], plan()) is None for size in range(0, len(data), 7))
    assert unpack(data + b"x", plan()) is None


def test_no_damage_ends_in_an_error() -> None:
    data, generator = pack(parameters()), random.Random(1)
    for _ in range(1000):
        damaged = bytearray(data)
        for _ in range(generator.choice([1, 1, 5])):
            damaged[generator.randrange(len(data))] = generator.choice(b'\0\xff0[{}]",-e' + bytes(range(40, 60)))
        unpack(bytes(damaged), plan())


def test_deeply_nested_text_is_refused() -> None:
    text = b"[" * 100_000
    assert unpack(len(text).to_bytes(8, "little") + text, plan()) is None


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda h: h["activations"].pop("x"), id="a-tensor-is-missing"),
        pytest.param(lambda h: h["activations"].update(q=h["activations"]["x"]), id="a-tensor-is-unknown"),
        pytest.param(lambda h: h["constants"].pop("b"), id="a-constant-is-missing"),
        pytest.param(lambda h: h["activations"]["x"].update(dtype="int8"), id="another-type"),
        pytest.param(lambda h: h["activations"]["x"].update(scale=[-1.0]), id="negative-scale"),
        pytest.param(lambda h: h["activations"]["x"].update(scale=[0.1, 0.2]), id="two-scales-one-zero-point"),
        pytest.param(lambda h: h["activations"]["x"].update(zero_point=[256]), id="zero-point-out-of-range"),
        pytest.param(lambda h: h["activations"]["x"].update(zero_point=[1.5]), id="zero-point-is-real"),
        pytest.param(lambda h: h["activations"]["x"].update(axis=0), id="channels-of-an-activation"),
        pytest.param(lambda h: h["activations"]["y"].update(fractional_length=10**9), id="huge-shift"),
        pytest.param(lambda h: h["activations"]["y"].update(fractional_length=None), id="neither-scale-nor-shift"),
        pytest.param(lambda h: h["activations"]["x"].update(more=1), id="unknown-field"),
        pytest.param(lambda h: h["constants"]["w"].update(axis=0), id="other-axis"),
        pytest.param(lambda h: h["constants"]["w"].update(dtype="int16"), id="other-weights"),
        pytest.param(lambda h: h["constants"]["b"].update(dtype="uint8"), id="bias-of-another-type"),
        pytest.param(lambda h: h["ranges"].update(x=[[3], None]), id="range-per-channel"),
        pytest.param(lambda h: h["ranges"].update(x=[[], float("nan")]), id="divergence-is-nan"),
        pytest.param(lambda h: h.update(notes="text"), id="notes-are-no-list"),
        pytest.param(lambda h: h.pop("warnings"), id="no-warnings"),
    ],
)
def test_what_does_not_fit_the_plan_is_refused(change: Change) -> None:
    data = pack(parameters())
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    change(header)
    text = json.dumps(header).encode()
    changed = len(text).to_bytes(8, "little") + text + data[end:]
    fits = "more" in header["activations"].get("x", {})  # what nobody reads does no harm
    assert (unpack(changed, plan()) is not None) == fits


def test_other_shapes_are_refused() -> None:
    assert unpack(pack(parameters()), plan(np.zeros((3, 4), F32))) is None


class Options(BaseModel):
    """Options of the algorithm."""

    bins: int = 10


def algorithm(name: str = "toy") -> QuantizationAlgorithm:
    return QuantizationAlgorithm(name=name, summary="", options_model=lambda: Options, load=lambda _: None)  # type: ignore[arg-type, return-value]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    np.save(tmp_path / "a.npy", np.ones((1, 3), F32))
    tensor = TensorMeta(label="x", name="x", shape=(1, 3), dtype="float32")
    return Dataset(inputs=(SampleInput(name="x", tensor=tensor, files=(tmp_path / "a.npy",), arrays=True),))


def test_key_is_the_same_for_the_same(dataset: Dataset, host: PluginHost) -> None:
    first, second = (calibration_key(plan(), dataset, algorithm(), Options(), host) for _ in range(2))
    assert first == second


def test_key_leaves_the_graph_as_it_is(dataset: Dataset, host: PluginHost) -> None:
    made = plan()
    before = ir.to_proto(made.graph).SerializeToString()
    calibration_key(made, dataset, algorithm(), Options(), host)
    assert ir.to_proto(made.graph).SerializeToString() == before


def changed_weight() -> Plan:
    weight = np.arange(6, dtype=F32).reshape(3, 2)
    weight[2, 1] = np.nextafter(weight[2, 1], F32(9))
    return plan(weight)


CHANGES: Mapping[str, Callable[[], dict[str, Any]]] = {
    "one bit of a weight": lambda: {"plan": changed_weight()},
    "a layer's name": lambda: {"plan": plan(name="other")},
    "a type": lambda: {"plan": plan(spec=replace(U8, dtype="int8"))},
    "a bound": lambda: {"plan": plan(spec=replace(U8, bounds=(-3.0, np.inf)))},
    "types of layers": lambda: {"plan": replace(plan(), types={"product": "int16"})},
    "the algorithm": lambda: {"algorithm": algorithm("other")},
    "an option": lambda: {"options": Options(bins=11)},
}


@pytest.mark.parametrize("what", CHANGES)
def test_any_change_changes_the_key(dataset: Dataset, host: PluginHost, what: str) -> None:
    given: dict[str, Any] = {"plan": plan(), "algorithm": algorithm(), "options": Options()}
    before = calibration_key(given["plan"], dataset, given["algorithm"], given["options"], host)
    given |= CHANGES[what]()
    assert calibration_key(given["plan"], dataset, given["algorithm"], given["options"], host) != before


def test_content_of_a_sample_changes_the_key(dataset: Dataset, host: PluginHost) -> None:
    before = calibration_key(plan(), dataset, algorithm(), Options(), host)
    np.save(dataset.inputs[0].files[0], np.full((1, 3), 2, F32))
    assert calibration_key(plan(), dataset, algorithm(), Options(), host) != before


def test_version_of_the_plugin_changes_the_key(dataset: Dataset, host: PluginHost) -> None:
    named = next(iter(host.runtimes))
    before = calibration_key(plan(), dataset, algorithm(), Options(), host)
    other = PluginHost()
    other.records = [record for record in host.records if ("runtime", named) not in record.provides]
    assert calibration_key(plan(), dataset, algorithm(), Options(), other) != before
