"""The page of a bundle: its drawings against the numbers they show, names as text only, and nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace

import pytest

from synap_core.bundle_report.page import render_report
from synap_core.errors import PluginError
from synap_core.program_report import MemoryPlace, ProgramDescription, ProgramTensor
from tests.support.pages import EVIL, Reader, require_colours_for_light_and_dark, require_self_contained
from tests.support.program_reports import program, report, row

LAYERS = "Operations and what they are predicted to cost"
OPERATIONS = "Operations and the tensors they read and write"


def page(*programs: ProgramDescription | None) -> str:
    return render_report(report(*programs), "9.8")


def rectangles(text: str, group: str) -> dict[str, dict[str, float]]:
    """Numbers of the rectangles of a class of groups, by title."""
    found = re.findall(rf'<g class="{group}"><title>([^<]*)</title><rect class="[^"]*" ([^>]*)/>', text)
    return {title: {k: float(v) for k, v in re.findall(r'(\w+)="([^"]*)"', rest)} for title, rest in found}


def test_totals_are_those_of_all_operations_and_the_start() -> None:
    read = Reader(page(program()))
    assert {"0.200 ms", "4", "500 bytes"} <= set(read.texts["b"])
    rows = read.tables[LAYERS]
    titles, foot = rows[0], rows[-1]
    columns = {title: [line[titles.index(title)] for line in rows[1:-1]] for title in titles}
    assert columns["Engine"] == ["NN", "TP", "--", "NN+TP"]
    for title in ("Cycles", "Bytes read", "Bytes written", "Stored weights", "Time, µs"):
        numbers = [float(text.replace(",", "") or 0) for text in columns[title]]
        assert sum(numbers) == float(foot[titles.index(title)].replace(",", ""))


def test_shares_of_engines_add_up_and_count_what_is_shared_for_the_first() -> None:
    text = page(program())
    shares = re.findall(r'class="part (\w+(?: \w+)?)" style="flex-grow:([\d.]+)" title="([^"]*)"', text)
    assert [(kind, float(share)) for kind, share, _ in shares] == [("none start", 25), ("e0", 55), ("e1", 20)]
    assert [title for *_, title in shares][1] == "NN 0.110 ms, 55.0 %, 2 operations"
    assert "no time: 1 operation" in text


def test_bars_are_as_long_as_their_times_and_follow_each_other() -> None:
    bars = list(rectangles(page(program()), "op").items())
    (start_title, start), *rest = bars
    assert start_title == "start of an inference, 50.0 µs"
    scale = start["width"] / 50
    assert [title.partition(":")[0] for title, _ in rest] == [f"{n} CONV_2D_layer{n}_{n}" for n in range(4)]
    begins = [50, 150, 190, 190]
    for begin, duration, (_, bar) in zip(begins, [100, 40, 0, 10], rest, strict=True):
        assert bar["x"] - start["x"] == pytest.approx(scale * begin, abs=0.02)
        # A hair's gap is left to the neighbour, and what takes no time is still to be seen.
        assert bar["width"] == pytest.approx(max(scale * duration - 0.5, 1.0), abs=0.02)
    lanes = [bar["y"] for _, bar in rest]
    assert lanes[0] == lanes[3] < lanes[1] < lanes[2]
    assert "NN, 1x4x8x8 int8, 100.0 µs, 80,000 cycles, 1,000 bytes read, 2,000 written" in rest[0][0]


def test_tensors_are_drawn_at_their_addresses_and_times() -> None:
    text = page(program())
    places = rectangles(text, "place")
    titles = ["t0", "t1", "t2", "t4"]
    assert [title.partition(":")[0] for title in places] == ["t1", "t2", "t0", "t4"]
    found = {title.partition(":")[0]: place for title, place in places.items()}
    assert set(found) == set(titles)
    pitch = found["t1"]["width"] / 2
    assert found["t1"]["x"] - found["t0"]["x"] == pytest.approx(pitch, abs=0.02)
    assert found["t4"]["x"] - found["t0"]["x"] == pytest.approx(4 * pitch, abs=0.02)
    assert found["t4"]["width"] == pytest.approx(2 * pitch, abs=0.02)
    # The one at offset 256 lies on the one at offset 0.
    assert found["t2"]["y"] + found["t2"]["height"] == pytest.approx(found["t1"]["y"], abs=0.02)
    assert found["t1"]["height"] == found["t2"]["height"] == 50
    assert "t4: 256 bytes at offset 256, from operation 3 to the end" in places
    assert "t0: 256 bytes at offset 0, from the start to operation 0" in places


def test_peak_bound_and_size_are_lines_at_their_heights() -> None:
    text = page(program())
    sram, ddr = re.findall(r"<h3>(?:On-chip memory|Memory pool in DDR)</h3>.*?</svg>", text, re.DOTALL)
    heights = dict(
        zip(
            re.findall(r'class="label"[^>]*>([a-z ,]+) [\d,]+<', sram),
            [float(y) for y in re.findall(r'<line class="(?:limit|size)"[^>]* y1="([\d.]+)"', sram)],
            strict=True,
        )
    )
    assert heights == pytest.approx({"peak": 122, "lower bound": 134.5, "size of the memory": 22}, abs=0.06)
    assert "the lower bound, which no plan goes below, is 448; the memory is taken to have 1,024 bytes" in sram
    assert "that is the lower bound" in ddr
    assert "peak, which is the lower bound 512" in ddr


def test_slowest_come_first_and_free_ones_not_at_all() -> None:
    rows = Reader(page(program())).tables["Slowest operations"]
    assert [line[0] for line in rows[1:]] == ["0", "1", "3"]
    assert [line[5] for line in rows[1:]] == ["50.0 %", "20.0 %", "5.0 %"]
    many = replace(program(), operations=tuple(row(n, "NN", 1.0 + n) for n in range(40)), places=())
    rows = Reader(page(many)).tables["Slowest operations"]
    assert [line[0] for line in rows[1:]] == [str(n) for n in range(39, 24, -1)]


def test_operations_are_listed_with_tensors_and_places() -> None:
    rows = Reader(page(program())).tables[OPERATIONS]
    expected = ["0", "CONV_2D_layer0_0", "Convolution", "integer", "1x3x8x8 int8", "1x4x8x8 int8", "sram 0", "500"]
    assert rows[1] == expected
    assert [line[2] for line in rows[1:]] == ["Convolution", "Convolution", "Reshape", "Convolution"]


def test_header_weights_and_notes_are_there() -> None:
    read = Reader(page(program()))
    assert read.texts["h1"] == ["Report of net.synap"]
    assert "Target SOC1; compiled by maker 1.5; reported by synap 9.8" in read.texts["p"]
    assert read.texts["li"].count("The figures are predicted.") == 1
    words = " ".join(" ".join(read.texts["p"]).split())
    assert "Constants take 500 bytes. Of these 400 bytes are weights, estimated to take 300 as they are stored" in words
    assert read.tables["Inputs"][1] == ["0", "x0", "1x8x8x3", "int8", "nhwc", "scale 0.5, zero point 3"]


def test_splitting_shows_every_subgraph_and_tensor_from_left_to_right() -> None:
    text = page(program(), None, program())
    boxes = re.findall(r'<rect class="box[^"]*" x="([\d.]+)"[^>]*/><text class="head"[^>]*>([^<]*)<', text)
    assert [name for _, name in sorted(boxes, key=lambda box: float(box[0]))] == [
        "Inputs",
        "0 · x",
        "1 · x",
        "2 · x",
        "Outputs",
    ]
    rows = Reader(text).tables["Tensors between subgraphs"]
    assert [tuple(line[:3]) for line in rows[1:]] == [
        ("model inputs", "0 x", "x0"),
        ("0 x", "1 x", "x1"),
        ("1 x", "2 x", "x2"),
        ("2 x", "model outputs", "x3"),
    ]
    assert text.count('<path class="wire"') == 4
    assert "The time does not include what is not predicted: subgraph 1." in text
    assert "0.400 ms" in Reader(text).texts["b"]


def test_a_bundle_without_programs_says_that_nothing_is_predicted() -> None:
    read = Reader(page(None))
    assert "Nothing is predicted of this bundle: no subgraph is a program with predictions." in read.texts["li"]
    assert "Its layers are not shown: nobody reads x." in read.texts["p"]
    assert LAYERS not in read.tables
    assert "The bundle does not say what target it is for; reported by synap 9.8" in read.texts["p"]


@pytest.mark.parametrize(
    "described",
    [
        ProgramDescription(engines=("NN",), operations=()),
        ProgramDescription(engines=(), operations=(row(0, "", 0.0, inputs=(), outputs=()),)),
        replace(program(), memories=(), places=(), start_microseconds=0.0),
        replace(program(), operations=tuple(row(n, "", 0.0) for n in range(4)), start_microseconds=0.0),
        replace(program(), operations=tuple(row(n, "TP", 1e-9) for n in range(5000))),
    ],
    ids=["empty", "free", "no memory", "no time", "large"],
)
def test_any_program_makes_a_page(described: ProgramDescription) -> None:
    text = page(described)
    Reader(text)
    assert not re.search(r'="(?:nan|inf|-)', text)


def test_names_are_only_text() -> None:
    rows = tuple(
        replace(
            entry,
            layer_id=EVIL,
            name=EVIL,
            type=EVIL,
            arithmetic=EVIL,
            bound=EVIL,
            outputs=(ProgramTensor(name=EVIL, shape=(1,), dtype=EVIL),),
        )
        for entry in program().operations
    )
    place = MemoryPlace(name=EVIL, memory="sram", offset=0, size_bytes=9, first=0, last=1)
    evil = replace(
        program(), operations=rows, places=(place,), target=EVIL, made_by=EVIL, notes=(EVIL,),
        memories=tuple(replace(use, title=EVIL) for use in program().memories),
    )  # fmt: skip
    harmless = replace(
        program(), places=(replace(place, name="t"),), memories=tuple(replace(u, title="m") for u in program().memories)
    )
    text = render_report(report(evil, None, name=EVIL, word=EVIL), EVIL)
    plain, read = Reader(render_report(report(harmless, None), "v")), Reader(text)
    assert read.tags == plain.tags
    assert {name for name, _ in read.attributes} == {name for name, _ in plain.attributes}
    assert "\x1b" not in text
    assert any("<script>alert('x')</script>" in words for words in read.texts["td"])


def test_page_needs_nothing_from_elsewhere_and_runs_its_own_script_only() -> None:
    text = page(program(), None)
    require_self_contained(text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert not [name for name, _ in Reader(text).attributes if name.startswith("on")]


def test_page_has_colours_for_light_and_dark() -> None:
    require_colours_for_light_and_dark(page(program()))


def test_every_drawing_says_what_it_shows() -> None:
    text = page(program(), None)
    drawings = re.findall(r"<svg[^>]*>", text)
    assert len(drawings) == 4
    assert all('role="img" aria-label="' in drawing for drawing in drawings)


def test_long_names_are_shortened_in_the_middle() -> None:
    name = "a" * 5000 + "_7"
    text = page(replace(program(), operations=(row(0, "NN", 1.0, layer_id=name),), places=()))
    assert "a_7" in text
    assert len(text) < 60_000


def test_an_engine_that_the_unit_has_not_is_an_error_of_the_runtime() -> None:
    with pytest.raises(PluginError, match=r"operations run on XX, which are not among the engines \('NN',\)"):
        ProgramDescription(engines=("NN",), operations=(row(0, "XX", 1.0),))


@pytest.mark.parametrize(
    "changes", [{"cycles": -1}, {"bytes_read": float("nan")}, {"stored_weight_bytes": -5}], ids=str
)
def test_impossible_costs_are_an_error_of_the_runtime(changes: dict[str, float]) -> None:
    with pytest.raises(PluginError, match="must be numbers that are not negative"):
        row(0, "NN", 1.0, **changes)
