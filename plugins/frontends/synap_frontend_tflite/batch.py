"""Turn a model with a fixed batch other than 1 into one with batch 1.

The bundle's models always work on one sample. A batch dimension can be shortened when every operator it passes treats
samples independently and keeps them in dimension 0; anything else is refused with the layer's name.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from synap_core.api import InputError
from synap_frontend_tflite import flatbuffer
from synap_frontend_tflite.flatbuffer import Generated
from synap_frontend_tflite.records import GraphRecord, OperatorRecord

SAMPLE_WISE = frozenset(
    word
    for line in (
        "ABS ADD AVERAGE_POOL_2D CAST CEIL CONV_2D COS DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV ELU EQUAL EXP",
        "FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GELU GREATER GREATER_EQUAL HARD_SWISH L2_NORMALIZATION L2_POOL_2D",
        "LEAKY_RELU LESS LESS_EQUAL LOCAL_RESPONSE_NORMALIZATION LOG LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC",
        "LOG_SOFTMAX MAXIMUM MAX_POOL_2D MINIMUM MUL NEG NOT_EQUAL POW PRELU QUANTIZE RELU RELU6 RELU_0_TO_1",
        "RELU_N1_TO_1 RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR ROUND RSQRT SIGN SIN SOFTMAX SPACE_TO_DEPTH SQRT SQUARE",
        "SQUARED_DIFFERENCE SUB TANH",
    )
    for word in line.split()
)
"""Operators that never mix samples, whatever their options are."""

WITH_WEIGHTS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
"""Operators whose constants may have the batch's size in dimension 0 by chance: it counts output channels."""


def with_batch_one(data: bytes, graph: GraphRecord, where: str) -> tuple[bytes, list[str]]:
    """Rewrite a model for batch 1.

    Args:
        data: The model file.
        graph: Its main subgraph.
        where: Path, for messages.

    Returns:
        The file and what was changed; the same file and nothing when the batch is 1 already.

    Raises:
        InputError: The batch differs between inputs, or an operator mixes samples.
    """
    shapes = {graph.tensors[i].name: graph.tensors[i].shape for i in graph.inputs}
    # A rank-1 input (a waveform, say) has no batch dimension.
    batches = {name: shape[0] for name, shape in shapes.items() if len(shape) > 1}
    if all(batch == 1 for batch in batches.values()):
        return data, []
    if len(set(batches.values())) > 1 or len(batches) < len(shapes):
        sizes = ", ".join(f"{name!r} {list(shape)}" for name, shape in shapes.items())
        msg = f"the batch must be 1, and the inputs have different first dimensions: {sizes}"
        raise InputError(msg, where=where, hint="export the model with batch 1")
    batch = next(iter(batches.values()))
    _Shortener(data, graph, batch, where).check()
    note = f"the fixed batch of {batch} was changed to 1"
    return _rewrite(data, graph, batch), [note]


