"""The user manual's Sample Model, with every example of its text on mixed quantization and heterogeneous inference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import yaml

from synap_core.assign import dequantize
from synap_core.bundle_writer import pack_bundle
from synap_core.conversion import Conversion
from synap_core.convert import ConvertRequest, convert
from synap_core.errors import InputError
from synap_core.host import PluginHost
from synap_core.network import Network
from tests.support.cli import Synap
from tests.support.sample_model import LAYERS, OUTPUTS, READS, content, onnx_model, sample

FORMATS = ("onnx", "tflite")
SAMPLES = 8
INT16 = dict.fromkeys(LAYERS, "int16")

UNIFORM = """
quantization:
  data_type: int16
"""

LISTED = """
quantization:
  data_type:
    input1: int16
    conv1: int16
    conv2: int16
    conv3: int16
    conv4: int16
    conv5: int16
    conv6: int16
"""

THREE_TYPES = """
quantization:
  data_type:
    input1: uint8
    conv1: uint8
    conv2: int16
    conv3: int16
    conv4: float16
    conv5: int16
    conv6: float16
"""

INPUT_ONLY = """
# Quantize input1 as int8, everything else as int16
quantization:
  data_type:
    INPUTS: int8
    '*': int16
"""

HEADS = """
# Quantize as uint8 but use int16 for conv3, conv4, conv5, conv6
quantization:
  data_type:
    '*': uint8
    conv2...: int16
"""

HEADS_AND_ONE = """
# Quantize as uint8 but use int16 for conv3, conv4, conv6 but float16 for conv5
quantization:
  data_type:
    '*': uint8
    conv2...: int16
    conv5: float16
"""

FUSED = """
# Quantize as uint8 but use int16 for conv3, conv4, conv6 but float16 for what conv5 was fused with
quantization:
  data_type:
    '*': uint8
    conv2...: int16
    '@{id}': float16
"""

TWO_UNITS = """
# Execute the entire model on the NPU, except conv5 and conv6
delegate:
  '*': npu
  conv5: gpu
  conv5...: gpu
"""

HEAD_TYPES = {"conv3": "int16", "conv4": "int16", "conv5": "int16", "conv6": "int16"}
BASE = dict.fromkeys(LAYERS, "uint8")

MIXED = {
    "uniform": (UNIFORM, INT16),
    "listed": (LISTED, INT16),
    "three-types": (
        THREE_TYPES,
        BASE | HEAD_TYPES | {"conv2": "int16", "conv4": "float16", "conv6": "float16"},
    ),
    "input-only": (INPUT_ONLY, INT16 | {"input1": "int8"}),
    "heads": (HEADS, BASE | HEAD_TYPES),
    "heads-and-one": (HEADS_AND_ONE, BASE | HEAD_TYPES | {"conv5": "float16"}),
    # The manual on the two above: '*': uint8 could have been left out.
    "heads-by-default": (HEADS.replace("    '*': uint8\n", ""), BASE | HEAD_TYPES),
    "heads-and-one-by-default": (
        HEADS_AND_ONE.replace("    '*': uint8\n", ""),
        BASE | HEAD_TYPES | {"conv5": "float16"},
    ),
    # The manual: layers that are not listed get uint8.
    "one": ("quantization: {data_type: {conv3: int16}}", BASE | {"conv3": "int16"}),
    # The manual: types are applied in the order in which they are declared, except for '*'.
    "order": (
        "quantization: {data_type: {conv5: float16, conv2...: int16, '*': uint8}}",
        BASE | HEAD_TYPES,
    ),
}
"""Metafiles, and the type of every layer that the manual tells."""

Run = Callable[..., Conversion]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Convert the model in some format, with the text of a metafile."""
    host = PluginHost()

    def call(suffix: str, meta: str, model: bytes | None = None, **settings: object) -> Conversion:
        path = tmp_path / f"sample.{suffix}"
        path.write_bytes(model or content(suffix))
        for number in range(SAMPLES):
            np.save(tmp_path / f"{suffix}{number}.npy", sample(number, suffix))
        fields = yaml.safe_load(meta)
        if "quantization" in fields:
            fields["quantization"]["dataset"] = [f"{suffix}*.npy"]
        (tmp_path / "meta.yaml").write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")
        request = ConvertRequest(model=path, target="VS680", meta=tmp_path / "meta.yaml", jobs=1, **settings)  # type: ignore[arg-type]  # fields of the request
        return convert(request, host).conversion

    return call


def listed(conversion: Conversion) -> dict[str, dict[str, object]]:
    """Entries of the report on quantization."""
    found: dict[str, dict[str, object]] = yaml.safe_load(conversion.listings["quantization_info.yaml"])
    return found


