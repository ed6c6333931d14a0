"""``synap convert --out-format onnx`` with a quantization section, from files to files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, numpy_helper
from PIL import Image

from synap_core.restrictions import IDLE_ACCURACY
from tests.support.canonical import Reference
from tests.support.cli import Result, Synap
from tests.support.onnx_models import F32, Oracle, model, node, quantized, value
from tests.support.tflite_models import ModelBuilder

FAST = "options: {rounding: nearest, bias_correction: false}"
"""Without refinements, which these tests are not about."""

PNG = "dataset: images/*.png"
ALGORITHMS = ("standard", "kl_divergence", "moving_average", "auto")
Convert = Callable[..., Result]


def small_net(**changes: np.ndarray) -> onnx.ModelProto:
    """Two convolutions, a mean, and a product: ``x`` [1,3,8,8] -> ``y`` [1,5]."""
    rng = np.random.default_rng(1)
    constants = {
        "w1": rng.normal(0, 0.4, (8, 3, 3, 3)).astype(F32),
        "b1": rng.normal(0, 0.2, 8).astype(F32),
        "w2": rng.normal(0, 0.2, (8, 8, 3, 3)).astype(F32),
        "b2": rng.normal(0, 0.2, 8).astype(F32),
        "w3": rng.normal(0, 0.5, (5, 8)).astype(F32),
        "b3": rng.normal(0, 0.2, 5).astype(F32),
    }
    nodes = [
        node("Conv", "x w1 b1", "a", "conv1", pads=[1, 1, 1, 1]),
        node("Relu", "a", "b", "relu1"),
        node("Conv", "b w2 b2", "c", "conv2", pads=[1, 1, 1, 1]),
        node("Relu", "c", "d", "relu2"),
        node("GlobalAveragePool", "d", "e", "pool"),
        node("Flatten", "e", "f", "flatten"),
        node("Gemm", "f w3 b3", "y", "fc", transB=1),
    ]
    return model(nodes, [value("x", [1, 3, 8, 8])], [value("y", [1, 5])], {**constants, **changes})


@pytest.fixture
def images(tmp_path: Path) -> list[np.ndarray]:
    """Twelve images of the size that the network takes, in a folder."""
    rng = np.random.default_rng(2)
    (tmp_path / "images").mkdir()
    found = [rng.integers(0, 256, (8, 8, 3), np.uint8) for _ in range(12)]
    for number, pixels in enumerate(found):
        Image.fromarray(pixels).save(tmp_path / f"images/{number:02}.png")
    return found


@pytest.fixture
def convert(synap: Synap, tmp_path: Path) -> Convert:
    """Convert a model with the text of a metafile, by default one for images."""

    def run(
        content: onnx.ModelProto | bytes,
        *quantization: str,
        head: str = "inputs: [{means: 128, scale: 64}]",
        arguments: Sequence[object] = (),
        out: str = "out",
    ) -> Result:
        meta = tmp_path / "meta.yaml"
        section = "\n".join(f"  {line}" for line in quantization)
        meta.write_text(f"{head}\nquantization:\n{section}\n", encoding="utf-8")
        suffix = "tflite" if isinstance(content, bytes) else "onnx"
        path = tmp_path / f"net.{suffix}"
        path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
        fixed = ("convert", "--model", path, "--meta", meta, "--target", "GENERIC", "--out-format", "onnx")
        return synap(*fixed, "--out-dir", tmp_path / out, *arguments)

    return run


def ok(result: Result) -> Result:
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1:] == ["Conversion successful"]
    return result


def written(tmp_path: Path, out: str = "out") -> onnx.ModelProto:
    made = onnx.load(tmp_path / out / "model.onnx")
    onnx.checker.check_model(made, full_check=True)
    return made


def normalised(pixels: np.ndarray) -> np.ndarray:
    """An image as ``means: 128, scale: 64`` makes it, NCHW."""
    return ((pixels.astype(F32) - 128) / 64).transpose(2, 0, 1)[None]


def ratio_db(exact: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    e, f = (np.stack(arrays).astype(np.float64) for arrays in (exact, found))
    return float(10 * np.log10(np.sum(e**2) / np.sum((e - f) ** 2)))


def accuracy(made: onnx.ModelProto, exact: onnx.ModelProto, inputs: Sequence[np.ndarray]) -> float:
    one, other = Oracle(exact), Oracle(made)
    return ratio_db([one([x])[0] for x in inputs], [other([x])[0] for x in inputs])


def info(tmp_path: Path, out: str = "out") -> dict[str, dict[str, Any]]:
    loaded = yaml.safe_load((tmp_path / out / "quantization_info.yaml").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


Steps = tuple[tuple[float, ...], tuple[int, ...]]


def steps_of_file(made: onnx.ModelProto) -> set[Steps]:
    """Scales and zero points of everything that is dequantized."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    found: set[Steps] = set()
    for item in made.graph.node:
        if item.op_type == "DequantizeLinear":
            scale, zero_point = (np.atleast_1d(arrays[name]) for name in item.input[1:3])
            found.add((tuple(scale.tolist()), tuple(zero_point.tolist())))
    return found


