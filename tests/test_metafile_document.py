"""YAML text as data: the YAML 1.2 core schema, places, limits and what is refused."""

from __future__ import annotations

import json
import math
import os
import random
from pathlib import Path

import pytest

from synap_core.errors import InputError
from synap_core.metafile.document import Document, load_document, parse_document
from synap_core.metafile.yaml_core import MAX_CHARACTERS, MAX_DEPTH, MAX_DIGITS
from tests.support.metafile_texts import MARK, marked, refusal


def parse(text: str) -> Document:
    return parse_document(text, "m.yaml", "metafile", [("numbered",)], {})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # The table of YAML 1.2.2, section 10.3.2.
        ("null", None),
        ("Null", None),
        ("NULL", None),
        ("~", None),
        ("", None),
        ("true", True),
        ("True", True),
        ("TRUE", True),
        ("false", False),
        ("False", False),
        ("FALSE", False),
        ("0", 0),
        ("0o7", 7),
        ("0x3A", 58),
        ("-19", -19),
        ("+12", 12),
        ("012", 12),
        ("0.", 0.0),
        ("-0.0", -0.0),
        (".5", 0.5),
        ("+12e03", 12000.0),
        ("-2E+05", -200000.0),
        ("1e3", 1000.0),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("+.INF", math.inf),
        # What YAML 1.1 takes for booleans, numbers and dates is text.
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("OFF", "OFF"),
        ("y", "y"),
        ("nULL", "nULL"),
        ("tRUE", "tRUE"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("0o8", "0o8"),
        ("-0x1", "-0x1"),
        ("1:30", "1:30"),
        ("2002-12-14", "2002-12-14"),
        (".", "."),
        ("1e", "1e"),
        ("inf", "inf"),
        (".infinity", ".infinity"),
        ("<<", "<<"),
        ("=", "="),
        # Quotes and tags.
        ("'1'", "1"),
        ('"true"', "true"),
        ("''", ""),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
        ("!!float 1", 1.0),
        ("!!bool 'true'", True),
        ("!!null ''", None),
        ("!!seq [1]", [1]),
        ("!!map {a: 1}", {"a": 1}),
        (r'"\ud83d\ude00 \u00e9 \/"', "😀 é /"),
    ],
)
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    found = parse(f"key: {text}\n").data["key"]
    assert (type(found), found) == (type(value), value)


def test_nan_is_a_number() -> None:
    for text in (".nan", ".NaN", ".NAN"):
        found = parse(f"key: {text}").data["key"]
        assert isinstance(found, float)
        assert math.isnan(found)


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n", "---\n...\n", "null", "{}"])
def test_nothing_is_an_empty_mapping(text: str) -> None:
    document = parse(text)
    assert document.data == {}
    assert document.where(("inputs", 0)).startswith("m.yaml:")


def random_json(generator: random.Random, depth: int) -> object:
    leaves = (
        None,
        True,
        False,
        0,
        -7,
        12345678901234567890,
        0.5,
        -1.25e-7,
        1e22,
        "",
        'é\t"\\/\u2028😀',
        "yes",
        "# x",
        "a: b",
    )
    kind = generator.choice(["leaf", "list", "dict"]) if depth else "leaf"
    if kind == "leaf":
        return generator.choice(leaves)
    if kind == "list":
        return [random_json(generator, depth - 1) for _ in range(generator.randrange(4))]
    return {
        f"k{i} {generator.choice('aé{[,:')}": random_json(generator, depth - 1) for i in range(generator.randrange(4))
    }


@pytest.mark.parametrize("indent", [None, 0, 2, "\t"], ids=["one line", "lines", "spaces", "tabs"])
@pytest.mark.parametrize("ascii_only", [False, True], ids=["utf-8", "escapes"])
def test_json_means_the_same_as_to_a_json_parser(indent: int | str | None, ascii_only: bool) -> None:
    generator = random.Random(7)
    for _ in range(150):
        text = json.dumps({"root": random_json(generator, 5)}, indent=indent, ensure_ascii=ascii_only)
        assert parse(text).data == json.loads(text), text


def test_integer_keys_become_text_where_layers_are_numbered() -> None:
    data = parse("numbered: {1: a, 0x10: b, -2: c, '7': d, x: e}").data["numbered"]
    assert data == {"1": "a", "16": "b", "-2": "c", "7": "d", "x": "e"}


