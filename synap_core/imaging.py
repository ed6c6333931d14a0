"""Images for tensors: decoding and fitting as the on-board runtime does them.

Pixels are always ``(height, width, channels) uint8``, channels last.
"""

from __future__ import annotations

import io
import re
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from synap_core.errors import InputError
from synap_core.letterbox import Letterbox, Rectangle, letterbox
from synap_core.resampling import Pixels, resize

__all__ = [
    "Image",
    "Letterbox",
    "Pixels",
    "Rectangle",
    "crop",
    "decode_any_image",
    "decode_image",
    "file_size",
    "fit",
    "letterbox",
    "read_bounded",
    "resize",
]

MAX_PIXELS = 89_478_485
"""Largest image that is decoded: a quarter of a gigabyte of RGB, Pillow's own idea of a decompression bomb."""

MAX_SIDE = 65_535
"""Largest width and height, which is what JPEG can express."""

MAX_FILE_BYTES = 1 << 28
MAX_SCANS = 100
"""Largest number of scans in a JPEG file; a progressive one has about ten, and each costs a pass over the image."""

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_GRAY, _PNG_RGB, _PNG_PALETTE, _PNG_GRAY_ALPHA = 0, 2, 3, 4
_JPEG_MAGIC = b"\xff\xd8\xff"
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_JPEG_SEGMENT = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")

_OTHER_FORMATS = (
    (re.compile(rb"BM"), BmpImageFile),
    (re.compile(rb"GIF8[79]a"), GifImageFile),
    (re.compile(rb"II\*\0|MM\0\*"), TiffImageFile),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImageFile),
)
"""How files of further formats begin, and what decodes them."""

_PLAIN_MODES = {"1": "L", "L": "L", "RGB": "RGB", "RGBA": "RGBA", "RGBX": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}
"""Pillow's kinds of pixels that are taken, and what they become; 16-bit gray and palettes are taken, too."""

_WEBP_SIDE = 0x3FFF
"""Mask of a side in the headers of WebP frames, and the format's largest side."""

_DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    UserWarning,
    Pillow.DecompressionBombError,
    Pillow.DecompressionBombWarning,
    struct.error,
    zlib.error,
)
"""What Pillow raises for damaged files."""


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A picture in memory.

    Attributes:
        pixels: ``(height, width, channels) uint8`` with 1, 3 or 4 channels.
        format: Channel order in the words of tensor formats (``rgb``, ``bgr``, ``bgra``, ``gray``); empty when it
            is not known, which matches every tensor.
    """

    pixels: Pixels
    format: str = ""


def read_bounded(path: Path, max_bytes: int, *, needed: str) -> bytes:
    """Read a regular file unless it is too large.

    Args:
        path: The file.
        max_bytes: Largest size that is read.
        needed: What the limit stands for, to complete "the file has 9 bytes, …".

    Raises:
        InputError: There is no such file, it is not a regular one, is larger or cannot be read.
    """
    size = file_size(path)
    if size > max_bytes:
        msg = f"the file has {size} bytes, {needed}"
        raise InputError(msg, where=path)
    try:
        with path.open("rb") as file:
            return file.read(max_bytes)
    except OSError as error:
        msg = f"cannot read the file: {error.strerror or error}"
        raise InputError(msg, where=path) from error


def file_size(path: Path) -> int:
    """Size of a regular file in bytes.

    Raises:
        InputError: There is no such file, or it is a folder, a pipe or a device.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        msg = "no such file" if isinstance(error, FileNotFoundError) else f"cannot read the file: {reason}"
        raise InputError(msg, where=path) from error
    if not stat.S_ISREG(status.st_mode):
        msg = "not a regular file"
        raise InputError(msg, where=path)
    return status.st_size


def decode_image(path: Path) -> Image:
    """Decode a JPEG or PNG file; the content decides which, not the name.

    Gray images keep one channel, palettes become RGB, or RGBA when they have transparency, CMYK becomes RGB and
    16-bit samples keep their high byte. Orientation tags are ignored, as on the board.

    Returns:
        Image with 1, 3 or 4 channels whose format is ``rgb`` whatever the channel count (formats, section 3).

    Raises:
        InputError: The file is no JPEG or PNG image, is damaged or too large, or has gray and alpha channels.
    """
    return _decoded(path, _decode)


def decode_any_image(path: Path) -> Image:
    """Decode a JPEG, PNG, BMP, GIF (its first frame), TIFF (its first page) or WebP file; the content decides which.

    The size is checked before pixels are decoded. See `decode_image` for what becomes of other kinds of pixels.

    Returns:
        Image with 1, 3 or 4 channels whose format is ``rgb``.

    Raises:
        InputError: The file is no such image, is damaged or too large, or has pixels of another kind.
    """
    return _decoded(path, _decode_any)


def fit(image: Image, height: int, width: int, keep_proportions: int = 1, fill: int = 128) -> tuple[Pixels, Rectangle]:
    """Resize an image to the size of a tensor; one that has that size already is left as it is.

    Args:
        image: The image.
        height: Height of the tensor.
        width: Width of the tensor.
        keep_proportions: See `letterbox`.
        fill: Value of the bars in every channel; its low 8 bits count.

    Returns:
        ``(height, width, channels)`` pixels, and the rectangle of the image that they cover.
    """
    pixels = image.pixels
    if pixels.shape[:2] == (height, width):
        return pixels, Rectangle(0, 0, width, height)
    box = letterbox(pixels.shape[0], pixels.shape[1], height, width, keep_proportions)
    picture = resize(pixels[: box.source_height], box.height, box.width)
    result = np.full((height, width, pixels.shape[2]), fill & 0xFF, np.uint8)
    result[box.top : height - box.bottom, box.left : width - box.right] = picture
    return result, box.rectangle


