"""Damaged, malicious and mistaken Caffe files: each ends in one line."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from synap_core.api import InputError, ModelRequest
from synap_frontend_caffe.model import CaffeModel
from synap_frontend_caffe.schema import BlobProto, Caffe2Net, Message, NetParameter
from tests.support.caffe_models import Made, layer, network, old_layers, only_convolution, open_made, save, small
from tests.support.canonical import whole
from tests.support.fuzzing import damaged, renumbered


def refusal(folder: Path, made: Made) -> str:
    """The message a model is refused with, less the folder, and less the name of the network's file."""
    with pytest.raises(InputError, match=r"net\.(prototxt|caffemodel)") as caught:
        open_made(folder, made)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{folder}/", "").removeprefix("net.prototxt")


def changed(change: Callable[[Message], object]) -> Made:
    made = small()
    stored = NetParameter()
    stored.ParseFromString(made.caffemodel)
    change(stored)
    return replace(made, caffemodel=stored.SerializeToString())


def text(old: str, new: str) -> Made:
    made = small()
    assert old in made.prototxt
    return replace(made, prototxt=made.prototxt.replace(old, new, 1))


def caffe2(**fields: object) -> bytes:
    made = Caffe2Net(op=[{"input": ["data"], "output": ["y"], "type": "Relu"}], **fields)
    return bytes(b"\n\x03net" + made.SerializeToString())


def with_weights(stored: bytes) -> Made:
    return replace(small(), caffemodel=stored)


def reshaped(*dims: int) -> Callable[[Message], object]:
    def change(stored: Message) -> None:
        stored.layer[0].blobs[0].shape.dim[:] = dims

    return change


TRUNCATED = "net.caffemodel: the file is truncated, damaged, or no .caffemodel of Caffe 1.0; get it again, or give"
V0 = 'layers { layer { name: "c" type: "conv" num_output: 2 } bottom: "x" top: "y" }'


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (text("kernel_size: 3", "kernel_size: three"), ":9:50: Couldn't parse integer: three"),
        (text("pad: 1", "pad: -1"), ":9:67: Value out of range: -1"),
        (text("dim: 8", "dim: 99999999999999999999"), ":3:34: Value out of range: 9999999"),
        (text('"y"', '"y'), ":8:8: String missing ending quote"),
        (text("pool: AVE", "pool: BEST"), ':22:25: Enum type "PoolingParameter.PoolMethod" has no value na'),
        (text('type: "Slice"', "type: SLICE"), ":33:9: Expected string but found: 'SLICE'"),
        (text("layer {", "layer { layer {"), ':73:1: Expected "}"'),
        (Made("layer {", b""), ':1:7: Expected "}"'),
        (Made("a { " * 5000, b""), ": the fields are nested too deep"),
        (Made("layer { }" * 10_001, b""), ": the network has 10001 layers; at most 10000 are read; cut it"),
        (Made("\0", b""), ": this is a binary file, not the text of a network; give the .prototxt as"),
        (Made(V0, b""), ": the layers are in the format V0, which Caffe had long before 1.0; upgrade"),
        (Made('layer { name: "a" } layers { name: "b" }', b""), ": the network has both 'layer' and 'layers'"),
        (Made('name: "n"\nop {\n  type: "Relu"\n}\nexternal_input: "x"', b""), ": this is a Caffe2 model; on"),
        (Made('net: "train.prototxt"\nbase_lr: 0.1\n', b""), ": this file says how to train a network: it is"),
        (text("num_output: 2", "num_output: 4294967295"), ": the weights of layer 'conv' (Convolution) are"),
    ],
    ids=lambda item: None if isinstance(item, Made) else re.sub(r"[^\w ]", "", item)[:40],
)  # fmt: skip
def test_wrong_text_is_refused(tmp_path: Path, made: Made, message: str) -> None:
    assert refusal(tmp_path, made).startswith(message)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (changed(reshaped(-2, 3, 3, 3)), ": a blob of layer 'conv' has the shape [-2, 3, 3, 3] and 54 items"),
        (changed(reshaped(1 << 62, 4, 1, 1)), ": a blob of layer 'conv' has the shape [4611686018427387904"),
        (changed(reshaped(10**9, 10**9)), ": a blob of layer 'conv' has the shape [1000000000, 1000000000]"),
        (changed(reshaped()), ": a blob of layer 'conv' has the shape [] and 54 items"),
        (changed(reshaped(*[1] * 5000, 54)), ": a blob of layer 'conv' has 5001 dimensions and 54 items"),
        (changed(lambda m: m.layer[0].blobs[0].data.pop()), ": a blob of layer 'conv' has the shape [2, 3, 3"),
        (changed(lambda m: m.layer[0].blobs[0].MergeFrom(BlobProto(raw_data=b"abc", raw_data_type=1))),
         ": a blob of layer 'conv' holds 3 bytes of the type FLOAT, not real numbers"),
        (changed(lambda m: m.layer[0].blobs[0].MergeFrom(BlobProto(raw_data=b"abcd", raw_data_type=3))),
         ": a blob of layer 'conv' holds 4 bytes of the type INT, not real numbers; store the weights as"),
        (changed(lambda m: m.ClearField("layer")), TRUNCATED),
        (with_weights(b""), TRUNCATED),
        (with_weights(bytes(1000)), TRUNCATED),
        (with_weights(small().prototxt.encode()), "net.caffemodel: this is a text file, not the weights"),
        (with_weights(b"\x89HDF\r\n\x1a\n" + bytes(99)), "net.caffemodel: the weights are in HDF5; only"),
        (with_weights(caffe2()), "net.caffemodel: this is a Caffe2 model; only Caffe 1.0 is read; export"),
        (with_weights(caffe2(external_input=["x"])), "net.caffemodel: this is a Caffe2 model; only Caffe"),
        (with_weights(NetParameter(layers=[{"layer": {"name": "c"}}]).SerializeToString()),
         "net.caffemodel: the layers are in the format V0, which Caffe had long before 1.0; upgrade the file with"),
    ],
    ids=lambda item: None if isinstance(item, Made) else re.sub(r"[^\w ]", "", item)[:50],
)  # fmt: skip
def test_wrong_weights_are_refused(tmp_path: Path, made: Made, message: str) -> None:
    assert refusal(tmp_path, made).startswith(message)


