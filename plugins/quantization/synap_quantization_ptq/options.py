"""Options of the post-training algorithms, as a metafile has them under ``quantization: options:``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from synap_core.api import QuantSpec
from synap_quantization_ptq.observers import Choice, Kind

Ranges = tuple[Kind, float | None]
"""A way to find ranges, and its percentile where it has one other than that of the options."""

Percentile = Annotated[float, Field(gt=50, le=100)]
Decay = Annotated[float, Field(gt=0, lt=1)]


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        msg = "must be a power of two"
        raise ValueError(msg)
    return value


Bins = Annotated[int, Field(ge=256, le=65_536), AfterValidator(_power_of_two)]

PERCENTILE = "Part of the numbers that lies inside the range, in percent; what is outside is halved between the ends."
BINS = "Bins of a histogram, a power of two: half of them for numbers below zero."
AUTO = "auto takes mse where scales are powers of two and integers have 8 bits, and min_max otherwise."
COMPARED = (
    "If anything is refined, auto also takes mse or percentile for all tensors where that is clearly better on samples "
    "held back."
)

BIAS_CORRECTION = (
    "Shift biases so that the mean of each channel is kept; auto keeps it if samples that were held back are better "
    "with it."
)
ROUNDING = (
    "nearest rounds each weight by itself, adaptive such that the errors of a layer cancel on the samples; auto keeps "
    "the better one on samples that were held back."
)


class Section(BaseModel):
    """A mapping with known keys, which cannot be changed once it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StandardObserver(Section):
    """Ranges of computed tensors for the algorithm ``standard``."""

    range: Literal["auto", "min_max", "percentile", "mse"] = Field(
        default="auto",
        description="min_max covers all numbers; percentile leaves out the outermost ones; mse has the least mean "
        f"squared error. {AUTO} {COMPARED}",
    )
    percentile: Percentile = Field(default=99.99, description=PERCENTILE)
    bins: Bins = Field(default=2048, description=BINS)


class DivergenceObserver(Section):
    """Ranges of computed tensors for the algorithm ``kl_divergence``."""

    bins: Bins = Field(default=8192, description=f"{BINS} A step must be some bins wide, or nothing can be compared.")


class MovingObserver(Section):
    """Ranges of computed tensors for the algorithm ``moving_average``."""

    decay: Decay = Field(default=0.9, description="Weight of what is known when a new sample comes; it has the rest.")


class SearchingObserver(Section):
    """Ranges of computed tensors for the algorithm ``auto``, which compares them all."""

    percentile: Percentile = Field(default=99.99, description=PERCENTILE)
    bins: Bins = Field(default=2048, description=BINS)


class Options(Section):
    """What all post-training algorithms can do."""

    weights: Literal["auto", "min_max", "percentile", "mse"] = Field(
        default="auto", description=f"Range of constants that have one scale for the whole tensor. {AUTO}"
    )
    equalize: bool = Field(
        default=False,
        description="Even out the channels of successive convolutions, where the function between them allows it. "
        "Helps with one scale per tensor and without rounding: adaptive.",
    )
    bias_correction: bool | Literal["auto"] = Field(default="auto", description=BIAS_CORRECTION)
    rounding: Literal["nearest", "adaptive", "auto"] = Field(default="auto", description=ROUNDING)
    trim: bool = Field(
        default=True, description="Leave out of a range what saturates in all layers that read the tensor."
    )

    @property
    def refines(self) -> bool:
        """Whether anything is tried out after the ranges are known."""
        return self.rounding != "nearest" or self.bias_correction is not False

    @property
    def compared_ranges(self) -> tuple[Ranges, ...]:
        """Ways to find ranges that are compared on samples held back, besides the default."""
        return ()

    @property
    def searches(self) -> bool:
        """Whether ranges are searched for tensor by tensor, and what else takes long."""
        return False

    @property
    def searched_ranges(self) -> tuple[Ranges, ...]:
        """Ways to find ranges that are compared tensor by tensor."""
        return ()

    def activation(self, spec: QuantSpec) -> Choice:
        """How the range of a computed tensor is found."""
        return Choice(kind=default_kind(spec))

    def constant(self, spec: QuantSpec) -> Choice:
        """How the range of a weight or another constant is found; channels of their own are always covered whole."""
        if spec.axis is not None:
            return Choice(kind="min_max")
        return Choice(kind=default_kind(spec) if self.weights == "auto" else self.weights)


