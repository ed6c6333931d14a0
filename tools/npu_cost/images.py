"""Networks from image to image, and a stack of equal convolutions."""

from __future__ import annotations

from tools.npu_cost.builder import Network


def conv_stack(net: Network, kernel: int, layers: int) -> Network:
    """Equal convolutions, as many channels out as in, without activation."""
    x = net.source
    for _ in range(layers):
        x = net.conv(x, x.channels, kernel, act="none")
    return net


def unet(net: Network, base: int = 64) -> Network:
    """U-Net with four levels, zero padding and one output channel."""
    x, skips = net.source, []
    for level in range(4):
        x = net.conv(net.conv(x, base << level, 3), base << level, 3)
        skips.append(x)
        x = net.pool(x, 2, 2)
    x = net.conv(net.conv(x, base << 4, 3), base << 4, 3)
    for level in (3, 2, 1, 0):
        x = net.concat(skips[level], net.deconv(x, base << level))
        x = net.conv(net.conv(x, base << level, 3), base << level, 3)
    net.conv(x, 1, act="none")
    return net


def super_resolution(net: Network, channels: int = 64, layers: int = 19) -> Network:
    """Very deep super-resolution: equal convolutions whose result is added to the image."""
    x = net.source
    for _ in range(layers):
        x = net.conv(x, channels, 3)
    net.add(net.conv(x, 1, 3, act="none"))
    return net


def dped(net: Network) -> Network:
    """Photo enhancement: four residual blocks of 64 channels between 9x9 convolutions."""
    x = net.conv(net.source, 64, 9)
    for _ in range(4):
        x = net.add(net.conv(net.conv(x, 64, 3), 64, 3))
    net.conv(net.conv(net.conv(x, 64, 3), 64, 3), 3, 9, act="lookup")
    return net


def srgan(net: Network, blocks: int = 16) -> Network:
    """Generator of SRGAN, enlarging four times."""
    x = net.conv(net.source, 64, 9)
    for _ in range(blocks):
        x = net.add(net.conv(net.conv(x, 64, 3), 64, 3, act="none"))
    x = net.add(net.conv(x, 64, 3, act="none"))
    for _ in range(2):
        x = net.depth_to_space(net.conv(x, 256, 3, act="none"), 2)
    net.conv(x, 3, 9, act="none")
    return net
