"""Write small TensorFlow Lite models, in floating point or fully quantized to int8.

``ModelBuilder`` collects tensors and operators in execution order and packs them into one file. The quantization
helpers follow the 8-bit specification of TensorFlow Lite: ``real = scale * (q - zero_point)``, activations asymmetric,
weights symmetric in [-127, 127], biases int32 with the product of the two scales.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

BUFFER_ALIGNMENT = 16
"""Bytes; what ``force_align`` demands in the schema, so that kernels can read the weights where they lie."""

TENSOR_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
}

OPERATOR_VERSIONS = {
    # (operator, quantized): the first version that knows this use, which is what the oldest runtimes accept.
    ("CONV_2D", False): 1,
    ("CONV_2D", True): 3,
    ("FULLY_CONNECTED", False): 1,
    ("FULLY_CONNECTED", True): 4,
    ("MAX_POOL_2D", False): 1,
    ("MAX_POOL_2D", True): 2,
    ("RESHAPE", False): 1,
    ("RESHAPE", True): 1,
    ("SOFTMAX", False): 1,
    ("SOFTMAX", True): 2,
}

RUNTIME_VERSIONS = {False: "1.5.0", True: "1.14.0"}
"""Oldest TensorFlow Lite release that has all of ``OPERATOR_VERSIONS``; the key says whether the model is quantized."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the integers of a tensor stand for real numbers.

    Attributes:
        scale: ``(1,) float32`` for the whole tensor or ``(C,)`` with one value per channel; above 0.
        zero_point: The integer that means 0.0; the same for all channels.
        axis: Channel axis of ``scale`` when it has more than one value.
    """

    scale: npt.NDArray[np.float32]
    zero_point: int = 0
    axis: int = 0


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that has been added to a ``ModelBuilder``; ``index`` is its place in the subgraph."""

    index: int
    name: str
    shape: tuple[int, ...]
    quantization: Quantization | None


@dataclass(frozen=True, slots=True)
class AlignedBuffer:
    """Stand-in for the schema's ``BufferT``, whose ``Pack`` ignores the alignment that the schema demands."""

    data: bytes

    def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802 - ModelT.Pack calls it by this name
        """Write the buffer and return its offset, counted from the end of the file."""
        if not self.data:
            schema.BufferStart(builder)
            return int(schema.BufferEnd(builder))
        builder.StartVector(1, len(self.data), BUFFER_ALIGNMENT)
        for byte in reversed(self.data):
            builder.PrependUint8(byte)
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))