def test_weights_as_the_network_are_refused(tmp_path: Path) -> None:
    _, data = save(tmp_path, small())
    with pytest.raises(InputError, match=r"binary file.*; give the \.prototxt as the model, and the \.caffemodel with"):
        CaffeModel.open(ModelRequest(path=data))


def test_missing_weights_file_is_named(tmp_path: Path) -> None:
    path, _ = save(tmp_path, small())
    with pytest.raises(InputError, match=r"other\.caffemodel: cannot read the file: No such file"):
        CaffeModel.open(ModelRequest(path=path, weights=tmp_path / "other.caffemodel"))


@pytest.mark.parametrize(
    ("line", "place"),
    [(b'layer { name: "\xff" }\n', "2:16"), (b"\xe4 { }\n", "2:1"), (b'name: "#\xff"\n', None)],
    ids=["name", "field", "behind a sign of a comment"],
)
def test_text_that_is_not_utf_8_says_where(tmp_path: Path, line: bytes, place: str | None) -> None:
    path, data = save(tmp_path, small())
    head, _, rest = path.read_bytes().partition(b"\n")
    path.write_bytes(head + b"\n" + line + rest if place else line + rest)
    if place is None:
        assert CaffeModel.open(ModelRequest(path=path, weights=data)).outputs
        return
    with pytest.raises(InputError, match=rf"net\.prototxt:{place}: the byte 0x\w\w is not UTF-8; save the file"):
        CaffeModel.open(ModelRequest(path=path, weights=data))


def test_text_of_any_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(InputError, match="the file has 1099511627776 bytes; a network's text has at most"):
        CaffeModel.open(ModelRequest(path=path))
    save(tmp_path, small())
    with (tmp_path / "net.caffemodel").open("wb") as stream:
        stream.truncate(1 << 31)
    with pytest.raises(InputError, match="the file has 2147483648 bytes; a weights file has at most 2147483647"):
        CaffeModel.open(ModelRequest(path=path, weights=tmp_path / "net.caffemodel"))


