"""Numbers and names as the page writes them."""

from __future__ import annotations

from synap_core.tensors import QuantParams, TensorMeta

LONGEST_NAME = 160


def milliseconds(microseconds: float) -> str:
    """A time, as reports of conversions write it."""
    return f"{microseconds / 1000:.3f} ms"


def bytes_of(count: int) -> str:
    """A size for people: three digits or so."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1000 or unit == "GiB":
            return (
                f"{count:,} bytes"
                if unit == "bytes"
                else f"{value:.3g} {unit}"
                if value < 100
                else f"{value:.0f} {unit}"
            )
        value /= 1024
    return f"{count:,} bytes"


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """A name with its middle left out when it is long: ends tell layers apart."""
    if len(name) <= longest:
        return name
    tail = (longest - 1) // 2
    return f"{name[: longest - 1 - tail]}…{name[-tail:]}"


def quantization(quant: QuantParams | None) -> str:
    """Quantization of a tensor, in a few words."""
    if quant is None:
        return ""
    if quant.fractional_length is not None:
        return f"fl {quant.fractional_length}"
    if len(quant.scale) == 1:
        return f"scale {quant.scale[0]:.9g}, zero point {quant.zero_point[0]}"
    return f"{quant.scheme}, {len(quant.scale)} scales" if quant.scale else quant.scheme


def normalisation(tensor: TensorMeta) -> str:
    """What is done to an image before it becomes an input."""
    mean = "" if tensor.mean is None else f"mean {' '.join(f'{value:g}' for value in tensor.mean)}"
    scale = "" if tensor.scale is None else f"scale {tensor.scale:g}"
    return ", ".join(part for part in (mean, scale) if part)
