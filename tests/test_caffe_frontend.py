"""Opening Caffe models: layers, blobs written in place, weights, inputs, and what is cut away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synap_core.api import INPUT_TYPE, BoundarySpec, InputError, ModelRequest, Slice
from synap_frontend_caffe.model import CaffeModel
from synap_frontend_caffe.schema import BlobProto, Message, NetParameter, V1LayerParameter
from synap_frontend_caffe.sniff import looks_like_caffe
from synap_frontend_caffe.upgrade import type_name
from tests.support.caffe_models import Made, MadeLayer, blob, layer, network, old_blob, old_layers, open_made, save
from tests.support.canonical import opaque_reasons, run, whole

WEIGHTS = np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3) / 54
BIAS = np.array([6, -6], np.float32)
CONVOLUTION = "convolution_param { num_output: 2 kernel_size: 3 }"
SHAPE = (1, 3, 5, 5)


def conv(name: str = "conv", bottom: str = "x", top: str = "y", body: str = CONVOLUTION) -> MadeLayer:
    return layer(name, "Convolution", bottom, top, body, [WEIGHTS, BIAS])


def opened(folder: Path, layers: Sequence[MadeLayer], **inputs: Sequence[int]) -> CaffeModel:
    return open_made(folder, network(layers, **inputs or {"x": SHAPE}))


def with_text(made: Made, prototxt: str) -> Made:
    return replace(made, prototxt=prototxt)


def answer(model: CaffeModel, *arrays: np.ndarray) -> list[np.ndarray]:
    return run(model.canonical(whole(model)), arrays)


def sample(shape: Sequence[int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(tuple(shape)).astype(np.float32)


def refusal(folder: Path, made: Made, *inputs: BoundarySpec) -> str:
    """The message a model is refused with, less its path."""
    with pytest.raises(InputError, match=r"net\.(prototxt|caffemodel)") as caught:
        open_made(folder, made, inputs)
    assert "\n" not in str(caught.value)
    return str(caught.value).partition("net.prototxt")[2]


# Layers and blobs


def test_layers_are_those_of_the_file(tmp_path: Path) -> None:
    model = opened(tmp_path, [conv(), layer("act", "ReLU", "y", "z")])
    assert [(item.name, item.type, item.index) for item in model.layers] == [
        ("x", INPUT_TYPE, None),
        ("conv", "Convolution", 0),
        ("act", "ReLU", 1),
    ]
    assert (model.format, model.layout, model.anchors()) == ("caffe", "nchw", ())
    assert {name: info.shape for name, info in model.tensors.items()} == {
        "x": SHAPE,
        "y": (1, 2, 3, 3),
        "z": (1, 2, 3, 3),
    }
    assert {info.layout for info in model.tensors.values()} == {"nchw"}


def test_last_version_of_a_blob_has_its_name(tmp_path: Path) -> None:
    layers = [
        conv(),
        layer("half", "Power", "y", "y", "power_param { scale: 0.5 }"),
        layer("act", "ReLU", "y", "y"),
        layer("out", "AbsVal", "y", "z"),
    ]
    model = opened(tmp_path, layers)
    assert [(item.inputs, item.outputs) for item in model.layers[1:]] == [
        (("x",), ("y/conv",)),
        (("y/conv",), ("y/half",)),
        (("y/half",), ("y",)),
        (("y",), ("z",)),
    ]
    part = Slice(layers=model.layers[1:4], inputs=("x",), outputs=("y", "y/conv"))
    final, first = run(model.canonical(part), [sample()])
    np.testing.assert_array_equal(final, np.maximum(first * 0.5, 0))


def test_layer_between_two_writers_reads_the_version_of_its_place(tmp_path: Path) -> None:
    layers = [conv(), layer("before", "AbsVal", "y", "a"), layer("act", "ReLU", "y", "y")]
    before, after = answer(opened(tmp_path, layers), sample())
    (plain,) = answer(opened(tmp_path, [conv()]), sample())
    assert plain.min() < 0 < plain.max()
    np.testing.assert_array_equal(before, np.abs(plain))
    np.testing.assert_array_equal(after, np.maximum(plain, 0))


def test_input_that_is_written_in_place_keeps_its_name(tmp_path: Path) -> None:
    layers = [layer("act", "ReLU", "x", "x"), layer("act2", "ELU", "x", "x")]
    model = opened(tmp_path, layers)
    assert (model.inputs, model.outputs) == (("x",), ("x/act2",))
    (found,) = answer(model, sample())
    np.testing.assert_array_equal(found, np.maximum(sample(), 0))


def test_name_of_a_version_that_a_blob_has_already_is_avoided(tmp_path: Path) -> None:
    layers = [
        conv(),
        layer("act", "ReLU", "y", "y"),
        layer("other", "AbsVal", "x", "y/conv"),
        layer("z", "Eltwise", "y/conv x", "z"),
    ]
    model = opened(tmp_path, layers)
    assert model.layers[1].outputs == ("y/conv#2",)
    assert model.layers[4].inputs == ("y/conv", "x")


def test_layers_of_one_name_are_told_apart_and_get_their_own_weights(tmp_path: Path) -> None:
    factors = [np.array([2, 3, 4], np.float32), np.array([5, 6, 7], np.float32)]
    layers = [layer("s", "Scale", "x", "y", "", factors[:1]), layer("s", "Scale", "y", "z", "", factors[1:])]
    model = opened(tmp_path, [*layers, layer("", "AbsVal", "z", "w")])
    assert [item.name for item in model.layers] == ["x", "s", "s#1", "AbsVal_2"]
    (found,) = answer(model, np.ones(SHAPE, np.float32))
    np.testing.assert_array_equal(found[0, :, 0, 0], [10, 18, 28])


def test_outputs_are_the_blobs_nothing_reads_in_the_order_of_caffe(tmp_path: Path) -> None:
    layers = [layer(name, "AbsVal", "x", name) for name in ("zebra", "ant", "mid", "Upper")]
    assert opened(tmp_path, layers).outputs == ("Upper", "ant", "mid", "zebra")


@pytest.mark.parametrize(
    ("asked", "notes"),
    [
        (["a", "b", "c"], ()),
        (["a", "c"], ()),
        (["x/act"], ()),
        (
            ["c", "x/act", "a"],
            ("the outputs are in the order of the metafile: 'c', 'a'; that of the model is 'a', 'c'",),
        ),
    ],
)
def test_outputs_in_another_order_than_that_of_the_model_are_noted(
    tmp_path: Path, asked: Sequence[str], notes: Sequence[str]
) -> None:
    layers = [layer("act", "ReLU", "x", "x"), *(layer(name, "AbsVal", "x", name) for name in ("c", "b", "a"))]
    outputs = [BoundarySpec(name=name) for name in asked]
    model = open_made(tmp_path, network(layers, x=SHAPE), outputs=outputs)
    assert (model.outputs, model.notes) == (("a", "b", "c"), notes)


def test_silenced_blob_is_no_output(tmp_path: Path) -> None:
    layers = [conv(), layer("a", "AbsVal", "x", "a"), layer("hush", "Silence", "a")]
    model = opened(tmp_path, layers)
    assert model.outputs == ("y",)
    assert "hush" not in {item.name for item in model.layers}


# The old format


def test_old_and_new_files_mean_the_same_in_every_combination(tmp_path: Path) -> None:
    new = network([conv(), layer("act", "ReLU", "y", "y")], x=SHAPE)
    old = old_layers(new)
    (expected,) = answer(open_made(tmp_path, new), sample())
    assert "layers {" in old.prototxt
    assert "CONVOLUTION" in old.prototxt
    for text in (new, old):
        for stored in (new, old):
            model = open_made(tmp_path, Made(text.prototxt, stored.caffemodel))
            assert [item.type for item in model.layers] == [INPUT_TYPE, "Convolution", "ReLU"]
            np.testing.assert_array_equal(answer(model, sample())[0], expected)


OLD_TYPES = """
    ABSVAL=AbsVal ACCURACY=Accuracy ARGMAX=ArgMax BNLL=BNLL CONCAT=Concat CONTRASTIVE_LOSS=ContrastiveLoss
    CONVOLUTION=Convolution DATA=Data DECONVOLUTION=Deconvolution DROPOUT=Dropout DUMMY_DATA=DummyData
    ELTWISE=Eltwise EUCLIDEAN_LOSS=EuclideanLoss EXP=Exp FLATTEN=Flatten HDF5_DATA=HDF5Data HDF5_OUTPUT=HDF5Output
    HINGE_LOSS=HingeLoss IM2COL=Im2col IMAGE_DATA=ImageData INFOGAIN_LOSS=InfogainLoss INNER_PRODUCT=InnerProduct
    LRN=LRN MEMORY_DATA=MemoryData MULTINOMIAL_LOGISTIC_LOSS=MultinomialLogisticLoss MVN=MVN POOLING=Pooling POWER=Power
    RELU=ReLU SIGMOID=Sigmoid SIGMOID_CROSS_ENTROPY_LOSS=SigmoidCrossEntropyLoss SILENCE=Silence SLICE=Slice
    SOFTMAX=Softmax SOFTMAX_LOSS=SoftmaxWithLoss SPLIT=Split TANH=TanH THRESHOLD=Threshold WINDOW_DATA=WindowData
