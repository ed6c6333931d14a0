"""Inputs of ``synap run``: tokens (cli.md section 5.1) and files (formats.md sections 3 and 4)."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from synap_core.errors import InputError
from synap_core.run_inputs import load_inputs
from synap_core.tensors import QuantParams, TensorMeta

AFFINE = QuantParams(dtype="uint8", scheme="asymmetric_affine", scale=(0.5,), zero_point=(10,))


def tensor(
    dtype: str = "uint8", shape: tuple[int, ...] = (1, 2, 4, 3), layout: str = "nhwc", **rest: Any
) -> TensorMeta:
    return TensorMeta(label="0", name="x", dtype=dtype, shape=shape, layout=layout, **rest)


def load(token: str | Path, meta: TensorMeta, warnings: list[str] | None = None) -> NDArray[Any]:
    """Load one input; warnings are failures unless a list for them is given."""
    found: list[str] = []
    (result,) = load_inputs([str(token)], [meta], warn=(found if warnings is None else warnings).append)
    assert found == []
    assert (result.shape, result.dtype) == (meta.shape, np.dtype("uint8" if meta.dtype == "byte" else meta.dtype))
    return result


def pixels(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, shape, np.uint8)


def save(path: Path, values: NDArray[Any]) -> Path:
    """Write an image or an ``.npy`` file, or raw bytes for any other suffix."""
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix in (".png", ".PNG"):
        Pillow.fromarray(values.squeeze()).save(path)
    else:
        path.write_bytes(values.tobytes())
    return path


def refuse(token: str | Path, meta: TensorMeta, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(token, meta, [])


@pytest.mark.parametrize("dtype", ["byte", "int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "float32"])
def test_zero_and_random_fill_every_type(dtype: str) -> None:
    meta = tensor(dtype, (1, 40, 50))
    assert not load("zero", meta).any()
    values = load("random", meta)
    assert len(np.unique(values)) > 200
    assert np.array_equal(values, load("random", meta))
    if values.dtype.kind == "f":
        assert 0 <= values.min() < 0.1
        assert 0.9 < values.max() < 1
    else:
        limits = np.iinfo(values.dtype)
        margin = (int(limits.max) - int(limits.min)) // 20
        assert values.min() < limits.min + margin
        assert values.max() > limits.max - margin


def test_random_inputs_of_one_model_differ() -> None:
    first, second = load_inputs(["random"], [tensor()] * 2, warn=pytest.fail)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("value", "dtype", "shape", "raw"),
    [
        pytest.param("258", "int32", (1,), "02010000", id="int32"),
        pytest.param("-2", "int32", (1,), "feffffff", id="negative"),
        pytest.param("4294967295", "uint32", (1,), "ffffffff", id="largest"),
        pytest.param("258", "uint8", (1,), "02", id="low-byte"),
        pytest.param("258", "uint8", (6,), "020100000000", id="rest-is-zero"),
        pytest.param("-1", "int16", (3,), "ffffffff0000", id="two-items"),
        pytest.param("+1", "float32", (1,), "01000000", id="raw-bits"),
    ],
)
def test_value_is_written_little_endian(value: str, dtype: str, shape: tuple[int, ...], raw: str) -> None:
    result = load(f"value:{value}", tensor(dtype, shape, "none"))
    assert result.astype(result.dtype.newbyteorder("<")).tobytes().hex() == raw


@pytest.mark.parametrize("value", ["", "x", "1.5", "0x10", "4294967296", "-2147483649", "9" * 5000, "\u0661"])
def test_value_must_be_an_integer_of_32_bits(value: str) -> None:
    refuse(f"value:{value}", tensor("int32", (1,), "none"), "is no integer of 32 bits; write for example value:1")


@pytest.mark.parametrize(("token", "filled"), [("zero", False), ("random", True)])
def test_last_zero_or_random_holds_for_the_remaining_inputs(token: str, filled: bool) -> None:
    one, *rest = load_inputs(["value:1", token], [tensor("int32", (2,), "none")] * 3, warn=pytest.fail)
    assert one.tolist() == [1, 0]
    assert {bool(array.any()) for array in rest} == {filled}


@pytest.mark.parametrize("tokens", [(), ("value:1",), ("zero", "value:1"), ("zero",) * 4])
def test_wrong_number_of_tokens_lists_the_inputs(tokens: Sequence[str]) -> None:
    inputs = [tensor(), tensor("int32", (1,)), tensor("float32", ())]
    message = (
        f"{len(tokens)} inputs were given, the model has 3: 'x' 1x2x4x3 uint8, 'x' 1 int32, 'x' scalar float32; give"
    )
    with pytest.raises(InputError, match=message):
        load_inputs(tokens, inputs, warn=pytest.fail)


def test_a_model_without_inputs_takes_no_token() -> None:
    assert load_inputs([], [], warn=pytest.fail) == []


def test_unusable_paths_are_errors(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.bin")
    save(tmp_path / "a.gif", pixels(24))
    refuse(tmp_path / "absent.png", tensor(), r"absent\.png: no such file")
    refuse(tmp_path / "pipe.bin", tensor(), r"pipe\.bin: not a regular file")
    refuse("a\0b.bin", tensor(), "cannot read the file: embedded null")
    refuse(
        tmp_path / "a.gif", tensor(), r"a\.gif: unknown input format '\.gif'; supported: jpg, jpeg, png, rgb, .*, dat"
    )


@pytest.mark.parametrize("suffix", [".png", ".PNG"])
def test_image_of_the_right_size_is_assigned(tmp_path: Path, suffix: str) -> None:
    values = pixels(2, 4, 3)
    path = save(tmp_path / f"a{suffix}", values)
    assert load(path, tensor(data_format="rgb")).tolist() == [values.tolist()]
    real = load(path, tensor("float32", mean=(1.0, 2.0, 3.0), scale=2.0))
    assert np.array_equal(real[0], (values.astype(np.float32) - [1, 2, 3]) / 2)


def test_planar_tensors_are_transposed(tmp_path: Path) -> None:
    values = pixels(2, 4, 3)
    path = save(tmp_path / "a.png", values)
    assert np.array_equal(load(path, tensor(shape=(1, 3, 2, 4), layout="nchw"))[0], values.transpose(2, 0, 1))
    swapped = load(path, tensor(shape=(1, 3, 2, 4), layout="nchw", data_format="bgr"))[0]
    assert np.array_equal(swapped, values[..., ::-1].transpose(2, 0, 1))


def test_channel_order_follows_the_tensor(tmp_path: Path) -> None:
    values = pixels(2, 4, 3)
    png, bgr = save(tmp_path / "a.png", values), save(tmp_path / "a_4x2.bgr", values)
    assert np.array_equal(load(png, tensor(data_format="bgr"))[0], values[..., ::-1])
    assert np.array_equal(load(bgr, tensor(data_format="rgb"))[0], values[..., ::-1])
    assert np.array_equal(load(bgr, tensor(data_format="bgr"))[0], values)
    assert np.array_equal(load(bgr, tensor())[0], values)
    refuse(bgr, tensor(shape=(1, 3, 2, 4), layout="nchw", data_format="rgb"), "format 'bgr', input 'x' takes 'rgb'")


@pytest.mark.parametrize("wanted", ["gray", "y8", "bgra"])
def test_image_of_another_type_is_refused(tmp_path: Path, wanted: str) -> None:
    path = save(tmp_path / "a.png", pixels(2, 4, 3))
    refuse(path, tensor(data_format=wanted), f"a.png: the image has the format 'rgb', input 'x' takes '{wanted}'")


@pytest.mark.parametrize(
    ("attributes", "bar_rows", "bar_value"),
    [("rgb", 2, 128), ("rgb fill_color=9", 2, 9), ("rgb keep_proportions=0", 0, None)],
)
def test_image_of_another_size_is_fitted(tmp_path: Path, attributes: str, bar_rows: int, bar_value: int | None) -> None:
    path = save(tmp_path / "a.png", np.full((4, 8, 3), 200, np.uint8))
    result = load(path, tensor(shape=(1, 8, 8, 3), data_format=attributes))[0]
    bars = np.concatenate([result[:bar_rows], result[8 - bar_rows :]])
    assert np.unique(bars).tolist() == ([] if bar_value is None else [bar_value])
    assert np.unique(result[bar_rows : 8 - bar_rows]).tolist() == [200]


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((1, 2, 4, 1), "nhwc"),
        ((1, 2, 4, 4), "nhwc"),
        ((2, 2, 4, 3), "nhwc"),
        ((2, 4, 3), "none"),
        ((1, 4, 4, 3), "none"),
    ],
)
def test_image_that_does_not_fit_is_refused(tmp_path: Path, shape: tuple[int, ...], layout: str) -> None:
    path = save(tmp_path / "a.png", pixels(2, 4, 3))
    refuse(path, tensor(shape=shape, layout=layout), r"an image of 4x2 with 3 channels does not fit input 'x' \(uint8")


def test_tensor_of_unsupported_type_names_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", pixels(2, 4, 3))
    refuse(path, tensor("int32"), r"a\.png: tensor 'x' of type int32 with quantization 'none' takes raw data only")


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize(("name", "channels"), [("a.png", 1), ("a_4x2.gray", 1), ("a.png", 4), ("a_4x2.bgra", 4)])
def test_gray_and_alpha_images_fit_three_channels_with_a_warning(
    tmp_path: Path, name: str, channels: int, layout: str
) -> None:
    values = pixels(2, 4, channels)
    expected = np.repeat(values, 3, axis=2) if channels == 1 else values[..., :3]
    wanted = "bgr" if name.endswith("bgra") else "rgb"
    shape = (1, 2, 4, 3) if layout == "nhwc" else (1, 3, 2, 4)
    warnings: list[str] = []
    result = load(save(tmp_path / name, values), tensor(shape=shape, layout=layout, data_format=wanted), warnings)[0]
    assert np.array_equal(result if layout == "nhwc" else result.transpose(1, 2, 0), expected)
    (warning,) = warnings
    assert "the on-board runtime refuses this image" in warning


def test_gray_and_alpha_images_fit_tensors_of_their_own_channels(tmp_path: Path) -> None:
    for channels in (1, 4):
        values = pixels(2, 4, channels)
        path = save(tmp_path / "a.png", values)
        assert np.array_equal(load(path, tensor(shape=(1, 2, 4, channels)))[0], values)


def test_int8_image_tensor_without_mean_and_scale_warns(tmp_path: Path) -> None:
    quant = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(1 / 255,), zero_point=(-128,))
    path = save(tmp_path / "a.png", np.full((2, 4, 3), 255, np.uint8))
    warnings: list[str] = []
    assert np.unique(load(path, tensor("int8", quant=quant), warnings)).tolist() == [-1]
    assert "pixels are copied as they are" in warnings[0]
    explicit = tensor("int8", quant=quant, mean=(0.0, 0.0, 0.0), scale=255.0)
    assert np.unique(load(path, explicit)).tolist() == [127]


def test_raw_image_with_dimensions_in_its_name_is_resized(tmp_path: Path) -> None:
    path = save(tmp_path / "flat_8x4.rgb", np.full((4, 8, 3), 77, np.uint8))
    assert np.unique(load(path, tensor(data_format="rgb"))).tolist() == [77]


@pytest.mark.parametrize("name", ["a.rgb", "a_9x9.rgb", "a_4x2_b.rgb", "a4x2.rgb"])
def test_raw_image_without_usable_dimensions_keeps_its_order(tmp_path: Path, name: str) -> None:
    values = pixels(24)
    path = save(tmp_path / name, values)
    assert (
        load(path, tensor(shape=(1, 3, 2, 4), layout="nchw", data_format="rgb")).reshape(-1).tolist() == values.tolist()
    )
    refuse(path, tensor(data_format="bgr"), "format 'rgb', input 'x' takes 'bgr'")
    refuse(
        path, tensor(shape=(1, 2, 5, 3)), r"24 bytes, input 'x' .* has 30 items; name it <name>_<width>x<height>\.rgb"
    )


def test_raw_image_is_normalised(tmp_path: Path) -> None:
    path = save(tmp_path / "a.gray", np.array([0, 255], np.uint8))
    assert load(path, tensor("float32", (1, 1, 2, 1), scale=255.0)).reshape(-1).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("suffix", "label"), [("nv12", "uv8"), ("yvu420sp", "uv8"), ("nv21", "vu8"), ("yuv420sp", "vu8"), ("NV12", "uv8")]
)
def test_semi_planar_file_feeds_luma_and_chroma(tmp_path: Path, suffix: str, label: str) -> None:
    data = pixels(24 + 12)
    path = save(tmp_path / f"a.{suffix}", data)
    luma, chroma = tensor(shape=(1, 4, 6, 1), data_format="y8"), tensor(shape=(1, 2, 3, 2), data_format=label)
    results = load_inputs([str(path)] * 2, [luma, chroma], warn=pytest.fail)
    assert results[0].shape == (1, 4, 6, 1)
    assert results[0].reshape(-1).tolist() == data[:24].tolist()
    assert results[1].reshape(-1, 2).tolist() == data[24:].reshape(-1, 2).tolist()
    planar = load(path, tensor(shape=(1, 2, 2, 3), layout="nchw"))
    assert planar.reshape(2, -1).tolist() == [data[24::2].tolist(), data[25::2].tolist()]
    other = {"uv8": "vu8", "vu8": "uv8"}[label]
    refuse(path, tensor(shape=(1, 2, 3, 2), data_format=other), f"takes no plane of a {suffix} file")


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        pytest.param(
            tensor(shape=(1, 4, 6, 3)), r"input 'x' \(uint8 nhwc 1x4x6x3\) takes no plane", id="three-channels"
        ),
        pytest.param(tensor(shape=(1, 4, 6, 1), data_format="gray"), "takes no plane", id="type"),
        pytest.param(tensor("float32", (1, 4, 6, 1)), "takes no plane", id="not-8-bit"),
        pytest.param(tensor(shape=(4, 6)), "takes no plane", id="rank"),
        pytest.param(tensor(shape=(1, 4, 6, 1), layout="none"), "takes no plane", id="no-layout"),
        pytest.param(tensor(shape=(1, 6, 6, 1)), r"36 bytes, input 'x' \(1x6x6x1\) takes 54", id="luma-size"),
        pytest.param(tensor(shape=(1, 3, 3, 2)), r"36 bytes, input 'x' \(1x3x3x2\) takes 54", id="chroma-size"),
        pytest.param(tensor(shape=(1, 5, 5, 1)), "odd number of pixels", id="odd"),
    ],
)
def test_semi_planar_file_that_does_not_fit_is_refused(tmp_path: Path, meta: TensorMeta, message: str) -> None:
    refuse(save(tmp_path / "a.nv12", pixels(36)), meta, message)


@pytest.mark.parametrize("suffix", ["bin", "dat", "BIN"])
def test_raw_data_is_copied(tmp_path: Path, suffix: str) -> None:
    values = np.array([1, -2, 300], "<i2")
    meta = tensor("int16", (3,), "none", data_format="any", scale=4.0)
    path = save(tmp_path / f"a.{suffix}", values)
    assert load(path, meta).tolist() == [1, -2, 300]
    refuse(path, tensor("int16", (4,)), r"a\..*: the file has 6 bytes, input 'x' \(4\) takes 8")


def test_larger_files_are_refused_without_reading_them(tmp_path: Path) -> None:
    for name in ("a.bin", "a.nv12", "a.rgb", "a_99999x99999.gray", "a.npy"):
        with (tmp_path / name).open("wb") as file:
            file.write(npy_header("'<f4'", "(1, 2, 4, 3)") if name == "a.npy" else b"")
            file.truncate(99999**2)
        shape = (1, 2, 4, 1) if name == "a.nv12" else (1, 2, 4, 3)
        refuse(tmp_path / name, tensor(shape=shape), "the file has 9999800001 bytes")


@pytest.mark.parametrize("shape", [(1, 2, 4, 3), (2, 4, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_array_of_the_tensors_type_is_raw(tmp_path: Path, shape: tuple[int, ...], order: str) -> None:
    values = pixels(2, 4, 3)
    path = save(tmp_path / "a.npy", np.array(values.reshape(shape), order="F" if order == "F" else "C"))
    assert load(path, tensor(quant=AFFINE, mean=(3.0,), scale=9.0))[0].tolist() == values.tolist()


def test_float_array_is_quantized_but_not_normalised(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", np.array([0.0, 1.5, -99], np.float32))
    assert load(path, tensor("uint8", (3,), quant=AFFINE, mean=(3.0,), scale=9.0)).tolist() == [10, 13, 0]
    assert load(path, tensor("float32", (3,), mean=(3.0,), scale=9.0)).tolist() == [0, 1.5, -99]
    assert load(path, tensor("float16", (3,))).tolist() == [0, 1.5, -99]


def test_array_may_be_big_endian_or_of_rank_0(tmp_path: Path) -> None:
    assert load(save(tmp_path / "a.npy", np.array([1, 258], ">i4")), tensor("int32", (2,))).tolist() == [1, 258]
    assert load(save(tmp_path / "a.npy", np.array(2.5, np.float32)), tensor("float32", ())).tolist() == 2.5


def test_array_header_of_version_2_is_read(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array([5, 6], np.uint8), version=(2, 0))
    (tmp_path / "a.npy").write_bytes(stream.getvalue())
    assert load(tmp_path / "a.npy", tensor(shape=(2,))).tolist() == [5, 6]


def test_loaded_arrays_can_be_written_to(tmp_path: Path) -> None:
    for name in ("a.npy", "a.bin", "a_4x2.rgb", "a.png"):
        assert load(save(tmp_path / name, pixels(2, 4, 3)), tensor(shape=(1, 2, 4, 3)), []).flags.writeable


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param(
            np.zeros(3, np.int16), r"is int16; input 'x' takes uint8 \(raw items\) or float32", id="other-type"
        ),
        pytest.param(np.zeros(3), "has items of type 'f8'; supported: uint8, .* astype", id="float64"),
        pytest.param(np.zeros(3, bool), "has items of type 'b1'", id="bool"),
        pytest.param(np.zeros(3, "u1,u2"), "structured or its header is damaged", id="structured"),
        pytest.param(np.zeros(4, np.uint8), "the array is 4; input 'x' is 3", id="shape"),
        pytest.param(np.zeros((1, 3), np.uint8), "the array is 1x3; input 'x' is 3", id="additional-dimension"),
    ],
)
def test_array_that_does_not_fit_is_refused(tmp_path: Path, values: NDArray[Any], message: str) -> None:
    refuse(save(tmp_path / "a.npy", values), tensor(shape=(3,)), message)


def npy_header(descr: str, shape: str, extra: str = "") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, {extra}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "not a .npy file", id="empty"),
        pytest.param(b"\x93NUMPY\x01\x00\xff\xff", "its header is damaged", id="header-cut"),
        pytest.param(b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + bytes(99), "its header is damaged", id="huge-header"),
        pytest.param(b"\x93NUMPY\x09\x00\x02\x00{}", "its header is damaged", id="version"),
        pytest.param(b"\x93NUMPY\x01\x00\x02\x00{}", "header is damaged", id="no-keys"),
        pytest.param(npy_header("'|O'", "(3,)") + b"cos\nsystem\n", "has items of type 'O'", id="pickle"),
        pytest.param(
            npy_header("'|u1'", "(3,)", "(" * 9999) + bytes(2), "has .* bytes, its header announces", id="short"
        ),
        pytest.param(npy_header("'|u1'", "(3,)") + bytes(4), "has .* bytes, its header announces", id="long"),
        pytest.param(npy_header("'|u1'", "(999999999999, 99999)"), "the array is 999999999999x99999", id="huge-shape"),
        pytest.param(npy_header("'|u1'", "(" + "9" * 9999 + ",)"), "header is damaged", id="huge-dimension"),
        pytest.param(npy_header("'|u1'", "(-3,)") + bytes(3), "header is damaged", id="negative-dimension"),
    ],
)
def test_hostile_array_header_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    refuse(tmp_path / "a.npy", tensor(shape=(3,)), message)


def test_model_without_inputs_takes_no_tokens() -> None:
    assert load_inputs([], [], warn=pytest.fail) == []
    with pytest.raises(InputError, match="1 inputs were given, the model takes none; leave them out"):
        load_inputs(["zero"], [], warn=pytest.fail)


SEVERAL = "conversions set the batch of a model to 1, so give the 4 samples one at a time"


@pytest.mark.parametrize(
    ("shape", "hint"),
    [((4, 2, 3), SEVERAL), ((4, 3, 2), None), ((2, 3, 4), None), ((4, 1, 2, 3), None), ((0, 2, 3), None)],
    ids=str,
)
def test_array_of_several_samples_is_refused_with_what_to_do(
    tmp_path: Path, shape: tuple[int, ...], hint: str | None
) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(shape, np.uint8))
    with pytest.raises(InputError, match="the array is") as refusal:
        load(path, tensor(shape=(1, 2, 3)), [])
    assert refusal.value.hint == hint


@pytest.mark.parametrize(
    ("size", "shape", "hint"),
    [(24, (1, 2, 3), SEVERAL), (25, (1, 2, 3), None), (24, (2, 3), None), (24, (6,), None), (0, (1, 2, 3), None)],
    ids=str,
)
def test_raw_file_of_several_samples_is_refused_with_what_to_do(
    tmp_path: Path, size: int, shape: tuple[int, ...], hint: str | None
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(size))
    with pytest.raises(InputError, match=f"the file has {size} bytes") as refusal:
        load(path, tensor(shape=shape), [])
    assert refusal.value.hint == hint