def test_aliases_repeat_their_value() -> None:
    assert parse("a: &x {b: [1]}\nc: [*x, *x]").data == {"a": {"b": [1]}, "c": [{"b": [1]}, {"b": [1]}]}


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("§inputs: []", ("inputs",), False),
        ("inputs: §[]", ("inputs",), True),
        ("a: 1\nb:\n  - x\n  - §y: 1\n", ("b", 1), False),
        ("a: 1\nb:\n  - x\n  - y: §1\n", ("b", 1, "y"), True),
        ("a: 1\nb:\n  - x\n  - §y: 1\n", ("b", 1, "y"), False),
        ("§a: 1\n", ("nothing",), False),
        ("a:\n- §b: 1\n", ("a", 0, "c", 3, "d"), False),
        ("a: {'§b': [1, 2]}".replace("'§", "§'"), ("a", "b"), False),
        ("a: {b: [1, §2]}", ("a", "b", 1), False),
        ("# é😀 x\n  §a: 1", ("a",), False),
        ("é: {😀: §1}", ("é", "😀"), True),
        ("? a\n: §1", ("a",), True),
        ("x: §&v {b: 1}\na: [*v]", ("a", 0), True),
    ],
)
def test_places_of_keys_and_values_are_known(text: str, path: tuple[str | int, ...], value: bool) -> None:
    plain, place = marked(text)
    assert parse(plain).where(path, value=value) == place


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "§[1]",
            "Invalid format for metafile: it must be a mapping of keys to values, not a list; write 'key: value' lines",
        ),
        ("§word", "Invalid format for metafile: it must be a mapping of keys to values, not text"),
        ("§5", "Invalid format for metafile: it must be a mapping of keys to values, not an integer"),
        ("a: 1\n§a: 2", "Error parsing metafile: duplicate key 'a', first at m.yaml:1:1; remove one of them"),
        ("numbered: {1: a, §'1': b}", "Error parsing metafile: duplicate key '1', first at m.yaml:1:12"),
        ("a: 1\n§---\nb: 1", "found another document (expected a single document in the stream); keep one document"),
        (
            "a: §!mine 1",
            "unknown tag '!mine'; allowed: !!null, !!bool, !!int, !!float, !!str, !!map, !!seq; remove the tag",
        ),
        ("a: §!!python/object:os.system [x]", "the tag 'tag:yaml.org,2002:python/object:os.system' does not fit here"),
        ("a: §!!set {x: }", "the tag 'tag:yaml.org,2002:set' does not fit here; allowed: !!map"),
        ("a: §!!map [1]", "the tag 'tag:yaml.org,2002:map' does not fit here; allowed: !!seq"),
        ("a: §!!int x", "'x' is not a valid int; remove the tag"),
        ("a: §!!bool yes", "'yes' is not a valid bool; remove the tag"),
        ("a: §!!binary aGk=", "unknown tag 'tag:yaml.org,2002:binary'"),
        ("§1: x", "a key in the metafile must be text, not an integer; put it in quotes"),
        ("a: {§true: x}", "a key in a must be text, not a boolean"),
        ("numbered: {§true: x}", "a key in numbered must be text, not a boolean"),
        ("numbered: {§1.5: x}", "a key in numbered must be text, not a number"),
        ("a: {§null: x}", "a key in a must be text, not nothing"),
        ("a:\n- ? §[x]\n  : 1", "a key in a[0] must be text, not a list or mapping"),
        ("a: &x §[*x]".replace("&x §", "§&x "), "recursive alias: the value contains itself; write the value out"),
        ("a: §&x {b: [1, *x]}", "recursive alias: the value contains itself"),
        ("a: §*x", "found undefined alias 'x'; put names that contain special characters in quotes"),
        ("a: {*§: 1}", "(while scanning an alias); put names that contain special characters in quotes"),
        (
            "a: {§@x: 1}",
            "found character '@' that cannot start any token (while scanning for the next token); put names",
        ),
        (
            "a:\n§\tb: 1",
            r"found character '\t' that cannot start any token (while scanning for the next token); indent with spaces",
        ),
        ("a: b§: c", "mapping values are not allowed here; check indentation, brackets, colons and quotes"),
        ("a: [1, 2§", "expected ',' or ']', but got '<stream end>' (while parsing a flow sequence)"),
        ("a: 'x§", "found unexpected end of stream (while scanning a quoted scalar)"),
        ('a: §"\\ud800"', "unpaired surrogate escape in"),
        ('a: §"x\\0"', "character U+0000 is not allowed in"),
        ('a: "\\U§ffffffff"', "escape or number out of range; correct it"),
        ("%YAML §" + "1" * 5000 + ".1\n---\na: 1", "escape or number out of range"),
        ("%YAML 2.0§\n---\na: 1", "found incompatible YAML document"),
        ("a: x§\0", "character U+0000 is not allowed; remove it"),
        ("a: x§\x07", "character U+0007 is not allowed"),
        ("a: §" + "9" * (MAX_DIGITS + 1), f"number with {MAX_DIGITS + 1} characters; at most {MAX_DIGITS} are allowed"),
        ("a: §0x" + "f" * MAX_DIGITS, f"number with {MAX_DIGITS + 2} characters"),
        ("a: §*" + "x" * 5000, "found undefined alias 'xxx"),
    ],
)
def test_refused_texts_are_placed_and_explained(text: str, reason: str) -> None:
    plain, place = marked(text)
    if "%YAML 2.0" in plain:
        place = "m.yaml:1:1"
    with pytest.raises(InputError, match=f"^{place}: ") as caught:
        parse(plain)
    message = str(caught.value)
    assert reason in message
    assert len(message) < 500


