"""The words of the metafile language that the user manual defines."""

from __future__ import annotations

DEFAULT_DELEGATE = "default"
"""The delegate that the target chooses."""

EVERY_LAYER = "*"
"""Pattern of a rule for all layers."""

DATA_LAYOUTS = ("default", "nchw", "nhwc")

INPUT_POLICIES = ("any", "secure", "non-secure")
OUTPUT_POLICIES = ("secure-if-input-secure", "any")

PREPROCESS_TYPES = (
    "",
    "none",
    "yuv444",
    "yuv420",
    "nv12",
    "nv21",
    "gray",
    "rgb",
    "bgra",
    "rgb888p",
    "rgb888p3",
    "float32",
)
"""Formats of the data given to a preprocessed input; the first two mean that there is no preprocessing."""

VIDEO_TYPES = ("yuv444", "yuv420", "nv12", "nv21")
"""Preprocessing types of camera and video frames, which are hardly ever higher than wide."""

FLOAT_TYPE = "float32"
"""Preprocessing type that takes raw numbers rather than an image."""

DEFAULT_DATA_TYPE = "uint8"
DATA_TYPES = ("uint8", "int8", "int16", "float16")
EIGHT_BIT_TYPES = ("uint8", "int8")

SCHEMES = {
    "default": DATA_TYPES,
    "asymmetric_affine": ("uint8", "int8"),
    "dynamic_fixed_point": ("int8", "int16"),
    "perchannel_symmetric_affine": ("int8",),
}
"""Data types that each quantization scheme can be used with."""

MODES = ("standard", "full")

ALGORITHMS = ("standard", "moving_average", "kl_divergence", "auto")
"""Quantization algorithms, where nothing is known of the plugins that offer them."""

RANDOM_DATASET = "random"
"""Dataset of made-up samples; not a file name."""

KEY_FILES = ("encryption_key", "signature_key", "model_certificate", "vendor_certificate")
"""Keys of a security file; each names a file."""
