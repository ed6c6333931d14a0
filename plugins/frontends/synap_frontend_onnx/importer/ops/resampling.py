"""Operators that sample images at other places."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from synap_core.api import Attribute
from synap_frontend_onnx.importer.call import Call
from synap_frontend_onnx.importer.registry import UnsupportedError, as_is, operator

as_is(16, "RoiAlign")


@operator("Upsample", since=7)
def upsample_7(call: Call) -> ir.Value:
    """Scales are an attribute."""
    return _from_corner(call, call.build.constant(np.asarray(call.numbers("scales") or [], np.float32)))


@operator("Upsample", since=9)
@operator("Resize", since=10)
def resize_10(call: Call) -> ir.Value:
    """The operator of today with the sampling of old: coordinates are multiplied, without a half added."""
    return _from_corner(call, call.input(1))


def _from_corner(call: Call, scales: ir.Value) -> ir.Value:
    mode = call.text("mode", "nearest")
    options: dict[str, Attribute] = {"mode": mode, "coordinate_transformation_mode": "asymmetric"}
    if mode == "nearest":
        options["nearest_mode"] = _nearest(scales)
    return call.only("Resize", call.input(0), None, scales, **options)


def _nearest(scales: ir.Value) -> str:
    """How ONNX Runtime rounds: the definition does not say. It goes down to enlarge and up to shrink.

    Raises:
        UnsupportedError: Both happen at once.
    """
    items = None if scales.const_value is None else scales.const_value.numpy()
    if items is None or (items >= 1).all():
        return "floor"
    if (items <= 1).all():
        return "ceil"
    msg = f"it enlarges and shrinks at once, by {items.tolist()[:8]}"
    raise UnsupportedError(msg)


@operator("Resize", since=11)
@operator("Resize", since=13)
def resize_11(call: Call) -> ir.Value:
    """Operands without items are absent, and a mode that is gone has an equal."""
    operands = [_unless_empty(value) for value in call.inputs]
    options = call.options()
    if options.get("coordinate_transformation_mode") == "tf_half_pixel_for_nn":
        if options.get("mode", "nearest") != "nearest" or options.get("nearest_mode") != "floor":
            msg = "its coordinate mode is 'tf_half_pixel_for_nn', and its nearest mode not 'floor'"
            raise UnsupportedError(msg)
        # floor((i + 0.5) / s) is what (i + 0.5) / s - 0.5 gives when halves are rounded up.
        options |= {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}
    if options.get("coordinate_transformation_mode") != "tf_crop_and_resize" and len(operands) > 1:
        operands[1] = None
    return call.only("Resize", *operands, **options)


def _unless_empty(value: ir.Value | None) -> ir.Value | None:
    return None if value is not None and value.shape is not None and 0 in value.shape.numpy() else value


@operator("GridSample", since=20)
def grid_sample_20(call: Call) -> ir.Value:
    """The modes have shorter names now, and there may be more than two dimensions to sample in."""
    if len(call.shape()) != 4:
        msg = f"it samples in {len(call.shape()) - 2} dimensions"
        raise UnsupportedError(msg)
    mode = call.text("mode", "linear")
    names = {"linear": "bilinear", "cubic": "bicubic"}
    return call.only(
        "GridSample", *call.inputs, mode=names.get(mode, mode), **call.options("align_corners", "padding_mode")
    )


@operator("RoiAlign", since=10)
def roi_align_10(call: Call) -> ir.Value:
    """Coordinates have no half added."""
    return call.only("RoiAlign", *call.inputs, coordinate_transformation_mode="output_half_pixel", **call.options())
