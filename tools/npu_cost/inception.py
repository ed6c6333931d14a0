"""Inception V3 and V4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from synap_delegate_npu.cost.layers import Map
from tools.npu_cost.builder import Network


class Step(NamedTuple):
    """A convolution: output channels, kernel, stride, and whether the border is padded."""

    channels: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    padded: bool = True


Branch = Sequence[Step]

ROW, COLUMN = (1, 7), (7, 1)
PAIR = ((1, 3), (3, 1))


def _halve(channels: int) -> Step:
    return Step(channels, 3, 2, padded=False)


def _trim(channels: int) -> Step:
    return Step(channels, 3, 1, padded=False)


def _chain(net: Network, x: Map, branch: Branch) -> Map:
    for step in branch:
        x = net.conv(x, step.channels, step.kernel, step.stride, padding="same" if step.padded else "valid")
    return x


def _averaged(net: Network, x: Map, channels: int) -> Map:
    return net.conv(net.pool(x, 3, 1, padding="same"), channels)


def _block(net: Network, x: Map, averaged: int, *branches: Branch) -> Map:
    return net.concat(*(_chain(net, x, branch) for branch in branches), _averaged(net, x, averaged))


def _reduction(net: Network, x: Map, *branches: Branch) -> Map:
    return net.concat(*(_chain(net, x, branch) for branch in branches), net.pool(x, 3, 2))


def _last_block(net: Network, x: Map, plain: int, channels: int, averaged: int, *branches: Branch) -> Map:
    """Block whose branches end in a row and a column side by side."""
    parts = [net.conv(x, plain)]
    for branch in branches:
        y = _chain(net, x, branch)
        parts.append(net.concat(*(net.conv(y, channels, kernel) for kernel in PAIR)))
    return net.concat(*parts, _averaged(net, x, averaged))


def _classify(net: Network, x: Map, classes: int) -> Network:
    net.conv(net.global_pool(x), classes, act="none")
    net.softmax(classes)
    return net


def inception_v3(net: Network, classes: int = 1001) -> Network:
    """Inception V3 for classification."""
    x = _chain(net, net.source, (_halve(32), _trim(32), Step(64, 3)))
    x = net.pool(_chain(net, net.pool(x, 3, 2), (Step(80), _trim(192))), 3, 2)
    for averaged in (32, 64, 64):
        x = _block(net, x, averaged, [Step(64)], [Step(48), Step(64, 5)], [Step(64), Step(96, 3), Step(96, 3)])
    x = _reduction(net, x, [_halve(384)], [Step(64), Step(96, 3), _halve(96)])
    for n in (128, 160, 160, 192):
        short = [Step(n), Step(n, ROW), Step(192, COLUMN)]
        long = [Step(n), Step(n, COLUMN), Step(n, ROW), Step(n, COLUMN), Step(192, ROW)]
        x = _block(net, x, 192, [Step(192)], short, long)
    x = _reduction(net, x, [Step(192), _halve(320)], [Step(192), Step(192, ROW), Step(192, COLUMN), _halve(192)])
    for _ in range(2):
        x = _last_block(net, x, 320, 384, 192, [Step(384)], [Step(448), Step(384, 3)])
    return _classify(net, x, classes)


def inception_v4(net: Network, classes: int = 1001) -> Network:
    """Inception V4 for classification."""
    x = _chain(net, net.source, (_halve(32), _trim(32), Step(64, 3)))
    x = _reduction(net, x, [_halve(96)])
    rows = [Step(64), Step(64, ROW), Step(64, COLUMN), _trim(96)]
    x = net.concat(_chain(net, x, [Step(64), _trim(96)]), _chain(net, x, rows))
    x = _reduction(net, x, [_halve(192)])
    for _ in range(4):
        x = _block(net, x, 96, [Step(96)], [Step(64), Step(96, 3)], [Step(64), Step(96, 3), Step(96, 3)])
    x = _reduction(net, x, [_halve(384)], [Step(192), Step(224, 3), _halve(256)])
    for _ in range(7):
        short = [Step(192), Step(224, ROW), Step(256, COLUMN)]
        long = [Step(192), Step(192, COLUMN), Step(224, ROW), Step(224, COLUMN), Step(256, ROW)]
        x = _block(net, x, 128, [Step(384)], short, long)
    x = _reduction(net, x, [Step(192), _halve(192)], [Step(256), Step(256, ROW), Step(320, COLUMN), _halve(320)])
    for _ in range(3):
        x = _last_block(net, x, 256, 256, 256, [Step(384)], [Step(384), Step(448, (3, 1)), Step(512, (1, 3))])
    return _classify(net, x, classes)
