"""The parts of the command line that need no process: figures, diffs, safe text, names on the wire, the screen."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopilot_runtime.cli import diffview, figures, safe, wire
from autopilot_runtime.cli.exitcode import ExitCode, of_error, of_result
from autopilot_runtime.cli.screen import Screen, cells, clip
from autopilot_runtime.cli.tty import Facts, Paint, colour
from autopilot_runtime.core.errors import AgentFileError, AutopilotError, ProviderError
from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.core.protocols import RunResult

ON_TTY = Facts(out_tty=True, err_tty=True, person=True, live=True, out_colour=False, err_colour=False)


@pytest.mark.parametrize(
    ("cost", "shown"),
    [(None, "price unknown"), (0.0, "$0.00"), (0.0042, "$0.0042"), (0.018, "$0.0180"), (1.2, "$1.20")],
)
def test_an_unknown_price_is_never_a_zero(cost: float | None, shown: str) -> None:
    assert figures.dollars(cost) == shown


def test_every_event_has_a_name_of_its_own_on_the_wire() -> None:
    assert set(wire.NAMES) == set(EventType)
    assert len(set(wire.NAMES.values())) == len(EventType)


@pytest.mark.parametrize("kind", list(EventType))
def test_a_line_reads_back_as_the_event_it_was(kind: EventType) -> None:
    event = Event(3, 1.5, kind, "r", "s", "a", "b", {"text": "two\nlines \u2028 \ud800"})
    line = wire.to_line(event)
    assert len(line.splitlines()) == 1
    assert wire.from_dict(json.loads(line)) == event


def test_a_run_ends_as_finished_or_failed() -> None:
    ended = [
        Event(1, 0, EventType.RUN_ENDED, data={"status": s}) for s in ("completed", "answered", "aborted", "budget")
    ]
    assert [wire.name_of(event) for event in ended] == ["run.finished", "run.finished", "run.failed", "run.failed"]


def test_a_line_of_a_later_release_is_skipped() -> None:
    assert wire.from_dict({"type": "something.new", "seq": 1, "ts": 0}) is None


@given(st.text())
def test_no_text_can_steer_the_terminal(text: str) -> None:
    for shown in (safe.prose(text), safe.one_line(text)):
        assert not set(shown) & {chr(c) for c in (*range(9), *range(11, 32), 127, *range(128, 160), 0x202E, 0x2066)}
        shown.encode()
    assert "\n" not in safe.one_line(text)


def test_plain_text_of_any_language_stays_as_it_is() -> None:
    text = "naïve 漢字 עברית 👍🏽 a\tb\nc"
    assert safe.prose(text) == text


def test_a_diff_marks_only_the_words_that_changed() -> None:
    shown = diffview.coloured("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-one two three\n+one 2 three\n", Paint(True))
    assert "\x1b[31;7mtwo\x1b[0m" in shown
    assert "\x1b[32;7m2\x1b[0m" in shown
    assert "\x1b[31mone \x1b[0m" in shown


@given(st.lists(st.text(alphabet="+-@ ab<\t", max_size=12), max_size=30))
def test_colour_never_changes_what_a_diff_says(lines: list[str]) -> None:
    diff = "\n".join(lines)
    plain = diffview.coloured(diff, Paint(False))
    painted = diffview.coloured(diff, Paint(True))
    for code in ("31", "32", "31;7", "32;7", "1", "2", "36", "0"):
        painted = painted.replace(f"\x1b[{code}m", "")
    assert painted == plain == "\n".join(diff.splitlines())


def test_a_long_diff_says_how_much_is_left_out() -> None:
    diff = "\n".join(f"+{n}" for n in range(100))
    assert diffview.coloured(diff, Paint(False), max_lines=10).endswith("… 90 more lines")


def test_removed_lines_that_look_like_a_head_are_counted() -> None:
    assert diffview.changed_lines("--- a/x\n+++ b/x\n@@ -1,2 +1 @@\n--- a comment\n-b\n+c\n") == (1, 2)


@pytest.mark.parametrize(
    ("env", "tty", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, False, False),
    ],
)
def test_colour(env: dict[str, str], tty: bool, wanted: bool) -> None:
    assert colour(tty, env, dumb=False) is wanted


def test_no_colour_on_a_dumb_terminal() -> None:
    assert colour(True, {}, dumb=True) is False


@given(st.text(alphabet="ab漢👍", max_size=60), st.integers(2, 40))
def test_a_clipped_line_fits(text: str, width: int) -> None:
    assert cells(clip(text, width)) <= width


def test_the_live_line_is_taken_away_before_anything_else_is_written() -> None:
    both = io.StringIO()
    screen = Screen(ON_TTY, out=both, err=both)
    screen.text("half a line")
    screen.status("working")
    screen.line("a whole line")
    shown = both.getvalue()
    assert shown.startswith("half a line\x1bD\x1b[A\x1b7\x1b[B\rworking\x1b8")
    assert shown.endswith("\x1b[J\na whole line\n")


def test_a_live_line_is_only_drawn_where_it_is_welcome() -> None:
    err = io.StringIO()
    plain = Facts(out_tty=False, err_tty=False, person=False, live=False, out_colour=False, err_colour=False)
    Screen(plain, out=io.StringIO(), err=err).status("working")
    assert err.getvalue() == ""


def _result(status: str, error: Exception | None = None) -> RunResult:
    return RunResult(status=status, error=error)  # type: ignore[arg-type]


def test_what_the_exit_codes_say() -> None:
    assert of_result(_result("completed")) == 0
    assert of_result(_result("completed"), unanswered=1) == 6
    assert of_result(_result("suspended")) == 6
    assert of_result(_result("aborted"), stopped_by=2) == 130
    assert of_result(_result("aborted"), stopped_by=15) == 143
    assert of_result(_result("aborted")) == 1
    assert of_result(_result("failed", ProviderError("x", kind="auth"))) == 7
    assert of_result(_result("failed", ValueError("x"))) == 1
    assert of_error(AgentFileError(["x"])) == ExitCode.USAGE
    assert of_error(AutopilotError("x")) == ExitCode.FAILED
