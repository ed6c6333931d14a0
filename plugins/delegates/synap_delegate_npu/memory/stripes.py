"""Operations that are too large for the SRAM, in stripes of rows."""

from __future__ import annotations

from dataclasses import dataclass

from synap_delegate_npu.memory.buffers import aligned, check_alignment


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """How the rows of an operation's output depend on those of its input.

    Attributes:
        in_height: Rows of the input, without padding.
        out_height: Rows of the output.
        in_row_bytes: Bytes of a row of the input, in all channels.
        out_row_bytes: Bytes of a row of the output.
        kernel_height: Input rows that one output row needs, dilation included.
        stride: Input rows from one output row to the next.
        padding_top: Rows of padding in front of the input.

    Raises:
        ValueError: A number is out of range.
    """

    in_height: int
    out_height: int
    in_row_bytes: int
    out_row_bytes: int
    kernel_height: int = 1
    stride: int = 1
    padding_top: int = 0

    def __post_init__(self) -> None:
        for name in ("in_height", "out_height", "in_row_bytes", "out_row_bytes", "kernel_height", "stride"):
            if getattr(self, name) < 1:
                msg = f"rows to cut have {name} {getattr(self, name)!r}; it must be positive"
                raise ValueError(msg)
        if self.padding_top < 0:
            msg = f"rows to cut have padding_top {self.padding_top!r}; it must not be negative"
            raise ValueError(msg)

    def input_rows(self, top: int, height: int) -> range:
        """Rows of the input that some rows of the output need; without padding, and so maybe none."""
        begin = top * self.stride - self.padding_top
        end = begin + (height - 1) * self.stride + self.kernel_height
        begin, end = max(begin, 0), min(end, self.in_height)
        return range(begin, max(begin, end))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stripes:
    """An operation in stripes.

    Attributes:
        height: Output rows of each stripe but the last, which may have fewer.
        count: Number of stripes; 1 if nothing has to be cut.
        extra_bytes: Bytes of the input that are read more than once, for each time but the first: the halo.
        needed_bytes: SRAM that the largest stripe takes, input and output together.
    """

    height: int
    count: int
    extra_bytes: int
    needed_bytes: int


def stripe(rows: Rows, *, sram_bytes: int, alignment: int = 64) -> Stripes | None:
    """Cut an operation into as few stripes as have room for their input and their output in the SRAM.

    Args:
        rows: The operation.
        sram_bytes: Bytes that are free in the SRAM while it runs.
        alignment: The input and the output of a stripe take whole blocks of so many bytes each.

    Returns:
        ``None`` if not even a stripe of one output row fits: the operation has to read and write DDR.

    Raises:
        ValueError: The alignment is no power of two, or the size of the SRAM is negative.
    """
    check_alignment(alignment)
    if sram_bytes < 0:
        msg = f"sram_bytes is {sram_bytes!r}; it must not be negative"
        raise ValueError(msg)
    if _needed(rows, 1, alignment) > sram_bytes:
        return None
    # The room that stripes of a height need grows with it.
    fits, too_high = 1, rows.out_height + 1
    while too_high - fits > 1:
        middle = (fits + too_high) // 2
        if _needed(rows, middle, alignment) <= sram_bytes:
            fits = middle
        else:
            too_high = middle
    count = -(-rows.out_height // fits)
    # As even as so many stripes can be, which leaves more of the SRAM for others.
    height = -(-rows.out_height // count)
    return Stripes(
        height=height,
        count=count,
        extra_bytes=_extra_rows(rows, height) * rows.in_row_bytes,
        needed_bytes=_needed(rows, height, alignment),
    )


def _needed(rows: Rows, height: int, alignment: int) -> int:
    """Bytes that a stripe needs somewhere in the middle, where it has most input rows.

    At the edges, padding takes the place of some; for few stripes this asks for a little too much.
    """
    span = min((height - 1) * rows.stride + rows.kernel_height, rows.in_height)
    return aligned(span * rows.in_row_bytes, alignment) + aligned(height * rows.out_row_bytes, alignment)


def _extra_rows(rows: Rows, height: int) -> int:
    """Input rows that are read again by a stripe after another."""
    extra, done = 0, 0
    for top in range(0, rows.out_height, height):
        needed = rows.input_rows(top, min(height, rows.out_height - top))
        extra += max(0, min(done, needed.stop) - needed.start)
        done = max(done, needed.stop)
    return extra
