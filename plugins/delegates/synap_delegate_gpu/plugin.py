"""Registration of the ``gpu`` delegate."""

from __future__ import annotations

from collections.abc import Iterable

from synap_core.api import Delegate, hookimpl, native_delegate

RUNTIME_STRINGS = {"onnx": "onnx gpu=1", "tflite": "tflite gpu=1"}
"""What the on-board runtime must be told to run each source format on the graphics unit.

It runs ONNX on the cores whatever it is told; the string is the one the official toolkit writes.
"""


@hookimpl
def synap_delegates() -> Iterable[Delegate]:
    """Offer the delegate."""
    yield native_delegate(name="gpu", summary="Graphics unit", runtimes=RUNTIME_STRINGS)
