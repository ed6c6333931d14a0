"""Read the two files of a model: the network as text, the weights as binary protobuf."""

from __future__ import annotations

import re
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from synap_core.api import InputError
from synap_frontend_caffe.schema import PACKAGE, Caffe2Net, Message, NetParameter
from synap_frontend_caffe.sniff import CAFFE2_WORDS, HDF5, SOLVER_WORDS, looks_like_text

MAX_TEXT_BYTES = 2 << 20
"""Far above any network: one of a thousand layers takes a quarter of a megabyte."""

MAX_WEIGHTS_BYTES = (1 << 31) - 1
"""What ``protobuf`` reads."""

_FOREIGN = re.compile("[\udc80-\udcff]")
"""What stands for a byte that is not UTF-8."""

CAFFE2 = "this is a Caffe2 model; only Caffe 1.0 is read"
CAFFE2_HINT = "export it to ONNX"


def read_network(path: Path) -> tuple[Message, list[str]]:
    """Read a ``.prototxt``.

    Returns:
        The ``NetParameter``, and warnings: fields that are no part of Caffe 1.0 are ignored.

    Raises:
        InputError: The file is no network of Caffe 1.0, or one older than that.
    """
    data = _read(path, MAX_TEXT_BYTES, "a network's text")
    if not looks_like_text(data[:4096]):
        msg = "this is a binary file, not the text of a network"
        raise InputError(msg, where=path, hint="give the .prototxt as the model, and the .caffemodel with --weights")
    network, warnings = _parsed(_decoded(data, path), path)
    _refuse_v0(network, path, "upgrade_net_proto_text")
    if network.layer and network.layers:
        msg = "the network has both 'layer' and 'layers'"
        raise InputError(msg, where=path, hint="upgrade the file with Caffe's tool upgrade_net_proto_text")
    return network, warnings


def _refuse_v0(network: Message, path: Path, tool: str) -> None:
    if any(layer.HasField("layer") for layer in network.layers):
        msg = "the layers are in the format V0, which Caffe had long before 1.0"
        raise InputError(msg, where=path, hint=f"upgrade the file with Caffe's tool {tool}")


def _decoded(data: bytes, path: Path) -> str:
    """The text of a file; comments may be in another encoding than UTF-8."""
    text = data.decode("utf-8-sig", "surrogateescape")
    for number, line in enumerate(text.split("\n") if _FOREIGN.search(text) else (), 1):
        found = _FOREIGN.search(line.partition("#")[0])
        if found is not None:
            msg = f"the byte 0x{ord(found[0]) & 0xFF:02X} is not UTF-8"
            raise InputError(msg, where=f"{path}:{number}:{found.start() + 1}", hint="save the file as UTF-8")
    return _FOREIGN.sub("\ufffd", text)


def _parsed(text: str, path: Path) -> tuple[Message, list[str]]:
    network = NetParameter()
    try:
        return text_format.Parse(text, network), []
    except text_format.ParseError as error:
        first = error
        if CAFFE2_WORDS.search(text):
            raise InputError(CAFFE2, where=path, hint=CAFFE2_HINT) from error
        if SOLVER_WORDS.search(text):
            msg = "this file says how to train a network: it is not the network itself"
            raise InputError(msg, where=path, hint="give the .prototxt for deployment") from error
    network = NetParameter()
    try:
        text_format.Parse(text, network, allow_unknown_field=True)
    except text_format.ParseError as error:
        raise InputError(_message(error), where=_place(path, error)) from error
    except RecursionError as error:
        msg = "the fields are nested too deep"
        raise InputError(msg, where=path, hint="give the network of a Caffe 1.0 model") from error
    return network, [f"{_place(path, first)}: {_message(first)}; it and other such fields are ignored"]


def _place(path: Path, error: text_format.ParseError) -> str:
    line, column = error.GetLine(), error.GetColumn()
    return f"{path}:{line}:{column}" if line else str(path)


def _message(error: text_format.ParseError) -> str:
    """What the parser says, less the place and what it quotes of the file."""
    text = re.sub(r"^\d+:\d+ : ", "", str(error)).replace(f"{PACKAGE}.", "").rstrip(".")
    unknown = re.search(r'Message type "(\w+)" has no field named "(.*)"', text)
    if unknown:
        return f"{unknown[1]} has no field {unknown[2]!r} in Caffe 1.0"
    found = re.search(r"'.*': (.*)", text, re.DOTALL)
    return found[1] if found else text


def read_weights(path: Path) -> Message:
    """Read a ``.caffemodel`` as a ``NetParameter``.

    Raises:
        InputError: The file is damaged, or no weights file of Caffe.
    """
    data = _read(path, MAX_WEIGHTS_BYTES, "a weights file")
    if data.startswith(HDF5):
        msg = "the weights are in HDF5; only the binary format .caffemodel is read"
        raise InputError(msg, where=path, hint="load the network in Caffe and save it as .caffemodel")
    if data and looks_like_text(data[:4096]):
        msg = "this is a text file, not the weights of a network"
        raise InputError(msg, where=path, hint="give the binary .caffemodel with --weights")
    network = NetParameter()
    try:
        network.ParseFromString(data)
    except DecodeError as error:
        raise _refusal(data, path) from error
    _refuse_v0(network, path, "upgrade_net_proto_binary")
    if not network.layer and not any(layer.HasField("type") for layer in network.layers):
        raise _refusal(data, path)
    return network


def _refusal(data: bytes, path: Path) -> InputError:
    other = Caffe2Net()
    try:
        other.ParseFromString(data)
    except DecodeError:
        other.Clear()
    if other.op and all(re.fullmatch(rb"\w+", _bytes(op.type)) for op in other.op):
        return InputError(CAFFE2, where=path, hint=CAFFE2_HINT)
    msg = "the file is truncated, damaged, or no .caffemodel of Caffe 1.0"
    return InputError(msg, where=path, hint="get it again, or give the .caffemodel with --weights")


def _bytes(word: str | bytes) -> bytes:
    return word.encode() if isinstance(word, str) else word


def _read(path: Path, limit: int, what: str) -> bytes:
    try:
        size = path.stat().st_size
        if size > limit:
            msg = f"the file has {size} bytes; {what} has at most {limit}"
            raise InputError(msg, where=path)
        return path.read_bytes()
    except OSError as error:
        msg = f"cannot read the file: {error.strerror or error}"
        raise InputError(msg, where=path) from error
