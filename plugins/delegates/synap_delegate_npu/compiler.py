"""Compile a subgraph: its program, predictions, memory plan, and the reports about them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import onnx_ir as ir

from synap_core.api import Artifact, Group, InputError, PluginError, Subgraph
from synap_delegate_npu.cost.parameters import NpuParameters
from synap_delegate_npu.layers import NOTHING, LayerRow, layer_rows
from synap_delegate_npu.listings import listings, with_profiling
from synap_delegate_npu.memory import Placement, StoredWeights
from synap_delegate_npu.operators.families import REGISTRY
from synap_delegate_npu.placing import placement_of, weights_of
from synap_delegate_npu.predictions import predicted
from synap_delegate_npu.program.body import Attributes
from synap_delegate_npu.program.lowered import LoweredFunctions
from synap_delegate_npu.program.names import real_name
from synap_delegate_npu.program.program import Operation, Program, program_of
from synap_delegate_npu.program.states import states_property
from synap_delegate_npu.program.writer import write
from synap_delegate_npu.results import Result, Results
from synap_delegate_npu.support import parts_of

# Below the logger that the command line shows.
log = logging.getLogger("synap_core.delegates.npu")

MODEL_FILE = "model.nb"
META_FILE = "model.json"

KERNEL_FORMATS = frozenset({"tflite"})
"""Formats whose integers mean what reference kernels compute. In other models, and in those of these formats that are
quantized here, operators are those of real numbers."""


def compile_subgraph(subgraph: Subgraph) -> Artifact:
    """Compile a subgraph of a canonical graph for the unit of its target."""
    graph, parameters = subgraph.graph, subgraph.parameters
    if graph is None or not isinstance(parameters, NpuParameters):
        msg = f"{subgraph.name}: the npu delegate needs a canonical graph and the parameters of its unit"
        raise PluginError(msg)
    _check(subgraph)
    results = Results(subgraph.cache)
    key = results.key(subgraph)
    result = results.get(key)
    if result is None:
        result = _compiled(subgraph, graph, parameters)
        results.put(key, result)
    else:
        log.debug("%s: the program is taken from the cache", subgraph.name)
    return Artifact(
        model_file=MODEL_FILE,
        meta_file=META_FILE,
        model=result.model,
        inputs=subgraph.inputs,
        outputs=subgraph.outputs,
        delegate="npu",
        listings=with_profiling(result.listings) if subgraph.profiling else result.listings,
    )


def _check(subgraph: Subgraph) -> None:
    """Refuse what a program or the boards' runtime cannot take.

    Raises:
        InputError: There is text behind the delegate's name, or a tensor at the boundary has no dimensions.
    """
    if subgraph.options.strip():
        msg = f"delegate 'npu' takes no options, got {subgraph.options.strip()!r}"
        raise InputError(msg, hint="remove the text behind 'npu' in the metafile's 'delegate' field")
    for tensor in (*subgraph.inputs, *subgraph.outputs):
        if not tensor.shape:
            msg = f"tensor {tensor.name!r} has no dimensions (shape is empty), which the boards' runtime refuses"
            raise InputError(msg, hint="cut the model at another tensor with 'inputs'/'outputs'")


def _compiled(subgraph: Subgraph, graph: ir.Model, parameters: NpuParameters) -> Result:
    names = {key: tensor.name for key, tensor in subgraph.source.tensors.items()}
    stored = any(tensor.quant is not None for tensor in subgraph.source.tensors.values())
    kernels = stored and subgraph.source.format in KERNEL_FORMATS
    program = program_of(graph, subgraph.groups, REGISTRY, real_type, names, kernels=kernels)
    rows = layer_rows(program.operations, parameters)
    placement = placement_of(program, parameters)
    weights = weights_of(program)
    pairs = zip(rows, program.operations, strict=True)
    notes = {row.layer_id: _notes(row, operation, placement, weights) for row, operation in pairs}
    properties = {**_properties(subgraph.target.name, program, placement, parameters), **states_property(graph)}
    model = write(program, notes, LoweredFunctions(subgraph.cache), properties)
    exact = sum(operation.exact for operation in program.operations)
    log.debug("%s: compiled %d operations, %d of them in integers", subgraph.name, len(program.operations), exact)
    return Result(model=model, listings=listings(program, rows, placement, weights, parameters))


def real_type(group: Group) -> str:
    """Operator of a group that is computed in real numbers: the hardware's name of what comes first, in mixed case."""
    return real_name(parts_of(group)[0].record.name)


def _properties(target: str, program: Program, placement: Placement, parameters: NpuParameters) -> dict[str, str]:
    """What describes the program as a whole."""
    places = [placement.by_name[tensor.name] for tensor in program.inputs]
    return {
        "target": target,
        "unit": parameters.npu,
        "predictions": predicted(parameters),
        "predicted_start_microseconds": f"{1e6 * parameters.t_infer:.3f}",
        "sram_bytes": str(placement.sram_bytes),
        "memory_alignment": str(placement.alignment),
        "input_memory": " ".join(place.memory for place in places),
        "input_offset": " ".join(str(place.offset) for place in places),
    }


def _notes(row: LayerRow, operation: Operation, placement: Placement, weights: dict[str, StoredWeights]) -> Attributes:
    """Attributes of an operation that only describe it."""
    notes: dict[str, int | float | str | Sequence[int]] = {
        "engine": row.engine,
        "layer": row.name,
        "predicted_cycles": row.cycles,
        "predicted_microseconds": round(row.microseconds, 3),
        "predicted_bytes_read": row.bytes_read,
        "predicted_bytes_written": row.bytes_written,
        "arithmetic": "integer" if row.exact else "real",
    }
    if row.bound:
        notes["bound"] = row.bound
    if row.engine == NOTHING:
        notes["engine"] = "none"
    places = [placement.by_name[tensor.name] for tensor in operation.outputs]
    notes["output_memory"] = " ".join(place.memory for place in places)
    notes["output_offset"] = [place.offset for place in places]
    if row.layer_id in weights:
        notes["stored_weight_bytes"] = weights[row.layer_id].size_bytes
    return notes
