"""Colours, styles and the script of the page."""

from __future__ import annotations

COLOURS = {
    "e0": ("#2f6fb7", "#5b9bdf"),
    "e1": ("#c8761a", "#e59a45"),
    "e2": ("#1e8a6e", "#3fb894"),
    "e3": ("#8a55b5", "#b58ade"),
    "e4": ("#b2456e", "#dd7a9f"),
    "e5": ("#6d7a1f", "#a9b84d"),
    "none": ("#a6afb8", "#68727c"),
    "bound": ("#b3261e", "#ff8a80"),
    "box": ("#ffffff", "#23292e"),
}
"""Engines by their position, what has none, and lines in drawings; light and dark."""

ENGINE_COLOURS = 6
NONE = "none"
START = "none start"


def engine_class(engines: tuple[str, ...], engine: str) -> str:
    """Class of what an engine does; that of nothing for an empty name."""
    return f"e{engines.index(engine) % ENGINE_COLOURS}" if engine else NONE


_FILLS = "".join(
    f"i.{name}, .part.{name}, .meter.{name} {{ background: var(--{name}); }} svg .{name} {{ fill: var(--{name}); }}\n"
    for name in (*(f"e{n}" for n in range(ENGINE_COLOURS)), NONE)
)

STYLE = f"""\
h3 {{ font-size: 15px; margin: 24px 0 6px; }}
section > h2 {{ margin-top: 44px; padding-top: 20px; border-top: 1px solid var(--line); }}
p.below {{ margin-top: 6px; }}
ul.notes {{ padding-left: 18px; }}
.scroll.tall {{ max-height: 640px; overflow: auto; }}
.legend i {{ border-radius: 2px; }}
.legend .line {{ height: 0; border-top: 2px dashed var(--bound); vertical-align: 3px; width: 18px; border-radius: 0; }}
.shares {{ display: flex; height: 26px; margin: 0 0 8px; border-radius: 6px; overflow: hidden; gap: 1px; }}
.part {{ min-width: 2px; }}
{_FILLS}\
i.engine {{ display: inline-block; width: 10px; height: 10px; margin-right: 6px; border-radius: 2px; }}
svg .start, i.start {{ opacity: .55; }}
svg .op:hover, svg .place:hover {{ opacity: .65; }}
svg .place rect {{ stroke: var(--panel); stroke-width: .5; }}
svg .lane {{ stroke: var(--line); stroke-dasharray: 2 3; }}
svg .limit {{ stroke: var(--bound); stroke-dasharray: 5 3; stroke-width: 1.5; }}
svg .size {{ stroke: var(--soft); stroke-dasharray: 1 3; stroke-width: 1.5; }}
svg .box {{ fill: var(--box); stroke: var(--line); }}
svg .box.program {{ stroke: var(--e0); stroke-width: 1.5; }}
svg .wire {{ fill: none; stroke: var(--soft); stroke-width: 1.3; }}
svg .tip {{ fill: var(--soft); }}
svg text.head {{ fill: var(--text); font-size: 13px; font-weight: 600; }}
svg text.label {{ paint-order: stroke; stroke: var(--panel); stroke-width: 4px; stroke-linejoin: round; }}
thead th {{ position: sticky; top: 0; background: var(--panel); box-shadow: inset 0 -1px var(--line); }}
th button {{ all: unset; cursor: pointer; }}
th button:focus-visible {{ outline: 2px solid var(--e0); outline-offset: 2px; }}
th[aria-sort="ascending"] button::after {{ content: " \\25B2"; font-size: 9px; }}
th[aria-sort="descending"] button::after {{ content: " \\25BC"; font-size: 9px; }}
table.fine td.name {{ min-width: 200px; font-size: 12px; }}
td.short {{ min-width: 130px; max-width: 190px; white-space: normal; overflow-wrap: anywhere; font-size: 12px; }}
tfoot td {{ font-weight: 600; border-top: 2px solid var(--line); border-bottom: 0; }}
table.fine {{ font-size: 13px; }}
table.fine td, table.fine th {{ padding: 4px 7px; }}
.meter {{ display: inline-block; height: 8px; margin-left: 8px; border-radius: 2px; vertical-align: 1px; }}
.track {{ display: inline-block; width: 108px; text-align: left; }}
details {{ margin: 16px 0; }}
summary {{ cursor: pointer; font-weight: 600; font-size: 15px; margin-bottom: 8px; }}
@media print {{ .scroll.tall {{ max-height: none; }} }}
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const words = head.classList.contains("text"), button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort"), up = now ? now === "descending" : words || column === 0;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => {
        const text = row.cells[column].textContent.trim(), number = parseFloat(text.replaceAll(",", ""));
        return words ? text : Number.isNaN(number) ? -1 : number;
      };
      const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
      const order = words ? (a, b) => a[0].localeCompare(b[0], "en", { numeric: true }) : (a, b) => a[0] - b[0];
      rows.sort((a, b) => (up ? order(a, b) : order(b, a)));
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  });
}
"""
"""Sorts a table by the column whose title is pressed."""