class StandardOptions(Options):
    """Options of the algorithm ``standard``."""

    observer: StandardObserver = StandardObserver()

    def activation(self, spec: QuantSpec) -> Choice:
        """How the range of a computed tensor is found."""
        chosen = self.observer
        if chosen.range != "auto":
            return Choice(kind=chosen.range, percentile=chosen.percentile, bins=chosen.bins)
        compared = self.refines and spec.dtype != "int16"
        return Choice(kind=default_kind(spec), percentile=chosen.percentile, bins=chosen.bins, histogram=compared)

    @property
    def compared_ranges(self) -> tuple[Ranges, ...]:
        """Ways to find ranges that are compared on samples held back, besides the default."""
        return (("mse", None), ("percentile", None)) if self.observer.range == "auto" else ()


class DivergenceOptions(Options):
    """Options of the algorithm ``kl_divergence``: nothing is refined by default, which takes longer than the ranges."""

    bias_correction: bool | Literal["auto"] = Field(default=False, description=BIAS_CORRECTION)
    rounding: Literal["nearest", "adaptive", "auto"] = Field(default="nearest", description=ROUNDING)
    observer: DivergenceObserver = DivergenceObserver()

    def activation(self, spec: QuantSpec) -> Choice:  # noqa: ARG002 - the same for all
        """How the range of a computed tensor is found."""
        return Choice(kind="kl", bins=self.observer.bins, divergence=True)

    def constant(self, spec: QuantSpec) -> Choice:
        """How the range of a constant is found; its divergence is reported, too."""
        return super().constant(spec).with_divergence(self.observer.bins)


class MovingOptions(Options):
    """Options of the algorithm ``moving_average``."""

    observer: MovingObserver = MovingObserver()

    def activation(self, spec: QuantSpec) -> Choice:  # noqa: ARG002 - the same for all
        """How the range of a computed tensor is found."""
        return Choice(kind="moving_average", decay=self.observer.decay)


class SearchingOptions(Options):
    """Options of the algorithm ``auto``."""

    observer: SearchingObserver = SearchingObserver()

    def activation(self, spec: QuantSpec) -> Choice:
        """How the range to begin with is found; the histogram gives the others."""
        chosen = self.observer
        return Choice(kind=default_kind(spec), percentile=chosen.percentile, bins=chosen.bins, histogram=True)

    @property
    def compared_ranges(self) -> tuple[Ranges, ...]:
        """Ways to find ranges that are compared on samples held back, besides the default."""
        return (("mse", None), ("percentile", None), ("percentile", 99.999))

    @property
    def searches(self) -> bool:
        """Whether ranges are searched for tensor by tensor, and what else takes long."""
        return True

    @property
    def searched_ranges(self) -> tuple[Ranges, ...]:
        """Ways to find ranges that are compared tensor by tensor."""
        return (
            ("min_max", None),
            ("mse", None),
            ("percentile", None),
            ("percentile", 99.9),
            ("percentile", 99.5),
        )


OPTIONS: dict[str, type[Options]] = {
    "standard": StandardOptions,
    "kl_divergence": DivergenceOptions,
    "moving_average": MovingOptions,
    "auto": SearchingOptions,
}
"""Options of each algorithm, by its name."""


def default_kind(spec: QuantSpec) -> Kind:
    """Range that is best in most models: the next power of two may be far beyond the largest number."""
    return "mse" if spec.scheme == "dynamic_fixed_point" and spec.dtype == "int8" else "min_max"
