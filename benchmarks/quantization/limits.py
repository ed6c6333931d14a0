"""What the quantizer has to reach, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.quantization.measuring import Result
from benchmarks.quantization.variants import SCHEMES

Results = Mapping[str, Mapping[str, Result]]
"""Results by task, then by variant or peer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A bound for one figure of one variant.

    Attributes:
        task: Name of the task.
        variant: Name of ours.
        figure: A figure of the task, ``seconds`` or ``peak_mb``.
        sense: ``<=`` or ``>=``.
        value: The bound, or the factor of what another has.
        against: Name of that other, a peer or a variant; none for a bound of its own.
    """

    task: str
    variant: str
    figure: str
    sense: str
    value: float
    against: str = ""


FLOORS = {
    "uint8-standard": (1.0, 98.5, 0.993),
    "uint8-auto": (0.75, 98.5, 0.9945),
    "int8pc-standard": (0.5, 99.0, 0.9975),
    "int8pc-auto": (0.5, 99.0, 0.998),
    "int16-standard": (0.0, 100.0, 0.9999),
    "int8dfp-standard": (1.5, 96.5, 0.984),
    "int8dfp-auto": (1.0, 97.0, 0.985),
}
"""For efficientnet-lite0: most top-1 loss in points, least agreement in %, least cosine of the logits."""

MAIN_FIGURES = {
    "efficientnet-lite0": "agreement",
    "pp-ocr": "iou",
    "digits-cut": "map50",
    "fastestdet": "f1",
    "open-nsfw": "sqnr",
}
"""What decides who is ahead; the digits detector with its mixed output is judged by the advice it gets."""

RIVALS = {"int8pc-standard": ("ort-int8", "nncf", "nncf-mixed"), "uint8-standard": ("ort-uint8",)}
"""Peers that quantize into the same types."""


def limits() -> Iterator[Limit]:
    """All bounds."""
    yield from accuracy_limits()
    yield from cost_limits()


def accuracy_limits() -> Iterator[Limit]:
    """Bounds of accuracy: fixed ones, those set by the peers, and those set by plain min-max."""
    classes = "efficientnet-lite0"
    for variant, (loss, agreement, cosine) in FLOORS.items():
        yield Limit(task=classes, variant=variant, figure="loss", sense="<=", value=loss)
        yield Limit(task=classes, variant=variant, figure="agreement", sense=">=", value=agreement)
        yield Limit(task=classes, variant=variant, figure="cosine", sense=">=", value=cosine)
    yield Limit(task=classes, variant="uint8-auto-int16", figure="cosine", sense=">=", value=0.9955)
    yield Limit(task="pp-ocr", variant="int8pc-standard", figure="iou", sense=">=", value=0.85)
    yield Limit(task="pp-ocr", variant="int8pc-auto", figure="iou", sense=">=", value=0.90)
    for variant, peers in RIVALS.items():
        for peer in peers:
            yield Limit(task=classes, variant=variant, figure="cosine", sense=">=", value=1, against=peer)
            for task, figure in MAIN_FIGURES.items():
                yield Limit(task=task, variant=variant, figure=figure, sense=">=", value=1, against=peer)
    for kind in SCHEMES:
        for task, figure in (*MAIN_FIGURES.items(), (classes, "cosine")):
            yield Limit(
                task=task, variant=f"{kind}-standard", figure=figure, sense=">=", value=1, against=f"{kind}-fast"
            )


def cost_limits() -> Iterator[Limit]:
    """Bounds of time and memory, for efficientnet-lite0."""
    for kind, peer in (("int8pc", "ort-int8"), ("uint8", "ort-uint8")):
        yield _cost(f"{kind}-fast", "seconds", 0.5, peer)
        yield _cost(f"{kind}-standard", "peak_mb", 1.5, peer)
        # Refinement is measured by the peer's usual quantization: that it takes less for uint8 says nothing about ours.
        yield _cost(f"{kind}-standard", "seconds", 6, "ort-int8")
        yield _cost(f"{kind}-auto", "seconds", 60)
    yield _cost("int8pc-kl", "seconds", 1 / 5, "ort-entropy")
    yield _cost("int8pc-kl", "peak_mb", 450)


def _cost(variant: str, figure: str, value: float, against: str = "") -> Limit:
    return Limit(task="efficientnet-lite0", variant=variant, figure=figure, sense="<=", value=value, against=against)


def value_of(results: Results, task: str, name: str, figure: str) -> float | None:
    """A figure of a result; None when there is none."""
    result = results.get(task, {}).get(name)
    if result is None or result.failed:
        return None
    if figure in {"seconds", "peak_mb"}:
        return float(getattr(result, figure))
    return result.figures.get(figure)


def check(limit: Limit, results: Results) -> str | None:
    """One line that says whether a bound is kept; None when what it needs was not measured."""
    if limit.variant not in results.get(limit.task, {}):
        return None
    reference = value_of(results, limit.task, limit.against, limit.figure) if limit.against else 1.0
    if reference is None:
        return None
    found, bound = value_of(results, limit.task, limit.variant, limit.figure), limit.value * reference
    subject = f"{limit.task} {limit.variant}: {limit.figure}"
    if found is None:
        return f"NOT met  {subject}: the quantization failed"
    kept = found <= bound if limit.sense == "<=" else found >= bound
    origin = f" ({limit.value:g} x {limit.against})" if limit.against else ""
    return f"{'met    ' if kept else 'NOT met'}  {subject} {found:.5g} {limit.sense} {bound:.5g}{origin}"


def mixed_output_advice(results: Results) -> list[str]:
    """For each 8-bit quantization of boxes and scores joined in one tensor: whether the user is told of it by name."""
    lines = []
    for name, result in results.get("digits", {}).items():
        if name.startswith(("uint8-", "int8pc-", "int8dfp-")):
            told = any("output0" in note or "Concat_9" in note for note in result.notes)
            lines.append(f"{'met    ' if told else 'NOT met'}  digits {name}: advice about the mixed output 'output0'")
    return lines