def crop(pixels: Pixels, x: int, y: int, width: int, height: int) -> Pixels:
    """Cut a rectangle out of an image.

    Returns:
        View of ``(height, width, channels)``.

    Raises:
        InputError: The rectangle is empty or reaches beyond the image.
    """
    rows, columns = pixels.shape[:2]
    inside = 0 <= x <= columns - width and 0 <= y <= rows - height
    if width < 1 or height < 1 or not inside:
        msg = f"the region x={x} y={y} {width}x{height} is not inside the image of {columns}x{rows} pixels"
        raise InputError(msg)
    return pixels[y : y + height, x : x + width]


def _decoded(path: Path, decode: Callable[[bytes], Pixels]) -> Image:
    data = read_bounded(path, MAX_FILE_BYTES, needed=f"images of up to {MAX_FILE_BYTES} bytes are supported")
    try:
        return Image(decode(data), "rgb")
    except InputError as error:
        raise InputError(error.message, where=path, hint=error.hint) from error
    except _DECODING_ERRORS as error:
        msg = f"damaged image file: {error}"
        raise InputError(msg, where=path) from error


def _decode_any(data: bytes) -> Pixels:
    for magic, opened in _OTHER_FORMATS:
        if magic.match(data):
            if opened is WebPImageFile:
                _check_sides(*_webp_sides(data))  # opening such a file allocates all of it
            image: Pillow.Image = opened(io.BytesIO(data))
            _check_size(image)
            return _pixels(_plain(image))
    if data.startswith((_PNG_MAGIC, _JPEG_MAGIC)):
        return _decode(data)
    msg = "not a JPEG, PNG, BMP, GIF, TIFF or WebP image"
    raise InputError(msg)


def _plain(image: Pillow.Image) -> Pillow.Image:
    """Gray or RGB, with alpha where the image has transparency; of several frames the first."""
    image.load()
    if image.mode.startswith("I;16"):
        return image
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    if image.mode not in _PLAIN_MODES:
        msg = f"pixels of the kind {image.mode!r} are not supported"
        raise InputError(msg, hint="save it as gray, RGB or RGB with alpha, with 8 bits a sample")
    return image if image.mode == _PLAIN_MODES[image.mode] else image.convert(_PLAIN_MODES[image.mode])


def _webp_sides(data: bytes) -> tuple[int, int]:
    """Width and height of a WebP file as its first chunk has them (RFC 9649, sections 2.5 to 2.7)."""
    kind, body = data[12:16], data[20:30]
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & _WEBP_SIDE), 1 + (bits >> 14 & _WEBP_SIDE)
    if kind == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & _WEBP_SIDE, int.from_bytes(body[8:10], "little") & _WEBP_SIDE
    msg = "damaged image file: it does not start with a header"
    raise InputError(msg)


def _decode(data: bytes) -> Pixels:
    if data.startswith(_PNG_MAGIC):
        return _decode_png(data)
    if data.startswith(_JPEG_MAGIC):
        return _decode_jpeg(data)
    msg = "not a JPEG or PNG image"
    raise InputError(msg)


def _decode_png(data: bytes) -> Pixels:
    if data[12:16] != b"IHDR":
        msg = "damaged image file: it does not start with a header"
        raise InputError(msg)
    # Not Pillow's `open`: it takes many more formats, and warns of large images instead of refusing them.
    image: Pillow.Image = PngImageFile(io.BytesIO(data))
    _check_size(image)
    depth, colours = data[24:26]
    transparent = "transparency" in image.info
    if colours == _PNG_GRAY_ALPHA or (colours == _PNG_GRAY and transparent):
        msg = "a gray image with transparency is not supported"
        raise InputError(msg, hint="save it as gray or as RGB with alpha")
    if colours == _PNG_RGB and transparent and depth == 16:
        msg = "a 16-bit image with a transparent colour is not supported"
        raise InputError(msg, hint="save it as RGB or as RGB with alpha")
    image.load()
    if colours == _PNG_PALETTE or transparent:
        image = image.convert("RGBA" if transparent else "RGB")
    return _pixels(image)


def _decode_jpeg(data: bytes) -> Pixels:
    image: Pillow.Image = JpegImageFile(io.BytesIO(data))
    _check_size(image)
    if _scan_count(data) > MAX_SCANS:
        msg = f"the image has more than {MAX_SCANS} scans"
        raise InputError(msg)
    return _pixels(image.convert("RGB") if image.mode == "CMYK" else image)


def _check_size(image: Pillow.Image) -> None:
    _check_sides(*image.size)


def _check_sides(width: int, height: int) -> None:
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
        msg = f"the image is {width}x{height}; supported are sides of 1 to {MAX_SIDE} and {MAX_PIXELS} pixels"
        raise InputError(msg, hint="scale it down first")


def _scan_count(data: bytes) -> int:
    """Scans of a JPEG file up to its end marker; stops counting when there are too many."""
    scans, position = 0, len(_JPEG_MAGIC) - 1
    while scans <= MAX_SCANS and (marker := _JPEG_SEGMENT.search(data, position)) and marker[0] != _JPEG_END:
        scans += marker[0] == _JPEG_SCAN
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return scans


def _pixels(image: Pillow.Image) -> Pixels:
    values = np.asarray(image.convert("L") if image.mode == "1" else image)
    if values.dtype != np.uint8:
        values = (values >> 8).astype(np.uint8)
    return values.reshape(image.height, image.width, -1)