def asymmetric_int8(low: float, high: float) -> Quantization:
    """Spread [-128, 127] over a range of real values, widened so that it contains 0.0 exactly.

    Raises:
        ValueError: the range is empty, that is, holds no value but 0.0.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        msg = f"cannot quantize the empty range [{low}, {high}]"
        raise ValueError(msg)
    scale = np.float32((high - low) / 255)
    zero_point = round(-128 - low / float(scale))
    return Quantization(np.array([scale], np.float32), min(max(zero_point, -128), 127))


def symmetric_int8(weights: npt.NDArray[np.float32], *, per_channel: bool) -> Quantization:
    """Choose scales that map the largest magnitude to 127, per channel of axis 0 or for the whole tensor.

    A channel of zeros gets the scale 1.
    """
    rows = np.abs(weights).reshape(len(weights) if per_channel else 1, -1)
    largest = rows.max(axis=1)
    return Quantization(np.where(largest > 0, largest / 127, 1).astype(np.float32))


def quantize(values: npt.NDArray[np.float32], quantization: Quantization, dtype: str) -> npt.NDArray[np.integer[Any]]:
    """Round real values to the nearest integers of ``dtype``; those outside its range are clipped."""
    ones = (1,) * (values.ndim - 1)
    scale = quantization.scale.astype(np.float64).reshape(-1, *ones)
    limits = np.iinfo(dtype)
    integers = np.rint(values / scale) + quantization.zero_point
    return integers.clip(limits.min, limits.max).astype(dtype)


def bias_quantization(source: Quantization, weights: Quantization) -> Quantization:
    """Return the parameters of a bias that is added to the accumulator: the product of both scales, zero point 0."""
    return Quantization(source.scale * weights.scale)


@dataclass
class ModelBuilder:
    """Collects one subgraph; operators run in the order in which they are added.

    Attributes:
        description: Stored in the file.
        quantized: The activations are int8 and every one of them needs a ``Quantization``; otherwise float32.
    """

    description: str
    quantized: bool
    _tensors: list[Any] = field(default_factory=list, init=False)
    _operators: list[Any] = field(default_factory=list, init=False)
    _opcodes: list[str] = field(default_factory=list, init=False)
    # Buffer 0 is empty by convention: tensors without constant data refer to it.
    _buffers: list[AlignedBuffer] = field(default_factory=lambda: [AlignedBuffer(b"")], init=False)

    def activation(self, name: str, shape: tuple[int, ...], quantization: Quantization | None = None) -> Tensor:
        """Add a tensor that is computed when the model runs."""
        return self._tensor(name, shape, "int8" if self.quantized else "float32", 0, quantization)

    def constant(self, name: str, values: npt.NDArray[Any], quantization: Quantization | None = None) -> Tensor:
        """Add a tensor whose values, already in their stored data type, lie in the file."""
        little_endian = values.astype(values.dtype.newbyteorder("<"))
        buffer = self._buffer(little_endian.tobytes())
        return self._tensor(name, values.shape, values.dtype.name, buffer, quantization)

    def conv2d_relu(
        self, source: Tensor, weights: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], output: Tensor
    ) -> None:
        """Add a convolution with stride 1, same padding and ReLU; ``weights`` are ``(out, height, width, in)``."""
        options = schema.Conv2DOptionsT(
            padding=schema.Padding.SAME,
            strideW=1,
            strideH=1,
            fusedActivationFunction=schema.ActivationFunctionType.RELU,
        )
        parameters = self._parameters(source, weights, bias, output.name, per_channel=True)
        self._operator("CONV_2D", [source, *parameters], output, options)

    def fully_connected(
        self, source: Tensor, weights: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], output: Tensor
    ) -> None:
        """Add a dense layer; ``weights`` are ``(out, in)``.

        Quantized weights share one scale: one per channel would need a version that older runtimes do not have.
        """
        parameters = self._parameters(source, weights, bias, output.name, per_channel=False)
        self._operator("FULLY_CONNECTED", [source, *parameters], output, schema.FullyConnectedOptionsT())

    def max_pool_2x2(self, source: Tensor, output: Tensor) -> None:
        """Add a maximum over windows of 2x2 with stride 2; both tensors need the same quantization."""
        options = schema.Pool2DOptionsT(
            padding=schema.Padding.VALID, strideW=2, strideH=2, filterWidth=2, filterHeight=2
        )
        self._operator("MAX_POOL_2D", [source], output, options)

    def reshape(self, source: Tensor, output: Tensor) -> None:
        """Add a reshape to the output's shape; both tensors need the same quantization."""
        shape = self.constant(f"{output.name}/shape", np.array(output.shape, np.int32))
        self._operator("RESHAPE", [source, shape], output, schema.ReshapeOptionsT(newShape=list(output.shape)))

    def softmax(self, source: Tensor, output: Tensor) -> None:
        """Add a softmax over the last axis; a quantized output must have scale 1/256 and zero point -128."""
        self._operator("SOFTMAX", [source], output, schema.SoftmaxOptionsT(beta=1.0))

    def pack(self, inputs: list[Tensor], outputs: list[Tensor]) -> bytes:
        """Return the file, with a ``serving_default`` signature that names inputs and outputs as their tensors."""
        runtime_version = RUNTIME_VERSIONS[self.quantized].encode().ljust(16, b"\0")
        metadata = schema.MetadataT(name="min_runtime_version", buffer=self._buffer(runtime_version))
        model = schema.ModelT(
            version=3,
            operatorCodes=[operator_code(name, OPERATOR_VERSIONS[name, self.quantized]) for name in self._opcodes],
            subgraphs=[self._subgraph(inputs, outputs)],
            description=self.description,
            buffers=self._buffers,
            metadata=[metadata],
            signatureDefs=[signature("serving_default", inputs, outputs)],
        )
        builder = flatbuffers.Builder()
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _subgraph(self, inputs: list[Tensor], outputs: list[Tensor]) -> Any:  # noqa: ANN401 - the schema is untyped
        return schema.SubGraphT(
            tensors=self._tensors,
            inputs=[tensor.index for tensor in inputs],
            outputs=[tensor.index for tensor in outputs],
            operators=self._operators,
            name="main",
        )

    def _buffer(self, data: bytes) -> int:
        self._buffers.append(AlignedBuffer(data))
        return len(self._buffers) - 1

    def _tensor(
        self, name: str, shape: tuple[int, ...], dtype: str, buffer: int, quantization: Quantization | None
    ) -> Tensor:
        entry = schema.TensorT(shape=list(shape), type=TENSOR_TYPES[dtype], buffer=buffer, name=name, hasRank=True)
        if quantization is not None:
            entry.quantization = schema.QuantizationParametersT(
                scale=quantization.scale.tolist(),
                zeroPoint=[quantization.zero_point] * len(quantization.scale),
                quantizedDimension=quantization.axis,
            )
        self._tensors.append(entry)
        return Tensor(len(self._tensors) - 1, name, shape, quantization)

    def _parameters(
        self,
        source: Tensor,
        weights: npt.NDArray[np.float32],
        bias: npt.NDArray[np.float32],
        layer: str,
        *,
        per_channel: bool,
    ) -> tuple[Tensor, Tensor]:
        """Add the constants of a layer; with a quantized source they become int8 weights and int32 biases."""
        if source.quantization is None:
            return self.constant(f"{layer}/weights", weights), self.constant(f"{layer}/bias", bias)
        scales = symmetric_int8(weights, per_channel=per_channel)
        bias_scales = bias_quantization(source.quantization, scales)
        return (
            self.constant(f"{layer}/weights", quantize(weights, scales, "int8"), scales),
            self.constant(f"{layer}/bias", quantize(bias, bias_scales, "int32"), bias_scales),
        )

    def _operator(self, name: str, inputs: list[Tensor], output: Tensor, options: Any) -> None:  # noqa: ANN401
        if name not in self._opcodes:
            self._opcodes.append(name)
        operator = schema.OperatorT(
            opcodeIndex=self._opcodes.index(name),
            inputs=[tensor.index for tensor in inputs],
            outputs=[output.index],
            builtinOptionsType=getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T")),
            builtinOptions=options,
        )
        self._operators.append(operator)


def operator_code(name: str, version: int) -> Any:  # noqa: ANN401 - the schema is untyped
    """Describe a built-in operator; old readers look only at the 8-bit field, so codes below 127 fill both."""
    code = getattr(schema.BuiltinOperator, name)
    return schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=version)


def signature(key: str, inputs: list[Tensor], outputs: list[Tensor]) -> Any:  # noqa: ANN401 - the schema is untyped
    """Describe an entry point whose arguments and results are named as their tensors."""
    return schema.SignatureDefT(
        signatureKey=key,
        inputs=[schema.TensorMapT(name=tensor.name, tensorIndex=tensor.index) for tensor in inputs],
        outputs=[schema.TensorMapT(name=tensor.name, tensorIndex=tensor.index) for tensor in outputs],
    )
