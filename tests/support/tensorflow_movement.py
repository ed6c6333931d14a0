"""TensorFlow graphs of one operator on images that OpenCV knows to be NHWC, and operators that leave nothing to run."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from synap_core.graph.build import GraphBuilder
from synap_frontend_tensorflow.importer.call import Call
from synap_frontend_tensorflow.importer.registry import converters
from tests.support.tensorflow_models import NUMBERS, GraphComposer
from tests.support.tensorflow_operator import Fixed, Operand, Single

FIELDS = {"int32": "int_val", "float32": "float_val"}


def imaged(op: str, *operands: Operand, **attributes: Any) -> Single:
    """Compose a graph of one operator, its images behind pools of one pixel.

    OpenCV's importer takes a placeholder of four dimensions for NCHW unless an operator of images reads it.
    """
    composer = GraphComposer()
    inputs: dict[str, np.ndarray] = {}
    names = []
    for place, one in enumerate(operands):
        if isinstance(one, Fixed):
            names.append(constant(composer, one.array))
        else:
            inputs[f"x{place}"] = one
            names.append(image(composer, f"x{place}", one.shape))
    composer.node(op, names, "y", **attributes)
    return Single(data=composer.serialize(), inputs=inputs, outputs=["y"])


def image(composer: GraphComposer, name: str, shape: tuple[int, ...]) -> str:
    """Add an input; one of four dimensions with a pool behind it."""
    found = composer.placeholder(name, shape)
    if len(shape) != 4:
        return found
    once = [1, 1, 1, 1]
    return composer.node("MaxPool", [found], ksize=once, strides=once, padding="VALID", data_format="NHWC")


def constant(composer: GraphComposer, array: np.ndarray) -> str:
    """Add a constant; a single item in its own field, as TensorFlow writes it and OpenCV needs it."""
    if array.size != 1:
        return composer.constant(array)
    name = f"constant_{len(composer.graph.node)}"
    kind = array.dtype.name
    return composer.tensor(name, NUMBERS[kind], array.shape, **{FIELDS[kind]: [array.item()]})


def folded(op: str, *operands: Operand, **attributes: Any) -> list[np.ndarray]:
    """Results of an operator that are constants as soon as it is imported, whether all its operands are or not.

    A graph whose outputs depend on no input cannot be converted, so the operator is not made one.
    """
    composer = GraphComposer()
    composer.node(op, name="y", **attributes)
    build = GraphBuilder("folded")
    values = [
        build.constant(one.array)
        if isinstance(one, Fixed)
        else build.input(f"x{place}", ir.DataType.from_numpy(one.dtype), one.shape)
        for place, one in enumerate(operands)
    ]
    call = Call(build=build, name="y", type=op, node=composer.graph.node[0], inputs=values, tensors=["y"])
    found = converters()[op](call)
    results = [found] if isinstance(found, ir.Value) else list(found)
    return [call_result.const_value.numpy() for call_result in results if call_result.const_value is not None]
