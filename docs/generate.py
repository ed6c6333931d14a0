"""Write the generated pages: hooks.md, cli.md, compatibility.md, three about operators, and npu-program.md.

In metafile.md, it writes what the algorithms' models say of their options.

Run it without arguments to write them, and with ``--check`` to learn which of them are stale.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import itertools
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from synap_core import api
from synap_core.cli import shell
from synap_core.cli.main import BUILT_IN, synap
from synap_core.errors import PluginError, SynapError
from synap_core.hooks import SynapSpec
from synap_core.host import HOOKS, PluginHost

DOCS = Path(__file__).resolve().parent
TESTS = DOCS.parent / "tests"
NOTICE = "<!-- Written by docs/generate.py; do not edit. -->"

PLUGIN_COMMANDS = {"calibrate-target": "synap_delegate_npu.calibrate_command"}
"""Commands that plugins of this distribution add, and the modules they are in."""

OPTIONS = "options of the algorithms"
"""What a page calls the part of it that tells these options."""

_SECTION = re.compile(r"^(Args|Attributes|Example|Raises|Returns|Source):", re.MULTILINE)
_ENTRY = re.compile(r"(\w+): (.*)")
_CASES_IN_NAME = re.compile(r"test((?:_[a-z]\d+)+)(?=_|$)")
_CASE_IN_ID = re.compile(r"([A-Z]\d+)(?=-|$)")

CLAIMS_RULE = """\
A test claims cases in one of three ways: it carries the marker `@pytest.mark.acceptance("B1", "B2")`, itself or on one
of its `pytest.param`s; its name begins with them, as in `test_m5_…` or `test_m23_m24_…`; or the id of one of its
parameters begins with one, as in `M14-zero`. A case is either claimed by a test or has a `pending` reason in
[acceptance.toml](acceptance.toml), not both. Tests marked (zoo) need a model zoo, (slow) ones a variable; they are
skipped without."""


def main(arguments: list[str]) -> int:
    """Write the pages, or check them; returns the exit status."""
    if arguments == ["--check"]:
        stale = [name for name, text in pages().items() if _current(DOCS / name) != text]
        for name in stale:
            print(f"docs/{name} is stale: run python docs/generate.py")
        wrong = case_problems()
        for problem in wrong:
            print(f"docs/acceptance.toml: {problem}")
        return 1 if stale or wrong else 0
    if arguments:
        print(f"unknown arguments {arguments}; allowed: --check")
        return 2
    for name, text in pages(renew=True).items():
        (DOCS / name).write_text(text, encoding="utf-8", newline="\n")
    return 0


def pages(*, renew: bool = False) -> dict[str, str]:
    """Text of every generated page, by file name.

    Args:
        renew: Also write anew what only holds for certain versions of other packages, when others are installed.
    """
    return {
        "hooks.md": hooks_page(),
        "cli.md": cli_page(),
        "compatibility.md": compatibility_page(),
        "operators.md": operators_page(),
        "onnx-operators.md": onnx_operators_page(renew=renew),
        "npu-operators.md": npu_operators_page(),
        "npu-program.md": npu_program_page(),
        "metafile.md": with_part(DOCS / "metafile.md", OPTIONS, options_part()),
    }


def _current(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def hooks_page() -> str:
    """The hooks, what they return, and everything else a plugin may import."""
    blocks = ["# Hooks", NOTICE, _text(SynapSpec)]
    blocks += ["A plugin imports what it needs from `synap_core.api`; [plugins.md](plugins.md) shows a whole one."]
    for name, payload in HOOKS.items():
        hook = getattr(SynapSpec, name)
        blocks += [f"## `{name}`", _fence(f"def {name}{_signature(hook)}"), *_prose(hook), *_class_blocks(payload)]
    others = [getattr(api, name) for name in api.__all__ if name not in {kind.__name__ for kind in HOOKS.values()}]
    classes = [item for item in others if inspect.isclass(item)]
    blocks += ["## What payloads are made of"]
    for item in (item for item in classes if not issubclass(item, Exception)):
        blocks += _class_blocks(item)
    blocks += ["## Errors"]
    for error in (item for item in classes if issubclass(item, SynapError)):
        blocks += [f"### `{error.__name__}`", _text(error), f"Ends the command line with the code {error.exit_code}."]
    blocks += ["## Functions"]
    for function in (item for item in others if inspect.isfunction(item)):
        blocks += [f"### `{function.__name__}`", _fence(f"def {function.__name__}{_signature(function)}")]
        blocks += [_text(function)]
    return _joined(blocks)


def _class_blocks(item: type) -> Iterator[str]:
    yield f"### `{item.__name__}`"
    yield _text(item)
    meanings: dict[str, str] = {}
    for base in reversed(item.__mro__):
        meanings |= _entries(_docstring(base)[1].get("Attributes", ""))
    if dataclasses.is_dataclass(item):
        meanings |= _below_fields(item)
    if dataclasses.is_dataclass(item):
        rows = [(f"`{f.name}`", f"`{f.type}`", _default(f), meanings[f.name]) for f in dataclasses.fields(item)]
        yield _table(("Field", "Type", "Default", "Meaning"), rows)
    if members := [line for name, member in vars(item).items() for line in _member(name, member)]:
        yield "\n".join(members)


def _below_fields(item: type) -> dict[str, str]:
    """Meanings of fields that have a text of their own below them."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(item))).body
    lines = body.body if isinstance(body, ast.ClassDef) else []
    return {
        line.target.id: " ".join(str(below.value.value).split())
        for line, below in itertools.pairwise(lines)
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }


def _member(name: str, member: object) -> Iterator[str]:
    function = member.fget if isinstance(member, property) else member
    function = function.__func__ if isinstance(function, classmethod) else function
    if name.startswith("_") or not inspect.isfunction(function):
        return
    kind = inspect.signature(function).return_annotation
    shown = f"{name}: {kind}" if isinstance(member, property) else f"{name}{_signature(function)}"
    text, sections = _docstring(function)
    arguments = "".join(f" `{key}`: {text}" for key, text in _entries(sections.get("Args", "")).items())
    returns = f" Returns: {sections['Returns'].strip()}" if "Returns" in sections else ""
    yield f"- `{shown}`: {' '.join(f'{text}{arguments}{returns}'.split())}"


def _default(item: dataclasses.Field[object]) -> str:
    if item.default is not dataclasses.MISSING:
        return f"`{item.default!r}`"
    return "required" if item.default_factory is dataclasses.MISSING else f"`{item.default_factory()!r}`"


def _signature(function: Callable[..., object]) -> str:
    """Signature as it is written, without ``self`` or ``cls``."""
    whole = inspect.signature(function)
    shown = [
        parameter.replace(annotation=_Unquoted(parameter.annotation))
        for name, parameter in whole.parameters.items()
        if name not in ("self", "cls")
    ]
    return str(whole.replace(parameters=shown, return_annotation=_Unquoted(whole.return_annotation)))


class _Unquoted(str):
    """An annotation, which `inspect` would show in quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _docstring(item: object) -> tuple[str, dict[str, str]]:
    """Text in front of the first section, and the sections by name."""
    first, *rest = _SECTION.split(inspect.cleandoc(getattr(item, "__doc__", None) or ""))
    return first.strip(), dict(zip(rest[::2], rest[1::2], strict=True))


def _text(item: object) -> str:
    return _docstring(item)[0]


def _prose(item: object) -> Iterator[str]:
    text, examples, example = _text(item).partition(">>> ")
    yield text.strip()
    if examples:
        # The blank line ends the expected output for doctest, which would read the fence as part of it.
        yield _fence(f">>> {example}\n")


def _entries(section: str) -> dict[str, str]:
    found: dict[str, str] = {}
    name = ""
    for line in textwrap.dedent(section.strip("\n")).splitlines():
        if match := _ENTRY.match(line):
            name, found[name] = match[1], match[2]
        elif name:
            found[name] += f" {line.strip()}"
    return found


def with_part(path: Path, name: str, text: str) -> str:
    """A page with a new text between the comments that mark a part of it.

    Raises:
        ValueError: The page has no such part.
    """
    start, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    head, opened, rest = path.read_text(encoding="utf-8").partition(start)
    _, closed, tail = rest.partition(end)
    if not (opened and closed):
        msg = f"{path.name} has no part {start.strip()!r} … {end.strip()!r}"
        raise ValueError(msg)
    return f"{head}{start}\n{text}\n{end}{tail}"


def options_part() -> str:
    """Tables of the options of all algorithms."""
    _make_importable()
    from docs import algorithm_options

    models = {name: entry.options_model() for name, entry in PluginHost().quantization_algorithms.items()}
    return _joined([_table(headers, rows) for headers, rows in algorithm_options.tables(models)])


def onnx_operators_page(*, renew: bool) -> str:
    """What becomes of each ONNX operator, and of the node tests of the installed ``onnx`` package."""
    _make_importable()
    from docs import onnx_operators

    current = _current(DOCS / "onnx-operators.md")
    if current is not None and not renew and onnx_operators.versions() not in current:
        return current
    return onnx_operators.render()


def npu_operators_page() -> str:
    """What the NPU runs; the page as it is where its delegate is not installed."""
    if importlib.util.find_spec("synap_delegate_npu") is None:
        return _current(DOCS / "npu-operators.md") or ""
    _make_importable()
    from docs import npu_operators

    return npu_operators.render()


def npu_program_page() -> str:
    """The file of a program for the NPU; the page as it is where its delegate is not installed."""
    if importlib.util.find_spec("synap_delegate_npu") is None:
        return _current(DOCS / "npu-program.md") or ""
    _make_importable()
    from docs import npu_program

    return npu_program.render()


def _make_importable() -> None:
    """Make modules of this folder importable: as a script, this one only sees what lies beside it."""
    if str(DOCS.parent) not in sys.path:
        sys.path.append(str(DOCS.parent))


def operators_page() -> str:
    """What becomes of the operators of each format in the canonical graph."""
    text = """\
    What `synap ops --frontend NAME` lists: operators that are imported into the [canonical graph](canonical.md), and
    known ones that stay opaque, which run in the model's own format only. All others are unknown."""
    blocks = ["# Operators", NOTICE, textwrap.dedent(text)]
    for name, frontend in PluginHost().frontends.items():
        rows = [(f"`{entry.name}`", entry.status, entry.note) for entry in frontend.operators()]
        blocks += [f"## {name}", _table(("Operator", "Status", "Note"), rows)]
    return _joined(blocks)


