"""Variables that a streaming model keeps between inferences: inputs and outputs of the canonical graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from synap_core.api import GraphBuilder, QuantizedTensor, QuantParams, State, origins_of, quant_of, type_of
from synap_frontend_tflite.importer.registry import UnsupportedError


class Memory:
    """The variables while a graph is imported.

    Args:
        build: Gets an input for each variable that is read before it is written.
        first: Finds the first value of a variable by name, as it is stored; None when the file does not say.
    """

    def __init__(self, build: GraphBuilder, first: Callable[[str], np.ndarray | None]) -> None:
        self._build = build
        self._first = first
        self._old: dict[str, ir.Value] = {}
        self._now: dict[str, ir.Value] = {}
        self._tensors: dict[str, ir.TensorProtocol] = {}

    def read(self, name: str, quant: QuantParams | None = None) -> ir.Value:
        """Value of a variable at this place of the execution order.

        Args:
            name: The variable.
            quant: What its integers mean to the reader.

        Raises:
            UnsupportedError: The file does not tell its first value, hence not its type; or the integers meant
                something else before.
        """
        if name not in self._now:
            self._declare(name, quant)
        _same_meaning(name, quant_of(self._now[name]), quant)
        return self._now[name]

    def _declare(self, name: str, quant: QuantParams | None) -> None:
        array = self._first(name)
        if array is None:
            msg = f"the first value of the variable {name!r} is not in the file"
            raise UnsupportedError(msg)
        tensor = ir.Tensor(array) if quant is None else QuantizedTensor(array, quant)
        self._tensors[name] = tensor
        self._old[name] = self._now[name] = self._build.input(
            self._build.unused_name(f"{name}/old"), tensor.dtype, array.shape, quant=quant
        )

    def assign(self, name: str, value: ir.Value) -> None:
        """Replace the value of a variable.

        Raises:
            UnsupportedError: It changes its type, or what its integers mean.
        """
        old = self._now.get(name)
        if old is not None:
            if type_of(old) != type_of(value):
                msg = f"the variable {name!r} changes its type"
                raise UnsupportedError(msg)
            _same_meaning(name, quant_of(old), quant_of(value))
        self._now[name] = value

    def finish(self) -> Sequence[ir.Value]:
        """Declare the variables that are read; returns their new values, to be outputs of the graph."""
        outputs = []
        for name, old in self._old.items():
            new = copied(self._build, self._now[name], f"{name}/new")
            outputs.append(new)
            self._build.add_state(State(name, str(old.name), str(new.name), self._tensors[name]))
        return outputs


def copied(build: GraphBuilder, value: ir.Value, name: str) -> ir.Value:
    """The value under another name, as made by the layers that made it."""
    producer = value.producer()
    with build.layer(*(() if producer is None else origins_of(producer))):
        return build.alias(value, build.unused_name(name))


def _same_meaning(name: str, before: QuantParams | None, now: QuantParams | None) -> None:
    # The runtime copies integers; here a copy keeps real numbers.
    if before != now:
        msg = f"the variable {name!r} changes its quantization"
        raise UnsupportedError(msg)