class _Shortener:
    """Checks that a batch can be shortened; one method per family of operators whose options matter."""

    def __init__(self, data: bytes, graph: GraphRecord, batch: int, where: str) -> None:
        self._root = flatbuffer.root_table(data)
        self._data = data
        self._graph = graph
        self._batch = batch
        self._where = where
        self._special: dict[str, Callable[[int, OperatorRecord], bool]] = {
            "CONCATENATION": self._axis_is_not_batch,
            "MEAN": self._list_spares_batch,
            "REDUCE_MAX": self._list_spares_batch,
            "REDUCE_MIN": self._list_spares_batch,
            "SUM": self._list_spares_batch,
            "MIRROR_PAD": self._pads_no_samples,
            "PAD": self._pads_no_samples,
            "PADV2": self._pads_no_samples,
            "RESHAPE": self._reshape_is_constant,
            "SPLIT": self._split_axis_is_not_batch,
            "SQUEEZE": self._squeeze_spares_batch,
            "TRANSPOSE": self._batch_stays_first,
        }

    def check(self) -> None:
        """Raise for the first operator that does not keep samples apart in dimension 0."""
        for index, operator in enumerate(self._graph.operators):
            special = self._special.get(operator.type)
            keeps = special(index, operator) if special else operator.type in SAMPLE_WISE
            if not (keeps and self._shapes_fit(operator)):
                name = self._graph.tensors[operator.outputs[0]].name if operator.outputs else f"operator {index}"
                reason = f"layer {name!r} ({operator.type}) may mix samples"
                msg = f"the fixed batch of {self._batch} cannot become 1: {reason}"
                hint = (
                    "export the model with batch 1, or, where the first dimension is not the batch but time, with a 1 "
                )
                raise InputError(msg, where=self._where, hint=hint + "in front of it")

    def _shapes_fit(self, operator: OperatorRecord) -> bool:
        """Every activation carries the batch first, and no constant operand holds a value per sample."""
        tensors = [self._graph.tensors[t] for t in (*operator.inputs, *operator.outputs) if t >= 0]
        moving = [t for t in tensors if not t.constant]
        carry = all(t.shape[:1] == (self._batch,) and not t.variable for t in moving)
        rank = max((len(t.shape) for t in moving), default=0)
        per_sample = any(t.constant and len(t.shape) == rank and t.shape[0] == self._batch for t in tensors)
        return carry and (operator.type in WITH_WEIGHTS or not per_sample)

    def _values(self, tensor: int) -> list[int] | None:
        """Items of a constant int32 tensor."""
        stored = flatbuffer.unpack_tensor(self._root.Subgraphs(0), tensor)
        raw = flatbuffer.unpack_buffer(self._root, self._data, stored.buffer).data
        if raw is None or self._graph.tensors[tensor].type != "INT32" or len(raw) % 4:
            return None
        return [int(v) for v in np.frombuffer(np.asarray(raw, np.uint8).tobytes(), "<i4")]

    def _options(self, index: int) -> Generated:
        return flatbuffer.unpack_operator(self._root.Subgraphs(0), index, self._data).builtinOptions

    def _rank(self, operator: OperatorRecord) -> int:
        return len(self._graph.tensors[operator.inputs[0]].shape)

    def _axis_is_not_batch(self, index: int, operator: OperatorRecord) -> bool:
        options = self._options(index)
        return options is not None and options.axis % self._rank(operator) != 0

    def _split_axis_is_not_batch(self, _: int, operator: OperatorRecord) -> bool:
        axis = self._values(operator.inputs[0])
        rank = len(self._graph.tensors[operator.inputs[1]].shape)
        return axis is not None and len(axis) == 1 and axis[0] % rank != 0

    def _list_spares_batch(self, _: int, operator: OperatorRecord) -> bool:
        axes = self._values(operator.inputs[1])
        return axes is not None and all(axis % self._rank(operator) != 0 for axis in axes)

    def _squeeze_spares_batch(self, index: int, operator: OperatorRecord) -> bool:
        options = self._options(index)
        axes = None if options is None else options.squeezeDims
        # Without a list every dimension of 1 goes, and the batch would be one of them.
        return axes is not None and len(axes) > 0 and all(int(a) % self._rank(operator) != 0 for a in axes)

    def _pads_no_samples(self, _: int, operator: OperatorRecord) -> bool:
        paddings = self._values(operator.inputs[1])
        return paddings is not None and paddings[:2] == [0, 0]

    def _batch_stays_first(self, _: int, operator: OperatorRecord) -> bool:
        permutation = self._values(operator.inputs[1])
        return permutation is not None and permutation[:1] == [0]

    def _reshape_is_constant(self, _: int, operator: OperatorRecord) -> bool:
        if len(operator.inputs) < 2 or operator.inputs[1] < 0:
            return True
        shape = self._values(operator.inputs[1])
        return shape is not None and shape[:1] in ([self._batch], [-1])


def _rewrite(data: bytes, graph: GraphRecord, batch: int) -> bytes:
    model = flatbuffer.unpack_model(data)
    main = model.subgraphs[0]
    for record, tensor in zip(graph.tensors, main.tensors, strict=True):
        if not record.constant and record.shape[:1] == (batch,):
            tensor.shape = np.array([1, *record.shape[1:]], np.int32)
            if record.signature[:1] == (batch,):
                tensor.shapeSignature = np.array([1, *record.signature[1:]], np.int32)
    for described, operator in zip(graph.operators, main.operators, strict=True):
        if described.type == "RESHAPE":
            _shorten_reshape(model, main, operator)
    return flatbuffer.pack_model(model, flatbuffer.size_limit(data))


def _shorten_reshape(model: Generated, main: Generated, operator: Generated) -> None:
    """Give a RESHAPE its output shape anew, in a tensor of its own: the old one may be shared."""
    shape = np.asarray(main.tensors[operator.outputs[0]].shape, np.int32)
    if operator.builtinOptions is not None:
        operator.builtinOptions.newShape = shape
    if len(operator.inputs) > 1 and operator.inputs[1] >= 0:
        constant = flatbuffer.copy_tensor(main.tensors[operator.inputs[1]])
        constant.buffer = len(model.buffers)
        constant.shape = np.array([len(shape)], np.int32)
        model.buffers.append(flatbuffer.new_buffer(np.frombuffer(shape.astype("<i4").tobytes(), np.uint8)))
        operator.inputs = np.array([operator.inputs[0], len(main.tensors), *operator.inputs[2:]], np.int32)
        main.tensors.append(constant)
