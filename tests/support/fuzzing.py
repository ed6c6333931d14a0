"""Feed damaged files to the parsers: ``python -m tests.support.fuzzing KIND SEED COUNT``.

A damaged file may be accepted or end in an `InputError`. Anything else, more than 10 seconds for one file, or more than
1 GiB of memory in all is a failure; the file is then kept for a look.
"""

from __future__ import annotations

import io
import random
import re
import resource
import signal
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from synap_core.bundle_reader import read_bundle
from synap_core.bundle_writer import pack_bundle
from synap_core.convert import ConvertRequest, convert
from synap_core.delegate_rules import Assignment
from synap_core.errors import InputError
from synap_core.graph.passes import normalise
from synap_core.graph.qdq import to_qdq
from synap_core.host import PluginHost
from synap_core.metafile import default_metafile, load_metafile
from synap_core.model_files import open_model
from synap_core.partition import partition
from synap_core.selection import select
from synap_core.source import ModelRequest, Slice
from tests.support import caffe_models, onnx_models
from tests.support.tensorflow_models import GraphComposer, boundary
from tests.support.tflite_models import chain, counter, dense3, six

SECONDS_PER_FILE = 10
MEMORY_BYTES = 1 << 30

EXTREMES = (
    b"\x00" * 4,
    b"\xff" * 4,
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    b"\x01\x00\x00\x00",
    b"\x00\x01\x00\x00",
)


def damaged(seed: bytes, others: list[bytes], choose: random.Random) -> bytes:
    """Damage a file in one to four places, mostly without moving what stands behind."""
    data = bytearray(seed)
    for _ in range(choose.randint(1, 4)):
        place = choose.randrange(len(data)) if data else 0
        kind = choose.choice((0, 0, 0, 0, 1, 1, 1, 1, 2, 3, 4, 5, 6))
        if kind == 0:
            data[place : place + 1] = bytes([choose.randrange(256)])
        elif kind == 1:
            place -= place % 4
            data[place : place + 4] = choose.choice(EXTREMES)
        elif kind == 2:
            del data[place : place + choose.randint(1, 16)]
        elif kind == 3:
            data[place:place] = choose.randbytes(choose.randint(1, 8))
        elif kind == 4:
            other = choose.choice(others)
            start = choose.randrange(len(other))
            data[place : place + 32] = other[start : start + 32]
        elif kind == 5:
            data[place:place] = data[place : place + choose.randint(1, 64)] * choose.randint(1, 4)
        else:
            del data[choose.randrange(len(data) + 1) :]
    return bytes(data)


JOINT = b"\n\x00weights:\n"
"""Between the two files of a Caffe model."""

SUFFIXES = {"metafile": "yaml", "caffe": "prototxt"}

NUMBERS = ("0", "-1", "1", "7", "65536", "2147483647", "4294967295", "9223372036854775807", "1e30", "nan", "inf")
FROZEN_SHAPE = (1, 8, 8, 3)


def joined(prototxt: str, caffemodel: bytes) -> bytes:
    """The two files of a Caffe model as one."""
    return prototxt.encode() + JOINT + caffemodel


def renumbered(prototxt: str, choose: random.Random) -> str:
    """Put another number in the place of one of a text."""
    start, end = choose.choice([match.span(1) for match in re.finditer(r": (-?[\d.]+)", prototxt)])
    return prototxt[:start] + choose.choice(NUMBERS) + prototxt[end:]


def reworded(prototxt: str, choose: random.Random) -> str:
    """Put another name or type of a text in the place of one."""
    words = list(re.finditer(r'(?<=")[^"\n]*(?=")', prototxt))
    old, new = choose.choice(words), choose.choice(words)
    return prototxt[: old.start()] + new[0] + prototxt[old.end() :]


def composed(data: bytes, others: list[bytes], choose: random.Random) -> bytes:
    """Damage a Caffe model so that its text can still be read; what a parser refuses hides what lies behind it."""
    content, _, stored = data.partition(JOINT)
    text = content.decode()
    for _ in range(choose.randint(1, 3)):
        text = choose.choice((renumbered, reworded))(text, choose)
    return joined(text, damaged(stored, others, choose) if choose.random() < 0.3 else stored)