def steps_of_report(entries: Mapping[str, Mapping[str, Any]]) -> set[Steps]:
    found: set[Steps] = set()
    for entry in entries.values():
        if "fl" in entry:
            found.add(((float(F32(2.0 ** -entry["fl"])),), (0,)))
        elif "scale" in entry:
            scale, zero_point = np.atleast_1d(entry["scale"]).astype(F32), np.atleast_1d(entry["zero_point"])
            found.add((tuple(scale.tolist()), tuple(zero_point.tolist())))
    return found


SCHEMES = {
    "uint8": ("data_type: uint8", 25),
    "int8": ("data_type: int8", 18),
    "int8 affine": ("{data_type: int8, scheme: asymmetric_affine}", 25),
    "int8 per channel": ("{data_type: int8, scheme: perchannel_symmetric_affine}", 28),
    "int16": ("data_type: int16", 70),
    "mixed": ("data_type: {'*': uint8, conv2: int16, fc: float16}", 25),
}


@pytest.mark.parametrize("kind", SCHEMES)
def test_result_is_near_the_real_model_and_the_report_has_its_numbers(
    kind: str, convert: Convert, images: list[np.ndarray], tmp_path: Path
) -> None:
    text, least = SCHEMES[kind]
    lines = text.strip("{}").split(", ") if text.startswith("{") else [text]
    ok(convert(small_net(), *lines, FAST, PNG))
    made, entries = written(tmp_path), info(tmp_path)
    assert accuracy(made, small_net(), [normalised(pixels) for pixels in images]) > least
    assert made.opset_import[0].version == (21 if kind in ("int16", "mixed") else 19)
    biases = {key for key, entry in entries.items() if entry["dtype"] == "int64"}
    assert steps_of_file(made) == steps_of_report({k: v for k, v in entries.items() if k not in biases})
    assert bool(biases) == (kind in ("int16", "mixed"))
    ends = [(v.name, v.type.tensor_type.elem_type) for v in (*made.graph.input, *made.graph.output)]
    assert ends == [("x", TensorProto.FLOAT), ("y", TensorProto.FLOAT)]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["cache", "model.onnx", "quantization_info.yaml"]


def test_report_names_layers_and_covers_what_the_samples_showed(
    convert: Convert, images: list[np.ndarray], tmp_path: Path
) -> None:
    ok(convert(small_net(), FAST, PNG))
    entries = info(tmp_path)
    batch = np.concatenate([normalised(pixels) for pixels in images])
    x = entries["@Input_x:out0"]
    np.testing.assert_allclose((x["min"], x["max"]), (batch.min(), batch.max()), rtol=1e-6)
    (conv,) = [entry for key, entry in entries.items() if key.startswith("@Conv_conv1") and key.endswith(":weight")]
    weights = numpy_helper.to_array(next(t for t in small_net().graph.initializer if t.name == "w1"))
    np.testing.assert_allclose((conv["min"], conv["max"]), (weights.min(), weights.max()), rtol=1e-6)
    assert (conv["shape"], conv["dtype"], conv["source"]) == ([8, 3, 3, 3], "uint8", ["conv1", "relu1"])
    for entry in entries.values():
        if entry["dtype"] == "uint8":
            assert 0 <= entry["zero_point"] <= 255


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("jobs", [1, 2])
def test_every_algorithm_with_its_own_options_gives_a_good_model(
    algorithm: str, jobs: int, convert: Convert, images: list[np.ndarray], tmp_path: Path
) -> None:
    arguments = ("--jobs", jobs)
    ok(convert(small_net(), f"algorithm: {algorithm}", PNG, arguments=arguments))
    found = accuracy(written(tmp_path), small_net(), [normalised(pixels) for pixels in images])
    # Some of the algorithms cut the ends of ranges off, which costs a lot with so few numbers.
    assert found > 15
    entropy = tmp_path / "out/quantization_entropy.txt"
    assert entropy.exists() == (algorithm == "kl_divergence")


