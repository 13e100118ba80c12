"""The live line and the text, as a terminal shows them: the text must look as if there had never been a live line."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopilot_runtime.cli.screen import Screen
from autopilot_runtime.cli.tty import Facts
from autopilot_runtime.shell.screen import Screen as Terminal

FACTS = Facts(out_tty=True, err_tty=True, person=True, live=True, out_colour=False, err_colour=False)
COLUMNS = 24
PIECES = st.lists(st.text(alphabet="abc漢 \n", max_size=30), max_size=20)


@pytest.fixture(autouse=True, scope="module")
def narrow() -> Iterator[None]:
    """A terminal of few columns, so that lines wrap often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(COLUMNS))
        patch.setenv("LINES", "8")
        yield


@given(PIECES)
@settings(max_examples=300)
def test_text_with_a_live_line_looks_like_text_without(pieces: list[str]) -> None:
    both = io.StringIO()
    screen = Screen(FACTS, out=both, err=both)
    for number, piece in enumerate(pieces):
        screen.text(piece)
        screen.status(f"step {number} of many, doing something long")
    screen.end_text()
    assert _shown(both.getvalue()) == _shown("".join(pieces))


def test_a_line_that_just_fills_the_terminal_keeps_its_last_letter() -> None:
    for extra in (-1, 0, 1):
        both = io.StringIO()
        screen = Screen(FACTS, out=both, err=both)
        screen.text("x" * (COLUMNS + extra))
        screen.status("working")
        screen.text("yz")
        screen.wipe()
        assert _shown(both.getvalue()).replace("\n", "") == "x" * (COLUMNS + extra) + "yz"


def _shown(output: str) -> str:
    terminal = Terminal(8, COLUMNS)
    terminal.feed(output)
    return terminal.text().rstrip()
