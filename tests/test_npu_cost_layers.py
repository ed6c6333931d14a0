"""Descriptions of operations, and how the convolution cores cut them into tiles."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from synap_delegate_npu.cost.layers import Map, Operation, convolution, deconvolution, elementwise, fully_connected
from synap_delegate_npu.cost.parameters import NpuParameters
from synap_delegate_npu.cost.tiling import convolution_work, tile
from tests.support.npu_cost import ROUND, chip

sizes = st.integers(1, 200)
channels = st.integers(1, 100)
windows = st.tuples(st.integers(1, 15), st.integers(1, 15))


def test_convolution_counts_weights_and_products() -> None:
    made = convolution(Map(56, 56, 64), Map(28, 28, 96), kernel=(3, 5), stride=(2, 2), groups=2, batch=3)
    assert (made.weights, made.macs) == (96 * 3 * 5 * 32, 28 * 28 * 96 * 3 * 5 * 32)
    assert (made.input_elements, made.output_elements, made.depthwise) == (56 * 56 * 64, 28 * 28 * 96, False)


def test_convolution_with_a_group_for_each_channel_is_depthwise() -> None:
    assert convolution(Map(8, 8, 16), Map(8, 8, 32), kernel=(3, 3), groups=16).depthwise
    assert not convolution(Map(8, 8, 1), Map(8, 8, 1), kernel=(3, 3)).depthwise


def test_deconvolution_multiplies_each_input_with_all_weights_of_its_channel() -> None:
    made = deconvolution(Map(10, 12, 8), Map(20, 24, 4), kernel=(2, 2), stride=(2, 2))
    assert (made.weights, made.macs) == (4 * 4 * 8, 10 * 12 * 4 * 4 * 8)


def test_elementwise_reads_as_many_elements_from_each_input_unless_told() -> None:
    assert elementwise("addition", 100, inputs=2).input_elements == 200
    assert elementwise("copy", 100, inputs=3, read=100).input_elements == 100


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"kind": "magic"}, "kind 'magic' is not one of convolution, "),
        ({"dtype": "int4"}, "dtype 'int4' is not one of uint8, int8, "),
        ({"batch": 0}, "batch 0 is below 1"),
        ({"input_elements": 0}, "input_elements 0 is below 1"),
        ({"weights": -1}, "weights -1 is negative"),
        ({"macs": -1}, "macs -1 is negative"),
        ({"kernel": (0, 1)}, r"kernel \(0, 1\) has a size below 1"),
        ({"stride": (1, 0)}, r"stride \(1, 0\) has a size below 1"),
        ({"input": Map(1, 1, 3), "groups": 2}, "groups 2 do not divide 3 and 1"),
        ({"kind": "convolution", "input": Map(2, 2, 1)}, "other numbers of elements than their maps"),
    ],
)
def test_impossible_operation_is_refused(fields: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Operation(**{"kind": "tensor", **fields})  # type: ignore[arg-type] # wrong on purpose


def test_convolution_is_not_described_by_numbers_of_elements() -> None:
    with pytest.raises(ValueError, match="kind 'fully_connected' is described by more than numbers of elements"):
        elementwise("fully_connected", 10)


def test_parameters_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ValidationError, match="mac_cores"):
        NpuParameters.model_validate(ROUND | {"mac_cores": 1.0})
    with pytest.raises(ValidationError, match="ddr_eff"):
        chip(ddr_eff=1.5)
    with pytest.raises(ValidationError, match="t_layer"):
        chip(t_layer=float("inf"))


def test_wide_map_is_cut_into_columns_of_64_and_rows_of_the_input_buffer() -> None:
    # 56 columns: one row a step. 9 - 3 + 1 = 7 rows a tile, 8 tiles. 16 kernels a core; 56 x 7 outputs take 7 of 32
    # rows of accumulators, so 4 kernels at once and 4 passes.
    cut = tile(Map(56, 56, 64), (3, 3), 4)
    assert (cut.steps, cut.kernels, cut.passes) == (8 * 7, 16, 4)
    assert cut.halo == pytest.approx(9 / 7 * 58 / 56)


def test_narrow_maps_pack_rows() -> None:
    # 28 columns: two rows a step, and 9 * 2 - 3 + 1 = 16 rows a tile: 16 rows in 8 steps, then 12 in 6.
    assert tile(Map(28, 28, 8), (3, 3), 4).steps == 8 + 6
    # 14 columns and a reach of 16: four rows a step, all 14 rows in one tile.
    assert tile(Map(14, 14, 8), (3, 3), 4).steps == 4
    # A reach of 5 - 1 + 16 is too much for four rows.
    assert tile(Map(16, 16, 8), (5, 5), 4).steps == 7 + 1


@given(st.tuples(sizes, sizes, channels), windows, st.integers(1, 32))
def test_tiles_cover_the_output(shape: tuple[int, int, int], kernel: tuple[int, int], cores: int) -> None:
    cut = tile(Map(*shape), kernel, cores)
    assert cut.steps * 64 >= shape[0] * shape[1]
    assert cut.kernels * cores >= shape[2]
    assert 1 <= cut.passes <= cut.kernels
    assert cut.halo >= 1


@given(st.tuples(sizes, sizes), channels, channels, windows, st.integers(1, 3))
def test_cores_have_time_for_all_products(
    size: tuple[int, int], inputs: int, outputs: int, kernel: tuple[int, int], stride: int
) -> None:
    source = Map(size[0] * stride, size[1] * stride, inputs)
    steps = (stride, stride)
    made = convolution(source, Map(*size, outputs), kernel=kernel, stride=steps)
    assert convolution_work(made, 4).mac_slots >= made.macs
    each = convolution(source, Map(*size, inputs), kernel=kernel, stride=steps, groups=inputs)
    assert convolution_work(each, 4).mac_slots >= each.macs
    back = deconvolution(Map(*size, outputs), source, kernel=kernel, stride=steps)
    assert convolution_work(back, 4).mac_slots >= back.macs


def test_stride_is_rearranged_or_skipped() -> None:
    source, output = Map(224, 224, 3), Map(112, 112, 32)
    rearranged = convolution_work(convolution(source, output, kernel=(3, 3), stride=(2, 2)), 4)
    # As a 2x2 convolution of 12 channels: 112 columns take two tiles of 64; 9 - 2 + 1 = 8 rows a tile.
    assert rearranged.rearranged == source.elements
    assert rearranged.mac_slots == 64 * 2 * 112 * (3 * math.ceil(2 * 2 * 12 / 3)) * 32
    same = convolution_work(convolution(source, Map(224, 224, 32)), 4).mac_slots
    skipped = convolution_work(convolution(source, output, stride=(2, 2)), 4)
    assert skipped.rearranged == 0
    assert skipped.mac_slots == same * 4 * (64 * 2 * 112) / (64 * 4 * 224)


def test_input_is_read_again_for_each_pass_but_not_by_a_depthwise_convolution() -> None:
    source = Map(56, 56, 64)
    dense = convolution_work(convolution(source, source, kernel=(3, 3)), 4)
    assert dense.load == pytest.approx(source.elements * 4 * 9 / 7 * 58 / 56)
    each = convolution_work(convolution(source, source, kernel=(3, 3), groups=64), 4)
    assert each.load == pytest.approx(source.elements * 9 / 7 * 58 / 56)
    assert each.mac_slots == 64 * 56 * 9 * 64


def test_deconvolution_is_a_convolution_to_more_channels() -> None:
    source = Map(10, 12, 8)
    back = convolution_work(deconvolution(source, Map(20, 24, 4), kernel=(2, 2), stride=(2, 2)), 4)
    assert back == convolution_work(convolution(source, Map(10, 12, 16)), 4)


def test_fully_connected_layer_has_a_weight_for_each_product() -> None:
    made = fully_connected(1024, 10, batch=2)
    assert (made.weights, made.macs, made.input_elements, made.output_elements) == (10240, 10240, 1024, 10)
