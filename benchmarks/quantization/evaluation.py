"""Prepared data in the work folder, and models run on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from benchmarks.quantization.tasks import Figures, Outputs, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A task in a work folder.

    Attributes:
        task: What is measured.
        zoo: Folder of the model zoo.
        folder: Where its data and results are kept.
    """

    task: Task
    zoo: Path
    folder: Path

    @property
    def model(self) -> Path:
        """The float model as it is in the zoo."""
        return self.zoo / "models" / self.task.model

    @property
    def weights(self) -> Path | None:
        """The file with its weights; None when they are in the model's own."""
        return self.zoo / "models" / self.task.weights if self.task.weights else None

    @property
    def arguments(self) -> list[str]:
        """What tells the command line of the model."""
        weights = [] if self.weights is None else ["--weights", str(self.weights)]
        return ["--model", str(self.model), *weights]

    @property
    def float_onnx(self) -> Path:
        """The float model in ONNX: of another format what the toolkit makes of it, unquantized."""
        if self.model.suffix == ".onnx":
            return self.model
        made = self.folder / "float" / "model.onnx"
        if not made.exists():
            command = [sys.executable, "-m", "synap_core.cli", "convert", *self.arguments, "--target", "GENERIC"]
            command += ["--out-format", "onnx", "--out-dir", str(made.parent)]
            subprocess.run(command, check=True, capture_output=True)
        return made

    @property
    def prepared(self) -> Path:
        """The float model as the peers want it: static shape, cut, newer opset, batch normalisation folded."""
        return self.folder / "prepared.onnx"

    def data(self, subset: str) -> list[Path]:
        """One ``.npy`` a sample of ``calibration`` or ``evaluation``; made when they are not there."""
        folder = self.folder / subset
        if not (folder / "complete").exists():
            folder.mkdir(parents=True, exist_ok=True)
            for index, sample in enumerate(self.task.data(self.zoo, subset)):
                np.save(folder / f"{index:04d}.npy", sample)
            (folder / "complete").touch()
        return sorted(folder.glob("*.npy"))

    def run(self, model: Path) -> Outputs:
        """Outputs of a model for the evaluation samples.

        Nothing is optimised, so that a quantized model computes what its file says, rounding wherever it says so.
        """
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        rows = [session.run(None, feeds) for feeds in self._feeds(session.get_inputs()[0].name)]
        return [np.concatenate(column) for column in zip(*rows, strict=True)]

    def _feeds(self, name: str) -> Iterator[dict[str, np.ndarray]]:
        """Each evaluation sample."""
        return ({name: np.load(path)} for path in self.data("evaluation"))

    def exact(self) -> Outputs:
        """Outputs of the float model, whole even where the task cuts it; kept in the folder."""
        path = self.folder / "float.npz"
        if not path.exists():
            np.savez(path, *self.run(self.float_onnx))
        with np.load(path) as kept:
            return [kept[name] for name in kept.files]

    def figures(self, model: Path) -> Figures:
        """How good a model is."""
        return self.task.score(self.zoo, self.exact(), self.run(model))
