from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from autopilot_runtime.training.plot import legend, mark_svg, progress_svg
from autopilot_runtime.training.plotaxis import Axis, Room, change, figure, spread, value_axis, whole_ticks
from autopilot_runtime.training.plotcurve import curve_svg
from autopilot_runtime.training.plottext import progress_text
from autopilot_runtime.training.record import Record
from autopilot_runtime.training.story import Story, read_story
from tests.training.story_record import HOSTILE, RUN, SLUG, Tried, make

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def record() -> Iterator[Record]:
    with Record.passing() as record:
        yield record


@pytest.fixture
def story(record: Record) -> Story:
    make(record)
    return read_story(record, SLUG)


def classes(svg: str) -> Counter[str]:
    return Counter(one.get("class", "") for one in ElementTree.fromstring(svg).iter())


def labels(svg: str) -> list[tuple[float, float, float, float]]:
    """The boxes that labels take."""
    found = [one for one in ElementTree.fromstring(svg).iter(f"{SVG}text") if one.get("class") == "label"]
    return [
        (x, y - 10, x + 6 * len(one.text or ""), y + 3)
        for one in found
        for x, y in [(float(one.get("x", 0)), float(one.get("y", 0)))]
    ]


def test_every_candidate_has_its_mark(story: Story) -> None:
    found = classes(progress_svg(story))
    assert found["kept"] + found["best"] == 7 + 1  # and the start
    assert found["best"] == 1
    assert found["crash"] == 1
    assert found["back"] == 1
    assert found["ring"] == 2
    assert found["no"] == 8
    assert found["gate"] == 1
    assert found["band"] == 8


def test_what_could_not_be_measured_lies_on_the_floor(story: Story) -> None:
    root = ElementTree.fromstring(progress_svg(story))
    axis = next(one for one in root.iter() if one.get("class") == "axis")
    crash = next(one for one in root.iter() if one.get("class") == "crash")
    floor = float(re.findall(r"[\d.]+", axis.get("d", ""))[1])
    assert float(re.findall(r"[\d.]+", crash.get("d", ""))[1]) == pytest.approx(floor - 4)


@pytest.mark.parametrize("width", [430, 960])
def test_no_label_lies_on_another_or_leaves_the_picture(story: Story, width: int) -> None:
    found = labels(progress_svg(story, width=width))
    assert len(found) >= 5
    for at, one in enumerate(found):
        assert one[0] >= 0
        assert one[2] <= width
        for other in found[at + 1 :]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_a_hundred_kept_candidates_get_as_many_labels_as_fit_and_the_best_is_among_them(record: Record) -> None:
    make(record, run=[Tried("accept", 0.51 + at / 400, f"Idea number {at}, told at length") for at in range(100)])
    svg = progress_svg(read_story(record, SLUG))
    assert 5 < len(labels(svg)) < 100
    assert ">Idea number 99, told at length<" in svg


def test_only_kept_candidates_are_stops_of_the_tab_key(story: Story) -> None:
    root = ElementTree.fromstring(progress_svg(story, link=lambda n: f"#c{n}"))
    links = list(root.iter(f"{SVG}a"))
    assert [one.get("href") for one in links] == [f"#c{n}" for n in range(len(RUN))]
    assert sum(one.get("tabindex") is None for one in links) == 7


def test_without_noise_there_is_no_band_and_no_ring(record: Record) -> None:
    make(record)
    with record.store.transaction() as link:
        link.execute("DELETE FROM train_state")
    rows = record.epochs(SLUG)
    for row in rows:
        row.extra["noise"].clear()  # type: ignore[attr-defined]
        record.put_epoch(row)
    story = read_story(record, SLUG)
    found = classes(progress_svg(story))
    assert found["band"] == found["ring"] == 0
    assert not {"band", "ring"} & {kind for kind, _ in legend(story)}


def test_a_value_far_off_does_not_press_the_others_flat(record: Record) -> None:
    make(record, run=[Tried("accept", 0.6, "up"), Tried("discard", -900.0, "far off"), Tried("accept", 0.7, "up")])
    story = read_story(record, SLUG)
    axis = value_axis(story)
    assert axis is not None
    assert axis.low > 0
    assert classes(progress_svg(story))["stray"] == 1
    assert "-900" in progress_svg(story)


def test_values_many_times_apart_are_drawn_by_their_logarithm(record: Record) -> None:
    run = [Tried("accept", value, "faster") for value in (0.1, 0.01, 0.002)]
    make(record, run=run, config={"monitor": "accuracy", "directions": {"accuracy": False}})
    story = read_story(record, SLUG)
    axis = value_axis(story)
    assert axis is not None
    assert axis.log
    assert axis.at(0.01) - axis.at(0.001) == pytest.approx(axis.at(0.1) - axis.at(0.01), abs=0.35)
    assert "log scale" in progress_svg(story)
    assert len(axis.ticks()) >= 3


