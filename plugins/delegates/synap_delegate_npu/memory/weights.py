"""How many bytes integer weights take as the NPU stores them: an estimate.

The format is not documented. What is known comes from an open driver for relatives of this NPU (the etnaviv driver of
Mesa, `etnaviv_ml_nn_v7.c` and `etnaviv_ml_nn_v8.c`, MIT), which writes weights in two ways:

- *zero runs*: in front of every stored weight is the number of zeros that were left out, in a field of 0 to 5 bits; one
  width holds for a layer, and the best one is taken;
- *code book*, on the newer cores: the number of bits of the weight's magnitude is coded with one of eight codes of 2 to
  5 bits, short ones for the numbers of bits that are most frequent, and is followed by these bits and the sign.

What is stored between the weights (biases, padding for a number of cores) is left out, and the order of weights within
the stream, which only matters for zero runs, is taken to be that of the array.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synap_delegate_npu.memory.buffers import Integers

Coding = Literal["plain", "zero runs", "code book", "code book and zero runs"]

WIDEST_RUN = 5
"""Bits of the field for zero runs: `NN_ZRL_BITS` in the feature table of the relatives."""

CODE_BITS = (2, 2, 3, 3, 3, 4, 5, 5)
"""Bits of the eight codes. They are a complete prefix code."""

DTYPES = ("uint8", "int8", "int16")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWeights:
    """What storing weights takes.

    Attributes:
        items: Number of weights.
        size_bytes: Bytes of the stream, rounded up.
        coding: The way that takes least, the simpler one of equals.
        run_bits: Bits of the field for zero runs; 0 where there is none.
    """

    items: int
    size_bytes: int
    coding: Coding
    run_bits: int

    @property
    def bytes_per_weight(self) -> float:
        """0 if there are no weights."""
        return self.size_bytes / self.items if self.items else 0.0


def stored_weights(weights: NDArray[Any], *, zero_point: int = 0, has_code_book: bool = True) -> StoredWeights:
    """Estimate what weights take, from the weights themselves.

    Args:
        weights: Integers of any shape, ``uint8``, ``int8`` or ``int16``.
        zero_point: The integer that stands for 0, the same for all.
        has_code_book: Whether the cores are of the newer kind, as those of the VIP9000 are.

    Returns:
        The smallest of all ways that the cores have.

    Raises:
        ValueError: The type is another one, or the zero point is no value of it.
    """
    _check(weights, zero_point)
    flat = np.ascontiguousarray(weights).reshape(-1)
    if not flat.size:
        return StoredWeights(items=0, size_bytes=0, coding="plain", run_bits=0)
    runs = zero_runs(flat, zero_point)
    options = list(_plain(flat, runs))
    if has_code_book:
        counts = _counts(flat, zero_point)
        options.append((_code_book(counts), "code book", 0))
        if flat.itemsize == 1:
            options.extend(_code_book_and_runs(counts, runs))
    bits, coding, run_bits = min(options, key=lambda option: option[0])
    return StoredWeights(items=flat.size, size_bytes=-(-bits // 8), coding=coding, run_bits=run_bits)


def _check(weights: NDArray[Any], zero_point: int) -> None:
    if weights.dtype.name not in DTYPES:
        msg = f"weights are {weights.dtype.name}; they must be one of {', '.join(DTYPES)}"
        raise ValueError(msg)
    limits = np.iinfo(weights.dtype)
    if not limits.min <= zero_point <= limits.max:
        msg = f"zero_point is {zero_point!r}; for {weights.dtype.name} it must be within {limits.min} and {limits.max}"
        raise ValueError(msg)


def zero_runs(flat: NDArray[Any], zero_point: int) -> Integers:
    """Lengths of the runs of zeros, in order; the last one is 0 if the weights do not end with zeros.

    Args:
        flat: ``(items,)``.
        zero_point: The integer that stands for 0.
    """
    zeros = np.zeros(flat.size + 2, np.bool_)
    np.equal(flat, zero_point, out=zeros[1:-1])
    edges = np.flatnonzero(zeros[1:] != zeros[:-1])
    lengths = edges[1::2] - edges[::2]
    return lengths if zeros[-2] else np.append(lengths, 0)


def _plain(flat: NDArray[Any], runs: Integers) -> Iterator[tuple[int, Coding, int]]:
    """Bits with every width of zero runs.

    A field of ``n`` bits stands for up to ``2**n - 1`` zeros. If more follow, the next zero is stored like any weight,
    so that ``2**n`` zeros are done with; so are zeros at the end.
    """
    others = flat.size - int(runs.sum())
    value_bits = flat.itemsize * 8
    for width in range(WIDEST_RUN + 1):
        stored = others + int((runs >> width).sum()) + bool(runs[-1] & ((1 << width) - 1))
        yield stored * (value_bits + width), "zero runs" if width else "plain", width


def _counts(flat: NDArray[Any], zero_point: int) -> Integers:
    """How often each byte occurs in the weights less their zero point; ``(256,) int64``.

    Weights of 16 bits are two bytes.
    """
    if flat.itemsize == 1:
        return np.roll(np.bincount(flat.view(np.uint8), minlength=1 << 8), -zero_point).astype(np.int64)
    pairs = np.roll(np.bincount(flat.view(np.uint16), minlength=1 << 16), -zero_point).reshape(256, 256)
    low: Integers = pairs.sum(axis=0)
    high: Integers = pairs.sum(axis=1)
    return low + high


def _code_book(counts: Integers) -> int:
    """Bits with the code book alone.

    A negative byte counts as its complement, so that -1 and 0 have no bits, 1 and -2 one, -128 and 127 seven. The
    highest bit is known to be 1, which leaves room for the sign: the bits that follow a code are as many as the number
    says, and one if it says none.
    """
    values = np.arange(256)
    lengths = _bit_lengths(np.where(values < 128, values, 255 - values))
    frequencies = np.bincount(lengths, weights=counts, minlength=8).astype(np.int64)
    return _coded(frequencies, np.maximum(np.arange(8), 1))


def _code_book_and_runs(counts: Integers, runs: Integers) -> Iterator[tuple[int, Coding, int]]:
    """Bits with the code book, one of whose codes stands for a run of up to ``2**n`` zeros, for every width ``n``.

    That there is such a mode, that it takes magnitudes for complements, and that seven bits are stored as a whole byte,
    is in the open driver. How it stores the length is not: a field like that of plain zero runs is a guess.
    """
    values = np.arange(256)
    lengths = np.minimum(_bit_lengths(np.where(values < 128, values, 256 - values)), 7)
    frequencies = np.bincount(lengths, weights=counts, minlength=8).astype(np.int64)
    for width in range(1, WIDEST_RUN + 1):
        frequencies[0] = int((runs + (1 << width) - 1 >> width).sum())
        yield _coded(frequencies, np.array([width, 1, 2, 3, 4, 5, 6, 8])), "code book and zero runs", width


def _coded(frequencies: Integers, extra_bits: Integers) -> int:
    """Bits of eight symbols, the most frequent of which get the shortest codes, and of what follows each."""
    by_frequency = -np.sort(-frequencies)
    return int(by_frequency @ np.array(CODE_BITS) + frequencies @ extra_bits)


def _bit_lengths(values: Integers) -> Integers:
    """Number of bits of numbers from 0 to 255."""
    return np.array([int(value).bit_length() for value in values], np.int64)
