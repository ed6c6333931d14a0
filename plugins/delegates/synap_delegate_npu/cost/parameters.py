"""The parameters of one chip: what a target's data file holds for this delegate."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
Rate = Annotated[float, Field(ge=1, le=1e18)]
"""Per second, or bytes: beyond these ends no chip is, and times could not be told."""

Seconds = Annotated[float, Field(gt=0, le=10)]
Count = Annotated[int, Field(ge=1, le=1 << 40)]
Line = Annotated[str, Field(min_length=1, max_length=500)]

FITTED = (
    "mac_core",
    "ddr_eff",
    "sram",
    "keep",
    "tp_unit",
    "ppu",
    "fc",
    "transpose",
    "s2d",
    "copy_share",
    "pool_share",
    "weight",
    "t_layer",
    "t_ppu",
    "t_infer",
    "q",
)
"""Names of the parameters that are fitted to measurements of whole networks; all are positive."""

PER_CHIP = ("sram", "keep")
"""Those of them that are not the same for all chips."""


class Section(BaseModel):
    """A mapping with known keys, which cannot be changed once it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Provenance(Section):
    """Where the parameters come from, and what to expect of them."""

    source: Line = Field(description="What they were fitted to.")
    date: Line = Field(description="Day of the fit, or of the newest measurement.")
    expected_error_percent: Positive | None = Field(
        default=None,
        description="Mean absolute error of the latency of networks of a family that took no part in the fit;"
        " none where nobody found out.",
    )
    new_network_percent: tuple[Positive, Positive] | None = Field(
        default=None,
        description="Errors to expect on a new network, the least and the largest, which are more than those of"
        " families left out when formulas were chosen with all networks in view; none where nobody found out.",
    )


class NpuParameters(Section):
    """Parameters of the neural processing unit of one chip. Rates are those of 8-bit data unless they say otherwise."""

    npu: Line = Field(description="Name of the unit's version, as the official toolkit writes it.")
    clock_hz: Rate = Field(description="Clock, Hz. An estimate, and of use for cycles only: no time depends on it.")
    nn_cores: Annotated[int, Field(ge=1, le=4096)] = Field(description="Convolution cores.")
    tp_units: Positive = Field(description="Units of the tensor processor; a lite unit counts one half.")
    ddr_limit: Rate = Field(description="Limit of memory traffic given to the official compiler, byte/s.")
    int16_factor: Share = Field(description="Rate of int16 convolutions, as a share of that of 8 bits.")
    sram_bytes: Count | None = Field(
        default=None, description="On-chip memory, byte. Not published, so an estimate; no time depends on it."
    )

    mac_core: Rate = Field(description="Rate of a convolution core, MAC/s.")
    ddr_eff: Share = Field(description="Sustained share of `ddr_limit`.")
    sram: Rate = Field(description="Rate at which all convolution cores read and write on-chip memory, byte/s.")
    keep: Rate = Field(description="Size of tensors up to which they stay on the chip, byte.")
    tp_unit: Rate = Field(description="Rate of a unit of the tensor processor, read and written, byte/s.")
    ppu: Rate = Field(description="Rate of the programmable unit, element/s.")
    fc: Rate = Field(description="Rate of fully connected layers, MAC/s.")
    transpose: Rate = Field(description="Rate at which an input is brought from NHWC to NCHW, element/s.")
    s2d: Rate = Field(description="Rate at which the input of a convolution with a stride is rearranged, byte/s.")
    copy_share: Positive = Field(description="Time of concatenation and slices, as a share of other tensor operations.")
    pool_share: Positive = Field(description="Time of pooling, as a share of other tensor operations.")
    weight: Positive = Field(
        description="Bytes that memory holds for each byte of weights: they are compressed.", examples=[0.7]
    )
    t_layer: Seconds = Field(description="Start of an operation of the convolution cores or the tensor processor, s.")
    t_ppu: Seconds = Field(description="Start of an operation of the programmable unit, s.")
    t_infer: Seconds = Field(description="Start of an inference, s.")
    q: Annotated[float, Field(ge=1, le=64)] = Field(
        description="How phases of an operation overlap: at 1 not at all, for large values only the longest counts."
    )
    softmax: Seconds = Field(description="Start of a softmax, in place of `t_ppu`, s.")
    f16_rate: Rate = Field(description="Rate of float convolutions on the programmable unit, MAC/s.")
    preprocess: Rate = Field(description="Rate of converting an image without resizing it, result element/s.")
    preprocess_scaled: Rate = Field(description="Rate of converting an image and resizing it, result element/s.")

    provenance: Provenance = Field(description="Where the values come from, and what to expect of them.")

    @field_validator("npu")
    @classmethod
    def _check_unit(cls, value: str, info: ValidationInfo) -> str:
        """Refuse the parameters of another unit than that of the target whose parameters they replace.

        Every prediction would be one of another chip, and the program would say that it is for that.
        """
        context = info.context if isinstance(info.context, dict) else {}
        own = (context.get("parameters") or {}).get("npu")
        if own is not None and value != own:
            msg = (
                f"these are parameters of the unit {value!r}, and target {context.get('target')} has the unit {own!r};"
                " name the target that they are for"
            )
            raise ValueError(msg)
        return value