def types(conversion: Conversion) -> dict[str, object]:
    """Type of each layer of the source, from the report: that of its weights and of its results."""
    found: dict[str, set[object]] = {}
    for key, entry in listed(conversion).items():
        layer, _, tensor = key.removeprefix("@").partition(":")
        if layer.startswith("Convert_") or tensor == "bias":
            continue
        sources = entry["source"] or [layer.removeprefix("Input_")]
        for source in sources:  # type: ignore[attr-defined]  # a list in this report
            found.setdefault(source, set()).add(entry["dtype"])
    assert all(len(dtypes) == 1 for dtypes in found.values())
    return {source: next(iter(dtypes)) for source, dtypes in found.items()}


def operations(conversion: Conversion, index: int = 0) -> list[str]:
    """Operators of a program, in order, without those that only move data."""
    table = conversion.artifacts[index].listings["Operation table"].splitlines()[1:]
    return [word for word in (line.split()[1] for line in table) if word not in {"Permute", "Reshape"}]


def noise_ratio_db(conversion: Conversion, suffix: str) -> float:
    """Signal to quantization noise ratio of all outputs over samples that were not calibrated on, in dB."""
    session = onnxruntime.InferenceSession(onnx_model().SerializeToString(), providers=["CPUExecutionProvider"])
    signal = noise = 0.0
    with Network(pack_bundle(conversion), isolate=False) as network:
        for seed in range(100, 104):
            expected = session.run(None, {"input1": sample(seed, "onnx")})
            found = network.predict([sample(seed, suffix)])
            for array, tensor, wanted in zip(found, network.outputs, expected, strict=True):
                real = dequantize(array, tensor).astype(np.float64)
                real = real.transpose(0, 3, 1, 2) if suffix == "tflite" else real
                signal += float((wanted.astype(np.float64) ** 2).sum())
                noise += float(((real - wanted) ** 2).sum())
    return 10 * float(np.log10(signal / noise))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", MIXED)
def test_each_layer_has_the_type_that_the_manual_says(run: Run, name: str, suffix: str) -> None:
    meta, expected = MIXED[name]
    conversion = run(suffix, meta)
    assert conversion.delegates == ("npu",)
    assert types(conversion) == expected
    assert [tensor.dtype for tensor in conversion.inputs] == [expected["input1"]]
    assert [tensor.dtype for tensor in conversion.outputs] == [expected[output] for output in OUTPUTS]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", MIXED)
def test_each_change_of_type_is_a_conversion_of_its_own(run: Run, name: str, suffix: str) -> None:
    """One for every type that a layer's result is read in, besides its own."""
    meta, expected = MIXED[name]
    changes = {(source, expected[layer]) for layer, source in READS.items() if expected[layer] != expected[source]}
    assert operations(run(suffix, meta)).count("Convert") == len(changes)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", MIXED)
def test_the_program_computes_what_the_model_does(run: Run, name: str, suffix: str) -> None:
    """A step of 1/256 of a range of about six deviations is 43 dB; four layers in a row leave 30 dB, if not more."""
    meta, expected = MIXED[name]
    wide = all(expected[layer] != "uint8" for layer in READS)
    least = 60 if wide and expected["input1"] == "int16" else 30
    assert noise_ratio_db(run(suffix, meta), suffix) >= least


@pytest.mark.parametrize("suffix", FORMATS)
def test_listing_all_layers_is_the_same_as_one_type(run: Run, suffix: str) -> None:
    uniform, every = run(suffix, UNIFORM), run(suffix, LISTED)
    assert listed(uniform) == listed(every)
    assert uniform.artifacts[0].model == every.artifacts[0].model


@pytest.mark.parametrize("suffix", FORMATS)
def test_uint8_and_int8_cannot_be_mixed(run: Run, suffix: str) -> None:
    with pytest.raises(InputError, match="mixed quantization with int8 and uint8 not allowed"):
        run(suffix, "quantization: {data_type: {conv1: int8, conv2: uint8}}")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_layer_can_be_named_by_its_id(run: Run, suffix: str) -> None:
    (layer,) = {str(entry["layer"]) for entry in listed(run(suffix, UNIFORM)).values() if entry["source"] == ["conv5"]}
    assert types(run(suffix, FUSED.format(id=layer))) == BASE | HEAD_TYPES | {"conv5": "float16"}


