"""YOLO V4 tiny, V5 and V8."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from synap_delegate_npu.cost.layers import Map
from tools.npu_cost.builder import Network, rounded

CLASSES = 80


class Scale(NamedTuple):
    """Width and depth of a network as multiples of its large variant."""

    width: float
    depth: float

    def channels(self, base: int) -> int:
        """Channels of a layer."""
        return rounded(base * self.width)

    def repeats(self, base: int) -> int:
        """Repetitions of a block."""
        return max(1, round(base * self.depth))


SMALL = Scale(0.5, 0.33)
MEDIUM = Scale(0.75, 0.67)

Levels = tuple[Map, Map, Map]
"""Maps of an eighth, a sixteenth and a thirty-second of the image."""


def yolo_v4_tiny(net: Network) -> Network:
    """YOLO V4 tiny with its two heads."""
    x = net.conv(net.conv(net.source, 32, 3, 2), 64, 3, 2)
    route = x
    for channels in (64, 128, 256):
        before = net.conv(x, channels, 3)
        half = Map(before.height, before.width, channels // 2)
        net.copy(half.elements)
        first = net.conv(half, channels // 2, 3)
        second = net.conv(first, channels // 2, 3)
        route = net.conv(net.concat(second, first), channels)
        x = net.pool(net.concat(before, route), 2, 2)
    x = net.conv(net.conv(x, 512, 3), 256)
    outputs = 3 * (5 + CLASSES)
    net.conv(net.conv(x, 512, 3), outputs, act="none")
    fine = net.concat(net.enlarge(net.conv(x, 128)), route)
    net.conv(net.conv(fine, 256, 3), outputs, act="none")
    return net


def _swish(net: Network, x: Map, channels: int, kernel: int = 1, stride: int = 1) -> Map:
    return net.conv(x, channels, kernel, stride, act="swish")


def _c3(net: Network, x: Map, channels: int, repeats: int, *, shortcut: bool) -> Map:
    half = channels // 2
    main = _swish(net, x, half)
    for _ in range(repeats):
        main = _swish(net, _swish(net, main, half), half, 3)
        if shortcut:
            main = net.add(main)
    return _swish(net, net.concat(main, _swish(net, x, half)), channels)


def _spatial_pyramid(net: Network, x: Map, channels: int, *windows: int) -> Map:
    """Pools of the same map, or, without windows, three pools one after the other."""
    parts = [_swish(net, x, x.channels // 2)]
    for index in range(3):
        source, window = (parts[0], windows[index]) if windows else (parts[-1], 5)
        parts.append(net.pool(source, window, 1, padding="same"))
    return _swish(net, net.concat(*parts), channels)


def _v5_neck(net: Network, levels: Levels, scale: Scale) -> Levels:
    fine, middle, coarse = levels
    repeats = scale.repeats(3)
    lateral_5 = _swish(net, coarse, scale.channels(512))
    x = _c3(net, net.concat(net.enlarge(lateral_5), middle), scale.channels(512), repeats, shortcut=False)
    lateral_4 = _swish(net, x, scale.channels(256))
    out_3 = _c3(net, net.concat(net.enlarge(lateral_4), fine), scale.channels(256), repeats, shortcut=False)
    x = net.concat(_swish(net, out_3, scale.channels(256), 3, 2), lateral_4)
    out_4 = _c3(net, x, scale.channels(512), repeats, shortcut=False)
    x = net.concat(_swish(net, out_4, scale.channels(512), 3, 2), lateral_5)
    return out_3, out_4, _c3(net, x, scale.channels(1024), repeats, shortcut=False)


def _v5_stages(net: Network, x: Map, scale: Scale, middle_repeats: tuple[int, int]) -> Levels:
    """From an eighth of the image down, before the pyramid."""
    fine = _c3(net, _swish(net, x, scale.channels(256), 3, 2), scale.channels(256), middle_repeats[0], shortcut=True)
    x = _swish(net, fine, scale.channels(512), 3, 2)
    middle = _c3(net, x, scale.channels(512), middle_repeats[1], shortcut=True)
    return fine, middle, _swish(net, middle, scale.channels(1024), 3, 2)


def _v5_decode(net: Network, elements: int, per_anchor: int) -> None:
    """Boxes of one level, as exported: transpose, sigmoid, small products, slice, concatenation, transpose."""
    net.rearrange(elements)
    net.lookup(elements)
    for _ in range(8):
        net.multiply(elements * 2 // per_anchor)
    net.copy(elements)
    net.copy(elements)
    net.rearrange(elements)


def yolo_v5(net: Network, scale: Scale) -> Network:
    """YOLO V5, release 6, with decoding of boxes."""
    x = _swish(net, _swish(net, net.source, scale.channels(64), 6, 2), scale.channels(128), 3, 2)
    x = _c3(net, x, scale.channels(128), scale.repeats(3), shortcut=True)
    fine, middle, x = _v5_stages(net, x, scale, (scale.repeats(6), scale.repeats(9)))
    x = _c3(net, x, scale.channels(1024), scale.repeats(3), shortcut=True)
    coarse = _spatial_pyramid(net, x, scale.channels(1024))
    values, everything = 5 + CLASSES, 0
    for level in _v5_neck(net, (fine, middle, coarse), scale):
        elements = net.conv(level, 3 * values, act="none").elements
        _v5_decode(net, elements, values)
        everything += elements
    net.copy(everything)
    return net


def yolo_v5_face(net: Network, *, decoded: bool) -> Network:
    """YOLO V5 small for faces: box, score, five points and class for each of three anchors."""
    scale = SMALL
    stem = _swish(net, net.source, 32, 3, 2)
    branch = _swish(net, _swish(net, stem, 16), 32, 3, 2)
    x = _swish(net, net.concat(branch, net.pool(stem, 2, 2)), 32)
    x = _c3(net, x, scale.channels(128), scale.repeats(3), shortcut=True)
    fine, middle, x = _v5_stages(net, x, scale, (scale.repeats(9), scale.repeats(9)))
    x = _spatial_pyramid(net, x, scale.channels(1024), 3, 5, 7)
    coarse = _c3(net, x, scale.channels(1024), scale.repeats(3), shortcut=False)
    for level in _v5_neck(net, (fine, middle, coarse), scale):
        elements = net.conv(level, 3 * 16, act="none").elements
        if decoded:
            _v5_decode(net, elements, 16)
    return net


def _c2f(net: Network, x: Map, channels: int, repeats: int, *, shortcut: bool) -> Map:
    y = _swish(net, x, channels)
    half = Map(y.height, y.width, channels // 2)
    parts = [half, half]
    for _ in parts:
        net.copy(half.elements)
    for _ in range(repeats):
        part = _swish(net, _swish(net, parts[-1], half.channels, 3), half.channels, 3)
        parts.append(net.add(part) if shortcut else part)
    return _swish(net, net.concat(*parts), channels)


def _v8_body(net: Network, scale: Scale) -> Levels:
    x = _swish(net, _swish(net, net.source, scale.channels(64), 3, 2), scale.channels(128), 3, 2)
    x = _c2f(net, x, scale.channels(128), scale.repeats(3), shortcut=True)
    stages = []
    for base, repeats in ((256, 6), (512, 6), (1024, 3)):
        x = _swish(net, x, scale.channels(base), 3, 2)
        x = _c2f(net, x, scale.channels(base), scale.repeats(repeats), shortcut=True)
        stages.append(x)
    coarse = _spatial_pyramid(net, x, scale.channels(1024))

    def block(y: Map, base: int) -> Map:
        return _c2f(net, y, scale.channels(base), scale.repeats(3), shortcut=False)

    lateral = block(net.concat(net.enlarge(coarse), stages[1]), 512)
    out_3 = block(net.concat(net.enlarge(lateral), stages[0]), 256)
    out_4 = block(net.concat(_swish(net, out_3, scale.channels(256), 3, 2), lateral), 512)
    out_5 = block(net.concat(_swish(net, out_4, scale.channels(512), 3, 2), coarse), 1024)
    return out_3, out_4, out_5


def yolo_v8(net: Network, task: Literal["pose", "segment"], scale: Scale = SMALL) -> Network:
    """YOLO V8 with decoding of boxes: 17 points of one class, or 32 coefficients of masks."""
    classes, extra = (1, 17 * 3) if task == "pose" else (CLASSES, 32)
    levels = _v8_body(net, scale)
    _v8_heads(net, levels, scale, (64, classes, extra))
    anchors = sum(level.height * level.width for level in levels)
    if task == "segment":
        masks = net.deconv(_swish(net, levels[0], 128, 3), 128)
        _swish(net, _swish(net, masks, 128, 3), 32)
    net.softmax(anchors * 64)
    net.rearrange(anchors * 64)
    net.conv(Map(1, anchors * 4, 16), 1, act="none")
    _repeat(6, lambda: net.multiply(anchors * 2))
    net.lookup(anchors * classes)
    if task == "pose":
        _repeat(3, lambda: net.multiply(anchors * 34))
        net.lookup(anchors * 17)
        net.copy(anchors * extra)
    net.copy(anchors * (4 + classes + extra))
    return net


def _v8_heads(net: Network, levels: Levels, scale: Scale, outputs: tuple[int, int, int]) -> None:
    box, classes, extra = outputs
    fine = scale.channels(256)
    widths = (64, max(fine, min(classes, 100)), max(fine // 4, extra))
    for level in levels:
        area = level.height * level.width
        for width, values in zip(widths, outputs, strict=True):
            net.conv(_swish(net, _swish(net, level, width, 3), width, 3), values, act="none")
        net.copy(area * (box + classes))
        net.rearrange(area * (box + classes + extra))


def _repeat(times: int, action: Callable[[], None]) -> None:
    for _ in range(times):
        action()
