"""Reading of the table that a board writes, whatever is in it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synap_core.errors import InputError
from synap_delegate_npu.cost.profile import MAX_BYTES, ProfileLine, read_profile

NETWORK = (
    "pid: 21756, nid: 1, inference_count: 78, inference_time: 272430, inference_last: 3108, iobuf_count: 2, "
    "iobuf_size: 151529, layers: 34\n"
)
OLD = "| lyr | cycle | time_us | byte_rd | byte_wr | type\n"
NEW = "| lyr |    cycle | time_us |  byte_rd |  byte_wr | ot | name\n"
ROW = "| 0 | 1 | 2 | 3 | 4 | x\n"


def profile(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "profile.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_table_of_an_older_driver_is_read(tmp_path: Path) -> None:
    # Rows of the example in the official manual.
    rows = "| 0 | 152005 | 202 | 151344 | 0 | TensorTranspose\n| 31 | 0 | 0 | 0 | 0 | ConvolutionReluPoolingLayer2\n"
    first, last = read_profile(profile(tmp_path, NETWORK + OLD + rows))
    assert first == ProfileLine(
        layer=0,
        cycles=152005,
        microseconds=202,
        bytes_read=151344,
        bytes_written=0,
        unit=None,
        name="TensorTranspose",
    )
    assert (last.layer, last.name, last.seconds(0.8e9)) == (31, "ConvolutionReluPoolingLayer2", 0)
    assert first.seconds(0.8e9) == pytest.approx(190.00625e-6)


def test_table_of_a_newer_driver_has_units(tmp_path: Path) -> None:
    rows = (
        "|   0 |   150000 |     200 |   151000 |     1024 | TP | Tensor|Transpose\r\n\n|   1 | 0 | 0 | 0 | 0 | -- | B\n"
    )
    first, last = read_profile(profile(tmp_path, NETWORK + NEW + rows))
    assert (first.unit, first.name, first.bytes_written) == ("TP", "Tensor|Transpose", 1024)
    assert (last.unit, last.name) == ("--", "B")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "txt: the profile has no layers; run a model that was", id="empty"),
        pytest.param(NETWORK + NEW, "txt: the profile has no layers", id="no rows"),
        pytest.param("hello\n", "txt:1: 'hello' is neither a line about a network", id="prose"),
        pytest.param(NETWORK + ROW, r"txt:2: the table begins with '\| 0 .* and not with '\| lyr", id="no header"),
        pytest.param(OLD + ROW + OLD, "txt:3: lyr is 'lyr' and not a whole number", id="second header"),
        pytest.param(NETWORK + OLD + ROW + NETWORK, "txt:4: the profile has a second network", id="two networks"),
        pytest.param(OLD + "| 0 | 1 | 2 | 3\n", "txt:2: the row has 4 columns, 6 are expected", id="cut off"),
        pytest.param(OLD + "| 0 | -1 | 2 | 3 | 4 | x\n", "txt:2: cycle is '-1' and not a whole", id="negative"),
        pytest.param(OLD + "| 0 | 1 | 2.5 | 3 | 4 | x\n", "txt:2: time_us is '2.5' and not a whole", id="fraction"),
        pytest.param(OLD + "| 0 | 1 | 2 | 3 | ٤ | x\n", "txt:2: byte_wr is '٤' and not a whole", id="other digits"),
        pytest.param(OLD + f"| 0 | {'9' * 5000} | 2 | 3 | 4 | x\n", r"cycle is '9{57}\.\.\.' and", id="long number"),
        pytest.param(OLD + ROW + ROW, "txt:3: layer 0 comes after layer 0; indices must grow", id="twice"),
        pytest.param(NEW + "| 0 | 1 | 2 | 3 | 4 | XY | x\n", "txt:2: unit 'XY' is not one of --, SH", id="unit"),
        pytest.param(OLD + "| 0 | 1 | 2 | 3 | 4 | \n", "txt:2: name '' is not 1 to 1000 printable", id="no name"),
        pytest.param(OLD + "| 0 | 1 | 2 | 3 | 4 | a\x1b[2Jb\n", r"txt:2: name 'a\\x1b\[2Jb' is not", id="control"),
        pytest.param(OLD + f"| 0 | 1 | 2 | 3 | 4 | {'a' * 2000}\n", r"name 'a{57}\.\.\.' is not 1", id="long name"),
        pytest.param(OLD.encode() + b"\n\xff", "txt:3: the profile is not UTF-8 text: byte 0xff", id="binary"),
        pytest.param(b"x" * (MAX_BYTES + 1), f"the profile is larger than {MAX_BYTES} bytes", id="huge"),
    ],
)
def test_wrong_profile_is_refused_with_its_line(tmp_path: Path, text: str | bytes, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_profile(profile(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "problem"),
    [("missing", "cannot be read: No such file"), ("", "is not a regular file"), ("a\0b", "cannot be")],
)
def test_profile_must_be_a_file(tmp_path: Path, name: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        read_profile(tmp_path / name)


fragments = st.sampled_from([NETWORK, OLD, NEW, ROW, "|", " 1 ", "\n", "pid:", "lyr", "TP", "\0", "é"]) | st.text(
    max_size=5
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(fragments, max_size=30).map("".join) | st.binary(max_size=100))
def test_any_content_is_read_or_refused(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "profile.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(InputError):
        assert all(line.cycles >= 0 and line.name for line in read_profile(path))
