"""What a window sees of an image at each of its places."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx_ir as ir

from synap_core.api import shape_of, type_of
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.layout import Layout, steps, window_of
from synap_frontend_tensorflow.importer.operands import REAL, operands
from synap_frontend_tensorflow.importer.ops.reshaping import within_limit
from synap_frontend_tensorflow.importer.registry import UnsupportedError, operator


@operator("ExtractImagePatches")
def extract_image_patches(call: Call) -> ir.Value:
    """The pixels in the window become channels, row by row, those of the first pixel first; padding is zero."""
    layout = Layout(4, first=False)
    x = layout.entered(call, operands(call, REAL, 0)[0])
    channels, *sizes = shape_of(x)[1:]
    if set(call.integer_list("rates", ())) - {1}:
        msg = f"rates of {list(call.integer_list('rates'))}; only 1 can be imported"
        raise UnsupportedError(msg)
    window = window_of(
        call, layout, sizes, steps(layout, call.integer_list("ksizes"), "a window"), call.integer_list("strides")
    )
    blocks = set(window.kernel) == set(window.strides) and len(set(window.kernel)) == 1
    block = window.kernel[0]
    if blocks and not any(size % block for size in sizes) and type_of(x).dtype == ir.DataType.FLOAT:
        return layout.left(call, call.emit("SpaceToDepth", x, blocksize=block))
    pixels = prod(window.kernel)
    within_limit(pixels * pixels * channels * channels)
    # One channel of the result for each item of the window: a convolution that picks it.
    picks = np.eye(pixels * channels, dtype=type_of(x).dtype.numpy())
    weights = picks.reshape(-1, *window.kernel, channels).transpose(0, 3, 1, 2)
    return layout.left(call, call.emit("Conv", x, call.build.constant(weights), group=1, **window.attributes()))
