"""The documentation says what is true: pages are fresh, commands run and print what is shown, links lead somewhere."""

from __future__ import annotations

import ast
import contextlib
import importlib.metadata
import inspect
import io
import json
import math
import re
import shlex
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from docs import generate
from synap_core.cli.main import BUILT_IN, main, main_convert, synap
from synap_core.hooks import SynapSpec
from synap_core.host import PluginHost
from synap_core.metafile import load_metafile
from synap_core.metafile.load import SECTIONS

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
HOOKS = [name for name in vars(SynapSpec) if name.startswith("synap_")]

FENCED = re.compile(
    r"(?:<!-- (?P<about>[^\n]*) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\]\((?!\w+:)([^)#]*)(?:#([^)]*))?\)")
PROGRAMS = {"synap": main, "synap_convert": main_convert}


class Block(NamedTuple):
    """A fenced block of a page, and the comment in front of it."""

    about: str
    language: str
    text: str


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    return [Block(m["about"] or "", m["language"], m["text"]) for m in FENCED.finditer(read(page))]


def sessions(page: str) -> Iterator[tuple[str, str]]:
    """Commands and what a page shows that they print."""
    for block in blocks(page):
        if block.language == "console":
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, _, shown = part.partition("\n")
                yield command, shown


def command_lines(page: str) -> Iterator[str]:
    """Every command of the toolkit on a page, whether the page shows what it prints or not."""
    shell = "\n".join(block.text for block in blocks(page) if block.language == "bash").replace("\\\n", " ")
    for line in [*(command for command, _ in sessions(page)), *re.split(r"\n|&&", shell)]:
        if any(Path(word).name in PROGRAMS for word in line.split()):
            yield line


