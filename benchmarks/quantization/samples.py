"""Input tensors of the benchmark, made of the photos of the model zoo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Tensor = NDArray[np.float32]

TEXT_SIZE = (640, 480)
"""Width and height for the text detector: the photos are about 500x350, and their smallest letters stay legible."""

TEXT_PHOTOS = ("n06596364_comic_book.jpg", "n06794110_street_sign.jpg")
LETTERED_CALIBRATION = (
    "academic_gown", "beer_bottle", "cash_machine", "container_ship", "digital_clock", "drilling_platform",
    "hand-held_computer", "jersey", "laptop", "slot", "swab", "tobacco_shop", "traffic_light",
)  # fmt: skip
LETTERED_EVALUATION = (
    "accordion", "baseball", "bookshop", "book_jacket", "coffee_mug", "harmonica", "jeep", "menu", "pay-phone",
    "stopwatch", "trailer_truck",
)  # fmt: skip
"""Photos of the calibration and of the evaluation subset that show letters or figures; chosen by eye."""


def to_tensor(image: Image.Image, size: tuple[int, int], mean: float, scale: float, *, bgr: bool = False) -> Tensor:
    """Resize (bilinear) and normalise an image.

    Args:
        image: Any image.
        size: Width and height wanted.
        mean: Number that becomes 0.
        scale: Distance from it to what becomes 1.
        bgr: Whether the channels are to be blue, green, red.

    Returns:
        ``(1, 3, H, W)``: ``(x - mean) / scale``.
    """
    pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR), np.float32)
    if bgr:
        pixels = pixels[..., ::-1]
    return np.ascontiguousarray(((pixels - np.float32(mean)) / np.float32(scale)).transpose(2, 0, 1)[None])


def imagenet(zoo: Path, subset: str) -> list[Path]:
    """Photos of a subset, ``calibration`` or ``evaluation``, in the order of its list."""
    folder = zoo / "images" / "imagenet"
    return [folder / name for name in (folder / f"{subset}.txt").read_text(encoding="utf-8").split()]


def photos(zoo: Path) -> list[Path]:
    """The photos for detection; none shows letters worth mentioning."""
    return sorted((zoo / "images" / "photos").glob("*.jpg"))


def classification(zoo: Path, subset: str) -> Iterator[Tensor]:
    """The centre 224x224 of each photo, RGB, (x-127)/128."""
    for path in imagenet(zoo, subset):
        with Image.open(path) as image:
            left, top = (image.width - 224) // 2, (image.height - 224) // 2
            yield to_tensor(image.crop((left, top, left + 224, top + 224)), (224, 224), 127, 128)


def detection(zoo: Path, subset: str) -> Iterator[Tensor]:
    """Whole photos for FastestDet, BGR, x/255: ImageNet's; for evaluation also those for detection, mirrored too."""
    for path in photos(zoo) if subset == "evaluation" else []:
        with Image.open(path) as image:
            yield to_tensor(image, (352, 352), 0, 255, bgr=True)
            yield to_tensor(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (352, 352), 0, 255, bgr=True)
    for path in imagenet(zoo, subset):
        with Image.open(path) as image:
            yield to_tensor(image, (352, 352), 0, 255, bgr=True)


def whole_photos(zoo: Path, subset: str) -> Iterator[Tensor]:
    """Each photo at 224x224, BGR less the means (104, 117, 123)."""
    means = np.array([104, 117, 123], np.float32).reshape(1, 3, 1, 1)
    for path in imagenet(zoo, subset):
        with Image.open(path) as image:
            yield to_tensor(image, (224, 224), 0, 1, bgr=True) - means


def scenes(zoo: Path, subset: str) -> Iterator[Tensor]:
    """Scenes 0-29 for calibration, 30-59 for evaluation, RGB, x/255."""
    images = np.load(zoo / "images" / "digit_scenes_60.npz")["images"]
    for image in images[:30] if subset == "calibration" else images[30:]:
        yield to_tensor(Image.fromarray(image), (160, 160), 0, 255)


def text(zoo: Path, subset: str) -> Iterator[Tensor]:
    """Photos for the text detector, BGR, (x/255-0.5)/0.5.

    There are two photos full of text. Their left halves calibrate, their right halves evaluate, in crops of several
    sizes; photos of the two ImageNet subsets that show letters go with them, and others that show none (for
    calibration every fifth of the ImageNet subset, for evaluation those for detection), since a detector meets both.
    """
    for image in _text_images(zoo, subset):
        yield to_tensor(image, TEXT_SIZE, 127.5, 127.5, bgr=True)


def _text_images(zoo: Path, subset: str) -> Iterator[Image.Image]:
    """Crops, photos with letters, photos without."""
    for name in TEXT_PHOTOS:
        with Image.open(zoo / "images" / "text" / name) as image:
            middle = image.width // 2
            half = (0, 0, middle, image.height) if subset == "calibration" else (middle, 0, image.width, image.height)
            yield from _crops(image.convert("RGB").crop(half))
    listed = imagenet(zoo, subset)
    lettered = LETTERED_CALIBRATION if subset == "calibration" else LETTERED_EVALUATION
    chosen = [path for path in listed if path.stem.split("_", 1)[1] in lettered]
    others = listed[::5] if subset == "calibration" else photos(zoo)
    for path in [*chosen, *(path for path in others if path not in chosen)]:
        with Image.open(path) as image:
            yield image.convert("RGB")


def _crops(half: Image.Image) -> Iterator[Image.Image]:
    """The whole, its two overlapping thirds from top to bottom, and these at three fifths of the width."""
    width, height = half.size
    yield half
    for top in (0, height // 3):
        yield half.crop((0, top, width, top + 2 * height // 3))
        for left in (0, 2 * width // 5):
            yield half.crop((left, top, left + 3 * width // 5, top + 2 * height // 3))