def test_entropy_of_weights_and_computed_tensors_is_from_0_to_1(
    convert: Convert, images: list[np.ndarray], tmp_path: Path
) -> None:
    assert images
    ok(convert(small_net(), "algorithm: kl_divergence", FAST, PNG))
    lines = (tmp_path / "out/quantization_entropy.txt").read_text(encoding="utf-8").splitlines()
    found = dict(line.rsplit(", ", 1) for line in lines)
    assert len(found) == len(lines)
    assert all(0 <= float(number) <= 1 for number in found.values())
    entries = info(tmp_path)
    assert set(found) <= set(entries)
    assert {key.rpartition(":")[2] for key in found} == {"weight", "out0"}
    assert set(found) >= {key for key in entries if key.endswith(":weight")}


@pytest.mark.parametrize("dtype", ["float16", "{'*': uint8, conv2: float16}", "{'*': float16, conv2: int8}"])
def test_entropy_leaves_out_what_is_in_float16(
    dtype: str, convert: Convert, images: list[np.ndarray], tmp_path: Path
) -> None:
    ok(convert(small_net(), "algorithm: kl_divergence", f"data_type: {dtype}", FAST, PNG))
    entries, path = info(tmp_path), tmp_path / "out/quantization_entropy.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    halves = {key for key, entry in entries.items() if entry["dtype"] == "float16"}
    assert {line.rpartition(", ")[0] for line in lines}.isdisjoint(halves)
    assert bool(lines) == (dtype != "float16")
    (weight,) = (entry for key, entry in entries.items() if "conv1" in key and key.endswith(":weight"))
    stored = numpy_helper.to_array(small_net().graph.initializer[0]).astype(np.float16)
    if weight["dtype"] == "float16":
        assert (weight["min"], weight["max"]) == (pytest.approx(stored.min()), pytest.approx(stored.max()))
    assert accuracy(written(tmp_path), small_net(), [normalised(pixels) for pixels in images]) > 25


def test_reports_of_an_earlier_run_go(convert: Convert, images: list[np.ndarray], tmp_path: Path) -> None:
    assert images
    folder = tmp_path / "out"
    ok(convert(small_net(), "algorithm: kl_divergence", FAST, PNG))
    (folder / "mine.txt").write_text("kept", encoding="utf-8")
    ok(convert(small_net(), FAST, PNG))
    assert {p.name for p in folder.iterdir()} == {"cache", "mine.txt", "model.onnx", "quantization_info.yaml"}
    ok(convert(small_net(), FAST))
    assert {p.name for p in folder.iterdir()} == {"cache", "mine.txt", "model.onnx"}