def split_command(line: str) -> tuple[list[str], str, list[str]]:
    """Assignments of variables, the program, and its arguments."""
    words = shlex.split(line)
    start = next(i for i, word in enumerate(words) if Path(word).name in PROGRAMS)
    return words[:start], Path(words[start]).name, words[start + 1 :]


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a command line of the toolkit in this process; returns what it prints, errors included."""
    assignments, program, arguments = split_command(line)
    printed = io.StringIO()
    with monkeypatch.context() as patch, contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        # The pages know only the plugins of this distribution, whatever else a developer has installed.
        own = [
            point
            for point in importlib.metadata.entry_points(group="synap.plugins")
            if point.dist and point.dist.name == "synap-toolkit"
        ]
        patch.setattr("importlib.metadata.entry_points", lambda group: own if group == "synap.plugins" else ())
        for assignment in assignments:
            patch.setenv(*assignment.split("=", 1))
        with contextlib.suppress(SystemExit):
            PROGRAMS[program](arguments)
    return printed.getvalue()


FIGURE = re.compile(r"(?P<size>[\d,]+)(?= bytes)|(?P<ratio>\d+\.\d)(?= dB)|(?P<time>\d+\.\d\d)(?= ms$)")
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]\d+)?")
TIMES = "Inference timings (ms):"
COLUMNS = {"COSINE": "cosine", "SQNR": "ratio", "ALONE": "ratio", "DAMAGE": "ratio", "MAX ERROR": "error"}
MARGINS: dict[str, Callable[[float], float]] = {
    # What is written depends a little on the version of the libraries that write it.
    "size": lambda shown: 0.02 * shown,
    # Sums of another order round a few numbers to the next step; the outputs have ten numbers.
    "ratio": lambda _: 2.0,
    "cosine": lambda _: 0.0005,
    "error": lambda shown: 0.5 * shown,
    "time": lambda _: math.inf,
}
"""How far a figure may be from what a page shows: machines and libraries differ."""


def columns(header: str) -> Iterator[tuple[str, slice]]:
    """Names and places of the columns of a table; blanks inside of a name are single."""
    found = list(re.finditer(r"\S+(?: \S+)*", header))
    ends = [match.start() for match in found[1:]]
    for match, end in zip(found, [*ends, None], strict=True):
        yield match[0], slice(match.start(), end)


def figures(text: str) -> tuple[str, list[tuple[str, float]]]:
    """A text with marks in place of the figures that differ between machines, and kind and number of each of them."""
    lines: list[str] = []
    found: list[tuple[str, float]] = []

    def mark(kind: str, number: str) -> str:
        found.append((kind, float(number.replace(",", ""))))
        return f"<{kind}>"

    table: list[tuple[str, slice]] = []
    for line in text.splitlines():
        if "SQNR" in line.split():
            table = list(columns(line))
            lines.append("  ".join(name for name, _ in table))
            continue
        cells = [(name, line[part].strip()) for name, part in table]
        if NUMBER.fullmatch(dict(cells).get("COSINE", "")):
            # The widths of the columns depend on the figures.
            marked = [
                mark(COLUMNS[name], cell) if name in COLUMNS and NUMBER.fullmatch(cell) else cell
                for name, cell in cells
            ]
            lines.append("  ".join(marked))
            continue
        table = []
        if line.startswith(TIMES):
            lines.append(NUMBER.sub(lambda match: mark("time", match[0]), line))
        else:
            lines.append(FIGURE.sub(lambda match: mark(str(match.lastgroup), match[0]), line))
    return "\n".join(lines), found


def require_same(printed: str, shown: str, command: str = "") -> None:
    """Check what a command prints against what a page shows, figures within their margins."""
    (text, numbers), (expected, others) = figures(printed), figures(shown)
    assert text == expected, f"{command}: the page shows another text"
    for (kind, number), (_, other) in zip(numbers, others, strict=True):
        assert abs(number - other) <= MARGINS[kind](other), f"{command}: {kind} {number}, the page shows {other}"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the examples in it, as in a checkout."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name", ["hooks.md", "cli.md", "compatibility.md", "operators.md", "onnx-operators.md", "metafile.md"]
)
def test_generated_page_is_fresh(name: str) -> None:
    assert read(f"docs/{name}") == generate.pages()[name], "run python docs/generate.py"


def test_stale_page_is_named_by_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("acceptance.toml", *generate.pages()):
        (tmp_path / name).write_text(read(f"docs/{name}"), encoding="utf-8")
    (tmp_path / "cli.md").write_text("old\n", encoding="utf-8")
    monkeypatch.setattr(generate, "DOCS", tmp_path)
    assert generate.main(["--check"]) == 1
    assert "docs/cli.md is stale" in capsys.readouterr().out
    assert generate.main([]) == 0
    assert (tmp_path / "cli.md").read_text(encoding="utf-8") == generate.cli_page()


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_is_described_with_its_exact_signature(hook: str) -> None:
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(getattr(SynapSpec, hook)))).body
    assert isinstance(function, ast.FunctionDef)
    arguments = ast.unparse(function.args).removeprefix("self").removeprefix(", ")
    assert function.returns is not None
    signature = f"def {hook}({arguments}) -> {ast.unparse(function.returns)}"
    section = read("docs/hooks.md").partition(f"\n## `{hook}`\n")[2].partition("\n## ")[0]
    assert f"```python\n{signature}\n```" in section
    assert ">>> " in section, "no example that runs"


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_has_a_test(hook: str) -> None:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").glob("test_*.py")]
    tests = [f for tree in trees for f in tree.body if isinstance(f, ast.FunctionDef) and f.name.startswith("test_")]
    named = [test.name for test in tests if hook in test.name]
    parameters = [ast.unparse(decorator) for test in tests for decorator in test.decorator_list]
    assert named or any(f"'{hook}'" in text for text in parameters)


def test_every_case_is_tested_or_pending_and_not_both() -> None:
    assert generate.case_problems() == []


def test_cases_are_numbered_without_gaps() -> None:
    for cases in generate.load_sections().values():
        letter = next(iter(cases))[0]
        assert list(cases) == [f"{letter}{number}" for number in range(1, len(cases) + 1)]


@pytest.mark.parametrize(
    ("source", "cases"),
    [
        ("@pytest.mark.acceptance('B1', 'B2')\ndef test_x(): ...", {"B1", "B2"}),
        (
            "@pytest.mark.parametrize('c', [pytest.param(1, marks=pytest.mark.acceptance('E3'))])\ndef test_x(c): ...",
            {"E3"},
        ),
        ("@pytest.mark.parametrize('c', [1], ids=['M14-zero'])\ndef test_x(c): ...", {"M14"}),
        ("CASES = {'M5': 1, 'M50': 2}\n@pytest.mark.parametrize('c', CASES)\ndef test_x(c): ...", {"M5"}),
        ("def test_m05_m6_are_one(): ...", {"M5", "M6"}),
        ("def test_m5x_is_no_case(): ...", set()),
        ("def helper_m5_is_no_test(): ...", set()),
    ],
    ids=["marker", "param", "id", "constant", "name", "other name", "other function"],
)
def test_claims_are_found(source: str, cases: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_it.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(generate, "TESTS", tmp_path)
    assert set(generate.load_claims()) == cases


def test_claim_of_a_case_that_does_not_exist_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_it.py").write_text("@pytest.mark.acceptance('Z1')\ndef test_x(): ...", encoding="utf-8")
    monkeypatch.setattr(generate, "TESTS", tmp_path)
    assert "Z1 does not exist, but test_x claims it" in generate.case_problems()


TABLE = """\
LAYER  TYPE   COSINE   SQNR  MAX ERROR  ALONE  DAMAGE
a      uint8  0.99994  38.8  0.196      41.7   exact
b      int16  0.99995  39.7  0.0236            44.2
"""
SHOWN = [
    "out/model.onnx: 13,977 bytes",
    "Note: the outputs reach 45.3 dB on the samples",
    "from 38.8 dB to about 51.0 dB.",
    "Predict #0: 0.13 ms",
    "Inference timings (ms):  init: 348.70  min: 0.13",
    "7      0.9961\n0      0.0000",
    "scale 0.00392 zero point -128",
    TABLE,
]


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (SHOWN[0], "out/model.onnx: 14,001 bytes"),
        (SHOWN[1], "Note: the outputs reach 44.9 dB on the samples"),
        (SHOWN[2], "from 39.0 dB to about 52.9 dB."),
        (SHOWN[3], "Predict #0: 77.00 ms"),
        (SHOWN[4], "Inference timings (ms):  init: 1.00  min: 99.99"),
        (TABLE, TABLE.replace("0.196", "0.2  ").replace("38.8", "40.7").replace("0.99994", "0.99985")),
    ],
    ids=["size", "ratio", "two ratios", "time", "times", "table"],
)
def test_figures_may_differ_as_machines_do(shown: str, printed: str) -> None:
    assert shown != printed
    require_same(printed, shown)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (SHOWN[0], "out/model.onnx: 23,977 bytes"),
        (SHOWN[1], "Note: the outputs reach 47.9 dB on the samples"),
        (SHOWN[2], "from 38.8 dB to about 61.0 dB."),
        (SHOWN[3], "Predict #1: 0.13 ms"),
        (SHOWN[4], "Inference timings (ms):  init: 348.70  max: 0.13"),
        (SHOWN[5], "7      0.9941\n0      0.0000"),
        (SHOWN[6], "scale 0.00393 zero point -128"),
        *((TABLE, TABLE.replace(*other)) for other in (("41.7", "31.7"), ("0.99995", "0.98995"), ("0.0236", "0.236"))),
        *((TABLE, TABLE.replace(*other)) for other in (("exact", "99.9"), ("int16", "uint8"))),
        (TABLE, TABLE.replace("            44.2", "     44.2  ")),
    ],
)
def test_any_other_difference_is_told(shown: str, printed: str) -> None:
    assert shown != printed
    with pytest.raises(AssertionError, match="the page shows"):
        require_same(printed, shown)


@pytest.mark.parametrize("page", PAGES)
def test_commands_on_a_page_print_what_it_shows(page: str, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for block in blocks(page):
        if block.about.startswith("file: "):
            (checkout / block.about.removeprefix("file: ")).write_text(block.text, encoding="utf-8")
    for command, shown in sessions(page):
        if any(word in PROGRAMS for word in command.split()):
            require_same(run(command, monkeypatch), shown, command)


def test_quick_start_prints_what_the_readme_shows(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_name = {block.about: block.text for block in blocks("README.md")}
    commands = re.findall(r"\.venv/bin/(synap .*?)(?: &&)?$", by_name["quick-start"], re.MULTILINE)
    printed = "".join(run(command, monkeypatch) for command in commands)
    require_same(printed, by_name["quick-start-output"])
    assert (checkout / "out" / "model.synap").is_file()


@pytest.mark.parametrize("page", ["README.md", "docs/bundles.md", "docs/plugins.md"])
@pytest.mark.usefixtures("checkout")
def test_python_on_a_page_prints_what_its_comments_say(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run("synap convert --model examples/digits/digits_int8.tflite --target SL1620 --out-dir out", monkeypatch)
    for block in blocks(page):
        if block.language == "python" and ">>>" not in block.text:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(block.text, page, "exec"), {})  # noqa: S102 - our own documents
            shown = re.findall(r"^print\(.*\)  # (.*)$", block.text, re.MULTILINE)
            assert printed.getvalue().splitlines() == shown


@pytest.mark.parametrize("page", PAGES)
def test_options_on_a_page_exist(page: str) -> None:
    for line in command_lines(page):
        _, program, words = split_command(line)
        names = [word for word in words if not word.startswith("-")]
        name = "convert" if program == "synap_convert" else (names or ["help"])[0]
        command = synap.get_command(click.Context(synap), name)
        assert command is not None, f"{page}: {name}"
        known = {option for parameter in (*command.params, *synap.params) for option in parameter.opts} | {"--help"}
        assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known


def test_every_command_is_in_the_readme() -> None:
    assert set(re.findall(r"`synap (\w+)`", read("README.md"))) == set(BUILT_IN)


@pytest.mark.parametrize("page", PAGES)
def test_metafiles_on_a_page_are_read_or_refused_as_it_says(page: str, tmp_path: Path) -> None:
    shown = "".join(text for _, text in sessions(page))
    for block in (block for block in blocks(page) if block.language == "yaml"):
        path = tmp_path / block.about.removeprefix("file: ")
        path.write_text(block.text, encoding="utf-8")
        if f"Error: {path.name}" not in shown:
            load_metafile(path, delegates=["cpu"])


def test_every_metafile_key_is_in_the_reference() -> None:
    keys = {key for section in SECTIONS.values() for key in section}
    text = generate.with_part(ROOT / "docs" / "metafile.md", generate.OPTIONS, "")  # those are the algorithms' own
    assert keys == set(re.findall(r"^\| `([a-z_]+)` \| ", text, re.MULTILINE))


def test_every_option_of_every_algorithm_is_in_the_reference_with_its_default() -> None:
    rows = read("docs/metafile.md").splitlines()
    for algorithm in PluginHost().quantization_algorithms.values():
        options = algorithm.options_model()().model_dump(mode="json")
        for name, value in [*options.items(), *options["observer"].items()]:
            if not isinstance(value, dict):
                default = value if isinstance(value, str) else json.dumps(value)
                assert any(row.startswith(f"| `{name}` | ") and f" | `{default}` | " in row for row in rows), name


def test_page_without_the_part_that_is_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("<!-- mine: begin -->\n", encoding="utf-8")
    with pytest.raises(ValueError, match="page.md has no part"):
        generate.with_part(tmp_path / "page.md", "mine", "text")


def test_every_module_of_the_core_and_every_plugin_is_in_the_architecture() -> None:
    core = {path.stem for path in (ROOT / "synap_core").glob("*.py")} - {"__init__"}
    folders = {f"{path.parent.name}/" for path in (ROOT / "synap_core").glob("*/__init__.py")}
    packages = {path.parent.name for path in (ROOT / "plugins").glob("*/*/plugin.py")}
    assert core | folders | packages <= set(re.findall(r"`([^`]*)`", read("docs/architecture.md")))


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md", "benchmarks/README.md", "examples/digits/README.md"])
def test_links_lead_somewhere(page: str) -> None:
    for path, anchor in LINK.findall(FENCED.sub("", read(page))):
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), path
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
