"""Run the open programs of the ``npu`` delegate: each operation of them is a function of standard operators."""

from __future__ import annotations

from synap_core.api import InputError, ModelExecutionError, RuntimeModel
from synap_runtime_onnx.conversions import without_conversions
from synap_runtime_onnx.inlining import DOMAIN, check_program, inlined
from synap_runtime_onnx.program_fields import SILICON_MAGICS
from synap_runtime_onnx.protos import PROTO_ERRORS, ModelProto, has_texts, serialize
from synap_runtime_onnx.states import StatefulOnnx

SILICON = (
    "silicon needs the vendor's compiler for this subgraph; this is the open program, executed on the processor cores"
)


def load_program(model: RuntimeModel) -> StatefulOnnx:
    """Load a program.

    Args:
        model: The program; its options are those of `OnnxExecutable`.

    Raises:
        InputError: It is a binary for the chip, which runs nowhere else.
        ModelExecutionError: It is no program of a known version, or ONNX Runtime refuses it.
    """
    if model.model[:4] in SILICON_MAGICS:
        msg = "this is a binary for the chip's own processor, which cannot run on this machine"
        raise InputError(msg, where=model.name, hint="convert the model with this toolkit to run it here")
    return StatefulOnnx(model, flattened, notes=(SILICON,))


def flattened(content: bytes, name: str) -> bytes:
    """The plain operators of a program, without the conversions between one operation and the next.

    Args:
        content: The program.
        name: Where it is, for messages.

    Returns:
        A model in ONNX format.

    Raises:
        ModelExecutionError: It is no program, or one that no version of the toolkit makes.
    """
    try:
        return _flat(content, name)
    except PROTO_ERRORS as error:
        msg = "this is no program for the neural processing unit, or a damaged one"
        raise ModelExecutionError(msg, where=name, hint="convert the model again") from error


def _flat(content: bytes, name: str) -> bytes:
    model = ModelProto.FromString(content)
    if not has_texts(model):
        msg = "this is a damaged program: a name is no text"
        raise ModelExecutionError(msg, where=name, hint="convert the model again")
    check_program(model, name)
    nodes = without_conversions(inlined(model), {value.name for value in model.graph.output})
    plain = ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
    plain.opset_import.extend(item for item in model.opset_import if item.domain != DOMAIN)
    plain.graph.name = model.graph.name
    plain.graph.input.extend(model.graph.input)
    plain.graph.output.extend(model.graph.output)
    used = {name for node in nodes for name in node.input} | {value.name for value in model.graph.output}
    plain.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in used)
    plain.graph.node.extend(nodes)
    return serialize(plain)
