"""Run a model in LiteRT; the one module that uses its untyped interface."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from synap_core.api import FormatString, LayerOutput, ModelExecutionError, QuantParams, RuntimeModel, TensorMeta

Native = Any
"""An object of the library, which has no types."""

MAX_MESSAGE = 200
"""Characters of LiteRT's own message to pass on: it repeats itself for every tensor."""

HOST_OPTIONS = frozenset({"gpu", "use_xnnpack", "num_threads"})
"""Options of the delegate string that have a meaning on the host."""

DEVICE_OPTIONS = frozenset(
    {
        "allow_fp16",
        "cache_dir",
        "gpu_inference_preference",
        "gpu_inference_priority1",
        "latest_operators",
        "log_level",
        "model_token",
    }
)
"""Options that only the on-board runtime acts on."""


class LitertExecutable:
    """A model loaded into a LiteRT interpreter.

    Args:
        model: The model. Its options say whether XNNPACK is used (``use_xnnpack``, by default unless ``gpu``) and
            how many threads it gets (``num_threads``; 0 means one).

    Raises:
        ModelExecutionError: LiteRT refuses the model, or it does not fit its metadata.
    """

    def __init__(self, model: RuntimeModel) -> None:
        self._model = model
        self.notes = tuple(_notes(model.options))
        self.reset()

    def reset(self) -> None:
        """Start over: a new interpreter has no state."""
        options = self._model.options
        gpu = options.get_bool("gpu", default=False)
        xnnpack = options.get_bool("use_xnnpack", default=True) and not gpu
        threads = options.get_int("num_threads", 0)
        try:
            self._interpreter: Any = Interpreter(
                model_content=self._model.model,
                num_threads=max(threads, 1) if threads >= 0 else None,
                experimental_op_resolver_type=OpResolverType.AUTO
                if xnnpack
                else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            msg = f"LiteRT refused the model: {_first_line(error)}"
            raise ModelExecutionError(msg, where=self._model.name) from error
        self._inputs = self._bind(self._interpreter.get_input_details(), self._model.inputs, "inputs")
        self._outputs = self._bind(self._interpreter.get_output_details(), self._model.outputs, "outputs")

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run once."""
        try:
            for index, array in zip(self._inputs, inputs, strict=True):
                self._interpreter.set_tensor(index, array)
            self._interpreter.invoke()
            return [cast("np.ndarray", self._interpreter.get_tensor(index)) for index in self._outputs]
        except (RuntimeError, ValueError) as error:
            msg = f"LiteRT could not run the model: {_first_line(error)}"
            raise ModelExecutionError(msg, where=self._model.name) from error

    def run_layers(self, inputs: Sequence[np.ndarray]) -> list[LayerOutput]:
        """Run once in an interpreter that keeps all tensors; its kernels are those without XNNPACK."""
        try:
            interpreter: Native = Interpreter(
                model_content=self._model.model,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=True,
            )
            interpreter.allocate_tensors()
            bound = self._bind(interpreter.get_input_details(), self._model.inputs, "inputs")
            for index, array in zip(bound, inputs, strict=True):
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            return list(_layer_outputs(interpreter))
        except (RuntimeError, ValueError) as error:
            msg = f"LiteRT could not run the model with all tensors kept: {_first_line(error)}"
            raise ModelExecutionError(msg, where=self._model.name) from error

    def _bind(self, details: list[dict[str, Any]], tensors: Sequence[TensorMeta], what: str) -> list[int]:
        if len(details) != len(tensors):
            msg = f"the model has {len(details)} {what}, its metadata describes {len(tensors)}"
            raise ModelExecutionError(msg, where=self._model.name)
        for detail, tensor in zip(details, tensors, strict=True):
            shape = tuple(int(dim) for dim in detail["shape"])
            if what == "inputs" and shape != tensor.shape:
                msg = f"input {tensor.name!r} is {list(shape)}, its metadata says {list(tensor.shape)}"
                raise ModelExecutionError(msg, where=self._model.name)
        return [int(detail["index"]) for detail in details]


def _layer_outputs(interpreter: Native) -> Iterator[LayerOutput]:
    """Results of all operators; tensors without data, such as those of variables, are left out."""
    tensors = {int(item["index"]): item for item in interpreter.get_tensor_details()}
    for position, operator in enumerate(interpreter._get_ops_details()):  # noqa: SLF001 - there is no public way
        outputs = [int(index) for index in operator["outputs"] if int(index) in tensors]
        for index in outputs:
            try:
                items = np.asarray(interpreter.get_tensor(index))
            except ValueError:
                continue
            if not items.dtype.hasobject:
                name = str(tensors[index]["name"])
                yield LayerOutput(
                    position=position,
                    layer=str(tensors[outputs[0]]["name"]),
                    type=str(operator["op_name"]),
                    name=name,
                    items=items,
                    quant=_quantization(tensors[index], str(items.dtype)),
                )


def _quantization(detail: dict[str, Any], dtype: str) -> QuantParams | None:
    found = detail["quantization_parameters"]
    scale, zero_point = (tuple(found[name].tolist()) for name in ("scales", "zero_points"))
    if not scale:
        return None
    several = len(scale) > 1
    return QuantParams(
        dtype=dtype,
        scheme="perchannel_symmetric_affine" if several else "asymmetric_affine",
        scale=scale,
        zero_point=zero_point,
        axis=int(found["quantized_dimension"]) if several else None,
    )


def _first_line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]}…"


def _notes(options: FormatString) -> list[str]:
    notes = []
    if options.get_bool("gpu", default=False):
        notes.append("gpu=1: there is no GPU delegate on the host, the model runs on the processor cores")
    for key in options.option_names():
        if key in DEVICE_OPTIONS:
            notes.append(f"option {key!r} has no effect on the host")
        elif key not in HOST_OPTIONS:
            notes.append(f"unknown option {key!r} is ignored")
    return notes
