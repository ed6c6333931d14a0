"""How files store constants: sparse, of four bits, without data; and what must not be believed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synap_core.graph.quantized import QuantizedTensor
from tests.support.canonical import conforms, imported, opaque_reasons
from tests.support.tflite_models import ModelBuilder

DENSE, COMPRESSED = schema.DimensionType.DENSE, schema.DimensionType.SPARSE_CSR


def encode(
    array: np.ndarray, order: Sequence[int], blocks: dict[int, int], compressed: Sequence[bool]
) -> tuple[np.ndarray, Any]:
    """Encode an array by walking its dimensions in some order; written from the description in the schema.

    Args:
        array: What is stored.
        order: Dimensions from the outermost to the innermost; number ``rank + i`` is inside the i-th block.
        blocks: Block size by dimension.
        compressed: For each entry of ``order``, whether only what is there is listed.

    Returns:
        The stored items and the tables.
    """
    rank = array.ndim
    block_axes = list(blocks)
    sizes = [array.shape[axis] // blocks.get(axis, 1) for axis in range(rank)] + [blocks[axis] for axis in block_axes]
    nodes: list[tuple[int, ...]] = [()]
    tables = []
    for level, number in enumerate(order):
        table = schema.DimensionMetadataT()
        table.format, table.denseSize = (COMPRESSED if compressed[level] else DENSE), sizes[number]
        children, segments, indices = [], [0], []
        for node in nodes:
            for index in range(sizes[number]):
                child = (*node, index)
                if not compressed[level] or _has_items(array, child, order, blocks, block_axes):
                    children.append(child)
                    indices.append(index)
            segments.append(len(indices))
        if compressed[level]:
            table.denseSize = 0
            table.arraySegmentsType, table.arraySegments = _vector(segments)
            table.arrayIndicesType, table.arrayIndices = _vector(indices)
        nodes = children
        tables.append(table)
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder = np.array(order, np.int32)
    sparsity.blockMap = np.array(block_axes, np.int32)
    sparsity.dimMetadata = tables
    return np.array([array[_place(node, order, blocks, block_axes, rank)] for node in nodes], array.dtype), sparsity


def _place(
    node: Sequence[int], order: Sequence[int], blocks: dict[int, int], axes: Sequence[int], rank: int
) -> tuple[int, ...]:
    at = dict(zip(order, node, strict=False))
    inside = {axis: at.get(rank + i, 0) for i, axis in enumerate(axes)}
    return tuple(at.get(axis, 0) * blocks.get(axis, 1) + inside.get(axis, 0) for axis in range(rank))


def _has_items(
    array: np.ndarray, node: Sequence[int], order: Sequence[int], blocks: dict[int, int], axes: Sequence[int]
) -> bool:
    rank = array.ndim
    sizes = [array.shape[axis] // blocks.get(axis, 1) for axis in range(rank)] + [blocks[axis] for axis in axes]
    rest = [range(sizes[number]) for number in order[len(node) :]]
    return any(array[_place((*node, *tail), order, blocks, axes, rank)] for tail in itertools.product(*rest))


def _vector(values: Sequence[int]) -> tuple[int, Any]:
    """The smallest of the three vector types of the schema that holds the values."""
    largest = max(values, default=0)
    name, dtype = next(
        (n, t)
        for n, t in (("Uint8Vector", np.uint8), ("Uint16Vector", np.uint16), ("Int32Vector", np.int32))
        if largest <= np.iinfo(t).max
    )
    vector = getattr(schema, f"{name}T")()
    vector.values = np.array(values, dtype)
    return getattr(schema.SparseIndexVector, name), vector


def _densified(items: np.ndarray, shape: Sequence[int], sparsity: Any) -> bytes:
    """``y = x + densify(constant)``."""
    builder = ModelBuilder()
    x, y, dense = (builder.tensor(name, shape) for name in ("x", "y", "dense"))
    constant = builder.tensor("sparse", shape, data=items)
    builder.graph.tensors[constant].sparsity = sparsity
    builder.operator("DENSIFY", [constant], [dense], schema.DensifyOptionsT())
    builder.operator("ADD", [x, dense], [y], schema.AddOptionsT())
    return builder.finish([x], [y])


def _dense_layer(items: np.ndarray, shape: Sequence[int], sparsity: Any) -> bytes:
    """A dense layer that reads sparse weights ``[units, inputs]`` itself."""
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, shape[1]]), builder.tensor("y", [1, shape[0]])
    weights = builder.tensor("w", shape, data=items)
    builder.graph.tensors[weights].sparsity = sparsity
    bias = builder.constant("b", np.arange(shape[0], dtype=np.float32))
    builder.operator("FULLY_CONNECTED", [x, weights, bias], [y], schema.FullyConnectedOptionsT(), version=8)
    return builder.finish([x], [y])


def _sparse_array(shape: Sequence[int], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    array = (rng.normal(size=shape) * (rng.random(shape) < 0.15)).astype(np.float32)
    # Without any item a file has no data for the tensor, which makes it no constant.
    array.reshape(-1)[seed % array.size] = 1
    return array


@pytest.mark.parametrize(
    ("shape", "order", "blocks", "compressed"),
    [
        pytest.param((1, 6), (0, 1), {}, (False, True), id="rows"),
        pytest.param((1, 8, 4), (0, 1, 2, 3, 4), {1: 4, 2: 2}, (False, False, True, False, False), id="blocks"),
        pytest.param((1, 8, 4), (0, 2, 1, 3), {1: 4}, (False, False, True, False), id="one block, other order"),
        pytest.param((1, 300), (0, 1), {}, (False, True), id="indices of two bytes"),
    ],
)
def test_sparse_constants_densify(
    tmp_path: Path,
    shape: tuple[int, ...],
    order: Sequence[int],
    blocks: dict[int, int],
    compressed: Sequence[bool],
    rng: np.random.Generator,
) -> None:
    items, sparsity = encode(_sparse_array(shape, 3), order, blocks, compressed)
    assert items.size < np.prod(shape)
    conforms(_densified(items, shape, sparsity), tmp_path, [rng.normal(size=shape).astype(np.float32)], relative=0)


def test_sparse_weights_of_a_dense_layer_are_dense(tmp_path: Path, rng: np.random.Generator) -> None:
    items, sparsity = encode(_sparse_array((6, 8), 3), (0, 1), {}, (False, True))
    conforms(_dense_layer(items, (6, 8), sparsity), tmp_path, [rng.normal(size=(1, 8)).astype(np.float32)])


@given(
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    blocks=st.sampled_from([{}, {1: 2}, {2: 2}, {1: 2, 2: 2}]),
    data=st.data(),
    seed=st.integers(0, 99),
)
@settings(derandomize=True, max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_traversal_gives_back_the_array(
    tmp_path: Path, rows: int, columns: int, blocks: dict[int, int], data: st.DataObject, seed: int
) -> None:
    """LiteRT takes few traversals, so the array that was encoded is the oracle."""
    array = _sparse_array((1, 2 * rows, 2 * columns), seed)
    outer = data.draw(st.permutations(range(3)))
    order = [*outer, *range(3, 3 + len(blocks))]
    compressed = [data.draw(st.booleans()) for _ in range(3)] + [False] * len(blocks)
    items, sparsity = encode(array, order, blocks, compressed)
    model, _ = imported(_densified(items, array.shape, sparsity), tmp_path)
    assert opaque_reasons(model) == []
    (add,) = (node for node in model.graph if node.op_type == "Add")
    np.testing.assert_array_equal(add.inputs[1].const_value.numpy(), array)


def _break(sparsity: Any, change: str) -> None:
    rows, columns = sparsity.dimMetadata
    match change:
        case "order":
            sparsity.traversalOrder = np.array([0, 0], np.int32)
        case "short order":
            sparsity.traversalOrder = np.array([0], np.int32)
        case "block":
            sparsity.blockMap = np.array([5], np.int32)
        case "dense size":
            rows.denseSize = 1 << 30
        case "format":
            rows.format = 7
        case "segments":
            columns.arraySegments.values = columns.arraySegments.values[::-1].copy()
        case "few segments":
            columns.arraySegments.values = columns.arraySegments.values[:-1].copy()
        case "no indices":
            columns.arrayIndices = None
            columns.arrayIndicesType = 0
        case "index":
            columns.arrayIndices.values = columns.arrayIndices.values + np.uint8(200)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("order", "traversal order"),
        ("short order", "traversal order"),
        ("block", "block map"),
        ("dense size", "1073741824 indices"),
        ("format", "format 7"),
        ("segments", "segment bounds"),
        ("few segments", "segment bounds"),
        ("no indices", "segment bounds"),
        ("index", "outside"),
    ],
)
def test_damaged_sparse_constants_are_named(tmp_path: Path, change: str, reason: str) -> None:
    items, sparsity = encode(_sparse_array((1, 6), 3), (0, 1), {}, (False, True))
    _break(sparsity, change)
    (found,) = opaque_reasons(imported(_densified(items, (1, 6), sparsity), tmp_path)[0])
    assert found.startswith("DENSIFY: a sparse constant is damaged")
    assert reason in found


def test_sparse_items_of_another_number_are_refused(tmp_path: Path) -> None:
    items, sparsity = encode(_sparse_array((1, 6), 3), (0, 1), {}, (False, True))
    content = _densified(np.concatenate([items, items]), (1, 6), sparsity)
    (found,) = opaque_reasons(imported(content, tmp_path)[0])
    assert f"{2 * items.size} items for {items.size} places" in found


def test_a_sparse_constant_cannot_ask_for_the_whole_memory(tmp_path: Path) -> None:
    items, sparsity = encode(_sparse_array((1, 6), 3), (0, 1), {}, (False, True))
    (found,) = opaque_reasons(imported(_densified(items, (1, 1 << 20, 1 << 10), sparsity), tmp_path)[0])
    assert found == "DENSIFY: sparse constants of more than 33554432 items"


def test_a_computed_tensor_is_not_sparse(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1]), builder.tensor("y", [1])
    builder.operator("DENSIFY", [x], [y], schema.DensifyOptionsT())
    reasons = opaque_reasons(imported(builder.finish([x], [y]), tmp_path)[0])
    assert reasons == ["DENSIFY: its operand is computed; only a constant can be sparse"]


def _added(make: Callable[[ModelBuilder], int]) -> bytes:
    """``y = x + constant``."""
    builder = ModelBuilder()
    x, y = builder.tensor("x", [1, 3]), builder.tensor("y", [1, 3])
    builder.operator("ADD", [x, make(builder)], [y], schema.AddOptionsT())
    return builder.finish([x], [y])


@pytest.mark.parametrize(
    "values", [pytest.param([-8, 7, 3], id="odd"), pytest.param([-8, 7, 3, -1], id="even"), pytest.param([5], id="one")]
)
def test_integers_of_four_bits_are_two_in_a_byte_the_lower_first(tmp_path: Path, values: list[int]) -> None:
    padded = [*values, 0][: len(values) + len(values) % 2]
    packed = np.array([(a & 15) | (b & 15) << 4 for a, b in zip(padded[::2], padded[1::2], strict=True)], np.uint8)
    builder = ModelBuilder()
    shape = [1, len(values)]
    x, y = builder.tensor("x", shape), builder.tensor("y", shape)
    constant = builder.tensor("nibbles", shape, "int4", data=packed, scale=0.5)
    builder.operator("ADD", [x, constant], [y], schema.AddOptionsT())
    model, _ = imported(builder.finish([x], [y]), tmp_path)
    (add,) = (node for node in model.graph if node.op_type == "Add")
    tensor = add.inputs[1].const_value
    assert isinstance(tensor, QuantizedTensor)
    np.testing.assert_array_equal(tensor.integers, [values])
    np.testing.assert_array_equal(tensor.numpy(), np.array([values], np.float32) / 2)


def _typed(number: int, size: int) -> Callable[[ModelBuilder], int]:
    def make(builder: ModelBuilder) -> int:
        index = builder.tensor("odd", [1, 3], "int8", data=np.zeros(size, np.uint8))
        builder.graph.tensors[index].type = number
        return index

    return make


TYPES = schema.TensorType


@pytest.mark.parametrize(
    ("number", "size", "reason"),
    [
        pytest.param(TYPES.INT2, 1, "constants of type INT2 cannot be imported", id="int2"),
        pytest.param(TYPES.UINT4, 2, "constants of type UINT4 cannot be imported", id="uint4"),
        pytest.param(TYPES.BFLOAT16, 6, "constants of type BFLOAT16 cannot be imported", id="bfloat16"),
        pytest.param(TYPES.STRING, 12, "constants of type STRING cannot be imported", id="string"),
        pytest.param(TYPES.FLOAT32, 11, "a constant of type FLOAT32 with 11 bytes", id="torn item"),
        pytest.param(TYPES.FLOAT32, 16, "a constant of shape [1, 3] with 4 items", id="too many items"),
        pytest.param(TYPES.INT4, 3, "a constant of shape [1, 3] with 6 items", id="too many nibbles"),
    ],
)
def test_other_constants_make_their_readers_opaque(tmp_path: Path, number: int, size: int, reason: str) -> None:
    assert opaque_reasons(imported(_added(_typed(number, size)), tmp_path)[0]) == [f"ADD: {reason}"]


def test_a_float_constant_with_quantization_is_one_of_real_numbers(tmp_path: Path, rng: np.random.Generator) -> None:
    values = np.array([[0.5, 1.25, -3]], np.float32)
    content = _added(lambda builder: builder.tensor("c", [1, 3], data=values, scale=0.1))
    conforms(content, tmp_path, [rng.normal(size=(1, 3)).astype(np.float32)], relative=0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"scale": [0.1, 0.2]}, "2 quantization scales along dimension 0", id="axis"),
        pytest.param({"scale": [0.1, 0.2, float("nan")]}, "no positive number", id="nan"),
        pytest.param({"scale": [0.1, -0.2, 0.5]}, "no positive number", id="negative"),
    ],
)
def test_contradictory_quantization_is_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    values = np.zeros((1, 3), np.int8)
    content = _added(lambda builder: builder.tensor("c", [1, 3], "int8", data=values, **change))
    (found,) = opaque_reasons(imported(content, tmp_path)[0])
    assert reason in found


def test_constants_that_share_a_buffer_have_a_budget(tmp_path: Path) -> None:
    """A small file whose tensors all point to one buffer must not become a large graph."""
    builder = ModelBuilder()
    x = last = builder.tensor("x", [1, 50_000])
    first = builder.constant("c", np.ones((1, 50_000), np.float32))
    for number in range(8):
        shared = builder.tensor(f"c{number}", [1, 50_000])
        builder.graph.tensors[shared].buffer = builder.graph.tensors[first].buffer
        y = builder.tensor(f"y{number}", [1, 50_000])
        builder.operator("ADD", [last, shared], [y], schema.AddOptionsT())
        last = y
    reasons = opaque_reasons(imported(builder.finish([x], [last]), tmp_path)[0])
    assert set(reasons) == {"ADD: the constants take more room than the file has"}
    assert 4 <= len(reasons) < 8
