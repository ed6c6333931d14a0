"""Networks of one Caffe layer, run by the importer's graph and by OpenCV, or by a definition in NumPy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir

from tests.support.caffe_models import Made, layer, network, open_made, opencv
from tests.support.canonical import opaque_reasons, run, whole

Arrays = Sequence[np.ndarray]


def one_layer(kind: str, body: str, inputs: Arrays, blobs: Arrays = (), tops: int = 1) -> Made:
    """A network of one layer ``y``, which reads ``x0``, ``x1``, … and writes ``y``, ``y1``, ….

    OpenCV names a result after its layer or after its top, so both have the same name.
    """
    bottoms, results = [f"x{i}" for i in range(len(inputs))], ["y", *(f"y{i}" for i in range(1, tops))][:tops]
    shapes = {name: array.shape for name, array in zip(bottoms, inputs, strict=True)}
    return network([layer("y", kind, bottoms, results, body, blobs)], **shapes)


def imported(made: Made) -> ir.Model:
    """Canonical graph of a network."""
    with tempfile.TemporaryDirectory() as folder:
        source = open_made(Path(folder), made)
        return source.canonical(whole(source))


def computed(made: Made, inputs: Arrays) -> list[np.ndarray]:
    """Results of the canonical graph, none of whose layers is opaque."""
    model = imported(made)
    assert opaque_reasons(model) == []
    return run(model, inputs)


def operators(made: Made) -> list[str]:
    """Operators of the canonical graph in execution order."""
    return [node.op_type for node in imported(made).graph]


def refusal(kind: str, body: str, inputs: Arrays, blobs: Arrays = (), tops: int = 1) -> str:
    """Why a layer stays opaque."""
    with tempfile.TemporaryDirectory() as folder:
        (found,) = open_made(Path(folder), one_layer(kind, body, inputs, blobs, tops)).support()
    assert found.status == "opaque"
    return found.reason


def agrees(kind: str, body: str, inputs: Arrays, blobs: Arrays = (), *, relative: float = 1e-5) -> np.ndarray:
    """Compare a layer with one result with OpenCV.

    Returns:
        The result.
    """
    made = one_layer(kind, body, inputs, blobs)
    (wanted,) = opencv(made, {f"x{i}": array for i, array in enumerate(inputs)}, ["y"])
    (found,) = computed(made, inputs)
    alike(found, wanted, relative)
    return found


def conforms(
    kind: str,
    body: str,
    inputs: Arrays,
    definition: Callable[..., np.ndarray],
    blobs: Arrays = (),
    *,
    relative: float = 1e-5,
) -> np.ndarray:
    """Compare a layer with one result with a definition, which is given inputs and blobs in float64.

    Returns:
        The result.
    """
    (found,) = computed(one_layer(kind, body, inputs, blobs), inputs)
    alike(found, definition(*(array.astype(np.float64) for array in (*inputs, *blobs))), relative)
    return found


def alike(found: np.ndarray, wanted: np.ndarray, relative: float = 1e-5) -> None:
    """Arrays have one shape, and differ by so much of max(1, largest value) at most."""
    assert found.shape == wanted.shape
    assert found.dtype == np.float32
    assert np.isfinite(wanted).all()
    largest = np.abs(wanted).max(initial=1.0)
    assert np.abs(found - wanted).max(initial=0.0) <= relative * largest


def sample(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Random numbers in a range, always the same ones."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)
