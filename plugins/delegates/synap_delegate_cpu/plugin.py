"""Registration of the ``cpu`` delegate."""

from __future__ import annotations

from collections.abc import Iterable

from synap_core.api import Delegate, hookimpl, native_delegate

RUNTIME_STRINGS = {"onnx": "onnx cpu=1", "tflite": "tflite gpu=0"}
"""What the on-board runtime must be told to run each source format on the cores."""


@hookimpl
def synap_delegates() -> Iterable[Delegate]:
    """Offer the delegate."""
    yield native_delegate(name="cpu", summary="Processor cores", runtimes=RUNTIME_STRINGS, canonical="onnx")
