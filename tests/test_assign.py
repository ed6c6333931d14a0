"""Assignment, quantization and dequantization, against the rules and check vectors of formats.md section 2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from synap_core.assign import assign, assign_scalar, dequantize, effective_normalisation, quantize_real, raw_dtype
from synap_core.errors import InputError
from synap_core.tensors import QuantParams, TensorMeta


def affine(dtype: str, scale: float, zero_point: int = 0) -> QuantParams:
    return QuantParams(dtype=dtype, scheme="asymmetric_affine", scale=(scale,), zero_point=(zero_point,))


def fixed_point(dtype: str, fraction: int) -> QuantParams:
    return QuantParams(dtype=dtype, scheme="dynamic_fixed_point", fractional_length=fraction)


def tensor(
    dtype: str,
    quant: QuantParams | None = None,
    *,
    mean: Sequence[float] | None = None,
    scale: float | None = None,
    shape: tuple[int, ...] = (1,),
    layout: str = "none",
    data_format: str = "",
) -> TensorMeta:
    return TensorMeta(
        label="0",
        name="x",
        shape=shape,
        dtype=dtype,
        layout=layout,
        data_format=data_format,
        quant=quant,
        mean=None if mean is None else tuple(mean),
        scale=scale,
    )


def assigned(source: str, values: Sequence[float], dtype: str, quant: QuantParams | None, **rest: Any) -> NDArray[Any]:
    meta = tensor(dtype, quant, shape=(len(values),), **rest)
    result = assign(np.array(values, source), meta)
    assert result.dtype == raw_dtype(meta)
    assert result.shape == meta.shape
    return result


U8_128, I8_128 = affine("uint8", 1 / 128, 128), affine("int8", 1 / 255, -128)
STEPS = (0, 1, 127, 128, 255)


@pytest.mark.parametrize(
    ("quant", "dtype", "mean", "scale", "source", "values", "stored"),
    [
        pytest.param(U8_128, "uint8", 128, 128, "uint8", STEPS, (0, 1, 127, 128, 255), id="uint8-copy"),
        pytest.param(U8_128, "uint8", 0, 255, "uint8", STEPS, (128, 129, 192, 192, 255), id="uint8-unit-range"),
        pytest.param(
            U8_128,
            "uint8",
            0,
            1,
            "float32",
            (-1, -0.5, 0, 0.0039, 0.004, 1),
            (0, 64, 128, 128, 129, 255),
            id="uint8-real",
        ),
        pytest.param(None, "uint8", 10, 1, "uint8", (0, 7, 10, 255), (0, 0, 0, 245), id="uint8-plain"),
        # The runtime stores -54, -5, -4 for the first three, because it adds one half and drops the fraction of
        # negative values, too. The rounding that the specification recommends takes the floor instead.
        pytest.param(
            affine("int8", 0.02, -5),
            "int8",
            0,
            1,
            "float32",
            (-1, -0.029, 0, 0.03, 1, 3),
            (-55, -6, -5, -3, 45, 127),
            id="int8-real",
        ),
        pytest.param(I8_128, "int8", 0, 255, "uint8", STEPS, (-128, -127, -1, 0, 127), id="int8-offset"),
        pytest.param(
            fixed_point("int8", 7),
            "int8",
            0,
            255,
            "uint8",
            (0, 1, 127, 254, 255),
            (0, 1, 64, 127, 127),
            id="int8-fixed",
        ),
        pytest.param(
            fixed_point("int16", 15),
            "int16",
            0,
            255,
            "uint8",
            (0, 1, 127, 255),
            (0, 129, 16320, 32767),
            id="int16-scaled",
        ),
        pytest.param(
            fixed_point("int16", 8), "int16", 0, 1, "uint8", (1, 127, 128), (256, 32512, 32767), id="int16-shift"
        ),
    ],
)
def test_check_vectors_of_one_mean(
    quant: QuantParams | None,
    dtype: str,
    mean: float,
    scale: float,
    source: str,
    values: Sequence[float],
    stored: Sequence[int],
) -> None:
    assert assigned(source, values, dtype, quant, mean=[mean], scale=scale).tolist() == list(stored)


@pytest.mark.parametrize(
    ("quant", "layout", "shape", "scale", "stored"),
    [
        pytest.param(affine("uint8", 0.5, 10), "nhwc", (1, 1, 2, 3), 2.0, (19, 28, 37, 49, 58, 67), id="affine-nhwc"),
        pytest.param(
            fixed_point("int16", 8), "nchw", (1, 3, 1, 2), 3.0, (768, 1621, 2389, 3242, 4010, 4864), id="fixed-nchw"
        ),
        pytest.param(
            fixed_point("int16", 8), "nhwc", (1, 1, 2, 3), 3.0, (768, 1536, 2304, 3328, 4096, 4864), id="fixed-nhwc"
        ),
    ],
)
def test_check_vectors_of_one_mean_per_channel(
    quant: QuantParams, layout: str, shape: tuple[int, ...], scale: float, stored: Sequence[int]
) -> None:
    meta = tensor(quant.dtype, quant, mean=[1, 2, 3], scale=scale, shape=shape, layout=layout)
    result = assign(np.arange(10, 61, 10, dtype=np.uint8), meta)
    assert result.shape == shape
    assert result.reshape(-1).tolist() == list(stored)


def test_check_vector_of_half_precision() -> None:
    found = assigned("uint8", (1, 127, 128, 255), "float16", None, mean=[0], scale=255.0)
    assert found.view(np.uint16).tolist() == [0x1C04, 0x37F7, 0x3804, 0x3C00]


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (65535.9, 0x7BFF),
        (-65536.0, 0xFBFF),
        (math.inf, 0x7BFF),
        (-math.inf, 0xFBFF),
        (math.nan, 0x7BFF),
        (2.0**-14, 0x0400),
        (-(2.0**-14) * 0.999, 0x8000),
        (1.0009, 0x3C00),
        (-0.0, 0x8000),
    ],
)
def test_half_precision_truncates_and_limits(value: float, bits: int) -> None:
    assert assigned("float32", (value,), "float16", None).view(np.uint16).tolist() == [bits]


def test_float32_uses_exact_means() -> None:
    meta = tensor("float32", mean=[0.5, 1.5, 2.5], scale=2.0, shape=(1, 3, 1, 2), layout="nchw")
    result = assign(np.array([1, 2, 3, 4, 5, 6], np.int16), meta)
    assert result.reshape(-1).tolist() == [0.25, 0.75, 0.75, 1.25, 1.25, 1.75]


def test_integer_tensors_truncate_the_mean() -> None:
    assert assigned("uint8", (0, 2, 9), "uint8", None, mean=[1.9]).tolist() == [0, 1, 8]
    assert assigned("uint8", (0, 2, 9), "uint8", None, mean=[-1.9]).tolist() == [1, 3, 10]


@pytest.mark.parametrize(
    ("source", "values", "mean", "stored"),
    [
        pytest.param("uint8", (127, 128, 255), [-128], (127, -128, -1), id="copied-bytes-wrap"),
        pytest.param("int16", (128, -129, 300), [-128], (-128, 127, 44), id="copied-words-wrap"),
        pytest.param("float32", (-200.7, 3.9, 300, math.inf), [-128], (-128, 3, 127, 127), id="real-numbers-saturate"),
        pytest.param("int16", (-300, 0, 300), [0], (-128, -128, 127), id="an-offset-saturates"),
        pytest.param("float32", (128.9, 127.9, -1.9), [0], (0, 0, -128), id="an-offset-truncates"),
    ],
)
def test_factors_near_one_add_only_an_offset(
    source: str, values: Sequence[float], mean: Sequence[float], stored: Sequence[int]
) -> None:
    for scale in (255.0, 255 * 0.997):
        assert assigned(source, values, "int8", I8_128, mean=mean, scale=scale).tolist() == list(stored)


def test_a_factor_further_from_one_is_applied() -> None:
    assert assigned("uint8", (0, 128, 255), "uint8", None, mean=[0], scale=0.99).tolist() == [0, 129, 255]


@pytest.mark.parametrize(
    ("fraction", "mean", "scale", "source", "values", "stored"),
    [
        pytest.param(-2, 0, 1, "uint8", (3, 4, 255), (0, 1, 63), id="negative-shift-floors-integers"),
        pytest.param(-2, 0, 1, "int16", (-1, -4), (-1, -1), id="negative-shift-floors-negatives"),
        pytest.param(-2, 0, 1, "float32", (-1, 9), (0, 2), id="negative-shift-divides-real-numbers"),
        pytest.param(0, 0, 1, "uint8", (127, 128), (127, -128), id="plain-cast-wraps"),
        pytest.param(0, 1, 1, "uint8", (127, 255), (126, 127), id="mean-saturates"),
        pytest.param(2, 1, 1, "uint8", (0, 3), (-4, 8), id="mean-before-shift"),
        pytest.param(1, 0, 4, "int16", (-3, -1, 1, 3), (-1, 0, 1, 2), id="halves-round-up"),
        pytest.param(10**9, 0, 3, "int16", (-1, 0, 1), (-128, 0, 127), id="absurd-shift"),
    ],
)
def test_fixed_point_with_one_mean(
    fraction: int, mean: float, scale: float, source: str, values: Sequence[float], stored: Sequence[int]
) -> None:
    found = assigned(source, values, "int8", fixed_point("int8", fraction), mean=[mean], scale=scale)
    assert found.tolist() == list(stored)


def test_equal_means_count_as_one() -> None:
    # Planar data with one mean per channel is truncated (86.67 gives 86), with a single mean rounded.
    def first(mean: Sequence[float]) -> int:
        meta = tensor("int16", fixed_point("int16", 1), mean=mean, scale=3.0, shape=(1, 3, 1, 1), layout="nchw")
        return int(assign(np.array([140, 9, 9], np.uint8), meta).reshape(-1)[0])

    assert (first([10, 10, 10]), first([10, 10, 11]), first([10.5, 10.5, 10.5])) == (87, 86, 86)


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        pytest.param(tensor("uint8", U8_128), ((128.0,), 128.0), id="affine"),
        pytest.param(tensor("uint8"), ((0.0,), 1.0), id="plain"),
        pytest.param(tensor("int16", fixed_point("int16", 8)), ((0.0,), 1.0), id="fixed-point"),
        pytest.param(tensor("uint8", U8_128, mean=[1, 2, 3]), ((1.0, 2.0, 3.0), 128.0), id="only-mean-given"),
        pytest.param(tensor("uint8", U8_128, scale=2.0), ((128.0,), 2.0), id="only-scale-given"),
        pytest.param(tensor("uint8", U8_128, mean=[], scale=0.0), ((128.0,), 128.0), id="empty-and-zero-are-missing"),
        pytest.param(tensor("uint8", affine("uint8", 0.0, 3)), ((3.0,), 1.0), id="factor-zero-is-one"),
    ],
)
def test_missing_mean_and_scale_follow_the_quantization(
    meta: TensorMeta, expected: tuple[tuple[float, ...], float]
) -> None:
    assert effective_normalisation(meta) == expected


def test_image_bytes_pass_unchanged_into_an_8_bit_tensor_without_mean_and_scale() -> None:
    values = np.arange(256, dtype=np.uint8)
    for quant in (affine("uint8", 0.0078, 128), affine("int8", 0.1, -3), None):
        dtype = quant.dtype if quant else "uint8"
        assert assign(values, tensor(dtype, quant, shape=(256,))).view(np.uint8).tolist() == values.tolist()


@pytest.mark.parametrize(
    ("dtype", "quant"),
    [(name, None) for name in ("int8", "int16", "byte", "uint16", "int32", "uint32")]
    + [("uint8", fixed_point("uint8", 3)), ("int16", affine("int16", 1.0)), ("int32", affine("int32", 1.0))],
)
def test_unsupported_destinations_are_refused(dtype: str, quant: QuantParams | None) -> None:
    scheme = quant.scheme if quant else "none"
    with pytest.raises(InputError, match=f"tensor 'x' of type {dtype} with quantization '{scheme}'"):
        assign(np.zeros(1, np.uint8), tensor(dtype, quant))


@pytest.mark.parametrize(
    ("values", "meta", "message"),
    [
        pytest.param(np.zeros(3, np.uint8), tensor("uint8"), "has 1 items, not 3", id="count"),
        pytest.param(np.zeros(1, np.int32), tensor("uint8"), "must be uint8, int16, float32, not int32", id="source"),
        pytest.param(np.array([np.nan], np.float32), tensor("uint8"), "contains NaN", id="nan"),
        pytest.param(np.zeros(1, np.uint8), tensor("uint8", mean=[1, 2]), "has 2 means for 1 channels", id="means"),
        pytest.param(
            np.zeros(1, np.uint8),
            tensor("int8", QuantParams(dtype="int8", scheme="perchannel_symmetric_affine", scale=(1.0, 2.0))),
            "'perchannel_symmetric_affine', which is not one for the whole tensor",
            id="per-channel",
        ),
    ],
)
def test_assign_refuses_what_does_not_fit(values: NDArray[Any], meta: TensorMeta, message: str) -> None:
    with pytest.raises(InputError, match=message):
        assign(values, meta)


@pytest.mark.parametrize(
    ("dtype", "quant", "values", "stored"),
    [
        pytest.param(
            "int8", affine("int8", 0.5, -3), (-0.25, 0.25, 1, 99, -math.inf), (-3, -2, -1, 127, -128), id="affine"
        ),
        pytest.param("int16", fixed_point("int16", 8), (1.5, -0.001953125, 1e9), (384, 0, 32767), id="fixed-point"),
        pytest.param("int8", fixed_point("int8", -2), (10, -10, 6), (3, -2, 2), id="negative-fraction"),
        pytest.param("uint16", None, (0.5, -3, 1e6, 2.4), (1, 0, 65535, 2), id="plain"),
        pytest.param("int32", None, (3e9, -3e9), (2**31 - 1, -(2**31)), id="int32-limits"),
        pytest.param("float32", affine("float32", 2.0), (0.1,), (float(np.float32(0.1)),), id="float32"),
        pytest.param("float16", None, (0.1, 1e9), (float(np.float16(0.1)), math.inf), id="float16"),
    ],
)
def test_real_numbers_are_quantized(
    dtype: str, quant: QuantParams | None, values: Sequence[float], stored: Sequence[float]
) -> None:
    result = quantize_real(np.array(values, np.float32), tensor(dtype, quant, shape=(len(values),)))
    assert result.dtype == np.dtype(dtype)
    assert result.tolist() == list(stored)


def test_quantizing_nan_is_an_error() -> None:
    with pytest.raises(InputError, match="'x' contains NaN"):
        quantize_real(np.array([math.nan], np.float32), tensor("int8", I8_128))


@pytest.mark.parametrize(
    ("dtype", "quant", "raw", "real"),
    [
        pytest.param("uint8", affine("uint8", 0.5, 10), (0, 10, 255), (-5, 0, 122.5), id="affine"),
        pytest.param("int32", affine("int32", 0.25, 1), (-(2**31), 2**31 - 1), (-(2**29), 2**29), id="int32"),
        pytest.param("int16", fixed_point("int16", 8), (-256, 3), (-1, 0.01171875), id="fixed-point"),
        pytest.param("int8", fixed_point("int8", -2), (-3, 5), (-12, 20), id="negative-fraction"),
        pytest.param("int8", fixed_point("int8", 0), (-3, 5), (-3, 5), id="no-fraction"),
        pytest.param("int16", None, (-7, 7), (-7, 7), id="plain"),
        pytest.param("float16", U8_128, (0.5, math.inf, 2**-24), (0.5, math.inf, 2**-24), id="float16-as-is"),
        pytest.param("float32", None, (-0.1, -math.inf), (float(np.float32(-0.1)), -math.inf), id="float32-as-is"),
    ],
)
def test_dequantization(dtype: str, quant: QuantParams | None, raw: Sequence[float], real: Sequence[float]) -> None:
    result = dequantize(np.array(raw, dtype), tensor(dtype, quant, shape=(len(raw),)))
    assert result.dtype == np.float32
    assert result.tolist() == list(real)


@pytest.mark.parametrize("dtype", ["byte", "uint16", "uint32"])
def test_types_without_real_meaning_cannot_be_dequantized(dtype: str) -> None:
    with pytest.raises(InputError, match=f"'x' of type {dtype} cannot be read as real numbers"):
        dequantize(np.zeros(1, np.uint8), tensor(dtype))


@given(
    arrays(np.float32, 20, elements=st.floats(-1, 1, width=32)),
    st.sampled_from(["int8", "uint8", "int16"]),
    st.floats(1e-3, 1e3),
    st.floats(0, 1),
)
def test_a_round_trip_stays_within_half_a_step(
    parts: NDArray[np.float32], dtype: str, step: float, position: float
) -> None:
    limits = np.iinfo(dtype)
    zero_point = round(limits.min + position * (int(limits.max) - limits.min))
    meta = tensor(dtype, affine(dtype, step, zero_point), shape=(20,))
    low, high = (limits.min - zero_point) * step, (limits.max - zero_point) * step
    values = (parts * max(-low, high)).clip(low, high).astype(np.float32)
    restored = dequantize(quantize_real(values, meta), meta)
    # Beside half a step only the single precision of values and result counts.
    assert np.abs(restored.astype(np.float64) - values).max() <= step / 2 + max(-low, high) * 2.0**-22


@given(st.integers(-20, 20), st.lists(st.integers(-128, 127), min_size=1, max_size=8))
def test_fixed_point_items_survive_a_round_trip(fraction: int, items: list[int]) -> None:
    meta = tensor("int8", fixed_point("int8", fraction), shape=(len(items),))
    raw = np.array(items, np.int8)
    assert quantize_real(dequantize(raw, meta), meta).tolist() == items


@pytest.mark.parametrize("quant", [affine("uint8", 1e-300, 10**300), affine("uint8", 1e300, -(10**300))])
def test_absurd_parameters_give_numbers_without_a_warning(quant: QuantParams) -> None:
    meta = tensor("uint8", quant, mean=[1e308], scale=1e-308)
    assert assign(np.ones(1, np.uint8), meta).shape == (1,)
    assert quantize_real(np.ones(1, np.float32), meta).shape == (1,)
    assert dequantize(np.ones(1, np.uint8), meta).shape == (1,)


def test_rank_0_tensors_give_rank_0_arrays() -> None:
    one = np.array(1, np.uint8)
    for dtype in ("uint8", "float16", "float32"):
        meta = tensor(dtype, shape=())
        results = (assign(one, meta), quantize_real(one.astype(np.float32), meta), dequantize(one.astype(dtype), meta))
        assert [(type(item), item.shape, float(item)) for item in results] == [(np.ndarray, (), 1.0)] * 3


@pytest.mark.parametrize(
    ("value", "dtype", "data_format", "stored"),
    [
        pytest.param(100, "int32", "tensor_dim=224", 14629, id="rounded-share"),
        pytest.param(16, "uint32", "tensor_dim=16", 32768, id="the-whole"),
        pytest.param(8, "int32", "x tensor_dim=16", 16384, id="half"),
        pytest.param(-1, "int32", "tensor_dim=65536", -1, id="half-away-from-zero"),
        pytest.param(3, "int32", "", 3, id="without-dimension"),
        pytest.param(3, "int32", "tensor_dim=0", 3, id="dimension-zero"),
        pytest.param(300, "uint8", "", 44, id="low-byte"),
        pytest.param(-2, "int16", "", -2, id="negative"),
    ],
)
def test_scalars_are_assigned_as_integers(value: int, dtype: str, data_format: str, stored: int) -> None:
    result = assign_scalar(value, tensor(dtype, data_format=data_format))
    assert (result.dtype.name, result.tolist()) == (dtype, [stored])


@pytest.mark.parametrize("meta", [tensor("int32", shape=(1, 1)), tensor("int32", shape=()), tensor("float32")])
def test_only_integer_scalars_take_a_number(meta: TensorMeta) -> None:
    with pytest.raises(InputError, match="is no integer scalar"):
        assign_scalar(1, meta)
