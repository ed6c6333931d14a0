"""The quantizations that are compared: data types and algorithms of ours, and the peers' settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One of our quantizations, in the metafile's words.

    Attributes:
        name: What the user of the benchmark calls it.
        data_type: Data type of everything.
        scheme: Quantization scheme.
        algorithm: Quantization algorithm.
        options: Options of the algorithm.
        raised: Ids of layers of efficientnet-lite0 that are int16: those that ``synap compare`` lists first, which is
            told by calibration samples alone.
    """

    name: str
    data_type: str
    scheme: str
    algorithm: str
    options: Mapping[str, object] = field(default_factory=dict)
    raised: tuple[str, ...] = ()

    def quantization(self, dataset: str) -> dict[str, object]:
        """The ``quantization`` section of a metafile; ``dataset`` is the pattern of the samples."""
        section: dict[str, object] = {
            "data_type": {"*": self.data_type, **dict.fromkeys(self.raised, "int16")}
            if self.raised
            else self.data_type,
            "scheme": self.scheme,
            "algorithm": self.algorithm,
            "dataset": dataset,
        }
        return {**section, "options": dict(self.options)} if self.options else section


SCHEMES = {
    "uint8": ("uint8", "asymmetric_affine"),
    "int8pc": ("int8", "perchannel_symmetric_affine"),
    "int16": ("int16", "dynamic_fixed_point"),
    "int8dfp": ("int8", "dynamic_fixed_point"),
}
"""Data type and scheme by the first word of a variant's name."""

UNREFINED: dict[str, object] = {"rounding": "nearest", "bias_correction": False}
REFINED: dict[str, object] = {"rounding": "auto", "bias_correction": "auto"}

ALGORITHMS: dict[str, tuple[str, dict[str, object]]] = {
    "fast": ("standard", UNREFINED),
    "standard": ("standard", {}),
    "auto": ("auto", {}),
    "kl": ("kl_divergence", {}),
    "kl-refined": ("kl_divergence", REFINED),
    "average": ("moving_average", {}),
}
"""Algorithm and options by the second word; ``fast`` is plain min-max, without refinements."""

VARIANTS = {
    f"{kind}-{word}": Variant(
        name=f"{kind}-{word}", data_type=data_type, scheme=scheme, algorithm=algorithm, options=options
    )
    for kind, (data_type, scheme) in SCHEMES.items()
    for word, (algorithm, options) in ALGORITHMS.items()
}

RAISED = (
    "@Pad_/_blocks.0/_depthwise_conv/static_padding/Pad_Conv_/_blocks.0/_depthwise_conv/Conv_Clip_/_blocks.0/_swish/Clip_37",
    "@Conv_/_blocks.1/_expand_conv/Conv_Clip_/_blocks.1/_swish/Clip_43",
    "@Pad_/_conv_stem/static_padding/Pad_Conv_/_conv_stem/Conv_Clip_/_swish/Clip_16",
    "@Conv_/_blocks.15/_expand_conv/Conv_Clip_/_blocks.15/_swish/Clip_416",
)

VARIANTS["uint8-auto-int16"] = Variant(
    name="uint8-auto-int16", data_type="uint8", scheme="asymmetric_affine", algorithm="auto", raised=RAISED
)

PEERS = {
    "ort-int8": "ONNX Runtime, int8, weights per channel, min-max",
    "ort-uint8": "ONNX Runtime, uint8, weights per tensor, min-max",
    "nncf": "NNCF, int8, default settings",
    "nncf-mixed": "NNCF, int8, preset 'mixed' (asymmetric activations)",
}

EXPENSIVE_PEERS = {
    "ort-entropy": "ONNX Runtime, int8, weights per channel, entropy",
    "ort-percentile": "ONNX Runtime, int8, weights per channel, percentile",
}
"""These keep all activations of all samples: minutes and gigabytes."""
