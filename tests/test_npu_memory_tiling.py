"""Tiles and stripes: they cover the output, fit, and agree with figures worked out by hand and row by row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_delegate_npu.memory import Convolution, Rows, stripe, tile
from synap_delegate_npu.memory.tiling import rows_per_step


def same(size: int, channels: int, out_channels: int, kernel: int, **more: Any) -> Convolution:
    """A square convolution whose output is as large as its input."""
    return Convolution(
        in_height=size,
        in_width=size,
        in_channels=channels,
        out_height=size,
        out_width=size,
        out_channels=out_channels,
        kernel_height=kernel,
        kernel_width=kernel,
        **more,
    )


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    out_height, out_width = draw(st.integers(1, 150)), draw(st.integers(1, 150))
    stride = draw(st.integers(1, 3))
    return Convolution(
        in_height=out_height * stride,
        in_width=out_width * stride,
        in_channels=draw(st.integers(1, 600)),
        out_height=out_height,
        out_width=out_width,
        out_channels=draw(st.integers(1, 2000)),
        kernel_height=draw(st.integers(1, 15)),
        kernel_width=draw(st.integers(1, 15)),
        stride_height=stride,
        stride_width=stride,
        is_depthwise=draw(st.booleans()),
        item_bytes=draw(st.sampled_from([1, 2])),
    )


@pytest.mark.parametrize(
    ("convolution", "cores", "expected"),
    [
        # 9 lines less the reach of the kernel: 7 rows of 64; 32 accumulators hold 4 of them; 3 channels for each core.
        (same(128, 16, 64, 3), 22, {"width": 64, "height": 7, "rows": 1, "kernels": 3, "passes": 1, "count": 38}),
        (same(128, 16, 64, 3), 4, {"width": 64, "height": 7, "rows": 1, "kernels": 4, "passes": 4, "count": 38}),
        # 28 columns: two rows at a time, 18 - 2 rows, 28 * 16 / 64 = 7 accumulators.
        (same(28, 256, 512, 3), 4, {"width": 28, "height": 16, "rows": 2, "kernels": 4, "passes": 32, "count": 2}),
        # 14 columns: four rows at a time would do, and the whole map is one tile: ceil(196 / 64) = 4 accumulators.
        (same(14, 512, 512, 3), 4, {"width": 14, "height": 14, "rows": 4, "kernels": 8, "passes": 16, "count": 1}),
        # 1x1: ceil(14 / 4) = 4 accumulators.
        (same(14, 512, 512, 1), 22, {"width": 14, "height": 14, "rows": 4, "kernels": 8, "passes": 3, "count": 1}),
        # 7 columns, all in one step of two: never more than 21 kernels at a time.
        (same(7, 1024, 1024, 1), 4, {"width": 7, "height": 7, "rows": 4, "kernels": 16, "passes": 16, "count": 1}),
        (same(4, 1024, 1024, 1), 4, {"width": 4, "height": 4, "rows": 4, "kernels": 21, "passes": 13, "count": 1}),
        # Depthwise channels are read once however many kernels there are.
        (same(14, 512, 512, 3, is_depthwise=True), 4, {"kernels": 8, "passes": 1}),
        # The kernel leaves no whole line.
        (same(128, 3, 8, 15), 4, {"height": 1, "rows": 1}),
    ],
)
def test_tiling_is_as_worked_out_by_hand(convolution: Convolution, cores: int, expected: dict[str, int]) -> None:
    tiling = tile(convolution, cores)
    assert {name: getattr(tiling, name) for name in expected} == expected


@given(convolutions(), st.sampled_from([1, 4, 22]))
def test_tiles_cover_the_output_exactly_once(convolution: Convolution, cores: int) -> None:
    tiling = tile(convolution, cores)
    tiles = list(tiling.tiles())
    assert len(tiles) == tiling.count == tiling.columns * tiling.lines
    rows = {(one.top, one.height) for one in tiles}
    columns = {(one.left, one.width) for one in tiles}
    assert len(rows) * len(columns) == len(tiles)
    for parts, size in ((rows, tiling.shape.out_height), (columns, tiling.shape.out_width)):
        assert [at for begin, length in sorted(parts) for at in range(begin, begin + length)] == list(range(size))
    assert all(one.width <= tiling.width <= 64 and one.height <= tiling.height for one in tiles)


@given(convolutions(), st.sampled_from([1, 4, 22]))
def test_all_kernels_are_done_in_the_passes_and_fit_in_the_accumulators(convolution: Convolution, cores: int) -> None:
    tiling = tile(replace(convolution, is_depthwise=False), cores)
    assert cores * tiling.kernels * tiling.passes >= convolution.out_channels
    assert cores * tiling.kernels * (tiling.passes - 1) < convolution.out_channels
    assert 1 <= tiling.kernels <= 21
    # Never more rows than accumulators.
    assert tiling.height <= 32 * tiling.rows


@given(st.integers(1, 64), st.integers(1, 15))
def test_rows_of_a_step_fit_beside_each_other(width: int, kernel_height: int) -> None:
    rows = rows_per_step(width, kernel_height)
    assert rows in (1, 2, 4)
    assert rows * width <= 64
    assert rows == 1 or rows * (width + kernel_height - 1) <= 72


def test_halo_is_what_a_tile_reads_for_each_output() -> None:
    tiling = tile(same(128, 16, 64, 3), 4)
    assert tiling.halo == pytest.approx((7 + 2) * (64 + 2) / (7 * 64))
    assert tiling.input_bytes == 9 * 66 * 16
    assert tiling.loaded_bytes == round(128 * 128 * 16 * tiling.halo * 4)
    assert tile(same(14, 512, 512, 1), 4).halo == 1


def test_stride_becomes_channels_and_a_smaller_kernel() -> None:
    stem = replace(same(112, 3, 32, 3), in_height=224, in_width=224, stride_height=2, stride_width=2)
    shape = tile(stem, 4).shape
    assert (shape.in_height, shape.in_width, shape.in_channels) == (112, 112, 12)
    assert (shape.kernel_height, shape.kernel_width, shape.stride_height) == (2, 2, 1)
    assert shape.in_bytes == stem.in_bytes


@pytest.mark.parametrize("changes", [{"is_depthwise": True}, {"kernel_height": 1, "kernel_width": 1}])
def test_stride_of_depthwise_and_1x1_is_computed_everywhere(changes: dict[str, Any]) -> None:
    layer = replace(same(28, 64, 64, 3), in_height=56, in_width=56, stride_height=2, stride_width=2)
    shape = tile(replace(layer, **changes), 4).shape
    assert (shape.out_height, shape.out_width, shape.in_channels) == (56, 56, 64)


def test_impossible_convolution_is_refused() -> None:
    with pytest.raises(ValueError, match="a convolution has out_channels 0; it must be positive"):
        same(8, 3, 0, 3)
    with pytest.raises(ValueError, match="cores is 0; it must be positive"):
        tile(same(8, 3, 4, 3), 0)


@st.composite
def cuttable(draw: st.DrawFn) -> Rows:
    stride = draw(st.integers(1, 3))
    kernel = draw(st.integers(1, 7))
    padding = draw(st.integers(0, kernel - 1))
    in_height = draw(st.integers(kernel, 60))
    return Rows(
        in_height=in_height,
        out_height=(in_height + 2 * padding - kernel) // stride + 1,
        in_row_bytes=draw(st.integers(1, 500)),
        out_row_bytes=draw(st.integers(1, 500)),
        kernel_height=kernel,
        stride=stride,
        padding_top=padding,
    )


def read_rows(rows: Rows, top: int, height: int) -> set[int]:
    """Input rows that the outputs of a stripe touch, one by one."""
    touched = {
        out * rows.stride - rows.padding_top + tap
        for out in range(top, top + height)
        for tap in range(rows.kernel_height)
    }
    return {row for row in touched if 0 <= row < rows.in_height}


@given(cuttable(), st.integers(0, 40_000), st.sampled_from([1, 64]))
def test_stripes_fit_and_count_what_is_read_again(rows: Rows, sram_bytes: int, alignment: int) -> None:
    stripes = stripe(rows, sram_bytes=sram_bytes, alignment=alignment)

    def blocks(size: int) -> int:
        return -(-size // alignment) * alignment

    def needed(top: int, height: int) -> int:
        # A range, as rows between the taps of a stride beyond the kernel lie in memory, too.
        read = read_rows(rows, top, height)
        span = max(read) - min(read) + 1
        return blocks(span * rows.in_row_bytes) + blocks(height * rows.out_row_bytes)

    if stripes is None:
        assert blocks(rows.kernel_height * rows.in_row_bytes) + blocks(rows.out_row_bytes) > sram_bytes
        return
    tops = range(0, rows.out_height, stripes.height)
    heights = [min(stripes.height, rows.out_height - top) for top in tops]
    assert len(tops) == stripes.count
    assert sum(heights) == rows.out_height
    assert all(
        needed(top, height) <= stripes.needed_bytes <= sram_bytes for top, height in zip(tops, heights, strict=True)
    )
    for top, height in zip(tops, heights, strict=True):
        read = read_rows(rows, top, height)
        assert rows.input_rows(top, height) == range(min(read), max(read) + 1)
    spans = [set(range(min(read), max(read) + 1)) for read in map(read_rows, [rows] * len(tops), tops, heights)]
    extra = sum(map(len, spans)) - len(set().union(*spans))
    assert stripes.extra_bytes == extra * rows.in_row_bytes


@given(cuttable(), st.integers(0, 40_000))
def test_fewer_stripes_would_not_fit(rows: Rows, sram_bytes: int) -> None:
    stripes = stripe(rows, sram_bytes=sram_bytes, alignment=1)
    if stripes is not None and stripes.count > 1:
        height = -(-rows.out_height // (stripes.count - 1))
        span = min((height - 1) * rows.stride + rows.kernel_height, rows.in_height)
        assert span * rows.in_row_bytes + height * rows.out_row_bytes > sram_bytes


def test_what_fits_as_a_whole_is_not_cut() -> None:
    rows = Rows(in_height=8, out_height=8, in_row_bytes=10, out_row_bytes=20, kernel_height=3, padding_top=1)
    stripes = stripe(rows, sram_bytes=240, alignment=1)
    assert stripes is not None
    assert (stripes.count, stripes.extra_bytes, stripes.needed_bytes) == (1, 0, 240)


def test_halo_between_stripes_is_the_reach_of_the_kernel() -> None:
    rows = Rows(in_height=12, out_height=12, in_row_bytes=10, out_row_bytes=10, kernel_height=3, padding_top=1)
    stripes = stripe(rows, sram_bytes=100, alignment=1)
    assert stripes is not None
    # Four output rows and the six they need: 100 bytes; the two cuts read two rows again each.
    assert (stripes.height, stripes.count, stripes.extra_bytes) == (4, 3, 2 * 2 * 10)


def test_stripes_are_as_even_as_can_be() -> None:
    rows = Rows(in_height=10, out_height=10, in_row_bytes=10, out_row_bytes=10)
    stripes = stripe(rows, sram_bytes=180, alignment=1)
    assert stripes is not None
    assert (stripes.height, stripes.count, stripes.needed_bytes) == (5, 2, 100)


def test_impossible_stripes_are_refused() -> None:
    rows = Rows(in_height=8, out_height=8, in_row_bytes=10, out_row_bytes=20)
    with pytest.raises(ValueError, match="sram_bytes is -1; it must not be negative"):
        stripe(rows, sram_bytes=-1)
    with pytest.raises(ValueError, match="rows to cut have stride 0; it must be positive"):
        replace(rows, stride=0)
    with pytest.raises(ValueError, match="rows to cut have padding_top -1; it must not be negative"):
        replace(rows, padding_top=-1)