def frozen(rng: np.random.Generator) -> bytes:
    """A frozen graph with constants of several types, arithmetic of shapes and two outputs."""
    graph = GraphComposer()
    graph.placeholder("x", [-1, *FROZEN_SHAPE[1:]])
    window = {"strides": [1, 2, 2, 1], "padding": "SAME", "data_format": "NHWC"}
    graph.node("Conv2D", ["x", graph.constant(rng.normal(size=(3, 3, 3, 4)).astype(np.float32))], name="conv", **window)
    statistics = [graph.constant(np.ones(4, np.float32)) for _ in range(4)]
    graph.node("FusedBatchNormV3", ["conv", *statistics], name="bn", is_training=False, epsilon=0.001, U=np.float32)
    graph.node("Pad", ["bn:0", graph.constant([[0, 0], [1, 1], [1, 0], [0, 0]])], name="pad", Tpaddings=np.int32)
    graph.node("AvgPool", ["pad"], name="pool", ksize=[1, 2, 2, 1], **window)
    graph.node("ResizeBilinear", ["pool", graph.constant([6, 6])], name="z", half_pixel_centers=True)
    graph.node("Shape", ["z"], name="shape", out_type=np.int32)
    bounds = [graph.constant([value]) for value in (0, 1, 1)]
    graph.node("StridedSlice", ["shape", *bounds], name="batch", shrink_axis_mask=1, T=np.int32, Index=np.int32)
    graph.node("Pack", ["batch", graph.constant(-1)], name="pack", axis=0, N=2, T=np.int32)
    graph.node("Reshape", ["z", "pack"], name="flat", Tshape=np.int32)
    graph.node("MatMul", ["flat", graph.constant(rng.normal(size=(144, 5)).astype(np.float32))], name="dense")
    graph.node("Softmax", ["dense"], name="y")
    return graph.serialize()


