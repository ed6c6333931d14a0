"""Take the parameters of one quantization over to another one of the same graph, where both quantize alike."""

from __future__ import annotations

from synap_core.graph.quantized import QuantizedTensor
from synap_core.quantization.interface import Range
from synap_core.quantization.parameters import Parameters, quantized_bias
from synap_core.quantization.plan import Plan
from synap_core.tensors import QuantParams


def carry_over(before: Plan, kept: Parameters, plan: Plan, made: Parameters) -> Parameters:
    """Parameters of a plan that has other data types for some layers, with those of the plan before for all others.

    What the data types of a layer change is taken as it was made; refined weights and biases of all other layers stay
    what they were. A bias keeps its real numbers, in steps of the product as it is now.

    Args:
        before: The plan before.
        kept: Its parameters.
        plan: The plan.
        made: Its own parameters.
    """
    activations: dict[str, QuantParams] = dict(made.activations)
    constants: dict[str, QuantizedTensor] = dict(made.constants)
    ranges: dict[str, Range] = dict(made.ranges)
    for key, slot in plan.slots.items():
        old = before.slots.get(key)
        if old is not None and (old.spec, old.values, old.layer_id) == (slot.spec, slot.values, slot.layer_id):
            activations[key] = kept.activations[key]
            if key in kept.ranges:
                ranges[key] = kept.ranges[key]
    # Constants that were copied have names of their own in each plan.
    labels = {constant.label: constant for constant in before.constants.values()}
    carried = set()
    for key, constant in plan.constants.items():
        same = labels.get(constant.label)
        if same is not None and same.spec == constant.spec:
            constants[key] = kept.constants[same.key]
            carried.add(key)
            if same.key in kept.ranges:
                ranges[key] = kept.ranges[same.key]
    biases = {bias.layer_id: bias for bias in before.biases.values()}
    for key, bias in plan.biases.items():
        source = biases.get(bias.layer_id)
        values = (
            kept.constants[source.key] if bias.weight in carried and source is not None else made.constants[key]
        ).numpy()
        constants[key] = quantized_bias(bias, values, activations[bias.data], constants[bias.weight].quant)
    return Parameters(activations=activations, constants=constants, ranges=ranges, notes=kept.notes)
