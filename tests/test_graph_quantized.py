"""Constants that are stored as integers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from synap_core.graph.quantized import QuantizedTensor
from synap_core.tensors import QuantParams

QUANT = QuantParams(dtype="int8", scheme="asymmetric_affine", scale=(0.5,), zero_point=(1,))


def test_representation_says_what_the_constant_is_and_computes_nothing() -> None:
    tensor = QuantizedTensor(np.zeros((2, 3), np.int8), QUANT, "weights")
    text = repr(tensor)
    assert text == f"QuantizedTensor(shape=(2, 3), quant={QUANT!r}, name='weights')"
    assert str(tensor) == text
    assert text in repr(ir.Value(name="weights", const_value=tensor))
