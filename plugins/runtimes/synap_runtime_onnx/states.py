"""Programs that keep variables from one inference to the next."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from synap_core.api import BOUNDARY_DTYPES, LayerOutput, ModelExecutionError, RuntimeModel, TensorMeta
from synap_runtime_onnx.layer_outputs import InspectableOnnx, Prepare
from synap_runtime_onnx.program_fields import ANOTHER_VERSION, version_problem
from synap_runtime_onnx.protos import PROTO_ERRORS, ModelProto

PROPERTY = "states"
"""Metadata of a program that describes its variables: a JSON list of objects with the name of each, its type and shape,
and its first items in base64. Their inputs and outputs come behind all others, in this order."""

MAX_ITEMS = 1 << 26
"""Items of a variable, at most."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable: a tensor, and what it holds at first."""

    tensor: TensorMeta
    initial: np.ndarray


class StatefulOnnx(InspectableOnnx):
    """A program whose last inputs and outputs are its variables.

    Args:
        model: The program, with metadata of its other inputs and outputs.
        prepare: Makes it one that the library runs.
        notes: Lines that users must know of such models.

    Raises:
        ModelExecutionError: ONNX Runtime refuses the program, or it describes its variables wrongly.
    """

    def __init__(self, model: RuntimeModel, prepare: Prepare, notes: Sequence[str] = ()) -> None:
        self._variables = variables_of(model)
        own = tuple(variable.tensor for variable in self._variables)
        super().__init__(replace(model, inputs=model.inputs + own, outputs=model.outputs + own), prepare, notes)
        for loaded, tensor in zip(self._inputs, model.inputs, strict=False):
            if loaded.dtype != tensor.dtype:
                msg = f"input {loaded.name!r} is {loaded.dtype}, its metadata says {tensor.dtype}"
                raise ModelExecutionError(msg, where=model.name, hint="convert the model again")
        self.reset()

    def reset(self) -> None:
        """Give all variables their first values."""
        self._state = [variable.initial for variable in self._variables]

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run once, and keep what the variables hold then."""
        results = super().run([*inputs, *self._state])
        count = len(results) - len(self._variables)
        self._state = results[count:]
        return results[:count]

    def run_layers(self, inputs: Sequence[np.ndarray]) -> list[LayerOutput]:
        """Run once; the variables stay as they are."""
        return super().run_layers([*inputs, *self._state])


def variables_of(model: RuntimeModel) -> tuple[Variable, ...]:
    """Variables that a program describes.

    Raises:
        ModelExecutionError: The program, or the description, is damaged, or of another version, which may describe
            them in other ways.
    """
    try:
        program = ModelProto.FromString(model.model)
        found = {item.key: item.value for item in program.metadata_props}
    except PROTO_ERRORS as error:
        msg = "this is no program for the neural processing unit, or a damaged one"
        raise ModelExecutionError(msg, where=model.name, hint="convert the model again") from error
    problem = version_problem(program)
    if problem is not None:
        raise ModelExecutionError(problem, where=model.name, hint=ANOTHER_VERSION)
    try:
        entries = json.loads(found.get(PROPERTY, "[]"))
        return tuple(_variable(entry) for entry in entries)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, binascii.Error) as error:
        msg = "the program describes its variables wrongly"
        raise ModelExecutionError(msg, where=model.name, hint="convert the model again") from error


def _variable(entry: dict[str, object]) -> Variable:
    name, dtype, shape = str(entry["name"]), str(entry["dtype"]), entry["shape"]
    sizes = tuple(size for size in shape if isinstance(size, int) and size > 0) if isinstance(shape, list) else ()
    if not isinstance(shape, list) or len(sizes) != len(shape) or math.prod(sizes) > MAX_ITEMS:
        msg = f"shape {shape!r}"
        raise ValueError(msg)
    if dtype not in BOUNDARY_DTYPES:
        msg = f"type {dtype!r}"
        raise ValueError(msg)
    items = np.frombuffer(base64.b64decode(str(entry["initial"]), validate=True), np.dtype(dtype).newbyteorder("<"))
    initial = items.astype(dtype).reshape(sizes)
    return Variable(TensorMeta(label=name, name=name, shape=sizes, dtype=dtype), initial)
