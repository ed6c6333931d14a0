"""MobileNets, what is built on them, and EfficientNet."""

from __future__ import annotations

import math
from collections.abc import Iterable

from synap_delegate_npu.cost.layers import Map
from tools.npu_cost.builder import Activation, Network, rounded

IMAGE_224 = Map(224, 224, 3)

V1_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""Output channels and stride of each block of MobileNet V1."""

V2_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, output channels, repetitions and first stride of each stage of MobileNet V2."""

V3_BLOCKS = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
"""Kernel, expanded and output channels, squeeze-and-excitation, hard swish, and stride of each block of V3 Large."""

EFFICIENT_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
"""Expansion, kernel, first stride, channels and repetitions of each stage of EfficientNet."""


def _classify(net: Network, features: Map, classes: int) -> Network:
    net.conv(net.global_pool(features), classes, act="none")
    net.softmax(classes)
    return net


def _v1_body(
    net: Network, width: float, *, blocks: Iterable[tuple[int, int]] = V1_BLOCKS, most_stride: int = 32
) -> list[Map]:
    """Add MobileNet V1 without its head; returns the output of each block."""
    x = net.conv(net.source, int(32 * width), 3, 2)
    outputs, reached = [], 2
    for channels, stride in blocks:
        step = stride if reached * stride <= most_stride else 1
        reached *= step
        x = net.conv(net.depthwise(x, 3, step), int(channels * width))
        outputs.append(x)
    return outputs


def mobilenet_v1(net: Network, width: float, classes: int = 1001) -> Network:
    """MobileNet V1 for classification."""
    return _classify(net, _v1_body(net, width)[-1], classes)


def posenet(net: Network, width: float = 0.75) -> Network:
    """PoseNet on MobileNet V1 with two narrow last blocks without stride: 17 points, offsets, displacements."""
    blocks = (*V1_BLOCKS[:-2], (512, 2), (512, 1))
    x = _v1_body(net, width, blocks=blocks, most_stride=16)[-1]
    for channels in (17, 34, 64):
        net.conv(x, channels, act="none")
    return net


def ssd_mobilenet_v1(net: Network, classes: int = 91) -> Network:
    """SSD on MobileNet V1, up to the scores; what comes behind runs elsewhere."""
    body = _v1_body(net, 1.0)
    levels = [body[10], body[-1]]
    for narrow, wide in ((256, 512), (128, 256), (128, 256), (64, 128)):
        levels.append(net.conv(net.conv(levels[-1], narrow), wide, 3, 2))
    anchors = 0
    for index, level in enumerate(levels):
        ratios = 6 if index else 3
        for values in (4, classes):
            net.conv(level, ratios * values, act="none")
        for values in (4, classes):
            net.rearrange(level.height * level.width * ratios * values)
        anchors += level.height * level.width * ratios
    net.copy(anchors * 4)
    net.copy(anchors * classes)
    net.lookup(anchors * classes)
    return net


def mobilenet_v2(net: Network, classes: int = 1001) -> Network:
    """MobileNet V2 for classification."""
    x = net.conv(net.source, 32, 3, 2)
    for expansion, channels, repetitions, first in V2_STAGES:
        for index in range(repetitions):
            stride, before = (1 if index else first), x
            if expansion != 1:
                x = net.conv(x, before.channels * expansion)
            x = net.conv(net.depthwise(x, 3, stride), channels, act="none")
            if stride == 1 and before.channels == channels:
                x = net.add(x)
    return _classify(net, net.conv(x, 1280), classes)


def mobilenet_v3(net: Network, classes: int = 1001, *, minimalistic: bool = False) -> Network:
    """MobileNet V3 Large; the minimalistic one has neither large kernels nor squeeze-and-excitation nor hard swish."""
    late: Activation = "relu" if minimalistic else "lookup"
    x = net.conv(net.source, 16, 3, 2, act=late)
    for kernel, expanded, channels, squeezed, hard, stride in V3_BLOCKS:
        before, act = x, late if hard else "relu"
        if expanded != before.channels:
            x = net.conv(x, expanded, act=act)
        x = net.depthwise(x, 3 if minimalistic else kernel, stride, act=act)
        if squeezed and not minimalistic:
            x = _excited(net, x, rounded(expanded / 4), "relu")
        x = net.conv(x, channels, act="none")
        if stride == 1 and before.channels == channels:
            x = net.add(x)
    x = net.conv(net.global_pool(net.conv(x, 960, act=late)), 1280, act=late)
    net.conv(x, classes, act="none")
    net.softmax(classes)
    return net


def _excited(net: Network, x: Map, narrow: int, act: Activation) -> Map:
    net.conv(net.conv(net.global_pool(x), narrow, act=act), x.channels, act="lookup")
    return net.scale(x)


def efficientnet(net: Network, width: float, depth: float, classes: int = 1000) -> Network:
    """EfficientNet, with its width and depth as multiples of B0."""
    x = net.conv(net.source, rounded(32 * width), 3, 2, act="swish")
    for expansion, kernel, first, base, repetitions in EFFICIENT_STAGES:
        channels = rounded(base * width)
        for index in range(math.ceil(repetitions * depth)):
            stride, before = (1 if index else first), x
            if expansion != 1:
                x = net.conv(x, before.channels * expansion, act="swish")
            x = net.depthwise(x, kernel, stride, act="swish")
            x = net.conv(_excited(net, x, max(1, before.channels // 4), "swish"), channels, act="none")
            if stride == 1 and before.channels == channels:
                x = net.add(x)
    net.dense(net.global_pool(net.conv(x, rounded(1280 * width), act="swish")), classes)
    net.softmax(classes)
    return net
