"""Stored weights: sizes against encoders that write every bit, and against what is published."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from synap_delegate_npu.memory import stored_weights
from synap_delegate_npu.memory.weights import CODE_BITS, WIDEST_RUN

Weights = NDArray[np.integer[Any]]

CODES = ("00", "10", "111", "110", "011", "0101", "01001", "01000")
"""The eight codes as the open driver lists them, without the bit that two of them and the sixth have free."""


def runs_of_zeros(values: list[int], zero: int, width: int) -> list[tuple[int, int]]:
    """Weights as pairs of the zeros in front and the value, written the way the open driver does."""
    pairs = []
    zeros = 0
    for value in values:
        if zeros == (1 << width) - 1:
            pairs.append((zeros, value))
            zeros = 0
        elif value == zero:
            zeros += 1
        else:
            pairs.append((zeros, value))
            zeros = 0
    return [*pairs, (zeros - 1, zero)] if zeros else pairs


def coded(values: list[int], codes: dict[int, str]) -> str:
    """Bytes from -128 to 127, each as a code for its number of bits, these without the highest, and the sign."""
    text = ""
    for value in values:
        size = max(value, ~value)
        digits = f"{size:b}"[1:] if size else ""
        text += codes[size.bit_length()] + digits + ("1" if value < 0 else "0")
    return text


def decoded(text: str, codes: dict[int, str]) -> list[int]:
    """The bytes that `coded` was given."""
    values = []
    while text:
        bits = next(bits for bits, code in codes.items() if text.startswith(code))
        text = text[len(codes[bits]) :]
        digits, sign, text = text[: max(bits - 1, 0)], text[max(bits - 1, 0)], text[max(bits, 1) :]
        size = int(f"1{digits}", 2) if bits else 0
        values.append(~size if sign == "1" else size)
    return values


def bytes_of(bits: int) -> int:
    return -(-bits // 8)


small = arrays(np.int8, st.integers(1, 60), elements=st.sampled_from([-128, -3, -1, 0, 0, 0, 0, 1, 2, 90, 127]))


@given(small, st.sampled_from([-3, 0, 1]), st.sampled_from([np.int8, np.int16]))
def test_zero_runs_take_what_an_encoder_writes(weights: Weights, zero: int, dtype: type[Any]) -> None:
    values = weights.tolist()
    sizes = {0: len(values) * np.dtype(dtype).itemsize * 8}
    for width in range(1, WIDEST_RUN + 1):
        pairs = runs_of_zeros(values, zero, width)
        assert [item for zeros, value in pairs for item in [zero] * zeros + [value]] == values
        sizes[width] = len(pairs) * (np.dtype(dtype).itemsize * 8 + width)
    stored = stored_weights(weights.astype(dtype), zero_point=zero, has_code_book=False)
    assert stored.size_bytes == bytes_of(min(sizes.values()))
    assert sizes[stored.run_bits] == min(sizes.values())


@settings(max_examples=30)
@given(arrays(np.int8, st.integers(1, 40), elements=st.integers(-128, 127)))
def test_code_book_takes_what_an_encoder_writes_with_the_best_book(weights: Weights) -> None:
    weights[weights == 0] = 1
    values = weights.tolist()
    used = sorted({max(value, ~value).bit_length() for value in values})
    books = [dict(zip(used, codes, strict=True)) for codes in permutations(CODES, len(used))] if len(used) < 5 else []
    counts = {bits: sum(max(value, ~value).bit_length() == bits for value in values) for bits in range(8)}
    by_count = sorted(counts, key=lambda bits: -counts[bits])
    best = coded(values, dict(zip(by_count, CODES, strict=True)))
    assert decoded(best, dict(zip(by_count, CODES, strict=True))) == values
    for book in books:
        assert len(best) <= len(coded(values, book))
    assert stored_weights(weights).size_bytes == bytes_of(min(len(best), 8 * len(values)))


@given(arrays(np.int16, st.integers(1, 40), elements=st.integers(-300, 300)))
def test_weights_of_16_bits_are_two_bytes_of_the_same_book(weights: Weights) -> None:
    values = weights.astype("<i2").view(np.int8).tolist()
    counts = {bits: sum(max(value, ~value).bit_length() == bits for value in values) for bits in range(8)}
    book = dict(zip(sorted(counts, key=lambda bits: -counts[bits]), CODES, strict=True))
    plain = stored_weights(weights, has_code_book=False).size_bytes
    assert stored_weights(weights).size_bytes == min(plain, bytes_of(len(coded(values, book))))


def test_runs_with_the_code_book_are_counted_as_documented() -> None:
    # Thirty runs of 32 zeros and one of 33; 90 weights of seven bits, which are the second most frequent.
    weights = np.array(([*[0] * 32, 100, -100, 127] * 30) + [0] * 33, np.int8)
    # Tokens of zeros: a code of 2 bits and 5 for the length; other weights: 2 bits and a byte.
    assert stored_weights(weights).size_bytes == bytes_of(32 * (2 + 5) + 90 * (2 + 8))
    assert stored_weights(weights).coding == "code book and zero runs"


def test_codes_are_a_complete_prefix_code() -> None:
    assert tuple(map(len, CODES)) == CODE_BITS
    assert sum(2.0**-bits for bits in CODE_BITS) == 1
    assert not any(one != other and other.startswith(one) for one in CODES for other in CODES)


@given(small, st.integers(-128, 127))
def test_zero_point_is_zero(weights: Weights, zero: int) -> None:
    moved = ((weights.astype(np.int64) + zero + 128) % 256 - 128).astype(np.int8)
    assert stored_weights(moved, zero_point=zero) == stored_weights(weights)
    unsigned = (weights.astype(np.int64) + 128).astype(np.uint8)
    assert stored_weights(unsigned, zero_point=128) == stored_weights(weights)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16])
@pytest.mark.parametrize("has_code_book", [False, True])
def test_zeros_take_almost_nothing(dtype: type[Any], has_code_book: bool) -> None:
    stored = stored_weights(np.zeros((64, 32, 3, 3), dtype), has_code_book=has_code_book)
    assert stored.bytes_per_weight < 0.1
    assert stored.run_bits == WIDEST_RUN


@pytest.mark.parametrize(("dtype", "item_bytes"), [(np.uint8, 1), (np.int8, 1), (np.int16, 2)])
def test_evenly_spread_weights_are_stored_as_they_are(dtype: type[Any], item_bytes: int) -> None:
    limits = np.iinfo(dtype)
    weights = np.random.default_rng(0).integers(limits.min, limits.max, 50_000, dtype, endpoint=True)
    stored = stored_weights(weights)
    assert (stored.coding, stored.size_bytes) == ("plain", item_bytes * 50_000)


def test_no_way_takes_less_than_the_entropy() -> None:
    random = np.random.default_rng(0)
    for spread in (1, 5, 20, 60):
        weights = np.clip(random.normal(0, spread, 20_000), -127, 127).astype(np.int8)
        shares = np.unique(weights, return_counts=True)[1] / weights.size
        entropy_bytes = -float(shares @ np.log2(shares)) / 8
        stored = stored_weights(weights)
        assert stored.bytes_per_weight >= entropy_bytes
        # Codes of whole bits for eight classes: some tenths of a bit above it, but never more than plain.
        assert stored.bytes_per_weight <= min(1, entropy_bytes + 0.13)


def test_narrow_weights_of_16_bits_take_less() -> None:
    random = np.random.default_rng(0)
    narrow = np.clip(random.normal(0, 100, 20_000), -32767, 32767).astype(np.int16)
    stored = stored_weights(narrow)
    assert stored.coding == "code book"
    assert stored.bytes_per_weight < 1.6


def test_sparse_weights_take_less_and_less() -> None:
    random = np.random.default_rng(0)
    dense = random.integers(-127, 128, 20_000).astype(np.int8)
    sizes = [
        stored_weights(np.where(random.random(dense.size) < share, 0, dense).astype(np.int8)).bytes_per_weight
        for share in (0, 0.3, 0.5, 0.7, 0.9, 0.97)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.08


def test_runs_with_the_code_book_take_less_than_either_alone() -> None:
    random = np.random.default_rng(0)
    weights = np.where(random.random(20_000) < 0.8, 0, random.integers(-7, 8, 20_000)).astype(np.int8)
    stored = stored_weights(weights)
    assert stored.coding == "code book and zero runs"
    assert stored.size_bytes < stored_weights(weights, has_code_book=False).size_bytes


def test_no_weights_take_nothing() -> None:
    assert stored_weights(np.zeros((0, 3), np.int8)).bytes_per_weight == 0


def test_order_of_memory_does_not_matter() -> None:
    weights = np.random.default_rng(0).integers(-3, 4, (40, 30)).astype(np.int8)
    assert stored_weights(np.asfortranarray(weights)) == stored_weights(weights)
    assert stored_weights(weights[::2]) == stored_weights(weights[::2].copy())


def test_other_types_and_zero_points_are_refused() -> None:
    with pytest.raises(ValueError, match="weights are float32; they must be one of uint8, int8, int16"):
        stored_weights(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="zero_point is 128; for int8 it must be within -128 and 127"):
        stored_weights(np.zeros(3, np.int8), zero_point=128)


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("model", "low", "high"),
    [
        # Trained for integers, as those with whose timings the cost model was fitted: 0.68 to 0.80 bytes per weight.
        ("classification/mobilenet_v1_0.25_128_quant", 0.68, 0.80),
        ("classification/mobilenet_v1_0.5_160_quant", 0.68, 0.80),
        ("detection/ssd_mobilenet_v1_coco_quant_postprocess", 0.68, 0.80),
        # Quantized afterwards, with a scale for each channel, which spreads the weights over all integers.
        ("classification/tf2_mobilenet_v2_1.0_224_ptq", 0.85, 1.0),
    ],
)
def test_networks_take_what_the_cost_model_was_fitted_with(zoo: Path, model: str, low: float, high: float) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    network = interpreter.Interpreter(str(zoo / f"models/{model}.tflite"))
    items = size = 0
    for detail in network.get_tensor_details():
        if len(detail["shape"]) == 4 and detail["dtype"] in (np.uint8, np.int8) and detail["shape"][0] != 1:
            weights = network.get_tensor(detail["index"])
            stored = stored_weights(weights, zero_point=int(detail["quantization_parameters"]["zero_points"][0]))
            items, size = items + stored.items, size + stored.size_bytes
    assert items > 400_000
    assert low <= size / items <= high