class Fuzzer:
    """Knows the seeds and the parser of each kind of file."""

    def __init__(self, folder: Path) -> None:
        self._host = PluginHost()
        self._folder = folder

    def seeds(self, kind: str) -> list[bytes]:
        """Valid files of a kind."""
        makers = {
            "bundle": self._bundles,
            "caffe": self._caffe,
            "metafile": self._metafiles,
            "onnx": self._onnx,
            "pb": self._pb,
            "tflite": self._tflite,
        }
        return makers[kind]()

    def feed(self, kind: str, data: bytes) -> None:
        """Let the parser of a kind read a file."""
        if kind == "bundle":
            read_bundle(data, "model.synap")
            return
        path = self._folder / f"file.{SUFFIXES.get(kind, kind)}"
        weights = path.with_suffix(".caffemodel") if kind == "caffe" else None
        content, _, stored = data.partition(JOINT) if weights else (data, b"", b"")
        path.write_bytes(content)
        if weights:
            weights.write_bytes(stored)
        if kind == "metafile":
            load_metafile(path, delegates=("cpu", "gpu", "npu"))
        elif kind == "pb":
            inputs, outputs = boundary({"x": FROZEN_SHAPE}), boundary(["y", "z"])
            self._cut_in_two(ModelRequest(path=path, inputs=inputs, outputs=outputs), native=False)
        else:
            self._cut_in_two(ModelRequest(path=path, weights=weights), native=weights is None)

    def _cut_in_two(self, request: ModelRequest, *, native: bool) -> None:
        """Import a model whole and in two parts; ``native`` parts are models of its own format."""
        source = open_model(self._host, request)
        selection = select(source, default_metafile())
        count = len(selection.layers)
        assigned = {
            layer.index: Assignment("cpu", "" if k < count // 2 else "x")
            for k, layer in enumerate(selection.layers)
            if layer.index is not None
        }
        for part in partition(selection.layers, assigned, selection.inputs, selection.outputs):
            _ = source.slice(part.part) if native else source.canonical(part.part)
        graph = source.canonical(Slice(layers=selection.layers, inputs=selection.inputs, outputs=selection.outputs))
        normalise(graph)
        to_qdq(graph)

    def _tflite(self) -> list[bytes]:
        return [dense3(np.random.default_rng(0)), chain(["a", "b;c"]), six(), counter()]

    def _onnx(self) -> list[bytes]:
        root = Path(__file__).parents[2]
        rng = np.random.default_rng(0)
        made = [onnx_models.conv5(rng), onnx_models.choice(), onnx_models.called(), onnx_models.quantized(rng)]
        return [(root / "examples/digits/digits.onnx").read_bytes(), *(model.SerializeToString() for model in made)]

    def _caffe(self) -> list[bytes]:
        old = caffe_models.old_layers(caffe_models.only_convolution())
        return [joined(made.prototxt, made.caffemodel) for made in (caffe_models.small(), old)]

    def _pb(self) -> list[bytes]:
        return [frozen(np.random.default_rng(0))]

    def _metafiles(self) -> list[bytes]:
        return [text.encode() for text in METAFILES]

    def _bundles(self) -> list[bytes]:
        model, meta = self._folder / "net.tflite", self._folder / "net.yaml"
        model.write_bytes(six())
        meta.write_text("delegate: {'*': cpu, c5: cpu num_threads=2}\ninputs: [{means: 3, scale: 2, format: rgb}]\n")
        return [pack_bundle(convert(ConvertRequest(model=model, target="SL1620", meta=meta), self._host).conversion)]


METAFILES = (
    "delegate:\n  '*': cpu\n  c5: gpu num_threads=2\n  c5...: gpu\n",
    """inputs:
- name: x
  shape: [1, 224, 224, 3]
  means: [128, 128, 128]
  scale: 128
  format: rgb a=${ENV:HOME}
  preprocess: {type: nv21, size: [1920, 1080], crop: true}
""",
    """outputs:
- {name: y, dequantize: false, format: 'confidence_array x=${ANCHORS}'}
quantization:
  data_type: {'*': uint8, c2...: int16}
  scheme: default
  dataset: ['a/*.jpg']
""",
    "a: &a [1, 2]\nb: *a\ncustom: {x: !!str 1, y: 0x10, z: 1e3, w: .inf}\n",
    '{"delegate": {"*": "cpu", "1": "gpu"}, "optimize": false}',
)


def repacked(data: bytes, others: list[bytes], choose: random.Random) -> bytes:
    """Damage members of an archive but keep the archive itself valid."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            new.writestr(info.filename, damaged(content, others, choose) if choose.random() < 0.4 else content)
    return stream.getvalue()


MAKERS = {"bundle": repacked, "caffe": composed}
"""What damages most files of a kind, so that more than the surface of its reader is reached."""


def fuzz(kind: str, seed: int, count: int) -> int:
    """Feed ``count`` damaged files and return how many were refused."""
    choose = random.Random(f"{kind} {seed}")
    refused = 0
    with tempfile.TemporaryDirectory() as name:
        fuzzer = Fuzzer(Path(name))
        seeds = fuzzer.seeds(kind)
        for _ in range(count):
            make = MAKERS[kind] if kind in MAKERS and choose.random() < 0.7 else damaged
            data = make(choose.choice(seeds), seeds, choose)
            signal.alarm(SECONDS_PER_FILE)
            try:
                fuzzer.feed(kind, data)
            except InputError as error:
                refused += 1
                if "\n" in str(error):
                    raise
            except BaseException:
                kept = Path(tempfile.gettempdir()) / f"fuzz-{kind}-{seed}.bin"
                kept.write_bytes(data)
                sys.stderr.write(f"kept {kept}\n")
                raise
            finally:
                signal.alarm(0)
    return refused


def main() -> None:
    """Fuzz one kind of file, and say what came of it."""
    kind, seed, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    refused = fuzz(kind, seed, count)
    # A frontend may do part of its work in child processes.
    users = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(user).ru_maxrss for user in users) * 1024
    sys.stdout.write(f"{kind}: {count} files, {refused} refused, peak {peak >> 20} MiB\n")
    if peak > MEMORY_BYTES or refused == 0:
        sys.exit(1)


if __name__ == "__main__":
    main()
