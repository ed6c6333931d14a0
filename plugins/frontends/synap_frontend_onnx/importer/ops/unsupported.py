"""Operators that always stay opaque."""

from __future__ import annotations

from synap_frontend_onnx.importer.registry import opaque

opaque("the shape of its result depends on data", "NonMaxSuppression", "Unique")
opaque(
    "its result is random",
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)
opaque(
    "the graph has tensors only, no sequences of them",
    "ConcatFromSequence",
    "SequenceAt",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceLength",
    "SequenceMap",
    "SplitToSequence",
)
opaque(
    "the graph has tensors only, none that may be absent",
    "Optional",
    "OptionalGetElement",
    "OptionalHasElement",
)
opaque("the graph has no text", "RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit")
opaque("it decodes files", "ImageDecoder")
opaque(
    "it computes gradients, for training",
    "Adagrad",
    "Adam",
    "Gradient",
    "Momentum",
    domain="ai.onnx.preview.training",
)
opaque(
    "operators of classical machine learning are not imported",
    "ArrayFeatureExtractor",
    "Binarizer",
    "CastMap",
    "CategoryMapper",
    "DictVectorizer",
    "FeatureVectorizer",
    "Imputer",
    "LabelEncoder",
    "LinearClassifier",
    "LinearRegressor",
    "Normalizer",
    "OneHotEncoder",
    "SVMClassifier",
    "SVMRegressor",
    "Scaler",
    "TreeEnsemble",
    "TreeEnsembleClassifier",
    "TreeEnsembleRegressor",
    "ZipMap",
    domain="ai.onnx.ml",
)
