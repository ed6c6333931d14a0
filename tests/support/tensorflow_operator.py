"""TensorFlow graphs of one operator, and what others make of them: OpenCV, LiteRT's reference kernels, NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from hypothesis import strategies as st

from tests.support.canonical import Reference, run
from tests.support.single_operator import Tensor, constant, tensor
from tests.support.single_operator import single as tflite
from tests.support.tensorflow_models import GraphComposer, canonical, reason

CHANNELS_SECOND = {4: (0, 3, 1, 2), 5: (0, 4, 1, 2, 3)}
CHANNELS_LAST = {4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}


@dataclass(frozen=True)
class Fixed:
    """An operand that is a constant of the graph."""

    array: np.ndarray


@dataclass(frozen=True)
class Inner:
    """An operand that is computed and has no batch: an input without its first dimension."""

    array: np.ndarray


Operand = np.ndarray | Fixed | Inner
"""An array is an input of the model, with a batch of 1."""


@dataclass(frozen=True, kw_only=True)
class Single:
    """A graph of one operator.

    Attributes:
        data: The file.
        inputs: Values of its inputs by name.
        outputs: Its results.
    """

    data: bytes
    inputs: dict[str, np.ndarray]
    outputs: list[str]

    @property
    def model(self) -> ir.Model:
        """The canonical graph, of which every layer must have been imported."""
        return canonical(self.data, {name: array.shape for name, array in self.inputs.items()}, self.outputs)

    def __call__(self) -> list[np.ndarray]:
        """Results of the canonical graph."""
        return run(self.model, list(self.inputs.values()))


def single(op: str, *operands: Operand, outputs: int = 1, **attributes: Any) -> Single:
    """Compose a graph of one operator, whose type ``T`` is that of the first operand."""
    composer = GraphComposer()
    inputs: dict[str, np.ndarray] = {}
    names = []
    for place, one in enumerate(operands):
        if isinstance(one, Fixed):
            names.append(composer.constant(one.array, f"c{place}"))
            continue
        inputs[f"x{place}"] = array = one.array[None] if isinstance(one, Inner) else one
        names.append(composer.placeholder(f"x{place}", array.shape, array.dtype.name))
        if isinstance(one, Inner):
            shape = composer.constant(np.array(one.array.shape, np.int32))
            names[-1] = composer.node("Reshape", [names[-1], shape], T=array.dtype, Tshape=np.int32)
    first = operands[0] if isinstance(operands[0], np.ndarray) else operands[0].array
    composer.node(op, names, "y", **({"T": first.dtype} | attributes))
    results = ["y", *(f"y:{place}" for place in range(1, outputs))]
    return Single(data=composer.serialize(), inputs=inputs, outputs=results)


def refusal(op: str, *operands: Operand, **attributes: Any) -> str:
    """Why an operator stays opaque."""
    made = single(op, *operands, **attributes)
    return reason(made.data, {name: array.shape for name, array in made.inputs.items()}, made.outputs)


def agrees(made: Single, *expected: np.ndarray, tolerance: float = 1e-5) -> None:
    """Check types, shapes and numbers, which may differ by so much of max(1, largest one)."""
    results = made()
    assert len(results) == len(expected)
    for found, wanted in zip(results, expected, strict=True):
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        if wanted.dtype.kind != "f":
            np.testing.assert_array_equal(found, wanted)
            continue
        largest = np.abs(wanted, where=np.isfinite(wanted), out=np.zeros_like(wanted)).max(initial=1)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * float(largest))


def agrees_with_opencv(made: Single, data_format: str = "NHWC", *, tolerance: float = 1e-5) -> None:
    """Check against OpenCV's importer, which has images and volumes in NCHW whatever the graph says."""
    import cv2

    net = cv2.dnn.readNetFromTensorflow(np.frombuffer(made.data, np.uint8))
    last = data_format.endswith("C")
    for name, array in made.inputs.items():
        turned = array.transpose(CHANNELS_SECOND[array.ndim]) if last and array.ndim > 3 else array
        net.setInput(np.ascontiguousarray(turned), name)
    found = np.asarray(net.forward(made.outputs[0]))
    agrees(made, found.transpose(CHANNELS_LAST[found.ndim]) if last and found.ndim > 3 else found, tolerance=tolerance)


def agrees_with_litert(
    made: Single, op: str, operands: Sequence[Tensor], options: Any = None, *, tolerance: float = 1e-5
) -> None:
    """Check against an operator of LiteRT's reference kernels, whose inputs are those of the graph in their order."""
    # The kernels work the shape of the result out; it is what the canonical graph has, or the check fails.
    result = tensor(made()[0].shape)
    content = tflite(op, operands, [result], options, version=2)
    (expected,) = Reference(content)(list(made.inputs.values()))
    agrees(made, expected, tolerance=tolerance)


def zeros(channels: int) -> Tensor:
    """A bias that LiteRT's kernels need where TensorFlow's operators have none."""
    return constant(np.zeros(channels, np.float32))


