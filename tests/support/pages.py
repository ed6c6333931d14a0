"""Pages of HTML as tests read them."""

from __future__ import annotations

import re
from html.parser import HTMLParser

EVIL = "</title></style></pre><script>alert('x')</script><img src=x onerror=\"alert(1)\"> \x1b[2J\n&amp; ${ANCHORS}"
VOID = {"br", "circle", "line", "meta", "path", "rect"}

LOADING = {"src", "href", "xlink:href", "srcset", "data", "action", "background", "poster"}
"""Attributes that would fetch something."""


class Reader(HTMLParser):
    """Collects elements, attributes and texts; elements must be closed in the order they were opened."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: dict[str, list[str]] = {}
        self.tables: dict[str, list[list[str]]] = {}
        """Cells of each row, the titles first, by the label of the table."""
        self._rows: list[list[str]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows = self.tables.setdefault(dict(attrs).get("aria-label") or "", [])
        elif tag == "tr":
            self._rows.append([])
        elif tag in {"td", "th"}:
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)
        if {"td", "th"} & set(self.open):
            self._rows[-1][-1] += data


def require_self_contained(page: str) -> None:
    """Nothing is fetched, and the page says so to the browser."""
    assert not {name for name, _ in Reader(page).attributes} & LOADING
    assert not re.search(r"https?:|url\(|@import", page)
    assert "default-src 'none'" in page


def require_colours_for_light_and_dark(page: str) -> None:
    """Every colour that is used has a value for both."""
    light, dark = (set(re.findall(r"(--\w+): #", part)) for part in page.split("prefers-color-scheme: dark"))
    assert light == dark
    assert set(re.findall(r"var\((--\w+)\)", page)) <= light
