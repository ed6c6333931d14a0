"""Read the output of a classification model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synap_core.assign import dequantize
from synap_core.errors import InputError
from synap_core.format_string import FormatString
from synap_core.tensors import TensorMeta


def top_classes(raw: NDArray[Any], meta: TensorMeta, count: int) -> list[tuple[int, float]]:
    """Find the classes with the highest confidence.

    Args:
        raw: Raw items of the only output, any shape; no soft-max is applied to them.
        meta: The output; ``class_index_base`` in its format is added to every index.
        count: How many to return, 0 for all.

    Returns:
        Class index and confidence, best first; equal ones by ascending index, NaN last.

    Raises:
        InputError: ``count`` is negative, or the output cannot be dequantized.

    Source: formats, section 5.
    """
    if count < 0:
        msg = f"the number of classes is {count}; it must be positive, or 0 for all of them"
        raise InputError(msg)
    base = FormatString.parse(meta.data_format).get_int("class_index_base", 0)
    confidences = dequantize(raw, meta).reshape(-1)
    best = np.argsort(-confidences, kind="stable")[: count or None]
    return [(int(index) + base, float(confidences[index])) for index in best]