@dataclass(frozen=True, kw_only=True)
class Window:
    """A window that moves over an image or a volume; one number per dimension.

    Attributes:
        sizes: Of the image.
        kernel: Sides of the window.
        strides: Steps.
        dilations: Distances of its items.
        padding: ``SAME``, ``VALID`` or ``EXPLICIT``.
        pads: Pairs of pixels in front and behind, where it is ``EXPLICIT``.
    """

    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    padding: str
    pads: tuple[tuple[int, int], ...] = ()

    def attributes(self, data_format: str = "NHWC", *, dilated: bool = True) -> dict[str, Any]:
        """The attributes of TensorFlow's operators."""
        given = {
            "strides": in_format(self.strides, data_format),
            "padding": self.padding,
            "data_format": data_format,
        }
        if dilated:
            given["dilations"] = in_format(self.dilations, data_format)
        if self.padding == "EXPLICIT":
            pairs = in_format(self.pads, data_format, (0, 0))
            given["explicit_paddings"] = [end for pair in pairs for end in pair]
        return given

    def ends(self) -> list[tuple[int, int]]:
        """Pixels in front and behind: ``SAME`` gives ``ceil(size / stride)`` places, half of what lacks in front."""
        if self.padding == "EXPLICIT":
            return list(self.pads)
        found = []
        for size, side, step, spread in zip(self.sizes, self.kernel, self.strides, self.dilations, strict=True):
            places = -(-size // step)
            lack = max((places - 1) * step + (side - 1) * spread + 1 - size, 0) if self.padding == "SAME" else 0
            found.append((lack // 2, lack - lack // 2))
        return found

    def patches(self, x: np.ndarray, fill: float) -> np.ndarray:
        """What the window sees of ``x [N, *sizes, C]`` at each place: ``[N, *places, *kernel, C]``."""
        padded = np.pad(x, [(0, 0), *self.ends(), (0, 0)], constant_values=fill)
        spatial = tuple(range(1, 1 + len(self.kernel)))
        extents = [(side - 1) * spread + 1 for side, spread in zip(self.kernel, self.dilations, strict=True)]
        views = np.lib.stride_tricks.sliding_window_view(padded, extents, axis=spatial)
        steps = (slice(None, None, step) for step in self.strides)
        items = (slice(None, None, spread) for spread in self.dilations)
        return np.moveaxis(views[(slice(None), *steps, slice(None), *items)], len(spatial) + 1, -1)

    def places(self) -> tuple[int, ...]:
        """How many places the window has."""
        return self.patches(np.zeros((1, *self.sizes, 1)), 0).shape[1 : 1 + len(self.sizes)]


def in_format(items: Sequence[Any], data_format: str, outer: Any = 1) -> list[Any]:
    """One item per dimension of the format; another one for samples and channels."""
    return [outer, outer, *items] if data_format[1] == "C" else [outer, *items, outer]


def convolution(x: np.ndarray, weights: np.ndarray, window: Window) -> np.ndarray:
    """Convolution of ``[N, *sizes, C]`` with ``[*kernel, C / groups, M]`` by its definition, in float64."""
    groups = x.shape[-1] // weights.shape[-2]
    patches = np.split(window.patches(x.astype(np.float64), 0), groups, axis=-1)
    parts = np.split(weights.astype(np.float64), groups, axis=-1)
    axes = len(window.kernel) + 1
    return np.concatenate([np.tensordot(p, w, axes) for p, w in zip(patches, parts, strict=True)], axis=-1)


def transposed_convolution(y: np.ndarray, weights: np.ndarray, window: Window, channels: int) -> np.ndarray:
    """The linear map that is transposed to the convolution, item by item of its input."""
    shape = (1, *window.sizes, channels)
    found = np.zeros(shape)
    for place in itertools.product(*map(range, shape)):
        unit = np.zeros(shape)
        unit[place] = 1
        found[place] = (convolution(unit, weights, window) * y).sum()
    return found


@st.composite
def windows(
    draw: st.DrawFn,
    dimensions: int = 2,
    furthest: int = 1,
    paddings: Sequence[str] = ("SAME", "VALID"),
    longest: int = 3,
) -> Window:
    """Windows that fit into their images."""
    several = [st.integers(1, longest)] * dimensions
    kernel, strides = draw(st.tuples(*several)), draw(st.tuples(*several))
    dilations = draw(st.tuples(*[st.integers(1, furthest)] * dimensions))
    padding = draw(st.sampled_from(paddings))
    least = [1 if padding == "SAME" else (k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes = draw(st.tuples(*(st.integers(n, n + 5) for n in least)))
    ends = st.tuples(*(st.tuples(st.integers(0, side - 1), st.integers(0, side - 1)) for side in kernel))
    return Window(
        sizes=sizes,
        kernel=kernel,
        strides=strides,
        dilations=dilations,
        padding=padding,
        pads=draw(ends) if padding == "EXPLICIT" else (),
    )
