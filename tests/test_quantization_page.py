"""The page of an accuracy analysis: what it holds, and that nothing in it comes from elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from synap_core.quantization.analysis import Analysis, LayerFigures, Suggestion
from synap_core.quantization.metrics import Figures
from synap_core.quantization.page import render_page
from tests.support.pages import EVIL, Reader, require_colours_for_light_and_dark, require_self_contained


def figures(sqnr_db: float) -> Figures:
    return Figures(cosine=0.99875, sqnr_db=sqnr_db, max_error=0.0625)


def layer(position: int, name: str, accumulated: float, damage: float | None) -> LayerFigures:
    return LayerFigures(
        layer_id=name,
        dtype="uint8",
        position=position,
        conversion=False,
        accumulated=figures(accumulated),
        alone=None if damage is None else figures(accumulated + 1),
        damage=None if damage is None else {"y": figures(damage)},
    )


def analysis(name: str = "Conv_bad_2", *, suggestion: bool = True, alone: bool = True) -> Analysis:
    ratios = [(2, name, 28.25, 21.5), (0, "Input_x", float("inf"), float("inf")), (1, "Conv_good_1", 41.75, 44.5)]
    layers = tuple(layer(n, layer_id, sqnr, damage if alone else None) for n, layer_id, sqnr, damage in ratios)
    found = Suggestion(layers={name: "int16"}, metafile=f"quantization:\n  '@{name}': int16", expected_db=35.5)
    return Analysis(layers=layers, outputs={"y": figures(20.75)}, samples=3, suggestion=found if suggestion else None)


def test_every_layer_is_in_chart_and_table() -> None:
    read = Reader(render_page(analysis(), "net.onnx", quantization="uint8", notes=["a note"], version="1.2"))
    assert read.tags.count("rect") == read.tags.count("circle") == 3
    cells = [text.strip() for text in read.texts["td"]]
    for text in ("Input_x", "Conv_good_1", "Conv_bad_2", "28.2", "29.2", "21.5", "exact", "0.99875", "0.0625", "20.8"):
        assert text in cells
    assert read.texts["h1"] == ["Quantization accuracy of net.onnx"]
    assert {"20.8 dB", "35.5 dB", "3"} <= set(read.texts["b"])
    assert " a note" in read.texts["p"]
    assert read.texts["pre"] == ["quantization:\n  '@Conv_bad_2': int16"]
    assert "raise to int16" in read.texts["span"]


def test_an_output_without_an_angle_is_the_worst_one() -> None:
    broken = Figures(cosine=float("nan"), sqnr_db=float("-inf"), max_error=float("inf"))
    for outputs in ({"y": figures(20.75), "z": broken}, {"z": broken, "y": figures(20.75)}):
        read = Reader(render_page(replace(analysis(), outputs=outputs), "net"))
        assert {"nan", "-inf dB"} <= set(read.texts["b"])
        cells = [text.strip() for text in read.texts["td"]]
        assert cells[cells.index("z") : cells.index("z") + 4] == ["z", "nan", "-inf", "inf"]


def test_bars_are_as_high_as_their_ratios() -> None:
    page = render_page(analysis(), "net")
    heights = [float(h) for h in re.findall(r'<rect class="bar"[^>]* height="([\d.]+)"', page)]
    lines = [float(y) for y in re.findall(r'<line class="grid"[^>]* y1="([\d.]+)"', page)]
    pixels_per_db = (lines[0] - lines[-1]) / (10 * (len(lines) - 1))
    # In execution order; what is exact reaches the top. Heights are written with one decimal.
    assert heights == pytest.approx([lines[0] - lines[-1], 41.75 * pixels_per_db, 28.25 * pixels_per_db], abs=0.11)
    (dot,) = re.findall(r'<circle class="dot raise"[^>]* cy="([\d.]+)"', page)
    assert lines[0] - float(dot) == pytest.approx(21.5 * pixels_per_db, abs=0.11)


def test_names_are_only_text() -> None:
    page = render_page(analysis(EVIL), EVIL, quantization=EVIL, notes=[EVIL], version=EVIL)
    harmless = Reader(render_page(analysis("a"), "b", quantization="c", notes=["d"], version="e"))
    read = Reader(page)
    assert read.tags == harmless.tags
    assert {name for name, _ in read.attributes} == {name for name, _ in harmless.attributes}
    assert "\x1b" not in page
    assert any("<script>alert('x')</script>" in text for text in read.texts["td"])


def test_page_needs_nothing_from_elsewhere() -> None:
    page = render_page(analysis(), "net")
    require_self_contained(page)
    assert "<script" not in page


def test_page_has_colours_for_light_and_dark() -> None:
    require_colours_for_light_and_dark(render_page(analysis(), "net"))


def test_without_layers_alone_there_are_no_dots() -> None:
    read = Reader(render_page(analysis(alone=False, suggestion=False), "net"))
    assert "circle" not in read.tags
    assert "Damage SQNR, dB" not in read.texts["th"]
    assert "pre" not in read.tags


@pytest.mark.parametrize("ratio", [-1e9, -float("inf"), float("inf"), 1e9, 0.0], ids=str)
def test_any_ratio_has_a_place_in_the_chart(ratio: float) -> None:
    found = Analysis(layers=(layer(0, "a", ratio, ratio),), outputs={"y": figures(ratio)}, samples=1)
    page = render_page(found, "net")
    assert "nan" not in page
    heights = [float(y) for y in re.findall(r' (?:y|cy|y1)="([-\d.]+)"', page)]
    assert all(0 <= y <= 400 for y in heights)


def test_a_page_without_layers_is_a_page() -> None:
    read = Reader(render_page(Analysis(layers=(), outputs={"y": figures(1.0)}, samples=1), "net"))
    assert "svg" in read.tags


def test_many_layers_make_a_wide_chart_with_few_numbers() -> None:
    layers = tuple(layer(n, f"Conv_{n}", 30, 40) for n in range(500))
    page = render_page(Analysis(layers=layers, outputs={"y": figures(1.0)}, samples=1), "net")
    (width,) = re.findall(r'<svg[^>]* width="(\d+)"', page)
    assert int(width) > 5000
    assert max(float(x) for x in re.findall(r'<rect class="bar" x="([\d.]+)"', page)) < int(width)
