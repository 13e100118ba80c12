from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autopilot_runtime.training.page import report_html
from autopilot_runtime.training.pagestyle import SCRIPT
from autopilot_runtime.training.pagetree import tree_html
from autopilot_runtime.training.parameter import TextParameter
from autopilot_runtime.training.record import EpochRow, Record
from autopilot_runtime.training.recordrows import ContextEntry
from autopilot_runtime.training.story import read_story
from tests.training.story_record import HOSTILE, RUN, SLUG, Tried, make

_VOID = {"meta", "br", "hr", "img", "input", "link"}
_LEADS_AWAY = {"src", "srcset", "action", "formaction", "data", "poster", "background", "xlink:href"}


class Read(HTMLParser):
    """What a browser would see: every tag closed, every attribute known, text and scripts apart."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.scripts if self.open and self.open[-1] == "script" else self.texts).append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read(page: str) -> Read:
    """The page, after what must be true of any page."""
    found = Read(page)
    assert found.scripts == [SCRIPT]
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for tag, attributes in found.tags:
        assert not {name for name in attributes if name.startswith("on")} | (_LEADS_AWAY & attributes.keys())
        assert tag not in ("iframe", "object", "embed", "base", "form", "img", "link")
        link = attributes.get("href")
        assert link is None or link.removeprefix("#") in ids, link
    page.encode()
    return found


@pytest.fixture
def record() -> Iterator[Record]:
    with Record.passing() as record:
        yield record


def test_the_report_tells_everything(record: Record) -> None:
    make(record)
    page = read(report_html(record, SLUG))
    for part in (
        "sorting-mails", "completed", "the inbox is a mess", "0.512 → 0.861", "7 of 16", "± 0.024", "27,000",
        "Two examples for every folder", "the gain of 0.005 is within the noise", "latency 420 does not meet <= 300",
        "+14. Two examples for every folder.", "KeyError", "2.3 × noise", "MinGate(accuracy)", "rolled back",
    ):  # fmt: skip
        assert part in page.text, part
    assert [one["id"] for one in page.named("article")] == [f"c{n}" for n in reversed(range(len(RUN)))]


def test_the_report_needs_nothing_but_itself(record: Record) -> None:
    make(record)
    page = report_html(record, SLUG)
    assert not re.search(r"url\(|@import|//[a-z]", page.replace("http://www.w3.org/2000/svg", ""))
    policy = next(one["content"] for one in read(page).named("meta") if "content" in one and one.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")


def test_every_chart_has_a_table_beside_it(record: Record) -> None:
    make(record)
    page = read(report_html(record, SLUG))
    assert page.text.count("The same as a table") == 2
    for row in RUN:
        assert page.text.count(row.why) >= 3  # in the table, at the candidate, in the journal


def test_the_same_record_gives_the_same_page(record: Record) -> None:
    make(record)
    assert report_html(record, SLUG) == report_html(record)


def test_whatever_was_written_is_text(record: Record) -> None:
    run = [
        Tried("accept", 0.6, HOSTILE, reason=HOSTILE, scores={HOSTILE: 1.0, "mail-01": 1.0}),
        Tried("discard", None, HOSTILE, reason=HOSTILE),
    ]
    make(record, "<b>&'\"", run=run, config={"monitor": "accuracy", HOSTILE.replace("\ud800", ""): 1})
    rows = record.epochs("<b>&'\"")
    for row in rows:
        gate = {"gate": HOSTILE, "passed": False, "reason": HOSTILE, "bound": HOSTILE, "value": 1}
        extra = {**row.extra, "errors": [HOSTILE]}
        metrics = {**row.metrics, "<i>": 1.0, "a\" onload='x'": 2.0}
        spent = {"<u>usd</u>": 3.0}
        record.put_epoch(replace(row, metrics=metrics, gates=[gate], spent=spent, extra=extra))
    record.add_context("<b>&'\"", ContextEntry(HOSTILE, HOSTILE, decision=HOSTILE, epoch=0))
    html = report_html(record, "<b>&'\"")
    page = read(html)
    assert "<script>alert('x')</script>" in page.text
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert not page.named("b") or all(not one for one in page.named("b"))
    assert not page.named("i")
    assert not page.named("u")


@pytest.mark.parametrize("run", [[], [Tried("discard", None, "")], [Tried("accept", 0.6, "same", same=True)]])
def test_a_report_on_little_is_a_page_too(record: Record, run: list[Tried]) -> None:
    make(record, run=run)
    read(report_html(record))


def test_a_report_on_an_experiment_that_has_not_begun(record: Record) -> None:
    record.create("empty")
    page = read(report_html(record))
    assert "Nothing of empty was measured yet." in page.text


@given(
    st.lists(
        st.builds(
            Tried,
            st.sampled_from(["accept", "discard", "rollback", "stop", "odd <verdict>"]),
            st.none() | st.floats(allow_nan=True, allow_infinity=True),
            st.text(max_size=30),
            reason=st.text(max_size=30),
            latency=st.floats(0, 1e300),
            same=st.booleans(),
        ),
        max_size=8,
    )
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_run_gives_a_sound_page(run: list[Tried]) -> None:
    with Record.passing() as record:
        make(record, run=run)
        page = read(report_html(record))
        assert len(page.named("article")) == len(run)


# ---------------------------------------------------------------- the tree


def branched(record: Record, parents: list[int], verdicts: str) -> None:
    """Candidate n was made from candidate parents[n] (-1: the first state); `a` accepted, `d` discarded."""
    with record.transaction():
        _branched(record, parents, verdicts)


def _branched(record: Record, parents: list[int], verdicts: str) -> None:
    record.create("x")
    text = TextParameter("seed", name="p")
    made = {-1: record.commit([("p", text)], experiment="x")}
    record.put_epoch(EpochRow("x", -1, made[-1].id, "", "seed", metrics={"score": 0.0}))
    for n, (parent, verdict) in enumerate(zip(parents, verdicts, strict=True)):
        text.data = f"candidate {n}"
        base = made[parent]
        made[n] = record.commit([("p", text)], experiment="x", parents=[base.id], epoch=n, why=f"idea-{n}")
        word = "accept" if verdict == "a" else "discard"
        record.put_epoch(EpochRow("x", n, made[n].id, base.id, word, metrics={"score": float(n)}))


def test_branches_of_the_tree_lie_inside_what_they_branch_from(record: Record) -> None:
    branched(record, [-1, 0, 0, 1, 2, 4, 2], "aaaaada")
    tree = tree_html(read_story(record, "x"))
    Read(f"<div>{tree}</div>")
    assert re.findall(r"idea-(\d)</li>|idea-(\d) <span", tree) is not None
    nested = tree[tree.index("<ul>") :]
    assert tree.count("idea-") == 7
    assert tree.index("idea-1") < tree.index("<ul>") < tree.index("idea-3") < tree.index("</ul>")
    assert "idea-3" in nested
    assert tree.index("idea-2") < tree.index("idea-6")


def test_no_candidate_is_missing_from_the_tree_however_it_branches(record: Record) -> None:
    import random

    rng = random.Random(5)
    parents = [rng.choice([-1, *range(n)]) for n in range(120)]
    branched(record, parents, "".join("a" for _ in parents))
    tree = tree_html(read_story(record, "x"))
    Read(f"<div>{tree}</div>")
    assert sorted(set(map(int, re.findall(r'href="#c(\d+)"', tree)))) == list(range(120))
    assert tree.count('href="#c') == 120


def test_a_trunk_of_two_thousand_is_drawn(record: Record) -> None:
    branched(record, list(range(-1, 1999)), "a" * 2000)
    tree = tree_html(read_story(record, "x"))
    assert tree.count("<li") == 2001
    assert tree.count("<ul") == 1
