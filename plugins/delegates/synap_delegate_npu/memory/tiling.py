"""Convolutions in tiles, as the NN cores take them.

The rules are those of the open driver for relatives of this NPU, with the buffer sizes of the feature table's VIP9000
entries; that the VS680 and the VS640 do the same is an assumption.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

TILE_WIDTH = 64
"""Output columns of the widest tile."""

INPUT_LINES = 9
"""Lines of the input buffer of a core."""

ACCUMULATORS = 32
"""Rows of the accumulator buffer of a core."""

MOST_KERNELS = ACCUMULATORS * 6 // 9
"""Kernels that a core works on at the same time at most: 21."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """The shape of a convolution of one image.

    Attributes:
        in_height: Rows of the input, without padding.
        in_width: Columns of the input.
        in_channels: Channels of the input.
        out_height: Rows of the output.
        out_width: Columns of the output.
        out_channels: Channels of the output.
        kernel_height: Rows of the kernel, dilation included: ``dilation * (kernel - 1) + 1``.
        kernel_width: Columns of the kernel.
        stride_height: Rows from one output to the next.
        stride_width: Columns from one output to the next.
        is_depthwise: Whether each output channel reads one input channel.
        item_bytes: Bytes of an item of the input and the output, 1 or 2.

    Raises:
        ValueError: A number is not positive.
    """

    in_height: int
    in_width: int
    in_channels: int
    out_height: int
    out_width: int
    out_channels: int
    kernel_height: int
    kernel_width: int
    stride_height: int = 1
    stride_width: int = 1
    is_depthwise: bool = False
    item_bytes: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "is_depthwise" and value < 1:
                msg = f"a convolution has {field.name} {value!r}; it must be positive"
                raise ValueError(msg)

    @property
    def in_bytes(self) -> int:
        """Bytes of the input."""
        return self.in_height * self.in_width * self.in_channels * self.item_bytes

    @property
    def out_bytes(self) -> int:
        """Bytes of the output."""
        return self.out_height * self.out_width * self.out_channels * self.item_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A rectangle of the output, in all channels.

    Attributes:
        top: First row.
        left: First column.
        height: Rows.
        width: Columns.
    """

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """How a convolution is cut.

    Attributes:
        shape: The convolution as the cores run it: with stride 1.
        width: Columns of the widest tiles.
        height: Rows of the highest tiles.
        rows: Output rows that a core computes in one step: 1, 2 or 4.
        kernels: Kernels that a core works on at the same time.
        passes: How many times the input tile is read, because a core has more kernels than that; 1 if depthwise.
        halo: Items of the largest tile's input for each of its outputs: how much more is read than without overlap.
    """

    shape: Convolution
    width: int
    height: int
    rows: int
    kernels: int
    passes: int
    halo: float

    @property
    def columns(self) -> int:
        """Tiles next to each other."""
        return -(-self.shape.out_width // self.width)

    @property
    def lines(self) -> int:
        """Tiles on top of each other."""
        return -(-self.shape.out_height // self.height)

    @property
    def count(self) -> int:
        """Number of tiles."""
        return self.columns * self.lines

    @property
    def input_bytes(self) -> int:
        """Bytes of the input of the largest tile, padding included."""
        height = self.height + self.shape.kernel_height - 1
        width = self.width + self.shape.kernel_width - 1
        return height * width * self.shape.in_channels * self.shape.item_bytes

    @property
    def loaded_bytes(self) -> int:
        """Bytes of input that all tiles read in all passes: the input, times the halo, times the passes."""
        return round(self.shape.in_bytes * self.halo * self.passes)

    def tiles(self) -> Iterator[Tile]:
        """All tiles, row by row; together they are the output, without overlap."""
        for top in range(0, self.shape.out_height, self.height):
            for left in range(0, self.shape.out_width, self.width):
                yield Tile(
                    top=top,
                    left=left,
                    height=min(self.height, self.shape.out_height - top),
                    width=min(self.width, self.shape.out_width - left),
                )


def tile(convolution: Convolution, cores: int) -> Tiling:
    """Cut a convolution into tiles.

    ``width = min(out_w, 64)``, ``height = clamp(9 * rows - kernel_h + 1, 1, min(32 * rows, out_h))``, and as many
    kernels at a time as the accumulators hold.

    Args:
        convolution: Its shape. With a stride beyond 1, it is cut as the one that it is lowered to.
        cores: Number of NN cores: 22 in the VS680, 4 in the VS640.

    Raises:
        ValueError: ``cores`` is not positive.

    Source: Mesa's etnaviv driver (`etnaviv_ml_nn_v8.c`), in the form that the cost model was fitted with.
    """
    if cores < 1:
        msg = f"cores is {cores!r}; it must be positive"
        raise ValueError(msg)
    shape = lowered(convolution)
    width = min(shape.out_width, TILE_WIDTH)
    rows = rows_per_step(width, shape.kernel_height)
    height = max(1, min(INPUT_LINES * rows - shape.kernel_height + 1, ACCUMULATORS * rows, shape.out_height))
    per_core = -(-shape.out_channels // cores)
    kernels = min(_kernels_at_a_time(shape, width, height, rows), per_core)
    reads = (height + shape.kernel_height - 1) * (width + shape.kernel_width - 1)
    return Tiling(
        shape=shape,
        width=width,
        height=height,
        rows=rows,
        kernels=kernels,
        passes=1 if shape.is_depthwise else -(-per_core // kernels),
        halo=reads / (height * width),
    )


def lowered(convolution: Convolution) -> Convolution:
    """The convolution of stride 1 that one with a stride becomes.

    Rows and columns of the input move to channels (space to depth), and the kernel shrinks accordingly. Depthwise ones
    and those with a kernel of 1x1 are computed at every position instead, and most results are dropped: what is cut
    into tiles then has as many rows and columns for each that is kept as the strides say.
    """
    down, right = convolution.stride_height, convolution.stride_width
    if down == right == 1:
        return convolution
    if convolution.is_depthwise or convolution.kernel_height == convolution.kernel_width == 1:
        return replace(
            convolution,
            out_height=convolution.out_height * down,
            out_width=convolution.out_width * right,
            stride_height=1,
            stride_width=1,
        )
    return replace(
        convolution,
        in_height=-(-convolution.in_height // down),
        in_width=-(-convolution.in_width // right),
        in_channels=convolution.in_channels * down * right,
        kernel_height=-(-convolution.kernel_height // down),
        kernel_width=-(-convolution.kernel_width // right),
        stride_height=1,
        stride_width=1,
    )


def rows_per_step(width: int, kernel_height: int) -> int:
    """Output rows that a core computes in one step: narrow tiles share its 64 columns.

    Args:
        width: Columns of the tile.
        kernel_height: Rows of the kernel.
    """
    reach = kernel_height - 1 + width
    if width > TILE_WIDTH // 2 or reach > (TILE_WIDTH + 8) // 2:
        return 1
    return 4 if width <= TILE_WIDTH // 4 and reach <= (TILE_WIDTH + 8) // 4 else 2


def _kernels_at_a_time(shape: Convolution, width: int, height: int, rows: int) -> int:
    """Kernels whose results for a tile fit in the accumulators of a core; at least 1."""
    is_point = shape.kernel_height == shape.kernel_width == 1
    needed = -(-height // rows) if is_point else -(-width * height // TILE_WIDTH)
    return max(1, min(ACCUMULATORS // needed, MOST_KERNELS))
