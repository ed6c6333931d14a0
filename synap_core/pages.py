"""Pages of HTML that need nothing else: the frame, tables and styles that all reports share.

Names in reports come from files, so every text goes through `text`, and the page itself forbids whatever it does not
hold: no page can load anything, and none runs a script but the one it was made with.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from synap_core.errors import one_line

Colours = Mapping[str, tuple[str, str]]
"""Names of colours, and what they are on a light and on a dark page."""

COLOURS: Colours = {
    "page": ("#ffffff", "#14171a"),
    "text": ("#1b1f24", "#e6e9ec"),
    "soft": ("#59636e", "#9aa4ae"),
    "line": ("#d8dee4", "#343b42"),
    "panel": ("#f5f7f9", "#1d2226"),
}

STYLE = """\
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 24px 20px 48px; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 32px 0 8px; }
p, ul { margin: 0 0 10px; max-width: 80ch; }
.soft { color: var(--soft); }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0; padding: 0; list-style: none; max-width: none; }
.tiles li { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 8px 16px; }
.tiles b { display: block; font-size: 20px; font-weight: 600; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; background: var(--panel); }
.legend { display: flex; flex-wrap: wrap; gap: 6px 20px; font-size: 13px; margin: 0 0 8px; max-width: none; }
.legend i { display: inline-block; width: 10px; height: 10px; margin-right: 6px; }
svg { display: block; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--line); }
pre { margin: 0 0 10px; padding: 12px 16px; white-space: pre-wrap; overflow-wrap: anywhere;
  border: 1px solid var(--line); border-radius: 8px; background: var(--panel); font: 13px/1.5 ui-monospace, monospace; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { padding: 5px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap;
  font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 600; font-size: 13px; vertical-align: bottom; white-space: normal; }
th.text, td.text { text-align: left; }
td.name { min-width: 220px; font-size: 13px; white-space: normal; overflow-wrap: anywhere; }
tr:last-child td { border-bottom: 0; }
"""
"""Elements that all pages have; a page adds its own."""

Header = tuple[str, str]
"""Title of a column, and the kind of its cells: ``text`` for what is no number."""


def document(title: str, parts: Iterable[str], *, colours: Colours, style: str = "", script: str = "") -> str:
    """A whole page.

    Args:
        title: Title of the window, as HTML.
        parts: What is on the page, as HTML; empty ones are left out.
        colours: Further colours, which styles may use as ``var(--name)``.
        style: Styles of this page.
        script: The script of this page; the page must be readable without it.
    """
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    if script:
        policy += f"; script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_colours({**COLOURS, **colours})}{STYLE}{style}</style></head><body>",
        *(part for part in parts if part),
        *([f"<script>{script}</script>"] if script else []),
        "</body></html>",
    ]
    return "\n".join(lines) + "\n"


def _colours(colours: Colours) -> str:
    light, dark = (" ".join(f"--{name}: {pair[side]};" for name, pair in colours.items()) for side in (0, 1))
    return (
        f":root {{ color-scheme: light dark; {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
    )


def text(words: str) -> str:
    """Text for any place of a page; control characters are dropped."""
    return escape(one_line(words), quote=True)


def kept_text(line: str) -> str:
    """Text of a line whose blanks matter."""
    return escape("".join(c for c in line if c.isprintable()), quote=True)


def tiles(entries: Iterable[tuple[str, str]]) -> str:
    """Figures that matter most, each with what it is; both as HTML."""
    return f'<ul class="tiles">{"".join(f"<li><b>{value}</b>{what}</li>" for value, what in entries)}</ul>'


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Class and meaning of the colours of a drawing; the meaning as HTML."""
    return (
        '<p class="legend">' + "".join(f'<span><i class="{kind}"></i>{what}</span>' for kind, what in entries) + "</p>"
    )


def cell(words: str, kind: str = "") -> str:
    """A cell of a table."""
    return f'<td class="{kind}">{text(words)}</td>' if kind else f"<td>{text(words)}</td>"


def table(
    headers: Sequence[Header],
    rows: Iterable[Sequence[str]],
    *,
    kind: str = "",
    label: str = "",
    foot: Sequence[str] = (),
) -> str:
    """A table.

    Args:
        headers: Columns.
        rows: Cells of each row.
        kind: Class of the table.
        label: What it shows, for those who do not see what is around it; as HTML.
        foot: Cells of a last row that sums up the others.
    """
    head = "".join(f'<th scope="col" class="{c}">{t}</th>' if c else f'<th scope="col">{t}</th>' for t, c in headers)
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    end = f"<tfoot><tr>{''.join(foot)}</tr></tfoot>" if foot else ""
    start = f'<table class="{kind}"' if kind else "<table"
    start += f' aria-label="{label}">' if label else ">"
    return f'<div class="scroll">{start}<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody>{end}</table></div>'
