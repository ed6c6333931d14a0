"""Quantizing a model as its metafile says, in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synap_core.errors import InputError, SynapError
from synap_core.host import PluginHost
from synap_core.quantization.parameters import Parameters
from synap_core.quantization.pipeline import Quantizer, open_quantizer
from synap_core.request import ConvertRequest
from tests.support.onnx_models import F32, model, node, value

Open = Callable[..., Quantizer]
FAST = "options: {rounding: nearest, bias_correction: false}"


@pytest.fixture
def opened(tmp_path: Path, host: PluginHost, rng: np.random.Generator) -> Open:
    """Open a network of two convolutions with five samples, and the text of a quantization section."""
    nodes = [
        node("Conv", "x w1 b1", "a", "one"),
        node("Relu", "a", "b", "relu"),
        node("Conv", "b w2 b2", "y", "two"),
    ]
    constants = {
        "w1": rng.normal(size=(4, 3, 1, 1)).astype(F32) * np.array([9, 1, 0.3, 1], F32).reshape(4, 1, 1, 1),
        "b1": rng.normal(size=4).astype(F32),
        "w2": rng.normal(size=(2, 4, 1, 1)).astype(F32),
        "b2": rng.normal(size=2).astype(F32),
    }
    made = model(nodes, [value("x", [1, 3, 4, 4])], [value("y", [1, 2, 4, 4])], constants)
    (tmp_path / "net.onnx").write_bytes(made.SerializeToString())
    for number in range(5):
        np.save(tmp_path / f"s{number}.npy", rng.normal(size=(1, 3, 4, 4)).astype(F32))
    np.save(tmp_path / "other.npy", np.full((1, 3, 4, 4), 50, F32))

    def call(
        *lines: str, cache: bool = False, samples: tuple[str, ...] = (), dataset: str = "s*.npy", jobs: int = 2
    ) -> Quantizer:
        text = "\n".join(f"  {line}" for line in (*lines, f"dataset: {dataset}"))
        (tmp_path / "meta.yaml").write_text(f"quantization:\n{text}\n", encoding="utf-8")
        request = ConvertRequest(
            model=tmp_path / "net.onnx",
            meta=tmp_path / "meta.yaml",
            target="GENERIC",
            whole_graph=True,
            cache_dir=tmp_path / "cache" if cache else None,
            jobs=jobs,
        )
        return open_quantizer(request, host, samples=samples)

    return call


def same(one: Parameters, other: Parameters) -> None:
    """Compare all that parameters say."""
    assert dict(one.activations) == dict(other.activations)
    assert one.notes == other.notes
    assert one.constants.keys() == other.constants.keys()
    for key, tensor in one.constants.items():
        assert tensor.quant == other.constants[key].quant
        np.testing.assert_array_equal(tensor.integers, other.constants[key].integers)
        assert tensor.integers.dtype == other.constants[key].integers.dtype
    assert one.ranges.keys() == other.ranges.keys()
    for key, found in one.ranges.items():
        np.testing.assert_array_equal(found.low, other.ranges[key].low)
        np.testing.assert_array_equal(found.high, other.ranges[key].high)
        assert found.divergence == other.ranges[key].divergence


def test_every_run_plans_a_graph_of_its_own(opened: Open) -> None:
    quantizer = opened(FAST)
    first, second = quantizer.run(), quantizer.run()
    assert first.plan.graph is not second.plan.graph
    same(first.parameters, second.parameters)


def test_raised_layers_override_the_metafile(opened: Open) -> None:
    quantizer = opened("data_type: {'*': uint8, two: float16}", FAST)
    plain, raised = quantizer.plan(), quantizer.plan({"Conv_one_Relu_relu_0": "int16"})
    own = {layer: dtype for layer, dtype in plain.types.items() if not layer.startswith("Convert_")}
    assert own == {"Input_x": "uint8", "Conv_one_Relu_relu_0": "uint8", "Conv_two_2": "float16"}
    found = {layer: dtype for layer, dtype in raised.types.items() if not layer.startswith("Convert_")}
    assert found == own | {"Conv_one_Relu_relu_0": "int16"}
    assert {slot.spec.dtype for slot in quantizer.run({"Input_x": "int16"}).plan.slots.values()} == {
        "uint8",
        "int16",
        "float16",
    }


@pytest.mark.parametrize(
    "settings",
    [
        ("algorithm: standard",),
        ("algorithm: kl_divergence", FAST),
        ("algorithm: moving_average", "data_type: int8", "scheme: perchannel_symmetric_affine"),
        ("algorithm: auto",),
        ("options: {equalize: true}",),
        ("data_type: {'*': uint8, one: int16, two: float16}", FAST),
    ],
    ids=["standard", "kl", "per channel", "auto", "equalize", "mixed"],
)
def test_what_comes_from_the_cache_is_what_was_put_there(
    settings: tuple[str, ...], opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "synap_core"):
        fresh = opened(*settings, cache=True).run()
        assert "taken from the cache" not in caplog.text
        again = opened(*settings, cache=True, jobs=1).run()
    assert "taken from the cache" in caplog.text
    same(fresh.parameters, again.parameters)
    assert fresh.warnings == again.warnings
    same(fresh.parameters, opened(*settings).run().parameters)


def test_damaged_entry_of_the_cache_is_made_again(opened: Open, tmp_path: Path) -> None:
    fresh = opened(FAST, cache=True).run()
    entries = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert entries
    for path in entries:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(bytes(content))
    same(fresh.parameters, opened(FAST, cache=True).run().parameters)


def test_other_samples_are_shown_but_not_quantized_with(opened: Open, tmp_path: Path) -> None:
    plain, shown = opened(FAST), opened(FAST, samples=(str(tmp_path / "other.npy"),))
    assert (plain.runner.count, shown.runner.count, shown.run().runner.count) == (5, 1, 1)
    same(plain.run().parameters, shown.run().parameters)
    (sample,) = shown.runner.samples([0])
    np.testing.assert_array_equal(sample["x"], 50)


def test_notes_of_the_preparation_are_told(opened: Open) -> None:
    assert opened(FAST).run().parameters.notes == ()
    assert opened("options: {equalize: true, rounding: nearest, bias_correction: false}").run().parameters.notes


def test_model_without_samples_is_an_error_that_says_what_to_add(
    opened: Open, tmp_path: Path, host: PluginHost
) -> None:
    opened(FAST)
    (tmp_path / "meta.yaml").write_text("quantization: {data_type: int8}\n", encoding="utf-8")
    request = ConvertRequest(
        model=tmp_path / "net.onnx", meta=tmp_path / "meta.yaml", target="GENERIC", whole_graph=True
    )
    with pytest.raises(InputError, match="asks for no quantization: it has no 'dataset'"):
        open_quantizer(request, host)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (("options: {speed: 9}",), "speed"),
        (("data_type: {'*': uint8, three: int16}",), "Layer name 'three' not in the model"),
        (("data_type: {'*': uint8, relu: int16}",), "Layer name 'relu' is part of the fused layer one \\+ relu"),
        (("data_type: {one: uint8}",), "No layers to requantize"),
    ],
    ids=["option", "layer", "part", "same"],
)
def test_mistakes_in_the_section_are_named(lines: tuple[str, ...], text: str, opened: Open) -> None:
    with pytest.raises(SynapError, match=text):
        opened(*lines).run()
