"""Layer types that always stay opaque."""

from __future__ import annotations

from synap_frontend_caffe.importer.registry import refuse

ONLY_STANDARD = "only standard Caffe 1.0 layers are supported"

FORKS = {
    "Caffe-SSD": """
        DetectionEvaluate DetectionOutput MultiBoxLoss Normalize Permute PriorBox SmoothL1Loss VideoData
    """,
    "Fast R-CNN": "ROIPooling Proposal",
    "R-FCN": "PSROIPooling",
    "SegNet": "BN Upsample",
    "PSPNet": "Interp",
    "SENet": "Axpy",
    "ShuffleNet": "ShuffleChannel",
    "MobileNet": "ConvolutionDepthwise DepthwiseConvolution ReLU6",
    "FlowNet": "Correlation Downsample FlowWarp Resample",
    "C3D": "Convolution3D Pooling3D",
    "Caffe-LSTM": "Lstm",
}
"""Layer types of well-known variants of Caffe, by the name of the variant."""

for _variant, _types in FORKS.items():
    refuse(f"a layer of {_variant}: {ONLY_STANDARD}", *_types.split())

refuse("recurrent layers are not imported", "LSTM", "LSTMUnit", "RNN", "Recurrent")
refuse("it runs Python code of its own", "Python")
refuse("how many samples it keeps depends on the data", "Filter")
refuse("it reorders the samples of a batch, and there is one", "BatchReindex")
refuse("it is a blob that is only learned, and has no bottom", "Parameter")
refuse("it rearranges windows as columns, which no other layer needs", "Im2col")