def test_arrays_random_numbers_and_two_inputs(convert: Convert, tmp_path: Path, rng: np.random.Generator) -> None:
    nodes = [node("Mul", "a k", "m", "mul"), node("Add", "m b", "y", "add")]
    ends = [value("a", [1, 4]), value("b", [1, 4])], [value("y", [1, 4])]
    made = model(nodes, *ends, {"k": np.array([1, 2, 3, 4], F32)})
    arrays = [rng.normal(size=(1, 4)).astype(F32) for _ in range(3)]
    for number, array in enumerate(arrays):
        np.save(tmp_path / f"a{number}.npy", array)
        np.save(tmp_path / f"b{number}.npy", 10 * array)
    ok(convert(made, "data_type: int16", FAST, "dataset: ['a*.npy', 'b*.npy']", head=""))
    entries = info(tmp_path)
    for name, factor in (("a", 1), ("b", 10)):
        entry = entries[f"@Input_{name}:out0"]
        wanted = (factor * np.min(arrays), factor * np.max(arrays))
        np.testing.assert_allclose((entry["min"], entry["max"]), wanted, rtol=1e-5)
    exact, found = Oracle(made), Oracle(written(tmp_path))
    feeds = [{"a": array, "b": 10 * array} for array in arrays]
    assert ratio_db([exact(feed)[0] for feed in feeds], [found(feed)[0] for feed in feeds]) > 70
    ok(convert(made, FAST, "dataset: [random, random]", head="inputs: [{}, {}]"))
    random = info(tmp_path)["@Input_b:out0"]
    assert 0 <= random["min"] <= random["max"] < 1


def nhwc_model() -> bytes:
    """``y = relu(conv(image, w) + b)`` in NHWC."""
    rng = np.random.default_rng(4)
    builder = ModelBuilder()
    x, y = builder.tensor("image", (1, 8, 8, 3)), builder.tensor("result", (1, 8, 8, 4))
    w = builder.constant("w", rng.normal(size=(4, 3, 3, 3)).astype(F32))
    b = builder.constant("b", rng.normal(size=4).astype(F32))
    options = schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = schema.Padding.SAME, 1, 1
    options.dilationHFactor = options.dilationWFactor = 1
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    builder.operator("CONV_2D", [x, w, b], [y], options)
    return builder.finish([x], [y])


