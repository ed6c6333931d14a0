"""Small networks in the style of published ones, typing habits included, against OpenCV's importer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.caffe_layers import alike, sample
from tests.support.caffe_models import Made, MadeLayer, layer, network, open_made, opencv
from tests.support.canonical import opaque_reasons, run, whole

LEARNED = "param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }"
FIXED = "param { lr_mult: 0 } param { lr_mult: 0 } param { lr_mult: 0 }"


def conv(name: str, bottom: str, shape: Sequence[int], options: str = "", *, bias: bool = True) -> MadeLayer:
    """A convolution to a blob of its own name, with weights of a shape."""
    out, depth, kernel, _ = shape
    blobs = [sample(*shape, seed=len(name)) / (depth * kernel), *([sample(out)] if bias else [])]
    body = f"""{LEARNED} convolution_param {{
    num_output: {out}; kernel_size: {kernel}, {options}
    {"" if bias else "bias_term: false"} engine: CAFFE
    weight_filler {{ type: "xavier" std: 0.1 }} bias_filler < type: 'constant'; value: 0.2 >
  }}"""
    return layer(name, "Convolution", bottom, name, body, blobs)


def dense(name: str, bottom: str, out: int, depth: int) -> MadeLayer:
    body = f'{LEARNED} inner_product_param {{ num_output: {out} weight_filler {{ type: "gaussian" std: 0.005 }} }}'
    return layer(name, "InnerProduct", bottom, name, body, [sample(out, depth) / depth, sample(out)])


def in_place(name: str, kind: str, blob: str, body: str = "", blobs: Sequence[np.ndarray] = ()) -> MadeLayer:
    return layer(name, kind, blob, blob, body, blobs)


def pool(name: str, bottom: str, options: str) -> MadeLayer:
    return layer(name, "Pooling", bottom, name, f"pooling_param {{ {options} }}")


def alexnet() -> Made:
    lrn = "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }"
    layers = [
        conv("conv1", "data", (8, 3, 11, 11), "stride: 4"),
        in_place("relu1", "ReLU", "conv1"),
        layer("norm1", "LRN", "conv1", "norm1", lrn),
        pool("pool1", "norm1", "pool: MAX kernel_size: 3 stride: 2"),
        conv("conv2", "pool1", (8, 4, 5, 5), "pad: 2 group: 2"),
        in_place("relu2", "ReLU", "conv2"),
        pool("pool5", "conv2", "pool: MAX kernel_size: 3 stride: 2"),
        dense("fc6", "pool5", 10, 8 * 3 * 3),
        in_place("relu6", "ReLU", "fc6"),
        in_place("drop6", "Dropout", "fc6", "dropout_param { dropout_ratio: 0.5 }"),
        dense("fc8", "fc6", 6, 10),
        layer("prob", "Softmax", "fc8", "prob"),
    ]
    return network(layers, data=(1, 3, 67, 67))


def inception() -> Made:
    layers = [
        conv("conv1", "data", (8, 3, 7, 7), "pad: 3 stride: 2"),
        in_place("conv1/relu_7x7", "ReLU", "conv1"),
        pool("pool1/3x3_s2", "conv1", "pool: MAX kernel_size: 3 stride: 2"),
        conv("a/1x1", "pool1/3x3_s2", (4, 8, 1, 1)),
        in_place("a/relu_1x1", "ReLU", "a/1x1"),
        conv("a/3x3_reduce", "pool1/3x3_s2", (6, 8, 1, 1)),
        in_place("a/relu_3x3_reduce", "ReLU", "a/3x3_reduce"),
        conv("a/3x3", "a/3x3_reduce", (4, 6, 3, 3), "pad: 1"),
        pool("a/pool", "pool1/3x3_s2", "pool: MAX kernel_size: 3 stride: 1 pad: 1"),
        conv("a/pool_proj", "a/pool", (4, 8, 1, 1)),
        layer("a/output", "Concat", "a/1x1 a/3x3 a/pool_proj", "a/output"),
        pool("loss1/ave_pool", "a/output", "pool: AVE kernel_size: 5 stride: 3"),
        dense("loss1/fc", "loss1/ave_pool", 5, 12 * 2 * 2),
        pool("pool5", "a/output", "pool: AVE global_pooling: true"),
        in_place("pool5/drop", "Dropout", "pool5", "dropout_param { dropout_ratio: 0.4 }"),
        dense("prob", "pool5", 5, 12),
    ]
    return network(layers, data=(1, 3, 32, 32))


def normalised(name: str, blob: str, channels: int) -> list[MadeLayer]:
    statistics = [sample(channels), sample(channels, low=0.5, high=2), np.array([2], np.float32)]
    learned = [sample(channels, seed=1), sample(channels, seed=2)]
    scale = "scale_param { filler { value: 1 } bias_term: true bias_filler { value: 0 } }"
    return [
        in_place(f"{name}/bn", "BatchNorm", blob, f"{FIXED} batch_norm_param {{ use_global_stats: true }}", statistics),
        in_place(f"{name}/scale", "Scale", blob, scale, learned),
        in_place(f"{name}/relu", "ReLU", blob),
    ]


def mobilenet() -> Made:
    layers = [
        conv("conv1", "data", (8, 3, 3, 3), "pad: 1 stride: 2", bias=False),
        *normalised("conv1", "conv1", 8),
        conv("conv2/dw", "conv1", (8, 1, 3, 3), "pad: 1 group: 8", bias=False),
        *normalised("conv2/dw", "conv2/dw", 8),
        conv("conv2/sep", "conv2/dw", (8, 8, 1, 1), bias=False),
        layer("sum", "Eltwise", "conv1 conv2/sep", "sum", "eltwise_param { operation: SUM }"),
        pool("pool6", "sum", "pool: AVE global_pooling: true"),
        conv("fc7", "pool6", (5, 8, 1, 1)),
        layer("prob", "Softmax", "fc7", "prob"),
    ]
    return network(layers, data=(1, 3, 20, 20))


def segmentation() -> Made:
    steps = 1 - np.abs(np.arange(4) - 1.5) / 2
    bilinear = np.broadcast_to(np.outer(steps, steps), (5, 1, 4, 4)).astype(np.float32)
    up = 'num_output: 5 group: 5 bias_term: false kernel_size: 4 stride: 2 weight_filler { type: "bilinear" }'
    layers = [
        conv("conv1", "data", (6, 3, 3, 3), "pad: 10"),
        in_place("relu1", "PReLU", "conv1", "", [sample(6)]),
        pool("pool1", "conv1", "pool: MAX kernel_size: 2 stride: 2"),
        conv("score_fr", "pool1", (5, 6, 1, 1)),
        layer("up", "Deconvolution", "score_fr", "up", f"convolution_param {{ {up} }}", [bilinear]),
        layer("score", "Crop", "up data", "score", "crop_param { axis: 2 offset: 9 }"),
    ]
    return network(layers, data=(1, 3, 20, 24))


@pytest.mark.parametrize("crlf", [False, True], ids=["", "Windows line ends"])
@pytest.mark.parametrize(
    ("make", "outputs"),
    [(alexnet, ["prob"]), (inception, ["loss1/fc", "prob"]), (mobilenet, ["prob"]), (segmentation, ["score"])],
)
def test_network_gives_the_numbers_of_opencv(
    tmp_path: Path, make: Callable[[], Made], outputs: Sequence[str], crlf: bool
) -> None:
    made = make()
    text = f"# deploy.prototxt\n{made.prototxt}# end"
    model = open_made(tmp_path, replace(made, prototxt="\ufeff" + text.replace("\n", "\r\n") if crlf else text))
    assert model.outputs == tuple(outputs)
    x = sample(*model.tensors["data"].shape)
    graph = model.canonical(whole(model))
    assert opaque_reasons(graph) == []
    for found, wanted in zip(run(graph, [x]), opencv(made, {"data": x}, outputs), strict=True):
        alike(found, wanted)