"""


def test_old_types_get_the_names_of_today() -> None:
    found = {word: type_name(number) for word, number in V1LayerParameter.LayerType.items() if number}
    assert found == dict(pair.split("=") for pair in OLD_TYPES.split())


def test_names_of_old_weights_are_kept_for_sharing(tmp_path: Path) -> None:
    text = 'layers { name: "%s" type: CONVOLUTION bottom: "x" top: "%s" param: "w" param: "b" ' + CONVOLUTION + "}\n"
    made = network([conv("one", top="one")], x=SHAPE)
    both = (
        'input: "x" input_dim: 1 input_dim: 3 input_dim: 5 input_dim: 5\n' + text % ("one", "one") + text % ("b", "b")
    )
    first, second = answer(open_made(tmp_path, with_text(made, both)), sample())
    np.testing.assert_array_equal(first, second)


# Weights


@pytest.mark.parametrize("blobs", [[WEIGHTS], [WEIGHTS, BIAS, BIAS]], ids=["too few", "too many"])
def test_wrong_number_of_blobs_is_refused(tmp_path: Path, blobs: Sequence[np.ndarray]) -> None:
    text = refusal(tmp_path, network([layer("conv", "Convolution", "x", "y", CONVOLUTION, blobs)], x=SHAPE))
    assert "layer 'conv' (Convolution) has " in text


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    text = refusal(tmp_path, network([conv(body="convolution_param { num_output: 2 kernel_size: 5 }")], x=SHAPE))
    assert "layer 'conv' (Convolution) are [2, 3, 3, 3] in the weights file, not [2, 3, 5, 5]" in text
    assert text.endswith("with --weights, and inputs of the shape that they were trained for")


def test_layer_that_the_weights_file_lacks_is_named(tmp_path: Path) -> None:
    made = network([conv(), layer("s", "Scale", "y", "z")], x=SHAPE)
    assert "layer 's' (Scale) has no " in refusal(tmp_path, made)


def test_missing_weights_file_is_asked_for_by_name(tmp_path: Path) -> None:
    path, beside = save(tmp_path, network([conv()], x=SHAPE))
    with pytest.raises(InputError, match=rf"layer 'conv' .* has no .*; give the weights with --weights {beside}$"):
        CaffeModel.open(ModelRequest(path=path))
    beside.unlink()
    with pytest.raises(InputError, match=r"give the weights with --weights FILE\.caffemodel$"):
        CaffeModel.open(ModelRequest(path=path))


def test_network_without_weights_needs_no_file(tmp_path: Path) -> None:
    path, _ = save(tmp_path, network([layer("act", "ReLU", "x", "y")], x=SHAPE))
    assert CaffeModel.open(ModelRequest(path=path)).outputs == ("y",)


def test_unused_weights_are_noted(tmp_path: Path) -> None:
    made = network([conv()], x=SHAPE)
    other = network([conv(), *(conv(f"loss{i}/conv") for i in range(7))], x=SHAPE)
    listed = ", ".join(f"'loss{i}/conv'" for i in range(5))
    assert open_made(tmp_path, Made(made.prototxt, other.caffemodel)).notes == (
        f"the weights of layers that the network lacks were not used: {listed} and 2 more",
    )


def test_layers_share_weights_by_the_name_of_a_parameter(tmp_path: Path) -> None:
    shared = CONVOLUTION + ' param { name: "w" } param { name: "b" }'
    first = conv("first", top="a", body=shared)
    second = replace(conv("second", top="b", body=shared), blobs=[])
    for item in answer(opened(tmp_path, [first, second]), sample()):
        np.testing.assert_array_equal(item, answer(opened(tmp_path, [conv()]), sample())[0])


def test_weights_that_are_no_numbers_are_taken(tmp_path: Path) -> None:
    factors = np.array([np.nan, np.inf, 1], np.float32)
    (found,) = answer(opened(tmp_path, [layer("s", "Scale", "x", "y", "", [factors])]), np.ones(SHAPE, np.float32))
    np.testing.assert_array_equal(found[0, :, 0, 0], factors)


def double(array: np.ndarray) -> Message:
    made = BlobProto(double_data=np.asarray(array, np.float64).ravel())
    made.shape.dim.extend(array.shape)
    return made


def half(array: np.ndarray) -> Message:
    made = BlobProto(raw_data=array.astype(np.float16).tobytes(), raw_data_type=BlobProto.RawType.Value("FLOAT16"))
    made.shape.dim.extend(array.shape)
    return made


@pytest.mark.parametrize("stored", [blob, old_blob, double, half])
def test_blobs_are_read_in_every_form(tmp_path: Path, stored: object) -> None:
    assert callable(stored)
    exact = np.round(WEIGHTS * 64) / 64
    message = NetParameter()
    entry = message.layer.add(name="conv", type="Convolution")
    entry.blobs.extend([stored(exact), stored(BIAS)])
    made = Made(network([conv()], x=SHAPE).prototxt, message.SerializeToString())
    expected = opened(tmp_path, [replace(conv(), blobs=[exact, BIAS])])
    np.testing.assert_array_equal(answer(open_made(tmp_path, made), sample())[0], answer(expected, sample())[0])


def test_weights_of_a_layer_that_the_metafile_cuts_away_may_be_missing(tmp_path: Path) -> None:
    made = network([conv(), layer("act", "ReLU", "y", "a"), layer("s", "Scale", "a", "z")], x=SHAPE)
    outputs = [BoundarySpec(name="a", shape=(1, 2, 3, 3))]
    model = open_made(tmp_path, made, outputs=outputs)
    part = Slice(layers=model.layers[1:3], inputs=("x",), outputs=("a",))
    assert run(model.canonical(part), [sample()])[0].shape == (1, 2, 3, 3)
    assert not model.tensors["z"].static
    with pytest.raises(InputError, match=r"layer 's' \(Scale\) has no "):
        model.canonical(whole(model))


# Parts of a model


def custom(folder: Path, *inputs: BoundarySpec) -> CaffeModel:
    layers = [conv(), layer("odd", "MyOwn", "y", "o"), layer("act", "ReLU", "o", "z"), layer("abs", "AbsVal", "y", "a")]
    return open_made(folder, network(layers, x=SHAPE), inputs)


def test_layer_without_importer_stays_opaque_and_says_why(tmp_path: Path) -> None:
    model = custom(tmp_path)
    assert [(item.layer.name, item.status) for item in model.support()] == [
        ("conv", "imported"),
        ("odd", "unknown"),
        ("act", "opaque"),
        ("abs", "imported"),
    ]
    assert model.support()[1].reason.startswith("no importer for the layer type MyOwn")
    assert model.support()[2].reason == "it needs the result of layer 'odd', which cannot be imported"
    assert [name for name, info in model.tensors.items() if not info.static] == ["o", "z"]
    with pytest.raises(InputError, match=r"'z' cannot be an output: layer 'odd' \(MyOwn\) .*; cut the model"):
        model.canonical(whole(model))


def test_error_of_an_output_names_every_layer_that_is_a_cause(tmp_path: Path) -> None:
    layers = [
        layer("norm", "Normalize", "x", "n"),
        *(layer(f"perm{i}", "Permute", "n", f"p{i}") for i in range(3)),
        layer("flat", "Flatten", "p0", "f"),
        layer("odd", "MyOwn", "f p1 p2", "o"),
        layer("act", "ReLU", "o", "z"),
        layer("other", "Interp", "x", "w"),
    ]
    model = opened(tmp_path, layers)
    with pytest.raises(InputError, match="blob 'z' cannot be an output") as caught:
        model.canonical(Slice(layers=model.layers[1:], inputs=("x",), outputs=("z",)))
    assert caught.value.message == (
        "blob 'z' cannot be an output: layers 'norm' (Normalize), 'perm0' (Permute) and 2 more cannot be imported: a "
        "layer of Caffe-SSD: only standard Caffe 1.0 layers are supported; layer 'odd' (MyOwn) cannot be imported: no "
        "importer for the layer type MyOwn: it is not one of Caffe 1.0"
    )


def test_error_of_an_output_that_the_part_does_not_compute_says_so(tmp_path: Path) -> None:
    model = opened(tmp_path, [conv()])
    with pytest.raises(InputError, match=r"'y' cannot be an output: layer 'conv' \(Convolution\) is no part of what"):
        model.canonical(Slice(layers=(), inputs=("x",), outputs=("y",)))


def test_parts_around_a_layer_without_importer_are_converted(tmp_path: Path) -> None:
    model = custom(tmp_path, BoundarySpec(name="o", shape=(1, 4, 6, 6)))
    layers = {item.name: item for item in model.layers}
    above = model.canonical(Slice(layers=(layers["conv"], layers["abs"]), inputs=("x",), outputs=("a",)))
    below = model.canonical(Slice(layers=(layers["act"],), inputs=("o",), outputs=("z",)))
    assert opaque_reasons(above) == opaque_reasons(below) == []
    assert run(above, [sample()])[0].min() >= 0
    np.testing.assert_array_equal(run(below, [sample((1, 4, 6, 6))])[0], np.maximum(sample((1, 4, 6, 6)), 0))


def test_output_that_another_output_or_input_is_gets_a_copy(tmp_path: Path) -> None:
    model = opened(tmp_path, [layer("s", "Split", "x", "a b"), layer("d", "Dropout", "a", "c")])
    found = answer(model, sample())
    assert model.outputs == ("b", "c")
    for item in found:
        np.testing.assert_array_equal(item, sample())


def test_nothing_runs_the_format_as_it_is(tmp_path: Path) -> None:
    model = opened(tmp_path, [conv()])
    with pytest.raises(InputError, match=r"net\.prototxt: 1 layers are asked for as a Caffe model, and nothing runs"):
        model.slice(whole(model))


# Reading


def test_fields_of_other_versions_are_tolerated_and_reported(tmp_path: Path) -> None:
    made = network([conv(body=CONVOLUTION + ' my_param { a: 1 b { c: "d" } }')], x=SHAPE)
    model = open_made(tmp_path, made)
    (warning,) = model.warnings
    where, _, text = warning.partition(": ")
    assert where == f"{tmp_path / 'net.prototxt'}:9:54"
    assert text == "LayerParameter has no field 'my_param' in Caffe 1.0; it and other such fields are ignored"
    assert model.outputs == ("y",)


def test_what_only_training_reads_is_accepted(tmp_path: Path) -> None:
    filler = 'weight_filler { type: "gaussian" std: 0.01 } bias_filler { type: "constant" value: 1 }'
    body = f"convolution_param {{ num_output: 2 kernel_size: 3 {filler} }} param {{ lr_mult: 1 decay_mult: 0 }}"
    assert opened(tmp_path, [conv(body=body + " propagate_down: false")]).warnings == ()


def test_comments_may_be_in_any_encoding(tmp_path: Path) -> None:
    made = network([layer("act", "ReLU", "x", "y")], x=SHAPE)
    path, _ = save(tmp_path, made)
    path.write_bytes(b"\xef\xbb\xbf# \xd6\xd0\xce\xc4\n" + path.read_bytes())
    assert CaffeModel.open(ModelRequest(path=path)).outputs == ("y",)


def test_network_is_shown_without_its_weights(tmp_path: Path) -> None:
    made = network([conv(), layer("s", "Scale", "y", "z")], x=(8, 3, 5, 5))
    path, _ = save(tmp_path, made)
    model = CaffeModel.open(ModelRequest(path=path, inspect=True))
    assert {name: info.shape for name, info in model.tensors.items()} == {
        "x": (8, 3, 5, 5),
        "y": (8, 2, 3, 3),
        "z": (8, 2, 3, 3),
    }
    assert model.notes == ()


@pytest.mark.parametrize(
    "head",
    [
        b'name: "net"\nlayer {\n  name: "c"\n',
        b'\xef\xbb\xbfinput: "data"\n',
        b"layers: {\n",
        b"# " + b"long " * 2000,
        b'name: "predict"\nop {\n  input: "data"\n',
        b'net: "train_val.prototxt"\nbase_lr: 0.01\n',
        network([conv()], x=SHAPE).caffemodel,
        old_layers(network([conv()], x=SHAPE)).caffemodel,
        NetParameter(input=["data"], layer=[{"name": "c"}]).SerializeToString(),
    ],
    ids=["layer", "input", "old layers", "comment", "Caffe2", "solver", "weights", "old weights", "no name"],
)
def test_sniff_accepts(head: bytes) -> None:
    assert looks_like_caffe(head[:4096])


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"hello\n",
        b"\x1c\x00\x00\x00TFL3" + bytes(100),
        b"\x08\x08\x12\x07pytorch\x3a\x10",
        b"\x12\x07pytorch\x08\x08",
        b"\x0a\x0e\x0a\x01x\x12\x0bPlaceholder",
        b'node {\n  name: "x"\n  op: "Placeholder"\n}\n',
        b"PK\x03\x04",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
    ids=["empty", "text", "tflite", "onnx", "onnx producer", "graph", "graph as text", "zip", "endless number"],
)
def test_sniff_leaves_other_files_alone(head: bytes) -> None:
    assert not looks_like_caffe(head)