@pytest.mark.parametrize("mode", ["standard", "full"])
def test_model_in_nhwc_keeps_its_boundary(
    mode: str, convert: Convert, images: list[np.ndarray], tmp_path: Path
) -> None:
    ok(convert(nhwc_model(), f"mode: {mode}", FAST, PNG))
    made = written(tmp_path)
    ends = [
        (v.name, v.type.tensor_type.elem_type, [d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in (*made.graph.input, *made.graph.output)
    ]
    assert ends == [("image", TensorProto.FLOAT, [1, 8, 8, 3]), ("result", TensorProto.FLOAT, [1, 8, 8, 4])]
    inputs = [((pixels.astype(F32) - 128) / 64)[None] for pixels in images]
    reference, found = Reference(nhwc_model()), Oracle(made)
    assert ratio_db([reference([x])[0] for x in inputs], [found([x])[0] for x in inputs]) > 30


# The cache, and what must not matter.


def content(tmp_path: Path, out: str = "out") -> tuple[bytes, bytes]:
    folder = tmp_path / out
    return (folder / "model.onnx").read_bytes(), (folder / "quantization_info.yaml").read_bytes()


FROM_CACHE = "calibration is taken from the cache"


def test_second_conversion_takes_the_calibration_from_the_cache(
    convert: Convert, images: list[np.ndarray], tmp_path: Path
) -> None:
    assert images
    verbose = ("--verbose",)
    first = ok(convert(small_net(), PNG, arguments=verbose))
    before = content(tmp_path)
    second = ok(convert(small_net(), PNG, arguments=verbose))
    assert (FROM_CACHE in first.out, FROM_CACHE in second.out) == (False, True)
    assert content(tmp_path) == before
    notes = [[line for line in result.out.splitlines() if line.startswith("Note:")] for result in (first, second)]
    assert notes[0] == notes[1]
    assert first.err == second.err


CHANGES: dict[str, tuple[str, ...]] = {
    "option": ("options: {rounding: nearest, bias_correction: false, trim: false}", PNG),
    "algorithm": ("algorithm: moving_average", FAST, PNG),
    "type": ("data_type: int8", FAST, PNG),
    "scheme": ("data_type: int8", "scheme: asymmetric_affine", FAST, PNG),
    "layer": ("data_type: {'*': uint8, conv2: int16}", FAST, PNG),
    "samples": (FAST, "dataset: images/0*.png"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change_of_the_metafile_calibrates_anew(
    change: str, convert: Convert, images: list[np.ndarray], tmp_path: Path
) -> None:
    assert images
    ok(convert(small_net(), FAST, PNG))
    arguments = ("--verbose",)
    assert FROM_CACHE not in ok(convert(small_net(), *CHANGES[change], arguments=arguments)).out
    changed = content(tmp_path)
    ok(convert(small_net(), *CHANGES[change], arguments=("--cache-dir", tmp_path / "other")))
    assert content(tmp_path) == changed


def test_change_of_an_image_of_normalisation_or_of_the_model_calibrates_anew(
    convert: Convert, images: list[np.ndarray], tmp_path: Path
) -> None:
    assert images
    verbose = ("--verbose",)
    ok(convert(small_net(), FAST, PNG))
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "images/03.png")
    assert FROM_CACHE not in ok(convert(small_net(), FAST, PNG, arguments=verbose)).out
    head = "inputs: [{means: 100, scale: 64}]"
    assert FROM_CACHE not in ok(convert(small_net(), FAST, PNG, arguments=verbose, head=head)).out
    other = small_net(b2=np.ones(8, F32))
    assert FROM_CACHE not in ok(convert(other, FAST, PNG, arguments=verbose)).out
    assert FROM_CACHE in ok(convert(small_net(), FAST, PNG, arguments=verbose)).out


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_number_of_threads_does_not_change_a_byte(
    algorithm: str, convert: Convert, images: list[np.ndarray], tmp_path: Path
) -> None:
    assert images
    for jobs in (1, 2):
        out = f"jobs{jobs}"
        ok(convert(small_net(), f"algorithm: {algorithm}", PNG, arguments=("--jobs", jobs), out=out))
    assert content(tmp_path, "jobs1") == content(tmp_path, "jobs2")


# Wanted accuracy.


def test_layers_are_raised_until_the_accuracy_is_reached(
    convert: Convert, images: list[np.ndarray], tmp_path: Path
) -> None:
    inputs = [normalised(pixels) for pixels in images]
    ok(convert(small_net(), FAST, PNG))
    before = accuracy(written(tmp_path), small_net(), inputs)
    target = round(before + 6, 1)
    result = ok(convert(small_net(), FAST, PNG, arguments=("--target-accuracy", target)))
    assert accuracy(written(tmp_path), small_net(), inputs) >= target
    notes = [line for line in result.out.splitlines() if line.startswith("Note: ")]
    assert any(line.startswith("Note: the outputs reach ") for line in notes)
    raised = {line.split("'")[1].removeprefix("@") for line in notes if "' is raised to int16" in line}
    assert raised
    layers = {entry["layer"] for entry in info(tmp_path).values() if entry["dtype"] == "int16"}
    assert raised <= layers


def test_accuracy_out_of_reach_is_an_error(convert: Convert, images: list[np.ndarray], tmp_path: Path) -> None:
    assert images
    result = convert(small_net(), FAST, PNG, arguments=("--target-accuracy", 300))
    assert result.code == 1
    assert "the outputs do not reach 300 dB on the samples: the best is" in result.error
    assert not (tmp_path / "out/model.onnx").exists()


def test_accuracy_without_quantization_is_a_warning(convert: Convert) -> None:
    result = ok(convert(small_net(), FAST, arguments=("--target-accuracy", 30)))
    assert f"Warning: {IDLE_ACCURACY}\n" in result.err


# Mistakes.


@pytest.mark.acceptance("E15")
def test_quantization_for_a_bundle_of_the_processor_stays_an_error(
    synap: Synap, images: list[np.ndarray], tmp_path: Path
) -> None:
    assert images
    (tmp_path / "net.onnx").write_bytes(small_net().SerializeToString())
    (tmp_path / "meta.yaml").write_text(f"delegate: cpu\nquantization: {{{PNG}}}\n", encoding="utf-8")
    result = synap(
        "convert", "--model", tmp_path / "net.onnx", "--meta", tmp_path / "meta.yaml", "--target", "SL1620",
        "--out-dir", tmp_path / "out",
    )  # fmt: skip
    assert result.code == 1
    assert "delegate 'cpu' doesn't support quantization (capability 'quantization')" in result.error


def test_model_that_is_quantized_already_is_refused(convert: Convert, rng: np.random.Generator) -> None:
    result = convert(quantized(rng), "dataset: random", head="")
    assert result.code == 1
    assert "meta.yaml:2:1: the model is quantized already: layer " in result.error


def write_images(folder: Path) -> None:
    for number in range(3):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(folder / f"{number}.png")


def bad_image(folder: Path) -> None:
    write_images(folder)
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:40])


def wrong_shape(folder: Path) -> None:
    for number in range(2):
        np.save(folder / f"{number}.npy", np.zeros((1, 3, 8, 8 - number), F32))


def not_a_number(folder: Path) -> None:
    np.save(folder / "0.npy", np.zeros((1, 3, 8, 8), F32))
    np.save(folder / "1.npy", np.full((1, 3, 8, 8), np.nan, F32))


MISTAKES: dict[str, tuple[Callable[[Path], None], str, list[str]]] = {
    "no files": (lambda _: None, "dataset: set/*.png", ["meta.yaml", "Quantization dataset is empty", "set/*.png"]),
    "image": (bad_image, "dataset: set/*.png", ["set/1.png"]),
    "shape": (wrong_shape, "dataset: set/*.npy", ["set/1.npy", "1x3x8x8"]),
    "number": (not_a_number, "dataset: set/*.npy", ["set/1.npy", "@Input_x", "computes infinity or NaN"]),
    "count": (write_images, "dataset: [set/*.png, set/*.png]", ["the model has 1 input(s) but there are 2"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_in_the_data_is_one_line_that_names_it(mistake: str, convert: Convert, tmp_path: Path) -> None:
    make, dataset, words = MISTAKES[mistake]
    (tmp_path / "set").mkdir()
    make(tmp_path / "set")
    result = convert(small_net(), FAST, dataset, head="")
    assert result.code == 1
    for word in words:
        assert word in result.error
    assert not (tmp_path / "out/model.onnx").exists()


@pytest.mark.parametrize("number", [np.inf, np.nan], ids=["infinity", "NaN"])
@pytest.mark.parametrize("constant", ["w2", "b2"])
def test_constant_that_is_not_finite_is_an_error_that_names_the_layer(
    constant: str, number: float, convert: Convert, images: list[np.ndarray]
) -> None:
    assert images
    tensor = next(t for t in small_net().graph.initializer if t.name == constant)
    array = numpy_helper.to_array(tensor).copy()
    array.flat[3] = number
    result = convert(small_net(**{constant: array}), FAST, PNG)
    assert result.code == 1
    assert "@Conv_conv2" in result.error


def test_value_that_overflows_names_the_layer_and_the_sample(
    convert: Convert, images: list[np.ndarray], tmp_path: Path
) -> None:
    assert images
    nodes = [node("Mul", "x k", "a", "grow"), node("Sub", "a a", "y", "difference")]
    made = model(nodes, [value("x", [1, 3, 8, 8])], [value("y", [1, 3, 8, 8])], {"k": np.array(3e38, F32)})
    result = convert(made, FAST, PNG)
    assert result.code == 1
    assert f"{tmp_path}/images/00.png: layer @Mul_grow_0 computes infinity or NaN" in result.error


def test_concatenation_of_very_different_ranges_is_a_warning(convert: Convert, images: list[np.ndarray]) -> None:
    assert images
    nodes = [
        node("Mul", "x large", "a", "boxes"),
        node("Sigmoid", "x", "b", "scores"),
        node("Concat", "a b", "c", "join", axis=1),
        node("Mul", "c two", "y", "last"),
    ]
    constants = {"large": np.array(400, F32), "two": np.array(2, F32)}
    made = model(nodes, [value("x", [1, 3, 8, 8])], [value("y", [1, 6, 8, 8])], constants)
    result = ok(convert(made, FAST, PNG))
    (line,) = result.err.splitlines()
    assert line.startswith("Warning: layer '@Concat_join_2' puts numbers of very different ranges on one uint8 scale")
    again = ok(convert(made, FAST, PNG, arguments=("--verbose",)))
    assert (FROM_CACHE in again.out, again.err) == (True, result.err)
    ok(convert(made, "data_type: {'*': uint8, '@Concat_join_2': int16, '@Concat_join_2...': int16}", FAST, PNG))