def cli_page() -> str:
    """Every command with its options, from what ``--help`` is made of."""
    abbreviations = "Long options of the commands may be abbreviated as long as only one option fits."
    blocks = ["# Command line", NOTICE, abbreviations]
    blocks += [*_command_blocks("synap", synap), "Plugins may add commands; `synap --help` lists them, too."]
    summaries = BUILT_IN | {name: PluginHost().commands[name].summary for name in PLUGIN_COMMANDS}
    blocks += [_table(("Command", ""), [(f"[`{name}`](#synap-{name})", text) for name, text in summaries.items()])]
    for name in BUILT_IN:
        command: click.Command = importlib.import_module(f"synap_core.cli.{name}").command
        blocks += _command_blocks(f"synap {name}", command)
        if name == "convert":
            blocks += ["`synap_convert` is this command under the name it has in the official toolkit."]
    for name, module in PLUGIN_COMMANDS.items():
        blocks += _command_blocks(f"synap {name}", importlib.import_module(module).command)
        blocks += [f"The plugin `command-{name}` adds it."]
    return _joined([*blocks, "## Exit codes", _table(("Code", "Meaning"), _exit_codes()), _streams()])


def _command_blocks(name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=name, **command.context_settings)
    yield f"## {name}"
    yield _fence(" ".join((name, *command.collect_usage_pieces(context))), "text")
    yield inspect.cleandoc(command.help or "")
    options = [p for p in command.get_params(context) if isinstance(p, click.Option)]
    shown = [record for p in options if (record := p.get_help_record(context)) is not None]
    yield _table(("Option", "Meaning"), [(f"`{names}`", text) for names, text in shown])
    hidden = [f"`{', '.join(p.opts)}`{f' ({p.help.rstrip(chr(46))})' if p.help else ''}" for p in options if p.hidden]
    if hidden:
        yield f"Accepted but not shown by `--help`: {', '.join(hidden)}."


def _exit_codes() -> list[tuple[str, str]]:
    return [
        ("0", "Success."),
        (str(SynapError.exit_code), "A file, a value or a name that was given cannot be used."),
        (str(click.UsageError.exit_code), "A command line that cannot be understood."),
        (str(PluginError.exit_code), "A plugin broke its contract."),
        (str(shell.EXIT_INTERNAL), "A defect of the toolkit; its traceback is shown."),
        (str(shell.EXIT_INTERRUPTED), "Interrupted with Ctrl-C."),
        (str(shell.EXIT_TERMINATED), "Ended by a termination request."),
    ]


def _streams() -> str:
    return (
        "Results go to standard output; errors and warnings go to standard error, in one line each, which begins with\n"
        "`Error: ` or `Warning: `; a command line that cannot be understood also gets its usage.\n"
        "Tables are drawn on a terminal and plain text otherwise."
    )


def compatibility_page() -> str:
    """Every case of ``acceptance.toml`` with its state and its tests."""
    sections, claims = load_sections(), load_claims()
    known = {case for cases in sections.values() for case in cases}
    tested = len(known & set(claims))
    blocks = ["# Compatibility", NOTICE, "Behaviours that users of the official toolkit and runtime rely on, by case."]
    blocks += [f"{tested} of {len(known)} cases are tested, {len(known) - tested} are pending.", CLAIMS_RULE]
    for title, cases in sections.items():
        rows = [
            (case, about["behaviour"], _state(about, claims.get(case, [])), "<br>".join(map(str, claims.get(case, []))))
            for case, about in cases.items()
        ]
        blocks += [f"## {title}", _table(("Case", "Behaviour", "State", "Tests"), rows)]
    return _joined(blocks)


