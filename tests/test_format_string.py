"""Format strings, against the rules of formats.md section 1."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synap_core.format_string import FormatString

READERS: dict[str, Callable[[FormatString, str], object]] = {
    "get_int": FormatString.get_int,
    "get_float": FormatString.get_float,
    "get_bool": FormatString.get_bool,
    "get_str": FormatString.get_str,
    "get_list": FormatString.get_list,
    "get_int_list": FormatString.get_int_list,
    "get_nested_list": FormatString.get_nested_list,
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("rgb keep_proportions=0", "rgb", id="ends-at-blank"),
        pytest.param("y8\trest", "y8", id="ends-at-tab"),
        pytest.param("rgb", "rgb", id="whole-text"),
        pytest.param("keep_proportions=0", "", id="ends-at-equals-sign"),
        pytest.param(" rgb", "", id="leading-blank"),
        pytest.param("\trgb", "", id="leading-tab"),
        pytest.param("", "", id="empty"),
        pytest.param("=", "", id="only-equals-sign"),
    ],
)
def test_type_is_the_leading_word(text: str, expected: str) -> None:
    assert FormatString.parse(text).type == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a=1", "1", id="at-the-start"),
        pytest.param("x a=1", "1", id="after-one-blank"),
        pytest.param("x  a=1", "1", id="after-the-last-of-two-blanks"),
        pytest.param(" a=1", "1", id="after-a-leading-blank"),
        pytest.param("x\ta=1", "absent", id="not-after-a-tab"),
        pytest.param("xa=1", "absent", id="not-inside-a-word"),
        pytest.param("x a =1", "absent", id="not-before-a-blank"),
        pytest.param("x A=1", "absent", id="case-matters"),
        pytest.param("x a=1 a=2", "1", id="first-match-wins"),
        pytest.param("a=3 a=1", "3", id="the-start-comes-first"),
        pytest.param("x a= \t 1", "1", id="blanks-and-tabs-before-the-value"),
        pytest.param("x a= b=2", "b=2", id="an-empty-value-takes-the-next-word"),
        pytest.param("x a=", "", id="empty-value-at-the-end"),
        pytest.param("x a=b=c", "b=c", id="value-with-equals-sign"),
        pytest.param("x a=1\t2 b", "1\t2", id="a-tab-does-not-end-the-value"),
    ],
)
def test_lookup_finds_the_value_of_a_key(text: str, expected: str) -> None:
    assert FormatString.parse(text).get_str("a", "absent") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("12", 12),
        ("-12", -12),
        ("+12", 12),
        ("007", 7),
        ("12abc", 12),
        ("1.9", 1),
        ("0x10", 0),
        ("text", 0),
        ("- 1", 0),
        ("\v\n5", 5),
        ("²", 0),
        ("2147483647", 2147483647),
        ("2147483648", 2147483647),
        ("-" + "9" * 100_000, -2147483648),
        ("0" * 100_000 + "8", 8),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_int_is_read_like_atoi(value: str, expected: int) -> None:
    assert FormatString.parse(f"t a={value}").get_int("a", 99) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1.5", 1.5),
        ("-.5", -0.5),
        ("2.", 2.0),
        ("1e3x", 1000.0),
        ("1e", 1.0),
        ("0x1.8p1", 3.0),
        ("0x", 0.0),
        ("-0x1p99999", -math.inf),
        ("1e99999", math.inf),
        ("-infinity", -math.inf),
        (".", 0.0),
        ("text", 0.0),
        ("", 0.0),
    ],
)
def test_float_is_read_like_atof(value: str, expected: float) -> None:
    assert FormatString.parse(f"t a={value}").get_float("a", 99.0) == expected


def test_float_reads_nan() -> None:
    assert math.isnan(FormatString.parse("a=nan").get_float("a", 0.0))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", True),
        ("-3", True),
        ("0", False),
        ("true", True),
        ("trueish", True),
        ("TRUE", False),
        ("yes", False),
        ("", False),
    ],
)
def test_bool_is_true_for_non_zero_and_for_lower_case_true(value: str, expected: bool) -> None:
    assert FormatString.parse(f"t a={value}").get_bool("a", not expected) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("[1,2.5,-3e1]", [1.0, 2.5, -30.0], id="plain"),
        pytest.param("[ 1 ,  2 ]", [1.0, 2.0], id="blanks-around-items"),
        pytest.param("[1,2]rest", [1.0, 2.0], id="text-behind-is-ignored"),
        pytest.param("[0x10]", [16.0], id="hexadecimal"),
        pytest.param("[]", [], id="empty"),
        pytest.param("1,2", [], id="no-bracket"),
        pytest.param("[1,2", [], id="not-closed"),
        pytest.param("[1 2]", [], id="no-comma"),
        pytest.param("[1\t,2]", [], id="tab-before-comma"),
        pytest.param("[1,]", [], id="trailing-comma"),
        pytest.param("[,1]", [], id="leading-comma"),
        pytest.param("[a]", [], id="text-item"),
        pytest.param("[[1]]", [], id="nested"),
    ],
)
def test_list_of_numbers(value: str, expected: list[float]) -> None:
    assert FormatString.parse(f"t a={value}").get_list("a") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[10,-0x1F,010,0]", [10, -31, 8, 0]),
        ("[1.5]", []),
        ("[08]", []),
        ("[0x]", []),
        ("[99999999999]", [2147483647]),
        ("[-0xfffffffffffff]", [-2147483648]),
    ],
)
def test_list_of_integers_knows_hexadecimal_and_octal(value: str, expected: list[int]) -> None:
    assert FormatString.parse(f"t a={value}").get_int_list("a") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param("[[],[],[],[10,20]]", [[], [], [], [10.0, 20.0]], id="anchors"),
        pytest.param("[ [1, 2 ] , [ ] ]", [[1.0, 2.0], []], id="blanks"),
        pytest.param("[[1],2]", [], id="mixed"),
        pytest.param("[1,2]", [], id="flat"),
        pytest.param("[[1]", [], id="not-closed"),
        pytest.param("[[[1]]]", [], id="too-deep"),
    ],
)
def test_nested_list(value: str, expected: list[list[float]]) -> None:
    assert FormatString.parse(f"t a={value}").get_nested_list("a") == expected


def test_absent_keys_give_the_default() -> None:
    parsed = FormatString.parse("rgb b=1")
    found = (parsed.get_int("a", 7), parsed.get_float("a", 7.5), parsed.get_bool("a", True), parsed.get_str("a", "d"))
    assert found == (7, 7.5, True, "d")
    assert (parsed.get_list("a"), parsed.get_int_list("a"), parsed.get_nested_list("a")) == ([], [], [])


def test_keys_are_those_a_lookup_finds_each_once() -> None:
    text = "rgb keep_proportions=0  fill_color=3 keep_proportions=1\thidden=1 x=y=z word"
    assert FormatString.parse(text).option_names() == ("keep_proportions", "fill_color", "x")
    assert FormatString.parse("scale=1 b=2").option_names() == ("scale", "b")


@given(st.text(alphabet="a=[], \t0x1.e-né" + "\0", max_size=60))
def test_no_text_makes_reading_fail(text: str) -> None:
    parsed = FormatString.parse(text)
    for key in (*parsed.option_names(), "a", ""):
        for read in READERS.values():
            read(parsed, key)
    assert parsed.text.startswith(parsed.type)


@given(st.text(alphabet="ab= \t1", max_size=40))
def test_every_listed_key_can_be_looked_up(text: str) -> None:
    parsed = FormatString.parse(text)
    keys = parsed.option_names()
    assert "absent" not in [parsed.get_str(key, "absent") for key in keys]


@pytest.mark.parametrize("value", ["[" * 200_000, "[" + "1," * 100_000, "[" + "[]," * 100_000, "9" * 200_000])
@pytest.mark.parametrize("reader", READERS.values(), ids=list(READERS))
def test_huge_texts_neither_recurse_nor_fail(value: str, reader: Callable[[FormatString, str], object]) -> None:
    absent = reader(FormatString.parse(""), "a")
    assert type(reader(FormatString.parse(f"t a={value}"), "a")) is type(absent)


def test_importing_it_does_not_import_numpy() -> None:
    code = "import sys, synap_core.format_string; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
