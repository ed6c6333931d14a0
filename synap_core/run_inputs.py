"""Turn the input arguments of ``synap run`` into raw tensor data, step by step as the on-board preprocessor does."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from synap_core.assign import assign, quantize_real, raw_dtype
from synap_core.errors import InputError
from synap_core.format_string import FormatString
from synap_core.imaging import MAX_PIXELS, Image, decode_image, file_size, fit, read_bounded
from synap_core.npy_files import read_npy
from synap_core.tensors import ASYMMETRIC_AFFINE, ITEM_SIZES, TensorMeta, format_shape, samples_hint

Array: TypeAlias = NDArray[Any]  # any item type: that of the tensor
Warn: TypeAlias = Callable[[str], None]

REPEATED_TOKENS = ("zero", "random")
"""Tokens that also hold for all following inputs when they come last."""

ENCODED_IMAGES = ("jpg", "jpeg", "png")
RAW_IMAGES = {"rgb": 3, "bgr": 3, "bgra": 4, "gray": 1}
"""Channels of headerless 8-bit images by file extension."""

SEMI_PLANAR_IMAGES = {"nv12": "uv8", "yvu420sp": "uv8", "nv21": "vu8", "yuv420sp": "vu8"}
"""Type of the chroma tensor that takes such a file."""

RAW_DATA = ("bin", "dat")
ARRAYS = ("npy",)

_VALUE = "value:"
_VALUE_RANGE = range(-(2**31), 2**32)
_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")
_DIMENSIONS = re.compile(r"_([0-9]{1,5})x([0-9]{1,5})\Z")
_SEED = 20
_HALF_STEPS = 2048
_LISTED_INPUTS = 16


def load_inputs(tokens: Sequence[str], tensors: Sequence[TensorMeta], *, warn: Warn) -> list[Array]:
    """Load the inputs of a model.

    Tokens are, one per input and in order: ``zero``; ``random``; ``value:<n>``, an integer whose little-endian bytes
    start the raw data; or a file. ``zero`` and ``random`` as the last token hold for all remaining inputs, too.

    Random integers cover the whole range of their type. Random real numbers are uniform in [0, 1), other than on the
    board, whose random bits make NaN and denormal numbers of them. The generator has a fixed seed.

    Args:
        tokens: The arguments.
        tensors: The model's inputs.
        warn: Called with one line for each thing that works here but not on the board, or is likely a mistake.

    Returns:
        Raw items of each input, in its type and shape.

    Raises:
        InputError: There are too few or too many tokens, or one of them does not fit its input.
    """
    generator = np.random.default_rng(_SEED)
    pairs = zip(_one_per_input(tokens, tensors), tensors, strict=True)
    return [_load(token, tensor, generator, warn) for token, tensor in pairs]


def _one_per_input(tokens: Sequence[str], tensors: Sequence[TensorMeta]) -> list[str]:
    missing = len(tensors) - len(tokens)
    if missing == 0:
        return list(tokens)
    if missing > 0 and tokens and tokens[-1] in REPEATED_TOKENS:
        return [*tokens, *[tokens[-1]] * missing]
    if not tensors:
        msg = f"{len(tokens)} inputs were given, the model takes none"
        raise InputError(msg, hint="leave them out")
    known = [f"{item.name!r} {format_shape(item.shape)} {item.dtype}" for item in tensors[:_LISTED_INPUTS]]
    rest = [f"{len(tensors) - _LISTED_INPUTS} more"] if len(tensors) > _LISTED_INPUTS else []
    msg = f"{len(tokens)} inputs were given, the model has {len(tensors)}: {', '.join([*known, *rest])}"
    raise InputError(msg, hint="give a file, 'zero', 'random' or 'value:<n>' for each")


def _load(token: str, tensor: TensorMeta, generator: np.random.Generator, warn: Warn) -> Array:
    if token == "zero":  # noqa: S105 - a word of the command line, not a password
        return np.zeros(tensor.shape, raw_dtype(tensor))
    if token == "random":  # noqa: S105 - a word of the command line, too
        return _random(tensor, generator)
    if token.startswith(_VALUE):
        return _value(token, tensor)
    path = Path(token)
    try:
        return _load_file(path, tensor, warn)
    except InputError as error:
        if error.where is not None:
            raise
        raise InputError(error.message, where=path, hint=error.hint) from error


def is_input_token(token: str) -> bool:
    """Whether a word on the command line can only be meant as an input: one of the words for it, or an image or array.

    >>> [is_input_token(word) for word in ("zero", "value:7", "cat.JPG", "profile.txt")]
    [True, True, True, False]
    """
    extension = Path(token).suffix[1:].lower()
    known = (*ENCODED_IMAGES, *RAW_IMAGES, *SEMI_PLANAR_IMAGES, *RAW_DATA, *ARRAYS)
    return token in REPEATED_TOKENS or token.startswith(_VALUE) or extension in known


def _random(tensor: TensorMeta, generator: np.random.Generator) -> Array:
    dtype = raw_dtype(tensor)
    if dtype == np.float32:
        return generator.random(tensor.shape, np.float32)
    if dtype == np.float16:
        # Rounding float32 values to half precision would give 1.0 now and then.
        steps = generator.integers(_HALF_STEPS, size=tensor.shape, dtype=np.uint16)
        return steps.astype(np.float16) / np.float16(_HALF_STEPS)
    limits = np.iinfo(dtype)
    return generator.integers(limits.min, limits.max, size=tensor.shape, dtype=dtype, endpoint=True)


def _value(token: str, tensor: TensorMeta) -> Array:
    digits = token.removeprefix(_VALUE)
    if not _INTEGER.fullmatch(digits) or int(digits) not in _VALUE_RANGE:
        msg = f"{token!r} is no integer of 32 bits"
        raise InputError(msg, hint="write for example value:1")
    number = (int(digits) % (1 << 32)).to_bytes(4, "little")
    raw = np.zeros(tensor.size_bytes, np.uint8)
    count = min(len(number), raw.size)
    raw[:count] = np.frombuffer(number, np.uint8)[:count]
    return _raw_items(raw, tensor)


def _load_file(path: Path, tensor: TensorMeta, warn: Warn) -> Array:
    size = file_size(path)
    extension = path.suffix[1:].lower()
    if extension in ENCODED_IMAGES:
        return _assign_image(decode_image(path), tensor, warn)
    if extension in RAW_IMAGES:
        return _load_raw_image(path, size, tensor, warn)
    if extension in SEMI_PLANAR_IMAGES:
        return _load_semi_planar(path, size, tensor)
    if extension in ARRAYS:
        array = read_npy(path, tensor)
        return array if array.dtype == raw_dtype(tensor) else quantize_real(array, tensor)
    if extension in RAW_DATA:
        return _raw_items(_read_exactly(path, size, tensor.size_bytes, tensor), tensor)
    known = ", ".join([*ENCODED_IMAGES, *RAW_IMAGES, *SEMI_PLANAR_IMAGES, *ARRAYS, *RAW_DATA])
    msg = f"unknown input format {path.suffix!r}; supported: {known}"
    raise InputError(msg)


def _read_exactly(path: Path, size: int, needed: int, tensor: TensorMeta) -> NDArray[np.uint8]:
    if size != needed:
        msg = f"the file has {size} bytes, input {tensor.name!r} ({format_shape(tensor.shape)}) takes {needed}"
        count = size // needed if needed and size % needed == 0 else 0
        raise InputError(msg, hint=samples_hint((count, *tensor.shape[1:]), tensor.shape))
    data = read_bounded(path, needed, needed=f"{needed} were expected")
    if len(data) != needed:
        msg = f"the file ended after {len(data)} of {needed} bytes"
        raise InputError(msg)
    return np.frombuffer(data, np.uint8)


def _raw_items(data: NDArray[np.uint8], tensor: TensorMeta) -> Array:
    dtype = raw_dtype(tensor)
    return data.view(dtype.newbyteorder("<")).astype(dtype).reshape(tensor.shape)


def _load_semi_planar(path: Path, size: int, tensor: TensorMeta) -> Array:
    """Take the plane of an nv12 or nv21 file that belongs to the tensor, unchanged (formats, section 4, step 1)."""
    chroma = SEMI_PLANAR_IMAGES[path.suffix[1:].lower()]
    fitting = {1: ("", "y8"), 2: ("", chroma)}.get(tensor.channels, ())
    wanted = FormatString.parse(tensor.data_format).type
    if not is_image(tensor) or ITEM_SIZES[tensor.dtype] != 1 or wanted not in fitting:
        msg = f"input {tensor.name!r} ({_described(tensor)}) takes no plane of a {path.suffix[1:]} file"
        raise InputError(msg, hint=f"8-bit inputs with 1 channel (y8) or 2 channels ({chroma}) do")
    items = tensor.item_count
    needed = items + items // 2 if tensor.channels == 1 else 3 * items
    if tensor.channels == 1 and items % 2:
        msg = f"input {tensor.name!r} ({_described(tensor)}) has an odd number of pixels, which such files cannot have"
        raise InputError(msg)
    data = _read_exactly(path, size, needed, tensor)
    if tensor.channels == 1:
        return _raw_items(data[:items], tensor)
    pairs = data[2 * items :].reshape(-1, 2)
    return _raw_items(np.ascontiguousarray(pairs.T if tensor.layout == "nchw" else pairs).reshape(-1), tensor)


def _load_raw_image(path: Path, size: int, tensor: TensorMeta, warn: Warn) -> Array:
    extension = path.suffix[1:].lower()
    channels = RAW_IMAGES[extension]
    named = _DIMENSIONS.search(path.stem)
    width, height = (int(named[1]), int(named[2])) if named else (0, 0)
    if size and size == width * height * channels:
        data = read_bounded(path, MAX_PIXELS * channels, needed=f"images of up to {MAX_PIXELS} pixels are supported")
        return _assign_image(Image(_shaped(data, (height, width, channels)), extension), tensor, warn)
    if size != tensor.item_count:
        msg = f"the file has {size} bytes, input {tensor.name!r} ({_described(tensor)}) has {tensor.item_count} items"
        raise InputError(msg, hint=f"name it <name>_<width>x<height>.{extension} if the image has another size")
    # Without dimensions the bytes count as being in the tensor's own order, whatever that is.
    _check_format(extension, tensor)
    return assign(_read_exactly(path, size, size, tensor), tensor)


def _shaped(data: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8).reshape(shape)


def _assign_image(image: Image, tensor: TensorMeta, warn: Warn) -> Array:
    """Fit an image to a tensor, arrange its channels and normalise it (formats, section 4, steps 2 to 7)."""
    image = _with_channels_of(tensor, image, warn)
    wanted = FormatString.parse(tensor.data_format)
    if is_image(tensor) and image.pixels.shape[2] == tensor.channels:
        image = fitted(image, tensor)
    # The board swaps red and blue in planar tensors in this one direction only.
    swaps = (("rgb", "bgr"),) if tensor.layout == "nchw" else (("rgb", "bgr"), ("bgr", "rgb"))
    if image.pixels.shape[2] == 3 and (image.format, wanted.type) in swaps:
        image = Image(image.pixels[..., ::-1], wanted.type)
    pixels = image.pixels.transpose(2, 0, 1) if tensor.layout == "nchw" else image.pixels
    if (1, *pixels.shape) != tensor.shape:
        height, width, channels = image.pixels.shape
        size = f"{width}x{height} with {channels} channels"
        msg = f"an image of {size} does not fit input {tensor.name!r} ({_described(tensor)})"
        hint = f"give one with {tensor.channels} channels" if is_image(tensor) else "give a .npy or .bin file"
        raise InputError(msg, hint=hint)
    _check_format(image.format, tensor)
    _warn_of_copied_bytes(tensor, warn)
    return assign(pixels, tensor)


def _with_channels_of(tensor: TensorMeta, image: Image, warn: Warn) -> Image:
    """Make gray images and images with alpha fit a 3-channel tensor, as the user manual promises."""
    channels = image.pixels.shape[2]
    if not is_image(tensor) or tensor.channels != 3 or channels == 3:
        return image
    change = "its gray channel is repeated" if channels == 1 else "its alpha channel is dropped"
    warn(f"input {tensor.name!r}: {change}; the on-board runtime refuses this image: convert it to RGB first")
    if channels == 1:
        return Image(np.repeat(image.pixels, 3, axis=2), "rgb")
    return Image(image.pixels[..., :3], image.format.removesuffix("a"))


def _check_format(given: str, tensor: TensorMeta) -> None:
    wanted = FormatString.parse(tensor.data_format).type
    if given and wanted and given != wanted:
        msg = f"the image has the format {given!r}, input {tensor.name!r} takes {wanted!r}"
        raise InputError(msg, hint="convert it, or give raw items as a .npy or .bin file")


def _warn_of_copied_bytes(tensor: TensorMeta, warn: Warn) -> None:
    quant = tensor.quant
    if tensor.dtype == "int8" and quant and quant.scheme == ASYMMETRIC_AFFINE and not (tensor.mean or tensor.scale):
        warn(
            f"input {tensor.name!r} is int8 without means and scale: pixels are copied as they are, and those above "
            "127 become negative; set 'means' and 'scale' when converting the model"
        )


def fitted(image: Image, tensor: TensorMeta) -> Image:
    """Resize an image to an input that takes images, with or without bars as the format of the input asks for."""
    wanted = FormatString.parse(tensor.data_format)
    height, width = tensor.shape[2:] if tensor.layout == "nchw" else tensor.shape[1:3]
    keep, fill = wanted.get_int("keep_proportions", 1), wanted.get_int("fill_color", 128)
    return replace(image, pixels=fit(image, height, width, keep, fill)[0])


def is_image(tensor: TensorMeta) -> bool:
    """Whether an input takes images: it has four dimensions, one sample and a known layout."""
    return len(tensor.shape) == 4 and tensor.shape[0] == 1 and tensor.layout != "none"


def _described(tensor: TensorMeta) -> str:
    wanted = FormatString.parse(tensor.data_format).type
    words = (tensor.dtype, tensor.layout if tensor.layout != "none" else "", format_shape(tensor.shape), wanted)
    return " ".join(filter(None, words))