def _state(case: dict[str, str], tests: list[Claim]) -> str:
    return "tested" if tests else f"pending: {case.get('pending', 'no test yet')}"


def load_sections() -> dict[str, dict[str, dict[str, str]]]:
    """Cases of ``acceptance.toml``, by title of their section and id."""
    data = tomllib.loads((DOCS / "acceptance.toml").read_text(encoding="utf-8"))
    return {section.pop("title"): section for section in data.values()}


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """A test that claims a case.

    Attributes:
        file: Name of its module.
        name: Name of its function.
        needs: Markers that keep it from running everywhere.
    """

    file: str
    name: str
    needs: tuple[str, ...]

    def __str__(self) -> str:
        return f"[`{self.name}`](../tests/{self.file})" + "".join(f" ({word})" for word in self.needs)


def load_claims() -> dict[str, list[Claim]]:
    """Tests that claim each case; see `CLAIMS_RULE`."""
    known = {case for cases in load_sections().values() for case in cases}
    found: dict[str, list[Claim]] = {}
    for path in sorted(TESTS.glob("test_*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        constants = {
            target.id: node.value
            for node in body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for test in (node for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")):
            nodes = list(_about(test, constants))
            needs = tuple(sorted({n.attr for n in nodes if isinstance(n, ast.Attribute)} & {"zoo", "slow"}))
            for case in sorted({*cases_in_name(test.name), *_cases_in_ids(nodes)} & known | _marked(nodes)):
                found.setdefault(case, []).append(Claim(path.name, test.name, needs))
    return found


def _about(test: ast.FunctionDef, constants: dict[str, ast.expr]) -> Iterator[ast.AST]:
    """Everything in the decorators of a test and in the constants they name."""
    roots = [*test.decorator_list, *([constants["pytestmark"]] if "pytestmark" in constants else [])]
    for node in (node for root in roots for node in ast.walk(root)):
        yield node
        if isinstance(node, ast.Name) and node.id in constants:
            yield from ast.walk(constants[node.id])


def cases_in_name(name: str) -> set[str]:
    """Cases that the name of a test begins with.

    >>> sorted(cases_in_name("test_m02_b10_are_kept"))
    ['B10', 'M2']
    """
    match = _CASES_IN_NAME.match(name)
    words = match[1].upper().split("_")[1:] if match else []
    return {f"{word[0]}{int(word[1:])}" for word in words}


def _cases_in_ids(nodes: list[ast.AST]) -> set[str]:
    return {match[1] for text in _parameter_ids(nodes) if (match := _CASE_IN_ID.match(text))}


def _parameter_ids(nodes: list[ast.AST]) -> Iterator[str]:
    """Texts that can be ids of parameters: given as such, items of a list, or keys of a dictionary."""
    for node in nodes:
        found: list[ast.expr | None] = []
        if isinstance(node, ast.keyword) and node.arg == "id":
            found = [node.value]
        elif isinstance(node, ast.List | ast.Tuple):
            found = [*node.elts]
        elif isinstance(node, ast.Dict):
            found = node.keys
        yield from (i.value for i in found if isinstance(i, ast.Constant) and isinstance(i.value, str))


def _marked(nodes: list[ast.AST]) -> set[str]:
    """Cases in `acceptance` markers, whether they exist or not."""
    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    marks = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "acceptance"]
    return {str(argument.value) for mark in marks for argument in mark.args if isinstance(argument, ast.Constant)}


def case_problems() -> list[str]:
    """What is wrong with the claims: cases with a test and a reason, with neither, or that do not exist."""
    cases = {case: text for section in load_sections().values() for case, text in section.items()}
    claims = load_claims()
    both = [f"{c} has a test and a 'pending' reason" for c in cases if c in claims and "pending" in cases[c]]
    none = [f"{c} has no test and no 'pending' reason" for c in cases if c not in claims and "pending" not in cases[c]]
    unknown = [f"{c} does not exist, but {claims[c][0].name} claims it" for c in claims if c not in cases]
    return [*both, *none, *unknown]


def _fence(text: str, language: str = "python") -> str:
    return f"```{language}\n{text}\n```"


def _table(headers: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [headers, ("---",) * len(headers), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _joined(blocks: list[str]) -> str:
    return "\n\n".join(block for block in blocks if block) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
