"""Whether ``standard`` loses against plain min-max anywhere: ``python -m benchmarks.quantization.everywhere``.

Quantizes every float model of the zoo both ways, and prints the signal to quantization noise ratio of its outputs over
samples that were not calibrated on. Ends with 1 when refinements make one worse by more than 0.1 dB.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from benchmarks.quantization import metrics, samples
from benchmarks.quantization.variants import ALGORITHMS, SCHEMES
from tests.conftest import zoo_root
from tests.support.npu_float_models import MODELS, TEXT_SHAPE

Array = np.ndarray
Samples = Callable[[Path, str], Iterator[Array]]

KINDS = ("uint8", "int8pc", "int8dfp")
MOST_SAMPLES = 100
MARGIN_DB = 0.1
"""What the choice of samples moves the ratio by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model and its samples.

    Attributes:
        path: Below the zoo's folder of models.
        samples: Gives those of ``calibration`` or ``evaluation``, given the zoo.
        meta: What the metafile says of inputs and outputs.
        weights: Suffix of the file with the weights, where there is one.
    """

    path: str
    samples: Samples
    meta: Mapping[str, object]
    weights: str = ""


def _digits(zoo: Path, subset: str) -> Iterator[Array]:
    images = np.load(zoo / "images/mnist_200.npz")["images"]
    for image in images[0 if subset == "calibration" else 1 :: 2]:
        yield (image.astype(np.float32) / 256)[None, None]


def _objects(zoo: Path, subset: str) -> Iterator[Array]:
    """Photos at 32x32, RGB less the mean colour."""
    for image in samples.classification(zoo, subset):
        small = image.reshape(1, 3, 32, 7, 32, 7).mean((3, 5)) * 128 + 127
        yield (small - np.array([125.3, 123.0, 113.9]).reshape(1, 3, 1, 1)).astype(np.float32)


def _graph(name: str, shape: Sequence[int]) -> dict[str, object]:
    return {"inputs": [{"name": name, "shape": list(shape)}], "outputs": [{"name": "Identity"}]}


CASES = (
    *(
        Case(
            path=model.path,
            samples=model.samples,
            meta={"inputs": [{"name": "x", "shape": TEXT_SHAPE}]} if "PP-OCR" in model.path else {},
        )
        for model in MODELS
    ),
    Case(path="caffe/lenet_v1proto.prototxt", samples=_digits, meta={}, weights=".caffemodel"),
    Case(path="caffe/lenet_v2proto.prototxt", samples=_digits, meta={}, weights=".caffemodel"),
    Case(path="caffe/cifar10_full.prototxt", samples=_objects, meta={}, weights=".caffemodel"),
    Case(path="caffe/open_nsfw_resnet50_1by2.prototxt", samples=samples.whole_photos, meta={}, weights=".caffemodel"),
    *(
        Case(path=f"mlperf_tiny_frozen/{name}_frozen.pb", samples=model.samples, meta=_graph("input", shape))
        for name, model, shape in (
            ("vww_96", MODELS[5], (1, 96, 96, 3)),
            ("resnet8", MODELS[6], (1, 32, 32, 3)),
            ("ad01", MODELS[7], (1, 640)),
        )
    ),
)


class Measuring:
    """Conversions of one model, in a folder.

    Args:
        case: The model.
        zoo: The zoo.
        folder: Where files may go.
    """

    def __init__(self, case: Case, zoo: Path, folder: Path) -> None:
        self._case, self._zoo, self._folder = case, zoo, folder
        for number, array in enumerate(itertools.islice(case.samples(zoo, "calibration"), MOST_SAMPLES)):
            np.save(folder / f"{number:03}.npy", array)
        self._evaluation = list(itertools.islice(case.samples(zoo, "evaluation"), MOST_SAMPLES))
        self._exact = self._outputs({})

    def ratio(self, kind: str, word: str) -> float:
        """Mean ratio of the outputs in dB, with a scheme and an algorithm of the benchmark."""
        data_type, scheme = SCHEMES[kind]
        algorithm, options = ALGORITHMS[word]
        section = {"data_type": data_type, "scheme": scheme, "algorithm": algorithm, "options": options}
        found = self._outputs({"quantization": {**section, "dataset": "*.npy"}})
        return float(np.mean([metrics.sqnr(exact, given) for exact, given in zip(self._exact, found, strict=True)]))

    def _outputs(self, section: Mapping[str, object]) -> list[Array]:
        path = self._zoo / "models" / self._case.path
        meta = self._folder / "meta.json"
        meta.write_text(json.dumps({**self._case.meta, **section}), encoding="utf-8")
        weights = ["--weights", path.with_suffix(self._case.weights)] if self._case.weights else []
        command = [sys.executable, "-m", "synap_core.cli", "convert", "--model", path, *weights, "--meta", meta]
        command += ["--target", "GENERIC", "--out-format", "onnx", "--out-dir", self._folder / "out"]
        subprocess.run(command, check=True, capture_output=True)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(self._folder / "out/model.onnx", options, providers=["CPUExecutionProvider"])
        (name,) = (value.name for value in session.get_inputs())
        rows = [session.run(None, {name: array}) for array in self._evaluation]
        return [np.concatenate(column) for column in zip(*rows, strict=True)]


def main() -> int:
    """Measure, and print a line for each model and scheme."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--zoo", type=Path, default=zoo_root(), help="folder of the model zoo")
    parser.add_argument("--model", default="", help="only those with this in their name")
    arguments = parser.parse_args()
    lost = 0
    for case in (case for case in CASES if arguments.model in case.path):
        with tempfile.TemporaryDirectory() as folder:
            measuring = Measuring(case, arguments.zoo, Path(folder))
            for kind in KINDS:
                plain, standard = (measuring.ratio(kind, word) for word in ("fast", "standard"))
                kept = standard >= plain - MARGIN_DB
                lost += not kept
                line = f"min-max {plain:6.2f} dB, standard {standard:6.2f} dB"
                print(f"{'met    ' if kept else 'NOT met'}  {case.path} {kind}: {line}", flush=True)
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
