"""Check text files: no white space at the ends of lines, one line end at the end of the file, valid TOML and YAML."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import yaml


def main(names: list[str]) -> int:
    """Check the named files; returns 1 when one is wrong."""
    found = [f"{name}:{problem}" for name in names if Path(name).is_file() for problem in problems(Path(name))]
    sys.stderr.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


def problems(path: Path) -> Iterator[str]:
    """Yield ``line: what is wrong`` for a file; binary files have no problems."""
    content = path.read_bytes()
    if b"\0" in content:
        return
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        yield f" not UTF-8: {error}"
        return
    lines = text.split("\n")
    yield from (f"{n}: white space at the end" for n, line in enumerate(lines, 1) if line != line.rstrip())
    if text and (lines[-1] or lines[-2:-1] == [""]):
        yield f"{len(lines)}: the file must end with one line end"
    try:
        if path.suffix == ".toml":
            tomllib.loads(text)
        elif path.suffix in (".yaml", ".yml"):
            yaml.safe_load(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        yield f" {' '.join(str(error).split())}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
