"""LiteRT as an oracle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


class Oracle:
    """A model in LiteRT, by itself; XNNPACK is on as it is by default."""

    def __init__(self, model: bytes | Path, *, xnnpack: bool = True) -> None:
        content = model.read_bytes() if isinstance(model, Path) else model
        resolver = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        self._interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
        self._interpreter.allocate_tensors()
        self.inputs = self._interpreter.get_input_details()
        self.outputs = self._interpreter.get_output_details()

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        for detail, array in zip(self.inputs, inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], array)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(detail["index"]) for detail in self.outputs]

    def tensors(self) -> list[dict[str, Any]]:
        """Details of every tensor."""
        return list(self._interpreter.get_tensor_details())

    def random_inputs(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Inputs of the right shapes and types: whole range for integers, standard normal for floats."""
        return [random_array(rng, tuple(d["shape"]), d["dtype"]) for d in self.inputs]


def random_array(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    if np.issubdtype(dtype, np.floating):
        return rng.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, size=shape, dtype=dtype, endpoint=True)
