"""The ``TFLite_Detection_PostProcess`` custom operator: its output shapes, which files leave open, and its anchors."""

from __future__ import annotations

from typing import Any

import numpy as np
from flatbuffers import flexbuffers

from synap_frontend_tflite import flatbuffer
from synap_frontend_tflite.reader import PARSE_ERRORS
from synap_frontend_tflite.records import OperatorRecord

POST_PROCESS = "CUSTOM:TFLite_Detection_PostProcess"
MAX_DETECTIONS = 1_000_000


def output_shapes(data: bytes, index: int) -> tuple[tuple[int, ...], ...]:
    """Derive the shapes of boxes, classes, scores and count from the operator's options.

    Args:
        data: The model file.
        index: Position of the operator in the main subgraph.

    Returns:
        The four shapes; nothing when the options are damaged or lack the sizes.

    Source: ``detection_postprocess.cc`` of TensorFlow Lite, ``Prepare``.
    """
    operator = flatbuffer.unpack_operator(flatbuffer.root_table(data).Subgraphs(0), index, data)
    try:
        options: Any = flexbuffers.GetRoot(bytearray(np.asarray(operator.customOptions, np.uint8).tobytes())).AsMap
        count = options["max_detections"].AsInt * options["max_classes_per_detection"].AsInt
    except PARSE_ERRORS:
        return ()
    if not 0 < count <= MAX_DETECTIONS:
        return ()
    return ((1, count, 4), (1, count), (1, count), (1,))


def anchors(data: bytes, operator: OperatorRecord) -> tuple[float, ...]:
    """Read the constant anchors input (N x 4: y centre, x centre, height, width), dequantized and flattened."""
    if len(operator.inputs) < 3:
        return ()
    root = flatbuffer.root_table(data)
    tensor = flatbuffer.unpack_tensor(root.Subgraphs(0), operator.inputs[2])
    raw = flatbuffer.unpack_buffer(root, data, tensor.buffer).data
    dtype = {0: np.float32, 3: np.uint8, 9: np.int8}.get(tensor.type)
    if raw is None or dtype is None or len(raw) % np.dtype(dtype).itemsize:
        return ()
    values = np.frombuffer(np.asarray(raw, np.uint8).tobytes(), dtype).astype(np.float64)
    quantization = tensor.quantization
    if quantization is not None and quantization.scale is not None and dtype is not np.float32:
        values = (values - float(quantization.zeroPoint[0])) * float(quantization.scale[0])
    return tuple(values.tolist())
