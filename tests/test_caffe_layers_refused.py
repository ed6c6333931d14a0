"""Layers of Caffe that stay opaque, and what is said of them."""

from __future__ import annotations

import pytest

from synap_frontend_caffe.importer.registry import operator_table
from tests.support.caffe_layers import refusal, sample

STANDARD = """
    AbsVal ArgMax BNLL BatchNorm Bias Concat Convolution Crop Deconvolution Dropout ELU Eltwise Embed Exp Flatten
    InnerProduct LRN Log MVN PReLU Pooling Power ReLU Reduction Reshape SPP Scale Sigmoid Silence Slice Softmax Split
    TanH Threshold Tile
"""
"""Layers of Caffe 1.0 that compute something for inference."""


def test_every_layer_that_computes_for_inference_is_imported() -> None:
    table = {entry.name: entry for entry in operator_table()}
    assert {name for name in STANDARD.split() if table[name].status != "imported"} == set()
    assert all(entry.note for entry in table.values() if entry.status != "imported")


@pytest.mark.parametrize(
    ("kind", "variant"),
    [
        ("Permute", "Caffe-SSD"),
        ("Normalize", "Caffe-SSD"),
        ("PriorBox", "Caffe-SSD"),
        ("DetectionOutput", "Caffe-SSD"),
        ("ROIPooling", "Fast R-CNN"),
        ("Interp", "PSPNet"),
        ("Upsample", "SegNet"),
        ("Axpy", "SENet"),
        ("ShuffleChannel", "ShuffleNet"),
        ("ReLU6", "MobileNet"),
        ("DepthwiseConvolution", "MobileNet"),
        ("ConvolutionDepthwise", "MobileNet"),
    ],
)
def test_a_layer_of_a_variant_is_refused_by_name(kind: str, variant: str) -> None:
    wanted = f"a layer of {variant}: only standard Caffe 1.0 layers are supported"
    assert refusal(kind, "", [sample(1, 2, 3, 3)]) == wanted


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("LSTM", "recurrent layers are not imported"),
        ("RNN", "recurrent layers are not imported"),
        ("Python", "it runs Python code of its own"),
        ("Filter", "how many samples it keeps depends on the data"),
        ("BatchReindex", "it reorders the samples of a batch, and there is one"),
        ("Parameter", "it is a blob that is only learned, and has no bottom"),
        ("Im2col", "it rearranges windows as columns"),
    ],
)
def test_a_layer_of_caffe_that_is_not_imported_says_why(kind: str, reason: str) -> None:
    assert reason in refusal(kind, "", [sample(1, 2, 3, 3)])


@pytest.mark.parametrize(
    ("kind", "count", "reason"),
    [
        ("ReLU", 2, "it has 2 bottoms, not 1"),
        ("InnerProduct", 2, "it has 2 bottoms, not 1"),
        ("Eltwise", 1, "it has 1 bottoms, not 2 or more"),
        ("Crop", 1, "it has 1 bottoms, not 2"),
        ("Crop", 3, "it has 3 bottoms, not 2"),
        ("Scale", 3, "it has 3 bottoms, not 1 or 2"),
        ("Bias", 3, "it has 3 bottoms, not 1 or 2"),
        ("Concat", 0, "it has 0 bottoms, not 1 or more"),
        ("Convolution", 0, "it has 0 bottoms, not 1 or more"),
    ],
)
def test_a_layer_with_other_bottoms_than_it_has_in_caffe_is_refused(kind: str, count: int, reason: str) -> None:
    # Variants of Caffe have such layers, and they mean something else.
    assert refusal(kind, "", [sample(1, 2, 3, 3)] * count) == reason