@pytest.mark.parametrize(
    "body",
    [
        "tile_param { tiles: 2147483647 }",
        "tile_param { tiles: -1 }",
        "tile_param { axis: 99 tiles: 1 }",
        "tile_param { }",
    ],
)
def test_result_that_no_memory_holds_is_not_made(tmp_path: Path, body: str) -> None:
    made = network([layer("t", "Tile", "x", "y", body)], x=(1, 3, 1000, 1000))
    model = open_made(tmp_path, made)
    assert [item.status for item in model.support()] == ["opaque"]


def test_network_is_shown_without_room_for_its_weights(tmp_path: Path) -> None:
    body = "convolution_param { num_output: 4294967295 kernel_size: 60000 pad: 60000 }"
    path, _ = save(tmp_path, network([layer("c", "Convolution", "x", "y", body)], x=(1, 3, 8, 8)))
    model = CaffeModel.open(ModelRequest(path=path, inspect=True))
    assert [item.reason for item in model.support()] == ["the weights up to it have more than 536870912 items"]


def test_every_truncation_ends_in_one_line(tmp_path: Path) -> None:
    made = small()
    refused = 0
    for stored in (made.caffemodel, old_layers(only_convolution()).caffemodel):
        for length in range(0, len(stored), 7):
            refused += is_refused(tmp_path, made.prototxt, stored[:length])
    prototxt = made.prototxt
    for length in range(0, len(prototxt), 11):
        refused += is_refused(tmp_path, prototxt[:length], made.caffemodel)
    assert refused > 200


def is_refused(folder: Path, prototxt: str | bytes, stored: bytes) -> bool:
    """Whether a model is refused, in one line about a file; when not, its graph can be built."""
    path, data = folder / "net.prototxt", folder / "net.caffemodel"
    path.write_bytes(prototxt.encode() if isinstance(prototxt, str) else prototxt)
    data.write_bytes(stored)
    try:
        model = CaffeModel.open(ModelRequest(path=path, weights=data))
        model.canonical(whole(model))
    except InputError as error:
        text = str(error)
    else:
        return False
    assert "\n" not in text
    assert text.startswith(f"{folder}/net.")
    return True


@pytest.mark.parametrize(("word", "refused"), [(b"conv", True), (b"in", False), (b"out", False), (b"shared", False)])
def test_words_of_old_weights_may_be_no_text(tmp_path: Path, word: bytes, refused: bool) -> None:
    # The name of a layer counts; what it reads, writes and shares is said by the .prototxt.
    stored = NetParameter()
    stored.ParseFromString(old_layers(only_convolution()).caffemodel)
    stored.layers[0].MergeFrom(type(stored.layers[0])(bottom=["in"], top=["out"], param=["shared"]))
    content = stored.SerializeToString()
    assert content.count(word) == 1
    broken = content.replace(word, b"\xff" * len(word))
    assert is_refused(tmp_path, only_convolution().prototxt, broken) == refused


@pytest.mark.parametrize("seed", range(3))
def test_random_damage_to_weights_ends_in_one_line_or_not_at_all(tmp_path: Path, seed: int) -> None:
    made, choose = small(), random.Random(seed)
    others = [made.caffemodel, old_layers(only_convolution()).caffemodel]
    found = [is_refused(tmp_path, made.prototxt, damaged(others[0], others, choose)) for _ in range(150)]
    assert 50 < sum(found) < 150


@pytest.mark.parametrize("seed", range(3))
def test_any_number_in_the_text_ends_in_one_line_or_not_at_all(tmp_path: Path, seed: int) -> None:
    made, choose = small(), random.Random(seed)
    refused = sum(is_refused(tmp_path, renumbered(made.prototxt, choose), made.caffemodel) for _ in range(150))
    assert 50 < refused < 150


@pytest.mark.parametrize("seed", range(3))
def test_random_damage_to_the_text_ends_in_one_line_or_not_at_all(tmp_path: Path, seed: int) -> None:
    made, choose = small(), random.Random(seed)
    content = made.prototxt.encode()
    found = [is_refused(tmp_path, damaged(content, [content], choose), made.caffemodel) for _ in range(150)]
    assert 50 < sum(found) < 150
