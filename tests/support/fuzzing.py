"""Feed damaged files to the parsers: ``python -m tests.support.fuzzing KIND SEED COUNT``.

A damaged file may be accepted or end in an `InputError`. Anything else, more than 10 seconds for one file, or more than
1 GiB of memory in all is a failure; the file is then kept for a look.
"""

from __future__ import annotations

import io
import random
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
from tests.support import onnx_models
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


class Fuzzer:
    """Knows the seeds and the parser of each kind of file."""

    def __init__(self, folder: Path) -> None:
        self._host = PluginHost()
        self._folder = folder

    def seeds(self, kind: str) -> list[bytes]:
        """Valid files of a kind."""
        return {"bundle": self._bundles, "metafile": self._metafiles, "tflite": self._tflite, "onnx": self._onnx}[
            kind
        ]()

    def feed(self, kind: str, data: bytes) -> None:
        """Let the parser of a kind read a file."""
        if kind == "bundle":
            read_bundle(data, "model.synap")
            return
        path = self._folder / f"file.{'yaml' if kind == 'metafile' else kind}"
        path.write_bytes(data)
        if kind == "metafile":
            load_metafile(path, delegates=("cpu", "gpu", "npu"))
        else:
            self._cut_in_two(path)

    def _cut_in_two(self, path: Path) -> None:
        source = open_model(self._host, ModelRequest(path=path))
        selection = select(source, default_metafile())
        count = len(selection.layers)
        assigned = {
            layer.index: Assignment("cpu", "" if k < count // 2 else "x")
            for k, layer in enumerate(selection.layers)
            if layer.index is not None
        }
        for part in partition(selection.layers, assigned, selection.inputs, selection.outputs):
            source.slice(part.part)
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


def fuzz(kind: str, seed: int, count: int) -> int:
    """Feed ``count`` damaged files and return how many were refused."""
    choose = random.Random(f"{kind} {seed}")
    refused = 0
    with tempfile.TemporaryDirectory() as name:
        fuzzer = Fuzzer(Path(name))
        seeds = fuzzer.seeds(kind)
        for _ in range(count):
            make = repacked if kind == "bundle" and choose.random() < 0.7 else damaged
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
