"""Normalise a canonical graph: fewer and plainer operators, the same numbers.

Rules are grouped in passes; a pass applies its rules until none of them matches, and the graph is checked after it.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from synap_core.graph.edit import Editor
from synap_core.graph.passes.activations import NameActivation
from synap_core.graph.passes.check import check
from synap_core.graph.passes.clamps import MergeClamps, MinMaxToClip
from synap_core.graph.passes.constants import FoldConstants, RemoveUnused
from synap_core.graph.passes.dilations import DilateConv
from synap_core.graph.passes.gemm import MatMulAddToGemm, TransposeIntoWeights
from synap_core.graph.passes.noops import RemoveNoOp
from synap_core.graph.passes.norms import LayerNorm, SoftmaxFromParts
from synap_core.graph.passes.pads import FoldPad
from synap_core.graph.passes.report import Refusal, Report
from synap_core.graph.passes.reshapes import MergeReshapes, TransposeToReshape
from synap_core.graph.passes.rule import AnyRule, Log, Pass, Rule, run
from synap_core.graph.passes.scales import FoldScale
from synap_core.graph.passes.sharing import ShareConstants, ShareNodes
from synap_core.graph.passes.transposes import CancelTransposes, RaiseTranspose, SettleTranspose, SinkTranspose
from synap_core.graph.types import GraphError

__all__ = ["PASSES", "AnyRule", "Pass", "PassError", "Refusal", "Report", "Rule", "check", "normalise"]


class PassError(RuntimeError):
    """A pass left an invalid graph, or was given one: a mistake of ours, not of the user."""


SHARE_CONSTANTS = Pass("share-constants", lambda: (ShareConstants(),))
SHARE_NODES = Pass("share-nodes", lambda: (ShareNodes(),))

PASSES = (
    Pass("clean", lambda: (RemoveUnused(), FoldConstants(), RemoveNoOp())),
    SHARE_CONSTANTS,
    SHARE_NODES,
    # Before transposes and reshapes move, which it is made of.
    Pass("dilate-convs", lambda: (DilateConv(),)),
    # Layer normalisation over channels is found where these are last, and softmax by its axis.
    Pass("find-norms", lambda: (LayerNorm(), SoftmaxFromParts())),
    Pass("sink-transposes", lambda: (CancelTransposes(), RemoveNoOp(), SinkTranspose())),
    Pass("raise-transposes", lambda: (CancelTransposes(), RaiseTranspose())),
    Pass("settle-transposes", lambda: (CancelTransposes(), SettleTranspose())),
    Pass("merge-reshapes", lambda: (TransposeToReshape(), MergeReshapes(), RemoveNoOp())),
    # Values in one layout can be equal where those in two were not.
    SHARE_CONSTANTS,
    SHARE_NODES,
    Pass("fold-transposes", lambda: (TransposeIntoWeights(),)),
    Pass("make-gemm", lambda: (MatMulAddToGemm(),)),
    Pass("fold-scales", lambda: (FoldScale(),)),
    Pass("fold-pads", lambda: (FoldPad(),)),
    Pass("merge-clamps", lambda: (MinMaxToClip(), MergeClamps())),
    Pass("name-activations", lambda: (NameActivation(),)),
    SHARE_CONSTANTS,
)
"""In the order in which they run."""


def normalise(model: ir.Model, keep: Collection[str] = ()) -> Report:
    """Normalise a canonical graph in place.

    Numbers stay the same but for the rounding of floating-point arithmetic. Graph inputs, graph outputs and the kept
    values exist afterwards under their names, in their order, of their types and with their annotations. Layers that
    were merged are all among the origins of the node that is left.

    Args:
        model: The model.
        keep: Names of values that are cuts: no work is moved or merged across them.

    Returns:
        How often each rule was applied, and where it refused.

    Raises:
        PassError: The graph is not valid, before or after one of the passes.
        ValueError: A kept value does not exist.
    """
    return _run(model, keep, PASSES)


def _run(model: ir.Model, keep: Collection[str], passes: Collection[Pass]) -> Report:
    _check("the graph to normalise is invalid", model, ())
    editor, log = Editor(model, keep), Log()
    for single in passes:
        if run(single.rules(), editor, log):
            _check(f"pass {single.name!r} left an invalid graph", model, keep)
    editor.drop_unused_constants()
    return log.report(model.graph)


def _check(problem: str, model: ir.Model, keep: Collection[str]) -> None:
    try:
        check(model, keep)
    except GraphError as error:
        msg = f"{problem}: {error}"
        raise PassError(msg) from error