def test_the_largest_integers_are_read_exactly() -> None:
    text = "9" * MAX_DIGITS
    assert parse(f"a: [{text}, -{text[1:]}, 0x{'f' * (MAX_DIGITS - 2)}]").data["a"] == [
        10**MAX_DIGITS - 1,
        1 - 10 ** (MAX_DIGITS - 1),
        16 ** (MAX_DIGITS - 2) - 1,
    ]


def nested(depth: int, opening: str, closing: str) -> str:
    return "a: " + opening * depth + "1" + closing * depth


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{b: ", "}")], ids=["lists", "mappings"])
def test_nesting_is_limited(opening: str, closing: str) -> None:
    deepest = MAX_DEPTH - 2
    assert parse(nested(deepest, opening, closing)).data["a"]
    with pytest.raises(InputError, match="nested more than 32 deep"):
        parse(nested(deepest + 1, opening, closing))


@pytest.mark.parametrize(
    "text", ["[" * 200_000, "{a: " * 200_000, "- " * 200_000, "? " * 200_000, "a: " + "[" * 100_000]
)
def test_bottomless_nesting_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="nested more than 32 deep"):
        parse(text)


def test_nesting_through_aliases_is_limited() -> None:
    # Each of the lists is shallow; put together they are 60 deep.
    lists = ["&a0 " + "[" * 20 + "]" * 20] + [f"&a{i} " + "[" * 20 + f"*a{i - 1}" + "]" * 20 for i in (1, 2)]
    with pytest.raises(InputError, match="more than 31 levels of nesting; use fewer aliases"):
        parse(f"a: [{', '.join(lists)}]")


def test_alias_bombs_are_refused() -> None:
    rows = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    rows += [
        f"{name}: &{name} [{', '.join(['*' + before] * 9)}]"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    with pytest.raises(InputError, match="more than 100000 values, aliases counted each time; use fewer aliases"):
        parse("\n".join(rows))


@pytest.mark.parametrize("template", ["a: [{}]", "a: [{{x: {}}}]"], ids=["values", "deep values"])
def test_repeated_long_texts_are_refused(template: str) -> None:
    # As a list of aliases: a text of 500,000 characters, repeated 1,000 times.
    long = template.format("&a " + "x" * 500_000)
    with pytest.raises(InputError, match=f"more than {MAX_CHARACTERS} characters, aliases counted each time"):
        parse(long + "\nb: [" + "*a, " * 1000 + "]")


def test_repeated_long_keys_are_refused() -> None:
    text = "a: [? &a " + "x" * 1000 + " : 1, " + "{? *a : 1}, " * 5000 + "]"
    with pytest.raises(InputError, match=f"more than {MAX_CHARACTERS} characters, aliases counted each time"):
        parse(text)


@pytest.mark.parametrize("stage", ["yaml_core", "document"], ids=["while parsing", "with aliases"])
def test_the_number_of_values_is_limited(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    # 1,000 values: the root, its key, the list, and what is in the list.
    monkeypatch.setattr(f"synap_core.metafile.{stage}.MAX_NODES", 1000)
    text = "a: [" + "1," * 997 + "]"
    assert parse(text).data["a"] == [1] * 997
    with pytest.raises(InputError, match="more than 1000 values"):
        parse(text.replace("]", "1]"))


def test_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    document = load_document(tmp_path / "m.yaml", "metafile")
    assert document.data == {"a": 1, "b": 2}
    assert document.where(("b",)) == f"{tmp_path}/m.yaml:2:1"


@pytest.mark.parametrize(
    ("content", "place", "reason"),
    [
        (
            b"a: 1\n b: \xff",
            "m.yaml:2:5",
            "model metafile is not UTF-8 text: byte 0xff; save it with the encoding UTF-8",
        ),
        (b"\xef\xbb\xbf\xc3\xa9\xff", "m.yaml:1:2", "model metafile is not UTF-8 text: byte 0xff"),
        ("a: 1".encode("utf-16"), "m.yaml:1:1", "model metafile is not UTF-8 text: byte 0xff"),
        (
            b"#" * ((1 << 20) + 1),
            "m.yaml",
            "model metafile is larger than 1048576 bytes; check that this is the right file",
        ),
    ],
    ids=["stray byte", "behind a mark", "utf-16", "too large"],
)
def test_unreadable_contents_are_refused(tmp_path: Path, content: bytes, place: str, reason: str) -> None:
    assert refusal(tmp_path, content).startswith(f"{place}: {reason}")


def test_folders_and_special_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (
        ("", "metafile is a folder"),
        ("pipe", "metafile is not a regular file"),
        ("none", "metafile not found"),
        ("a\0b", "metafile cannot be read: embedded null byte"),
        ("x" * 300, "metafile cannot be read: File name too long"),
    ):
        with pytest.raises(InputError, match=reason):
            load_document(tmp_path / name, "metafile")


def test_denied_access_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Simulated: the tests may run as a user who is denied nothing.
    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "m.yaml").touch()
    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(InputError, match=r"m\.yaml: metafile cannot be read: Permission denied; check the path"):
        load_document(tmp_path / "m.yaml", "metafile")


def test_marks_are_not_part_of_the_language() -> None:
    assert parse(f"a: {MARK}").data == {"a": MARK}