def test_a_layer_that_was_fused_needs_the_id_of_what_it_is_in(run: Run) -> None:
    model = onnx_model(normalised=True).SerializeToString()
    with pytest.raises(InputError, match="conv5.*@Conv_conv5_product_Relu_conv5_4"):
        run("onnx", HEADS_AND_ONE, model)
    conversion = run("onnx", FUSED.format(id="Conv_conv5_product_Relu_conv5_4"), model)
    expected = BASE | HEAD_TYPES | {"conv5": "float16", "conv5_product": "float16"}
    assert types(conversion) == expected
    assert "@Conv_conv5_product_Relu_conv5_4:weight" in listed(conversion)


@pytest.mark.parametrize("suffix", FORMATS)
def test_entropies_are_reported_by_layer_id(run: Run, suffix: str) -> None:
    conversion = run(suffix, "quantization: {algorithm: kl_divergence}")
    keys = listed(conversion).keys()
    for line in conversion.listings["quantization_entropy.txt"].splitlines():
        name, _, entropy = line.partition(", ")
        assert name in keys
        assert 0 <= float(entropy) <= 1


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_second_branch_runs_on_the_gpu_beside_the_first(run: Run, suffix: str) -> None:
    """In the manual's words: (conv3, conv4) and (conv5, conv6) are executed in parallel."""
    conversion = run(suffix, TWO_UNITS)
    assert sorted(conversion.delegates) == ["gpu", "npu", "npu"]
    written = [set(item.part.outputs) for item in conversion.subgraphs]
    read = [set(item.part.inputs) for item in conversion.subgraphs]
    branches = [index for index, inputs in enumerate(read) if inputs & written[0]]
    assert len(branches) == 2
    one, other = branches
    indices = {conversion.delegates[i]: [x.index for x in conversion.subgraphs[i].part.layers] for i in branches}
    assert indices == {"npu": [2, 3], "gpu": [4, 5]}
    assert not read[one] & written[other]
    assert not read[other] & written[one]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_model_on_two_units_computes_what_the_model_does(run: Run, suffix: str) -> None:
    """Numbers of 11 bits on the npu, float32 on the gpu."""
    assert noise_ratio_db(run(suffix, TWO_UNITS), suffix) >= 55


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["uniform", "heads"])
def test_only_what_the_npu_runs_is_quantized(run: Run, name: str, suffix: str) -> None:
    meta, expected = MIXED[name]
    conversion = run(suffix, meta + TWO_UNITS)
    gpu = conversion.delegates.index("gpu")
    assert {tensor.dtype for tensor in conversion.subgraphs[gpu].inputs} == {"float32"}
    assert [tensor.dtype for tensor in conversion.outputs] == [expected["conv4"], "float32"]
    assert noise_ratio_db(conversion, suffix) >= (60 if name == "uniform" else 30)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("{'*': npu, conv5: gpu, conv5...: gpu}", "npu npu npu npu gpu gpu"),
        ("{conv2...: npu, conv5: gpu, '*': cpu}", "cpu cpu npu npu gpu npu"),
        ("{'*': cpu, conv5: gpu, conv2...: npu}", "cpu cpu npu npu npu npu"),
        ("{INPUTS: cpu, '@conv6': cpu}", "cpu npu npu npu npu cpu"),
    ],
    ids=["manual", "order", "overwritten", "inputs"],
)
def test_rules_give_each_layer_a_delegate(run: Run, rules: str, expected: str, suffix: str) -> None:
    conversion = run(suffix, f"delegate: {rules}")
    found = {
        layer.index: delegate
        for delegate, item in zip(conversion.delegates, conversion.subgraphs, strict=True)
        for layer in item.part.layers
    }
    assert [found[index] for index in range(6)] == expected.split()
    assert noise_ratio_db(conversion, suffix) >= 55


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_command_line_converts_the_sample_model(synap: Synap, tmp_path: Path, out: Path, suffix: str) -> None:
    """It writes the files that the manual lists."""
    path = tmp_path / f"sample.{suffix}"
    path.write_bytes(content(suffix))
    np.save(tmp_path / "0.npy", sample(0, suffix))
    (tmp_path / "meta.yaml").write_text(f"{HEADS}  dataset: ['*.npy']\n{TWO_UNITS}", encoding="utf-8")
    result = synap("convert", "--model", path, "--meta", tmp_path / "meta.yaml", "--target", "VS680", "--out-dir", out)
    assert result.code == 0, result.err
    assert {item.name for item in out.iterdir()} == {"model.synap", "model_info.txt", "quantization_info.yaml", "cache"}
    text = (out / "model_info.txt").read_text(encoding="utf-8")
    for title in ("Layer table", "Operation table", "Memory usage"):
        assert title in text