def test_a_picture_of_nothing_says_so(record: Record) -> None:
    record.create("empty")
    story = read_story(record)
    assert "Nothing of empty was measured yet" in progress_svg(story)
    assert "Nothing of empty was measured yet" in progress_text(story)
    assert curve_svg(story, "accuracy") == ""
    ElementTree.fromstring(progress_svg(story))


def test_whatever_was_written_is_text_in_the_picture(record: Record) -> None:
    make(record, run=[Tried("accept", 0.6, HOSTILE), Tried("discard", 0.5, HOSTILE, reason=HOSTILE)])
    for svg in (progress_svg(read_story(record, SLUG)), curve_svg(read_story(record, SLUG), "accuracy")):
        root = ElementTree.fromstring(svg)
        assert not list(root.iter(f"{SVG}script"))
        assert "\x1b" not in svg
        assert "\u202e" not in svg
        svg.encode()


def test_every_mark_of_the_legend_is_a_picture(story: Story) -> None:
    assert [kind for kind, _ in legend(story)] == ["best", "kept", "no", "ring", "crash", "back", "band", "gate"]
    for kind, _ in legend(story):
        ElementTree.fromstring(mark_svg(kind))


def test_a_curve_has_training_and_held_out_values_and_shades_what_a_gate_forbids(story: Story) -> None:
    found = classes(curve_svg(story, "accuracy"))
    assert (found["train"], found["val"], found["fails"]) == (1, 1, 1)
    assert found["valdot"] == 7
    assert found["no"] == 8
    latency = classes(curve_svg(story, "latency"))
    assert (latency["train"], latency["fails"]) == (0, 1)


# ---------------------------------------------------------------- in letters


@pytest.mark.parametrize("width", [30, 60, 80, 200])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_the_plot_in_a_terminal_keeps_its_width_and_shows_every_kind(
    story: Story, width: int, ascii_only: bool
) -> None:
    text = progress_text(story, width=width, ascii_only=ascii_only)
    assert max(map(len, text.splitlines())) <= width
    body = text[: text.index("16 candidates")]
    for letter in "o#x.v?~:" if ascii_only else "●◆✕·▾○┄░":
        assert letter in body, letter
    if ascii_only:
        assert text.isascii()


def test_colours_change_nothing_but_colours(story: Story) -> None:
    plain, coloured = progress_text(story), progress_text(story, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured).split() == plain.split()


# ---------------------------------------------------------------- axes and numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.512, "0.512"), (319510.0, "319,510"), (1.234e-7, "1.23e-07"), (0.0, "0"), (float("nan"), "nan")],
)
def test_numbers_read_as_people_write_them(value: float | None, text: str) -> None:
    assert figure(value) == text


def test_a_change_has_its_sign() -> None:
    assert (change(0.5, 0.25), change(0.25, 0.5), change(1, 1), change(None, 1)) == ("+0.25", "-0.25", "+0", "–")


@pytest.mark.parametrize("low", [-5.0, 0.0, 0.0001, 1e9])
@pytest.mark.parametrize("span", [1e-6, 0.3, 7.0, 1e7])
def test_marks_of_an_axis_are_few_round_and_inside(low: float, span: float) -> None:
    axis = spread([low, low + span])
    ticks = axis.ticks(5)
    assert 2 <= len(ticks) <= 11
    assert all(axis.low - span * 1e-6 <= one <= axis.high + span * 1e-6 for one in ticks)


def test_marks_of_a_logarithmic_axis_are_inside() -> None:
    for low, high in ((0.5, 30.0), (1e-8, 1.0), (3.0, 4e12)):
        axis = Axis(low, high, log=True)
        ticks = axis.ticks(5)
        assert 2 <= len(ticks) <= 9
        assert all(axis.holds(one) for one in ticks)


def test_a_single_value_has_an_axis_too() -> None:
    for value in (0.0, 1.0, -3.5, 1e12):
        axis = spread([value])
        assert axis.low < value < axis.high
        assert axis.at(value) == pytest.approx(0.5)


def test_whole_ticks_are_whole() -> None:
    assert whole_ticks(0, 15, 5) == [0, 5, 10, 15]
    assert whole_ticks(0, 0, 5) == [0]
    assert len(whole_ticks(0, 12_345, 8)) <= 9


def test_room_gives_a_place_once() -> None:
    room = Room(100, 100)
    assert room.place([(-1, 0), (0, 0)], 50, 10) == (0, 0)
    assert room.place([(49, 9), (50, 0)], 50, 10) == (50, 0)
    assert room.place([(10, 5)], 5, 5) is None
