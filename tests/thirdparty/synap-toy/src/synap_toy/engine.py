"""Execute toy models with NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synap_core.api import ModelExecutionError, RuntimeModel, TensorMeta
from synap_toy.text import OPERATORS, Operation, TensorType, parse

Array = NDArray[Any]  # float32 or float16: that of the model

GAIN = "gain"


class ToyExecutable:
    """A loaded toy model.

    Args:
        model: The model. Its option ``gain`` multiplies every output; 1 by default.

    Raises:
        InputError: The text is damaged, does not fit its metadata, or has an unknown operator.
    """

    def __init__(self, model: RuntimeModel) -> None:
        self._text = parse(model.model, model.name)
        self._gain = model.options.get_float(GAIN, 1.0)
        self._totals: dict[str, Array] = {}
        self.notes = tuple(f"unknown option {k!r} is ignored" for k in model.options.option_names() if k != GAIN)
        for step in self._text.operations:
            if step.operator not in OPERATORS:
                msg = f"layer {step.name!r} has the unknown operator {step.operator!r}; known: {', '.join(OPERATORS)}"
                raise ModelExecutionError(msg, where=model.name)
        for names, described in ((self._text.inputs, model.inputs), (self._text.outputs, model.outputs)):
            if [self._text.tensors[name] for name in names] != [_type(tensor) for tensor in described]:
                msg = f"the tensors {', '.join(names)} are not what the metadata describes"
                raise ModelExecutionError(msg, where=model.name)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Run once."""
        values = dict(zip(self._text.inputs, inputs, strict=True))
        # Numbers that are too large become infinite, and no warning.
        with np.errstate(all="ignore"):
            for step in self._text.operations:
                values[step.name] = self._compute(step, [values[name] for name in step.operands])
            return [np.multiply(values[name], self._gain, dtype=values[name].dtype) for name in self._text.outputs]

    def reset(self) -> None:
        """Forget what ``accumulate`` has added up."""
        self._totals.clear()

    def _compute(self, step: Operation, operands: Sequence[Array]) -> Array:
        if step.operator == "scale":
            return np.multiply(operands[0], step.numbers[0], dtype=operands[0].dtype)
        if step.operator == "accumulate":
            before = self._totals.get(step.name)
            self._totals[step.name] = operands[0] if before is None else before + operands[0]
            return self._totals[step.name]
        return operands[0] + operands[1]


def _type(tensor: TensorMeta) -> TensorType:
    return TensorType(tensor.shape, tensor.dtype)
