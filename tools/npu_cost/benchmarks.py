"""The published timings, and the networks they are of."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from synap_delegate_npu.cost.layers import Dtype, Map, Operation
from tools.npu_cost import images, inception, mobile, yolo
from tools.npu_cost.builder import Network

TIMINGS = Path(__file__).resolve().parents[1] / "npu-benchmarks.csv"
"""Every published timing of an NPU with its source."""

CHIPS = ("VS640", "VS680")
MODE = "offline_npu"
"""Timings of models that were compiled on the host, as this toolkit does."""

Role = Literal["fit", "never_fitted", "other_type"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A network that timings are published of.

    Attributes:
        name: Its name in the table of timings.
        family: Networks of one family are left out of a fit together.
        source: Shape of the input.
        add_layers: Adds the layers to a network.
        role: ``fit``: classification, detection and pose, one image per inference, 8 bits. ``never_fitted``: batches,
            networks from image to image at assumed sizes, a timing of a single run. ``other_type``: int16, float16.
        float_source: It was quantized by the official compiler, and did not come quantized.
        nchw: Its input is not transposed.
        batch: Images per inference.
        dtype: Type of its tensors.
    """

    name: str
    family: str
    source: Map
    add_layers: Callable[[Network], Network]
    role: Role = "fit"
    float_source: bool = False
    nchw: bool = False
    batch: int = 1
    dtype: Dtype = "uint8"

    def network(self) -> Network:
        """The network as operations."""
        return self.add_layers(
            Network(
                self.source,
                batch=self.batch,
                dtype=self.dtype,
                split_swish=not self.float_source,
                nchw=self.nchw,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """A published timing.

    Attributes:
        benchmark: The network.
        chip: Where it ran.
        seconds: Time of one inference.
    """

    benchmark: Benchmark
    chip: str
    seconds: float


def _image(height: int, width: int, channels: int = 3) -> Map:
    return Map(height, width, channels)


def _classifiers() -> tuple[Benchmark, ...]:
    small, v3_image, inception_image = _image(224, 224), _image(512, 512), _image(346, 346)
    return (
        Benchmark(
            name="test_64_128x128_5_132_132",
            family="conv_stack",
            source=_image(128, 128, 132),
            add_layers=lambda net: images.conv_stack(net, 5, 64),
        ),
        Benchmark(
            name="mobilenet_v1_0.25_224_quant",
            family="mobilenet_v1",
            source=small,
            add_layers=lambda net: mobile.mobilenet_v1(net, 0.25),
        ),
        *(
            Benchmark(name=name, family="mobilenet_v2", source=small, add_layers=mobile.mobilenet_v2)
            for name in ("mobilenet_v2_1.0_224_quant", "mobilenet_v2_quant/aibench4", "mobilenet_v2_quant/aibench5")
        ),
        Benchmark(
            name="inception_v4_299_quant",
            family="inception",
            source=_image(299, 299),
            add_layers=inception.inception_v4,
        ),
        *(
            Benchmark(name=name, family="inception", source=inception_image, add_layers=inception.inception_v3)
            for name in ("inception_v3_quant/aibench4", "inception_v3_quant/aibench5")
        ),
        Benchmark(
            name="efficientnet_b4_quant/aibench5",
            family="efficientnet",
            source=_image(380, 380),
            add_layers=lambda net: mobile.efficientnet(net, 1.4, 1.8),
        ),
        Benchmark(
            name="mobilenet_v3_quant/aibench5",
            family="mobilenet_v3",
            source=v3_image,
            add_layers=mobile.mobilenet_v3,
        ),
        Benchmark(
            name="mobilenet_v3_quant/aibench4",
            family="mobilenet_v3_minimalistic",
            source=v3_image,
            add_layers=lambda net: mobile.mobilenet_v3(net, minimalistic=True),
        ),
    )


def _batches() -> tuple[Benchmark, ...]:
    rows: tuple[tuple[str, Map, Callable[[Network], Network], int], ...] = (
        ("mobilenet_v2_b4_quant/aibench4", _image(224, 224), mobile.mobilenet_v2, 4),
        ("mobilenet_v2_b8_quant/aibench5", _image(224, 224), mobile.mobilenet_v2, 8),
        ("mobilenet_v3_b4_quant/aibench5", _image(512, 512), mobile.mobilenet_v3, 4),
    )
    return tuple(
        Benchmark(name=name, family="batches", source=source, add_layers=add_layers, role="never_fitted", batch=batch)
        for name, source, add_layers, batch in rows
    )


def _detectors() -> tuple[Benchmark, ...]:
    vga, wide, square = _image(480, 640), _image(352, 640), _image(224, 224)

    def face(net: Network) -> Network:
        return yolo.yolo_v5_face(net, decoded=True)

    def face_cut(net: Network) -> Network:
        return yolo.yolo_v5_face(net, decoded=False)

    def face_benchmark(
        name: str, add_layers: Callable[[Network], Network], role: Role = "fit", dtype: Dtype = "uint8"
    ) -> Benchmark:
        return Benchmark(
            name="yolov5s_face_640x480_" + name,
            family="yolov5_face",
            source=vga,
            add_layers=add_layers,
            role=role,
            float_source=True,
            nchw=True,
            dtype=dtype,
        )

    def v8(name: str, source: Map, task: Literal["pose", "segment"], dtype: Dtype = "uint8") -> Benchmark:
        return Benchmark(
            name=name,
            family="yolov8",
            source=source,
            add_layers=lambda net: yolo.yolo_v8(net, task),
            role="other_type" if dtype == "float16" else "fit",
            float_source=True,
            dtype=dtype,
        )

    return (
        Benchmark(
            name="posenet_mobilenet_075_quant",
            family="posenet",
            source=_image(353, 257),
            add_layers=mobile.posenet,
        ),
        Benchmark(
            name="yolov5s-640x480",
            family="yolov5",
            source=vga,
            add_layers=lambda net: yolo.yolo_v5(net, yolo.SMALL),
        ),
        Benchmark(
            name="yolov5m-640x480",
            family="yolov5",
            source=vga,
            add_layers=lambda net: yolo.yolo_v5(net, yolo.MEDIUM),
        ),
        face_benchmark("onnx_mq", face_cut),
        face_benchmark("uint8", face),
        face_benchmark("uint8_cut", face_cut),
        v8("yolov8s-pose", wide, "pose"),
        v8("yolov8s-seg_640x352_uint8", wide, "segment"),
        v8("yolov8s-seg_224x224_uint8", square, "segment"),
        Benchmark(
            name="yolo_v4_tiny_quant/aibench5",
            family="yolov4_tiny",
            source=_image(416, 416),
            add_layers=yolo.yolo_v4_tiny,
        ),
        Benchmark(
            name="ssd_mobilenet_v1_300_quant",
            family="ssd",
            source=_image(300, 300),
            add_layers=mobile.ssd_mobilenet_v1,
            role="never_fitted",
        ),
        face_benchmark("int16", face_cut, "other_type", "int16"),
        face_benchmark("float16", face, "other_type", "float16"),
        v8("yolov8s-seg_640x352_float16", wide, "segment", "float16"),
        v8("yolov8s-seg_224x224_float16", square, "segment", "float16"),
    )


def _image_networks() -> tuple[Benchmark, ...]:
    rows: tuple[tuple[str, Map, Callable[[Network], Network]], ...] = (
        ("unet_quant/aibench4", _image(128, 128), images.unet),
        ("vgg_quant/aibench4", _image(256, 256, 1), images.super_resolution),
        ("dped_quant/aibench4", _image(128, 192), images.dped),
        ("srgan_quant/aibench4", _image(128, 128), images.srgan),
    )
    return tuple(
        Benchmark(name=name, family="image_to_image", source=source, add_layers=add_layers, role="never_fitted")
        for name, source, add_layers in rows
    )


CONVERSIONS = {
    "convert_nv12@1920x1080_rgb@1920x1080": ("preprocess", 1920 * 1080 * 3),
    "convert_nv12@1920x1080_rgb@640x360": ("preprocess_scaled", 640 * 360 * 3),
    "convert_nv12@1920x1080_rgb@224x224": ("preprocess_scaled", 224 * 224 * 3),
}
"""Models that only convert an image: their kind, and the elements of their result."""

BENCHMARKS = (*_classifiers(), *_detectors(), *_batches(), *_image_networks())
"""Networks whose layers are known, or can be told from public descriptions.

One more timing with known layers, that of a third-party yolov5s_face_640x640 TFLite file, is left out: it is not known
whether its swish is one operation or two, and the prediction doubles with two.
"""


@cache
def operations_of(benchmark: Benchmark) -> tuple[Operation, ...]:
    """The network's operations."""
    return tuple(benchmark.network().operations)


def published(path: Path = TIMINGS) -> dict[tuple[str, str], float]:
    """Published seconds, by network and chip."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["mode"] == MODE]
    return {(row["model"], row["target"]): float(row["published_ms"]) / 1e3 for row in rows}


def timings(role: Role) -> tuple[Timing, ...]:
    """The timings of the networks with a role."""
    known = published()
    return tuple(
        Timing(benchmark=benchmark, chip=chip, seconds=known[benchmark.name, chip])
        for benchmark in BENCHMARKS
        for chip in CHIPS
        if benchmark.role == role and (benchmark.name, chip) in known
    )
