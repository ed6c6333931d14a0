"""Decoding, fitting and cropping images, against formats.md sections 3 and 4.1."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from synap_core import imaging
from synap_core.errors import InputError
from synap_core.imaging import Image, Pixels, Rectangle, crop, decode_image, fit


def noise(height: int, width: int, channels: int) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (height, width, channels), np.uint8)


def png(header: tuple[int, int, int, int], samples: bytes = b"", extra: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
    """Build a PNG file from width, height, bit depth and colour type, for variants Pillow cannot write."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0)),
        *extra,
        (b"IDAT", zlib.compress(samples)),
        (b"IEND", b""),
    ]
    body = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_png_keeps_its_channels(tmp_path: Path, mode: str) -> None:
    picture = Pillow.fromarray(noise(5, 7, 3)).convert(mode)
    picture.save(tmp_path / "a.png")
    image = decode_image(tmp_path / "a.png")
    assert image.format == "rgb"
    np.testing.assert_array_equal(image.pixels, np.asarray(picture).reshape(5, 7, len(mode)))


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("CMYK", 3)])
def test_jpeg_gives_gray_or_rgb(tmp_path: Path, mode: str, channels: int) -> None:
    colour = Pillow.new("RGB", (16, 8), (200, 100, 50))
    colour.convert(mode).save(tmp_path / "a.jpeg", quality=100)
    pixels = decode_image(tmp_path / "a.jpeg").pixels
    expected = [200, 100, 50] if channels == 3 else [124]  # gray: 0.299 R + 0.587 G + 0.114 B
    assert pixels.shape == (8, 16, channels)
    assert np.abs(pixels.astype(int) - expected).max() <= 2


@pytest.mark.parametrize(
    ("transparency", "expected"),
    [
        pytest.param(None, [[10, 20, 30], [40, 50, 60]], id="opaque"),
        pytest.param(1, [[10, 20, 30, 255], [40, 50, 60, 0]], id="one-transparent-entry"),
        pytest.param(b"\x80\xff", [[10, 20, 30, 128], [40, 50, 60, 255]], id="alpha-table"),
        pytest.param(b"\xff\xff", [[10, 20, 30, 255], [40, 50, 60, 255]], id="alpha-table-all-opaque"),
    ],
)
def test_palette_becomes_rgb_or_rgba(
    tmp_path: Path, transparency: bytes | int | None, expected: list[list[int]]
) -> None:
    picture = Pillow.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    picture.putpalette([10, 20, 30, 40, 50, 60])
    options: dict[str, Any] = {} if transparency is None else {"transparency": transparency}
    picture.save(tmp_path / "a.png", **options)
    assert decode_image(tmp_path / "a.png").pixels.tolist() == [expected]


def test_transparent_colour_becomes_alpha(tmp_path: Path) -> None:
    Pillow.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)).save(tmp_path / "a.png", transparency=(1, 2, 3))
    assert decode_image(tmp_path / "a.png").pixels.tolist() == [[[1, 2, 3, 0], [4, 5, 6, 255]]]


@pytest.mark.parametrize(
    ("header", "samples", "expected"),
    [
        pytest.param((2, 1, 16, 0), b"\0\x12\xff\xfe\x01", [[0x12], [0xFE]], id="gray-16-bit"),
        pytest.param((1, 1, 16, 2), b"\0\x12\xff\x34\xff\x56\xff", [[0x12, 0x34, 0x56]], id="rgb-16-bit"),
        pytest.param((4, 1, 2, 0), b"\0\x1b", [[0], [85], [170], [255]], id="gray-2-bit"),
        pytest.param((2, 1, 1, 0), b"\0\x40", [[0], [255]], id="gray-1-bit"),
    ],
)
def test_other_bit_depths_become_8_bits(
    tmp_path: Path, header: tuple[int, int, int, int], samples: bytes, expected: list[list[int]]
) -> None:
    (tmp_path / "a.png").write_bytes(png(header, samples))
    assert decode_image(tmp_path / "a.png").pixels.tolist() == [expected]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(png((1, 1, 8, 4), b"\0\1\2"), id="gray-alpha"),
        pytest.param(png((1, 1, 16, 4), b"\0\1\2\3\4"), id="gray-alpha-16-bit"),
        pytest.param(png((1, 1, 8, 0), b"\0\1", ((b"tRNS", b"\0\1"),)), id="gray-with-transparent-value"),
    ],
)
def test_gray_with_transparency_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png: a gray image with transparency is not supported"):
        decode_image(tmp_path / "a.png")


def test_16_bit_transparent_colour_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png((1, 1, 16, 2), b"\0" + b"\1" * 6, ((b"tRNS", b"\1" * 6),)))
    with pytest.raises(InputError, match="16-bit image with a transparent colour"):
        decode_image(tmp_path / "a.png")


