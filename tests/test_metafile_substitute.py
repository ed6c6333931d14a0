"""Variables in metafiles: what they are replaced by, and that places in the file as written are kept."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from synap_core.errors import InputError
from synap_core.metafile import substitute
from synap_core.metafile.problems import FieldError
from synap_core.metafile.substitute import FileVariables, expand_environment, lower_text
from tests.support.metafile_texts import load, refusal


@pytest.mark.parametrize(
    ("text", "environ", "expanded"),
    [
        ("a: 1", {}, "a: 1"),
        ("${ENV:A}", {"A": "x"}, "x"),
        ("${ENV:A}${ENV:A}", {"A": "x"}, "xx"),
        ("<${ENV:NONE}>", {}, "<>"),
        ("${ENV:A}", {"A": "1${ENV:B}2", "B": "x"}, "1x2"),
        ("${ENV:A${ENV:N}}", {"N": "1", "A1": "x"}, "x"),
        ("${ENV:A}NV:B}", {"A": "${E", "B": "x"}, "x"),
        ("${ENV:}", {}, ""),
        ("${ENV:A", {"A": "x"}, "${ENV:A"),
        ("$ENV:A {ENV:A} ${env:A}", {"A": "x"}, "$ENV:A {ENV:A} ${env:A}"),
        ("${ANCHORS} ${FILE:k}", {"ANCHORS": "x"}, "${ANCHORS} ${FILE:k}"),
        ("# ${ENV:A}\n${ENV:A}: 1", {"A": "key"}, "# key\nkey: 1"),
    ],
    ids=[
        "none",
        "one",
        "twice",
        "undefined",
        "value-with-variable",
        "name-with-variable",
        "variable-made-by-value",
        "no-name",
        "unclosed",
        "other-spellings",
        "other-variables",
        "comment-and-key",
    ],
)
def test_environment_variables_are_replaced_in_the_raw_text(text: str, environ: dict[str, str], expanded: str) -> None:
    assert expand_environment(text, "m.yaml", environ).text == expanded


def test_replaced_numbers_are_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S", "127.5")
    monkeypatch.delenv("UNSET", raising=False)
    first, second = load(tmp_path, "inputs:\n- scale: ${ENV:S}\n- scale: ${ENV:UNSET}\n").inputs
    assert (first.scale, second.scale) == (127.5, None)


def test_every_character_is_traced_to_where_it_was_written() -> None:
    # Each of these letters stands once in the file as written; values and "ENV" have none of them.
    generator = random.Random(5)
    environ = {"a": "", "b": "x\ny", "c": "p${ENV:b}q${ENV:a}", "d": "long " * 20}
    for _ in range(300):
        letters = iter("ABCDFGHIJKLMOPQRSTUWXYZ")
        pieces = [
            f"${{ENV:{generator.choice('abcd')}}}" if generator.random() < 0.4 else next(letters) for _ in range(23)
        ]
        original = "".join(piece + generator.choice(["", "\n", "\r\n", "\r"]) for piece in pieces)
        source = expand_environment(original, "f", environ)
        for letter in (piece for piece in pieces if len(piece) == 1):
            before = original[: original.index(letter)].replace("\r\n", "\n").replace("\r", "\n")
            expected = f"f:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
            assert source.where(source.text.index(letter)) == expected, original


def test_characters_of_a_value_are_placed_at_the_variable() -> None:
    source = expand_environment("a:\n  ${ENV:A} z", "f", {"A": "x${ENV:B}", "B": "y\ny"})
    assert source.text == "a:\n  xy\ny z"
    assert {source.where(i) for i in range(5, 9)} == {"f:2:3"}
    assert source.where(9) == "f:2:11"


def test_errors_behind_a_long_value_point_into_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONG", "# one\n# two\n")
    message = refusal(tmp_path, "${ENV:LONG}\ninputs: [{scale: 0}]")
    assert message.startswith("m.yaml:2:18: invalid scale 0")


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"A": "${ENV:A}"}, "'${ENV:A}' contains itself, or variables are nested more than 32 deep"),
        ({"A": "${ENV:B}", "B": " ${ENV:A}"}, "'${ENV:A}' contains itself"),
        ({"A": "${ENV:A}${ENV:A}"}, "more than 1000 variables are replaced"),
        ({"A": "x" * 200_000 + "${ENV:A}"}, "text grows to more than 1048576 characters"),
    ],
    ids=["itself", "each other", "doubling", "growing"],
)
def test_endless_variables_end_in_an_error_at_their_place(environ: dict[str, str], reason: str) -> None:
    with pytest.raises(InputError, match=r"^m\.yaml:2:4: .*; does a variable contain itself\?") as caught:
        expand_environment("# x\na: ${ENV:A}", "m.yaml", environ)
    assert reason in str(caught.value)


def test_nesting_up_to_the_limit_is_accepted() -> None:
    environ = {f"V{i}": f"${{ENV:V{i + 1}}}" for i in range(substitute.MAX_ROUNDS - 1)}
    environ[f"V{substitute.MAX_ROUNDS - 1}"] = "end"
    assert expand_environment("${ENV:V0}", "f", environ).text == "end"


def test_text_may_be_as_long_as_the_limit_after_replacing() -> None:
    text = "${ENV:A}" + "x" * (substitute.MAX_TEXT - 3)
    assert len(expand_environment(text, "f", {"A": "abc"}).text) == substitute.MAX_TEXT
    with pytest.raises(InputError, match="text grows to more than 1048576 characters"):
        expand_environment(text, "f", {"A": "abcd"})


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("rgb", "rgb"),
        ("a=${FILE:k}", "a=x"),
        ("a=${FILE:./k} b=${FILE:sub/../k}", "a=x b=x"),
        ("${FILE:lines}", "1\n2\r\n"),
        ("${FILE:sub/nested}", "<x>"),
        ("${FILE:utf8}", "é✓"),
        ("${ANCHORS}${ENV:HOME}", "${ANCHORS}${ENV:HOME}"),
    ],
    ids=["none", "one", "not normalised", "verbatim lines", "nested, relative to the metafile", "utf-8", "others"],
)
def test_files_are_inserted_verbatim(tmp_path: Path, text: str, expanded: str) -> None:
    (tmp_path / "sub").mkdir()
    contents = {"k": "x", "lines": "1\n2\r\n", "sub/nested": "<${FILE:k}>", "utf8": "é✓"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content.encode())
    assert FileVariables(tmp_path).expand(text) == expanded


def test_absolute_file_names_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("x")
    assert FileVariables(tmp_path / "elsewhere").expand(f"${{FILE:{tmp_path}/k}}") == "x"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${FILE:none}", r"\$\{FILE:none\}: file not found \(.*/none\)"),
        ("${FILE:}", "file is a folder"),
        ("${FILE:k/x}", "file not found"),
        ("${FILE:/dev/null}", "file is not a regular file"),
        ("${FILE:binary}", r"file is not UTF-8 text: byte 0xff \(.*/binary:2:2\)"),
        ("${FILE:self}", r"'\$\{FILE:self\}' contains itself"),
        ("${FILE:doubling}", "more than 1000 variables are replaced"),
        ("${FILE:half}${FILE:half}${FILE:half}", "text grows to more than 16777216 characters"),
        ("${FILE:huge}", "file is larger than 16777216 bytes"),
        ("${FILE:%s}" % ("x" * 5000), r"file cannot be read: File name too long \(.{,210}\)"),
        ("${FILE:nul}", "file cannot be read: embedded null"),
    ],
    ids=[
        "missing",
        "no name",
        "below a file",
        "device",
        "binary",
        "itself",
        "doubling",
        "sum too large",
        "too large",
        "long name",
        "nul",
    ],
)
def test_files_that_cannot_be_inserted_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    for name, content in {
        "k": b"x",
        "binary": b"a\nb\xff",
        "self": b"${FILE:self}",
        "doubling": b"${FILE:doubling}${FILE:doubling}",
        "half": b"x" * (substitute.MAX_FORMAT // 2),
        "huge": b"x" * (substitute.MAX_FORMAT + 1),
        "nul": b"${FILE:a\0b}",
    }.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FieldError, match=reason):
        FileVariables(tmp_path).expand(text)


def test_formats_of_one_metafile_share_the_limits(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * (substitute.MAX_FORMAT // 3))
    entries = "".join(f"- format: ${{FILE:big}}\n  custom: {i}\n" for i in range(4))
    message = refusal(tmp_path, f"inputs:\n{entries}")
    assert message.startswith("m.yaml:8:11: text grows to more than 16777216 characters with '${FILE:big}'")


def test_missing_file_is_placed_at_the_format(tmp_path: Path) -> None:
    message = refusal(tmp_path, "outputs:\n- format: >-\n    yolo\n    ${FILE:none}\n")
    expected = "${FILE:none}: file not found (none); a relative path starts at the folder of the metafile"
    assert message == f"m.yaml:2:11: {expected}"


@pytest.mark.parametrize("field", ["input_format", "output_format"])
def test_root_formats_are_lower_case_but_for_inserted_text(tmp_path: Path, field: str) -> None:
    (tmp_path / "Labels").write_text("Cat")
    metafile = load(tmp_path, f"{field}: RGB a=${{FILE:Labels}} ${{ANCHORS}}")
    assert getattr(metafile, field) == "rgb a=Cat ${ANCHORS}"


def test_entry_formats_keep_their_case(tmp_path: Path) -> None:
    metafile = load(tmp_path, "inputs: [{format: RGB}]\noutputs: [{format: 'Yolo ${ANCHORS}'}]")
    assert (metafile.inputs[0].format, metafile.outputs[0].format) == ("RGB", "Yolo ${ANCHORS}")


def test_files_are_inserted_in_formats_only(tmp_path: Path) -> None:
    metafile = load(tmp_path, "outputs: [{name: '${FILE:none}', custom: '${FILE:none}'}]")
    assert metafile.outputs[0].name == "${FILE:none}"


def test_lower_case_leaves_placeholders_alone() -> None:
    assert lower_text("AB ${FILE:Xy} C${ANCHORS}D ${Open") == "ab ${FILE:Xy} c${ANCHORS}d ${open"
