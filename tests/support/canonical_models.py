"""Models for delegates that compile canonical graphs, built in code."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from tests.support.onnx_models import F32, model, node, value
from tests.support.tflite_models import ModelBuilder

IMAGE = (1, 3, 8, 8)


def small_net() -> onnx.ModelProto:
    """Two convolutions, a mean and a product in float32: ``x`` [1,3,8,8] -> ``y`` [1,5]."""
    rng = np.random.default_rng(1)
    constants = {
        "w1": rng.normal(0, 0.4, (8, 3, 3, 3)).astype(F32),
        "b1": rng.normal(0, 0.2, 8).astype(F32),
        "w2": rng.normal(0, 0.2, (8, 8, 3, 3)).astype(F32),
        "b2": rng.normal(0, 0.2, 8).astype(F32),
        "w3": rng.normal(0, 0.5, (5, 8)).astype(F32),
        "b3": rng.normal(0, 0.2, 5).astype(F32),
    }
    nodes = [
        node("Conv", "x w1 b1", "a", "conv1", pads=[1, 1, 1, 1]),
        node("Relu", "a", "b", "relu1"),
        node("Conv", "b w2 b2", "c", "conv2", pads=[1, 1, 1, 1]),
        node("Relu", "c", "d", "relu2"),
        node("GlobalAveragePool", "d", "e", "pool"),
        node("Flatten", "e", "f", "flatten"),
        node("Gemm", "f w3 b3", "y", "fc", transB=1),
    ]
    return model(nodes, [value("x", IMAGE)], [value("y", [1, 5])], constants)


def two_branches() -> onnx.ModelProto:
    """A trunk, and two branches with an output each: ``x`` [1,3,8,8] -> ``left``, ``right`` [1,4,8,8]."""
    rng = np.random.default_rng(2)
    constants = {name: rng.normal(0, 0.3, (4, channels, 3, 3)).astype(F32) for name, channels in _BRANCHES.items()}
    nodes = [
        node("Conv", "x w", "t", "trunk", pads=[1, 1, 1, 1]),
        node("Conv", "t wl", "a", "conv_left", pads=[1, 1, 1, 1]),
        node("Relu", "a", "left", "relu_left"),
        node("Conv", "t wr", "b", "conv_right", pads=[1, 1, 1, 1]),
        node("Sigmoid", "b", "right", "sigmoid_right"),
    ]
    outputs = [value("left", [1, 4, 8, 8]), value("right", [1, 4, 8, 8])]
    return model(nodes, [value("x", IMAGE)], outputs, constants)


_BRANCHES = {"w": 3, "wl": 4, "wr": 4}


def conv2d_options(activation: int = 0) -> Any:
    """Options of a convolution of the same size."""
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.SAME
    options.strideW = options.strideH = 1
    options.dilationWFactor = options.dilationHFactor = 1
    options.fusedActivationFunction = activation
    return options


def int8_net() -> bytes:
    """CONV_2D with a ReLU, MAX_POOL_2D, ADD with a ReLU, CONV_2D in int8: ``x`` [1,8,8,3] -> ``y`` [1,4,4,8]."""
    rng = np.random.default_rng(3)
    build = ModelBuilder()
    x = build.tensor("x", (1, 8, 8, 3), "int8", scale=1 / 64, zero_point=0)
    conv = build.tensor("conv", (1, 8, 8, 8), "int8", scale=1 / 20, zero_point=-128)
    build.operator("CONV_2D", [x, *_weights(build, rng, 1, 3, 3, 1 / 64)], [conv], conv2d_options(_RELU), version=3)
    pool = build.tensor("pool", (1, 4, 4, 8), "int8", scale=1 / 20, zero_point=-128)
    options = schema.Pool2DOptionsT()
    options.padding, options.strideW, options.strideH = schema.Padding.VALID, 2, 2
    options.filterWidth = options.filterHeight = 2
    build.operator("MAX_POOL_2D", [conv], [pool], options)
    total = build.tensor("sum", (1, 4, 4, 8), "int8", scale=1 / 9, zero_point=-128)
    add = schema.AddOptionsT()
    add.fusedActivationFunction = _RELU
    build.operator("ADD", [pool, pool], [total], add, version=2)
    y = build.tensor("y", (1, 4, 4, 8), "int8", scale=1 / 10, zero_point=0)
    build.operator("CONV_2D", [total, *_weights(build, rng, 2, 1, 8, 1 / 9)], [y], conv2d_options(), version=3)
    return build.finish([x], [y])


_RELU = schema.ActivationFunctionType.RELU


def _weights(
    build: ModelBuilder, rng: np.random.Generator, number: int, size: int, channels: int, scale: float
) -> list[int]:
    scales = rng.uniform(0.002, 0.01, 8)
    data = rng.integers(-127, 128, (8, size, size, channels)).astype(np.int8)
    bias = rng.integers(-300, 300, 8).astype(np.int32)
    return [
        build.tensor(f"w{number}", data.shape, "int8", data=data, scale=scales),
        build.tensor(f"b{number}", bias.shape, "int32", data=bias, scale=scales * scale),
    ]


def float_tflite() -> bytes:
    """CONV_2D, its result read by two CONV_2D, and their sum: ``x`` [1,8,8,3] -> ``y`` [1,8,8,4], in float32."""
    rng = np.random.default_rng(4)
    build = ModelBuilder()
    x = build.tensor("x", (1, 8, 8, 3))
    last = _convolution(build, rng, "first", x, 3)
    branches = [_convolution(build, rng, name, last, 4) for name in ("left", "right")]
    y = build.tensor("y", (1, 8, 8, 4))
    build.operator("ADD", branches, [y], schema.AddOptionsT())
    return build.finish([x], [y])


def _convolution(build: ModelBuilder, rng: np.random.Generator, name: str, source: int, channels: int) -> int:
    weights = build.constant(f"w_{name}", rng.normal(0, 0.3, (4, 3, 3, channels)).astype(np.float32))
    bias = build.constant(f"b_{name}", rng.normal(0, 0.2, 4).astype(np.float32))
    result = build.tensor(name, (1, 8, 8, 4))
    build.operator("CONV_2D", [source, weights, bias], [result], conv2d_options())
    return result


def detection_like() -> bytes:
    """A row of ABS with a custom operator in the middle that nothing knows: ``x`` -> a -> custom -> c -> ``y``."""
    build = ModelBuilder()
    tensors = {name: build.tensor(name, (1, 4)) for name in ("x", "a", "b", "c", "y")}
    build.operator("ABS", [tensors["x"]], [tensors["a"]])
    build.operator("CUSTOM", [tensors["a"]], [tensors["b"]], custom="Mystery")
    build.operator("ABS", [tensors["b"]], [tensors["c"]])
    build.operator("ABS", [tensors["c"]], [tensors["y"]])
    return build.finish([tensors["x"]], [tensors["y"]])
