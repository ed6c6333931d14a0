"""Samples for calibration: which files they are, and what the inputs take."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image as Pillow

from synap_core.api import GraphBuilder, InputError, QuantParams, State, TensorInfo
from synap_core.graph.annotations import set_states
from synap_core.quantization.dataset import Dataset, in_order, open_dataset
from synap_core.selection import select
from tests.support.metafiles import metafile
from tests.support.toy_source import GraphModel, graph_model

F32 = np.float32


def source(*inputs: TensorInfo) -> GraphModel:
    """A model that adds its inputs up."""
    names = [item.id for item in inputs]
    model = graph_model(names, [("sum", names, ["y"])], ["y"])
    model.tensors = {**model.tensors, **{item.id: item for item in inputs}}
    return model


def tensor(*shape: int, name: str = "x", dtype: str = "float32", layout: str = "nchw") -> TensorInfo:
    return TensorInfo(id=name, name=name, shape=shape, dtype=dtype, layout=layout if len(shape) == 4 else "none")


def opened(folder: Path, text: str, *inputs: TensorInfo, graph: ir.Model | None = None) -> Dataset:
    meta = metafile(folder, text)
    model = source(*inputs)
    return open_dataset(model, select(model, meta), meta, graph)


def save_image(path: Path, colour: Sequence[int] | int, size: tuple[int, int] = (4, 4), mode: str = "RGB") -> None:
    Pillow.new(mode, size, tuple(colour) if isinstance(colour, Sequence) else colour).save(path, lossless=True)


def arrays(folder: Path, count: int, *shape: int, stem: str = "a") -> list[np.ndarray]:
    made = [np.random.default_rng(i).normal(size=shape).astype(F32) for i in range(count)]
    for i, array in enumerate(made):
        np.save(folder / f"{stem}{i}.npy", array)
    return made


def test_files_are_sorted_and_names_may_have_blanks(tmp_path: Path) -> None:
    for name, value in (("b 2.npy", 2), ("a 1.npy", 1), ("c.npy", 3)):
        np.save(tmp_path / name, np.full((1, 3), value, F32))
    dataset = opened(tmp_path, "quantization: {dataset: '*.npy'}", tensor(1, 3))
    assert dataset.count == 3
    assert [dataset.sample(i)["x"][0, 0] for i in range(3)] == [1, 2, 3]
    assert dataset.describe(0) == str(tmp_path / "a 1.npy")


def test_every_input_takes_its_own_file_of_a_sample(tmp_path: Path) -> None:
    first, second = arrays(tmp_path, 3, 1, 2, stem="a"), arrays(tmp_path, 3, 1, 5, stem="b")
    text = "inputs: [{}, {}]\nquantization: {dataset: ['a*.npy', 'b*.npy']}"
    dataset = opened(tmp_path, text, tensor(1, 2, name="p"), tensor(1, 5, name="q"))
    assert dataset.names == ("p", "q")
    for i in range(3):
        np.testing.assert_array_equal(dataset.sample(i)["p"], first[i])
        np.testing.assert_array_equal(dataset.sample(i)["q"], second[i])


def test_missing_batch_dimension_of_an_array_is_added(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6, dtype=F32).reshape(2, 3))
    assert opened(tmp_path, "quantization: {dataset: '*.npy'}", tensor(1, 2, 3)).sample(0)["x"].shape == (1, 2, 3)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integer_input_takes_integer_arrays(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "ids.npy", np.array([[3, 70_000]], dtype))
    value = opened(tmp_path, "quantization: {dataset: '*.npy'}", tensor(1, 2, dtype=dtype)).sample(0)["x"]
    assert (value.dtype, value.tolist()) == (np.dtype(dtype), [[3, 70_000]])


def test_integer_input_refuses_real_numbers(tmp_path: Path) -> None:
    arrays(tmp_path, 1, 1, 2)
    dataset = opened(tmp_path, "quantization: {dataset: '*.npy'}", tensor(1, 2, dtype="int32"))
    with pytest.raises(InputError, match=r"a0\.npy: the array is float32; input 'x' takes int32; convert it"):
        dataset.sample(0)


def test_quantized_input_takes_the_numbers_its_integers_stand_for(tmp_path: Path) -> None:
    quant = QuantParams(dtype="uint8", scheme="asymmetric_affine", scale=(0.5,), zero_point=(10,))
    np.save(tmp_path / "a.npy", np.array([[10, 14]], np.uint8))
    item = replace(tensor(1, 2, dtype="uint8"), quant=quant)
    assert opened(tmp_path, "quantization: {dataset: '*.npy'}", item).sample(0)["x"].tolist() == [[0.0, 2.0]]


def test_image_for_a_quantized_input_is_what_its_bytes_stand_for(tmp_path: Path) -> None:
    quant = QuantParams(dtype="uint8", scheme="asymmetric_affine", scale=(0.5,), zero_point=(10,))
    save_image(tmp_path / "a.png", (10, 20, 30))
    item = replace(tensor(1, 4, 4, 3, dtype="uint8", layout="nhwc"), quant=quant)
    assert opened(tmp_path, "quantization: {dataset: '*.png'}", item).sample(0)["x"][0, 0, 0].tolist() == [0, 5, 10]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(("wanted", "order"), [("rgb", (0, 1, 2)), ("bgr", (2, 1, 0)), ("", (0, 1, 2))])
def test_image_is_normalised_in_the_order_of_its_channels(
    tmp_path: Path, layout: str, wanted: str, order: tuple[int, ...]
) -> None:
    colour, means, scale = (200, 100, 50), (10.0, 20.0, 30.0), 4.0
    save_image(tmp_path / "a.png", colour)
    shape = (1, 3, 4, 4) if layout == "nchw" else (1, 4, 4, 3)
    text = f"inputs: [{{means: [10, 20, 30], scale: 4, format: '{wanted}'}}]\nquantization: {{dataset: '*.png'}}"
    value = opened(tmp_path, text, tensor(*shape, layout=layout)).sample(0)["x"]
    pixels = value[0].transpose(1, 2, 0) if layout == "nchw" else value[0]
    expected = [(colour[source] - means[place]) / scale for place, source in enumerate(order)]
    assert (value.shape, value.dtype) == (shape, np.dtype(F32))
    np.testing.assert_array_equal(pixels, np.broadcast_to(np.array(expected, F32), (4, 4, 3)))


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        pytest.param("rgb", [128, 128, 200, 200, 200, 200, 128, 128], id="bars-of-gray"),
        pytest.param("rgb keep_proportions=0", [200] * 8, id="filled"),
    ],
)
def test_image_keeps_its_proportions_unless_the_format_says_no(tmp_path: Path, wanted: str, rows: list[int]) -> None:
    save_image(tmp_path / "a.png", (200, 200, 200), size=(16, 8))
    text = f"inputs: [{{format: '{wanted}'}}]\nquantization: {{dataset: '*.png'}}"
    value = opened(tmp_path, text, tensor(1, 3, 8, 8)).sample(0)["x"]
    assert value[0, 0, :, 0].tolist() == rows
    assert value[0, 2, :, 7].tolist() == rows


@pytest.mark.parametrize(
    ("mode", "colour", "channels", "expected"),
    [
        pytest.param("L", 77, 3, [77, 77, 77], id="gray-for-three-channels"),
        pytest.param("RGBA", (9, 8, 7, 100), 3, [9, 8, 7], id="alpha-is-dropped"),
        pytest.param("RGB", (200, 100, 50), 1, [124], id="colour-for-one-channel"),  # 0.299 R + 0.587 G + 0.114 B
        pytest.param("L", 77, 1, [77], id="gray"),
        pytest.param("RGBA", (9, 8, 7, 100), 4, [9, 8, 7, 100], id="four-channels"),
    ],
)
def test_channels_of_an_image_become_those_of_the_input(
    tmp_path: Path, mode: str, colour: Sequence[int] | int, channels: int, expected: list[int]
) -> None:
    save_image(tmp_path / "a.png", colour, mode=mode)
    value = opened(tmp_path, "quantization: {dataset: '*.png'}", tensor(1, channels, 4, 4)).sample(0)["x"]
    assert value[0, :, 0, 0].tolist() == expected


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "gif", "tif", "webp"])
def test_what_pillow_reads_is_a_sample(tmp_path: Path, suffix: str) -> None:
    save_image(tmp_path / f"a.{suffix}", (200, 100, 50))
    value = opened(tmp_path, "quantization: {dataset: 'a.*'}", tensor(1, 3, 4, 4)).sample(0)["x"]
    np.testing.assert_allclose(value[0, :, 0, 0], [200, 100, 50], atol=2)  # JPEG is not exact


def test_first_frame_of_a_gif_is_the_sample(tmp_path: Path) -> None:
    frames = [Pillow.new("RGB", (4, 4), colour) for colour in ((250, 0, 0), (0, 0, 250))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    value = opened(tmp_path, "quantization: {dataset: 'a.gif'}", tensor(1, 3, 4, 4)).sample(0)["x"]
    assert value[0, :, 0, 0].tolist() == [250, 0, 0]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"plain text", id="text"),
        pytest.param(b"BM" + bytes(60), id="bmp"),
        pytest.param(b"GIF89a" + bytes(20), id="gif"),
        pytest.param(b"II*\0" + b"\xff" * 40, id="tiff"),
        pytest.param(b"RIFF\x20\0\0\0WEBPVP8 " + bytes(20), id="webp"),
        pytest.param(b"RIFF\x20\0\0\0WEBPJUNK" + bytes(20), id="webp-without-image"),
    ],
)
def test_unreadable_image_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.bin").write_bytes(content)
    dataset = opened(tmp_path, "quantization: {dataset: '*.bin'}", tensor(1, 3, 4, 4))
    with pytest.raises(InputError, match=r"bad\.bin: (not a|damaged|the image|cannot|pixels)") as caught:
        dataset.sample(0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"VP8X\x0a\0\0\0\0\0\0\0" + b"\xff\x3f\0" * 2, id="extended"),
        pytest.param(b"VP8L\x0a\0\0\0\x2f" + (0x3FFF | 0x3FFF << 14).to_bytes(4, "little"), id="lossless"),
        pytest.param(b"VP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a" + b"\xff\x3f" * 2, id="lossy"),
    ],
)
def test_webp_image_that_is_too_large_is_refused_by_its_header(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "big.webp").write_bytes(b"RIFF\x30\0\0\0WEBP" + header + bytes(20))
    dataset = opened(tmp_path, "quantization: {dataset: '*.webp'}", tensor(1, 3, 4, 4))
    with pytest.raises(InputError, match=r"big\.webp: the image is 1638[34]x1638[34]; supported"):
        dataset.sample(0)


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_gif_frame_that_is_too_large_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    frame = b"," + struct.pack("<HHHHB", 0, 0, side, side, 0) + b"\x08\x01\x00\x00;"
    (tmp_path / "big.gif").write_bytes(b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0, 0, 0) + frame)
    dataset = opened(tmp_path, "quantization: {dataset: '*.gif'}", tensor(1, 3, 4, 4))
    with pytest.raises(InputError, match=r"big\.gif: (the image is|damaged image file: Image size).*pixels"):
        dataset.sample(0)


def test_array_of_another_shape_is_named(tmp_path: Path) -> None:
    arrays(tmp_path, 1, 1, 4)
    dataset = opened(tmp_path, "quantization: {dataset: '*.npy'}", tensor(1, 3))
    with pytest.raises(InputError, match=r"a0\.npy: the array is 1x4; input 'x' is 1x3"):
        dataset.sample(0)


def test_random_is_one_sample_that_repeats_beside_other_inputs(tmp_path: Path) -> None:
    arrays(tmp_path, 3, 1, 2)
    text = "quantization: {dataset: [random, 'a*.npy']}"
    dataset = opened(tmp_path, text, tensor(1, 1000, name="p"), tensor(1, 2, name="q"))
    samples = [dataset.sample(i)["p"] for i in range(dataset.count)]
    assert len(samples) == 3
    np.testing.assert_array_equal(samples[0], samples[2])
    assert samples[0].min() >= 0
    assert samples[0].max() < 1
    assert abs(samples[0].mean() - 0.5) < 0.05  # five standard deviations of the mean of 1000 uniform numbers


def test_random_alone_is_one_sample(tmp_path: Path) -> None:
    dataset = opened(tmp_path, "quantization: {dataset: random}", tensor(1, 3))
    assert (dataset.count, dataset.describe(0)) == (1, "the random sample")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{dataset: 'none/*.npy'}", "Quantization dataset is empty: no file matches", id="no-files"),
        pytest.param(
            "{dataset: [a0.npy, a1.npy]}",
            r"1 input\(s\) but there are 2 quantization dataset.*; a single glob takes as many files as you like",
            id="many",
        ),
        pytest.param("{dataset: '*.jpg'}", r"input 'x' \(1x2\) takes no images.*give .npy files", id="no-image"),
        pytest.param("{dataset: '*.jpg.NPY.png'}", "takes no images", id="suffix-decides"),
    ],
)
def test_dataset_that_cannot_be_is_refused(tmp_path: Path, text: str, message: str) -> None:
    arrays(tmp_path, 2, 1, 2)
    with pytest.raises(InputError, match=message) as caught:
        opened(tmp_path, f"quantization: {text}", tensor(1, 2))
    assert str(caught.value.where).startswith(f"{tmp_path / 'meta.yaml'}:1:")


def test_folder_is_refused_with_the_glob_that_means_its_files(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match=r"no file matches '.*/photos'; it is a folder: write '.*/photos/\*'"):
        opened(tmp_path, "quantization: {dataset: photos}", tensor(1, 3, 4, 4))


def test_fewer_entries_than_inputs_are_refused(tmp_path: Path) -> None:
    text = "inputs: [{}]\nquantization: {dataset: [random]}"
    with pytest.raises(InputError, match=r"meta.yaml:1.*the model has 2 input\(s\) but the metafile has 1"):
        opened(tmp_path, text, tensor(1, 2, name="p"), tensor(1, 2, name="q"))


def test_different_numbers_of_files_are_refused(tmp_path: Path) -> None:
    arrays(tmp_path, 2, 1, 2, stem="a")
    arrays(tmp_path, 3, 1, 2, stem="b")
    text = "quantization: {dataset: ['a*.npy', 'b*.npy']}"
    with pytest.raises(InputError, match=r"different numbers of samples: 2 for '.*a\*\.npy', 3 for '.*b\*\.npy'"):
        opened(tmp_path, text, tensor(1, 2, name="p"), tensor(1, 2, name="q"))


@pytest.mark.parametrize("entry", ["{scale: 2}", "{means: 1}", "{means: [0, 0, 1]}"])
def test_normalisation_of_arrays_is_refused(tmp_path: Path, entry: str) -> None:
    arrays(tmp_path, 1, 1, 3, 2, 2)
    with pytest.raises(InputError, match="'means' and 'scale' of input 'x' cannot be used with .npy files"):
        opened(tmp_path, f"inputs: [{entry}]\nquantization: {{dataset: 'a*.npy'}}", tensor(1, 3, 2, 2))


def test_normalisation_that_does_nothing_is_allowed_with_arrays(tmp_path: Path) -> None:
    made = arrays(tmp_path, 1, 1, 3, 2, 2)
    text = "inputs: [{means: 0, scale: 1}]\nquantization: {dataset: 'a*.npy'}"
    np.testing.assert_array_equal(opened(tmp_path, text, tensor(1, 3, 2, 2)).sample(0)["x"], made[0])


def test_graph_gives_names_and_first_values_of_variables(tmp_path: Path) -> None:
    build = GraphBuilder("stateful")
    x, old = build.input("renamed", ir.DataType.FLOAT, (1, 2)), build.input("memory", ir.DataType.FLOAT, (1, 2))
    graph = build.finish([build.emit("Add", [x, old])])
    first = ir.Tensor(np.array([[5, 6]], F32))
    set_states(graph, [State("memory", "memory", str(graph.graph.outputs[0].name), first)])
    made = arrays(tmp_path, 1, 1, 2)
    dataset = opened(tmp_path, "quantization: {dataset: 'a*.npy'}", tensor(1, 2), graph=graph)
    assert dataset.names == ("renamed", "memory")
    sample = dataset.sample(0)
    np.testing.assert_array_equal(sample["renamed"], made[0])
    assert sample["memory"].tolist() == [[5, 6]]


def test_samples_come_in_the_order_asked_for(tmp_path: Path) -> None:
    made = arrays(tmp_path, 6, 1, 2)
    dataset = opened(tmp_path, "quantization: {dataset: 'a*.npy'}", tensor(1, 2))
    for index, sample in zip([4, 0, 4, 2], dataset.samples([4, 0, 4, 2]), strict=True):
        np.testing.assert_array_equal(sample["x"], made[index])


def test_error_in_a_sample_comes_when_it_is_its_turn(tmp_path: Path) -> None:
    arrays(tmp_path, 3, 1, 2)
    (tmp_path / "a1.npy").write_bytes(b"broken")
    samples = opened(tmp_path, "quantization: {dataset: 'a*.npy'}", tensor(1, 2)).samples(range(3))
    next(samples)
    with pytest.raises(InputError, match=r"a1\.npy: not a \.npy file"):
        next(samples)


def test_reading_stays_a_bounded_number_of_items_ahead_and_ends_with_its_reader() -> None:
    started: list[int] = []
    threads = threading.active_count()

    def work(item: int) -> int:
        started.append(item)
        time.sleep(0.001)
        return item * item

    results: Iterator[int] = in_order(work, range(1000), threads=3, ahead=4)
    assert [next(results) for _ in range(10)] == [i * i for i in range(10)]
    results.close()  # type: ignore[attr-defined]  # a generator
    assert len(started) <= 10 + 4 + 1
    deadline = time.monotonic() + 60
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.001)
    # Threads of earlier tests may have ended in the meantime.
    assert threading.active_count() <= threads


def fingerprint(folder: Path, entry: str = "{means: 1}", glob: str = "a*.png") -> bytes:
    return opened(folder, f"inputs: [{entry}]\nquantization: {{dataset: '{glob}'}}", tensor(1, 3, 4, 4)).fingerprint()


def test_fingerprint_tells_contents_and_normalisation_but_not_names(tmp_path: Path) -> None:
    for i in range(3):
        save_image(tmp_path / f"a{i}.png", (i, 0, 0))
    first = fingerprint(tmp_path)
    for entry in ("{means: 2}", "{means: 1, scale: 2}", "{means: 1, format: bgr}"):
        assert fingerprint(tmp_path, entry) != first
    (tmp_path / "a2.png").rename(tmp_path / "a3.png")
    assert fingerprint(tmp_path) == first
    assert fingerprint(tmp_path, glob="a[01].png") != first
    save_image(tmp_path / "a3.png", (9, 0, 0))
    assert fingerprint(tmp_path) != first


def test_fingerprint_names_a_file_that_vanished(tmp_path: Path) -> None:
    arrays(tmp_path, 2, 1, 2)
    dataset = opened(tmp_path, "quantization: {dataset: 'a*.npy'}", tensor(1, 2))
    (tmp_path / "a1.npy").unlink()
    with pytest.raises(InputError, match=r"a1\.npy: cannot read the file: No such file"):
        dataset.fingerprint()