def test_orientation_tag_does_not_rotate(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(noise(8, 24, 3)).save(tmp_path / "a.jpg", exif=exif)
    assert decode_image(tmp_path / "a.jpg").pixels.shape == (8, 24, 3)


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    Pillow.fromarray(noise(3, 4, 3)).save(tmp_path / "a.jpg", "PNG")
    assert decode_image(tmp_path / "a.jpg").pixels.tolist() == noise(3, 4, 3).tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "not a JPEG or PNG image", id="empty"),
        pytest.param(b"GIF89a" + bytes(50), "not a JPEG or PNG image", id="another-format"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "damaged image file", id="png-magic-only"),
        pytest.param(b"\xff\xd8\xff", "damaged image file", id="jpeg-magic-only"),
        pytest.param(png((4, 4, 8, 2), bytes(5)), "damaged image file", id="png-without-all-rows"),
        pytest.param(png((4, 4, 3, 2), bytes(52)), "damaged image file", id="png-bad-bit-depth"),
        pytest.param(png((0, 4, 8, 2)), "damaged image file|the image is 0x4", id="png-of-no-width"),
        pytest.param(png((20_000, 20_000, 8, 2)), "the image is 20000x20000; supported", id="too-many-pixels"),
        pytest.param(png((2**31 - 1, 1, 8, 0)), "the image is 2147483647x1; supported", id="too-wide"),
    ],
)
def test_unusable_file_is_an_error_with_its_path(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        decode_image(tmp_path / "a.png")
    assert caught.value.where == str(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_file_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Pillow.fromarray(noise(40, 40, 3)).save(path)
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(InputError, match="damaged image file"):
        decode_image(path)


def test_jpeg_with_very_many_scans_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Pillow.fromarray(noise(16, 16, 3)).save(path, progressive=True)
    content = path.read_bytes()
    start = content.rindex(b"\xff\xda")
    path.write_bytes(content[:start] + content[start:-2] * 200 + content[-2:])
    with pytest.raises(InputError, match="more than 100 scans"):
        decode_image(path)


def test_missing_or_special_file_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for name, message in (("absent.png", "no such file"), ("pipe.png", "not a regular"), (".", "not a regular")):
        with pytest.raises(InputError, match=message):
            decode_image(tmp_path / name)


def test_too_large_file_is_refused_before_reading(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(imaging.MAX_FILE_BYTES + 1)
    with pytest.raises(InputError, match="the file has 268435457 bytes"):
        decode_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("size", "bars"),
    [
        pytest.param((40, 20), lambda a: (a[:16], a[-16:]), id="above-and-below"),
        pytest.param((20, 40), lambda a: (a[:, :16], a[:, -16:]), id="at-the-sides"),
    ],
)
def test_fit_puts_the_picture_between_bars(
    size: tuple[int, int], bars: Callable[[Pixels], tuple[Pixels, Pixels]]
) -> None:
    white = Image(np.full((size[1], size[0], 3), 255, np.uint8))
    pixels, rectangle = fit(white, 64, 64, fill=7)
    assert pixels.shape == (64, 64, 3)
    assert all((bar == 7).all() for bar in bars(pixels))
    assert int((pixels == 255).sum()) == 64 * 32 * 3
    assert (rectangle.width, rectangle.height) == (40, 40)


def test_fit_leaves_an_image_of_the_right_size_alone() -> None:
    image = Image(noise(6, 8, 3))
    pixels, rectangle = fit(image, 6, 8)
    assert pixels.tolist() == image.pixels.tolist()
    assert rectangle == Rectangle(0, 0, 8, 6)


def test_fit_can_cut_the_bottom() -> None:
    image = np.zeros((30, 10, 1), np.uint8)
    image[10:] = 255
    pixels, rectangle = fit(Image(image), 5, 5, keep_proportions=2)
    assert rectangle == Rectangle(0, 0, 10, 10)
    assert not pixels.any()


def test_fill_counts_modulo_256() -> None:
    assert fit(Image(noise(1, 4, 1)), 4, 4, fill=-1)[0][0].tolist() == [[255]] * 4


def test_crop_takes_the_rectangle() -> None:
    pixels = noise(6, 8, 3)
    assert crop(pixels, 2, 1, 5, 4).tolist() == pixels[1:5, 2:7].tolist()
    assert crop(pixels, 0, 0, 8, 6).tolist() == pixels.tolist()


@pytest.mark.parametrize(
    "region", [(-1, 0, 2, 2), (0, -1, 2, 2), (7, 0, 2, 2), (0, 5, 2, 2), (0, 0, 0, 2), (0, 0, 2, -1)]
)
def test_crop_beyond_the_image_is_an_error(region: tuple[int, int, int, int]) -> None:
    with pytest.raises(InputError, match="is not inside the image of 8x6 pixels"):
        crop(noise(6, 8, 3), *region)
