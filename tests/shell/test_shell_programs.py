"""Programs that own the terminal: REPLs, full-screen programs, readers of pastes. The real ones where installed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from autopilot_runtime.shell.ledger import Ledger
from autopilot_runtime.shell.pool import TerminalPool
from tests.shell.watching import LONG, screen, until

if sys.platform == "win32":
    pytest.skip("POSIX shells", allow_module_level=True)

PYTHON = sys.executable
TUI = """
import curses

def main(screen):
    curses.curs_set(0)
    screen.addstr(3, 10, "middle")
    screen.addstr(0, 0, "top")
    screen.refresh()
    screen.addstr(3, 10, "key " + screen.getkey() + "  ")
    screen.refresh()
    screen.getkey()

curses.wrapper(main)
print("left")
"""
READER = """
import os, sys, termios, tty
before = termios.tcgetattr(0)
tty.setraw(0)
os.write(1, sys.argv[1].encode().decode("unicode_escape").encode() + b"ready")
data = b""
while not data.endswith(b"q"):
    data += os.read(0, 65536)
termios.tcsetattr(0, termios.TCSANOW, before)
print("", repr(data) if len(data) < 1000 else (len(data), hash(data) == hash(open(sys.argv[2], "rb").read())))
"""
WINDOW = """
import os, signal, time
def show(*_): print("size", *os.get_terminal_size(), flush=True)
signal.signal(signal.SIGWINCH, show)
print("ready", flush=True)
while True: time.sleep(1)
"""


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


async def reading(pool: TerminalPool, folder: Path, modes: str, *more: str) -> None:
    """Start a program that switches `modes` and shows what is typed up to a `q`."""
    (folder / "reader.py").write_text(READER)
    first = await pool.execute("main", f"{PYTHON} reader.py '{modes}' {' '.join(more)}", 0.2)
    await until(pool, "main", "ready", first)


async def test_a_python_repl_answers(every_shell: TerminalPool) -> None:
    first = await every_shell.execute("main", f"{PYTHON} -q -i", 0.2)
    await until(every_shell, "main", ">>>", first)
    assert "42" in (await every_shell.send_input("main", "6 * 7\n", 3)).output
    assert (await every_shell.send_input("main", "\x04", LONG)).status == "completed"


async def test_a_function_pasted_into_a_repl_is_defined(every_shell: TerminalPool) -> None:
    first = await every_shell.execute("main", f"{PYTHON} -q -i", 0.2)
    await until(every_shell, "main", ">>>", first)
    await every_shell.send_input("main", "def f(n):\n    if n:\n        return n + 1\n    return 'none'\n\n", 2)
    assert "43 none" in (await every_shell.send_input("main", "print(f(42), f(0))\n", 3)).output
    assert (await every_shell.send_input("main", "exit(3)\n", LONG)).return_code == 3


@needs("bash")
async def test_lines_pasted_into_an_inner_shell_are_run(every_shell: TerminalPool) -> None:
    first = await every_shell.execute("main", "PS1='inner> ' bash --norc -i", 0.2)
    await until(every_shell, "main", "inner>", first)
    answer = await every_shell.send_input("main", "for i in 1 2\ndo\n\techo n$((i + 40))\ndone\n", 2)
    assert "n42" in await until(every_shell, "main", "n42", answer)
    assert (await every_shell.send_input("main", "exit 5\n", LONG)).return_code == 5


async def test_a_program_that_tells_pastes_from_typing_gets_a_paste(
    every_shell: TerminalPool, tmp_path: Path
) -> None:
    await reading(every_shell, tmp_path, r"\x1b[?2004h")
    await every_shell.send_input("main", "if x:\n\tgrüße\n", 0.3)
    result = await every_shell.send_input("main", "q", LONG)
    assert result.output.endswith(repr("\x1b[200~if x:\n\tgrüße\x1b[201~\nq".encode()))


@pytest.mark.parametrize("modes", [r"", r"\x1b[?2004h\x1b[?2004l", r"\x1b[?2004h\x1b[?1049h"])
async def test_any_other_program_gets_keys(every_shell: TerminalPool, tmp_path: Path, modes: str) -> None:
    await reading(every_shell, tmp_path, modes)
    result = await every_shell.send_input("main", "a\nb\nq", LONG)
    assert result.output.endswith(repr(b"a\nb\nq"))


def test_keys_are_never_part_of_a_paste() -> None:
    ledger = Ledger("main", "/", clock=lambda: 0.0)
    ledger.heard(b"\x1b[?20")
    ledger.heard(b"04h> ")
    assert ledger.typed("one\ntwo\n\n") == "\x1b[200~one\ntwo\x1b[201~\n\n"
    for keys in ("one\n", "\n\n", "a\nb\x03", "a\n\x1b[A\n", "\x1b[200~a\nb\x1b[201~"):
        assert ledger.typed(keys) == keys
    ledger.begin("next")
    assert ledger.typed("one\ntwo\n") == "one\ntwo\n"


async def test_a_long_paste_arrives_whole(every_shell: TerminalPool, tmp_path: Path) -> None:
    text = "".join(f"line {n} grüße\n" for n in range(10_000)) + "q"
    (tmp_path / "text").write_bytes(text.encode())
    await reading(every_shell, tmp_path, "", "text")
    result = await every_shell.send_input("main", text, LONG)
    assert result.output.endswith(f"({len(text.encode())}, True)")


async def test_a_running_program_is_told_of_a_resize(every_shell: TerminalPool, tmp_path: Path) -> None:
    assert (await every_shell.execute("main", "stty size")).output == "50 120"
    (tmp_path / "window.py").write_text(WINDOW)
    first = await every_shell.execute("main", f"{PYTHON} window.py", 0.2)
    await until(every_shell, "main", "ready", first)
    every_shell.resize("main", 30, 90)
    assert "size 90 30" in await until(every_shell, "main", "size 90 30")
    await every_shell.send_input("main", "\x03", LONG)
    assert (await every_shell.execute("main", "stty size")).output == "30 90"


@needs("vim")
async def test_vim_edits_a_file(every_shell: TerminalPool, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("alpha\n")
    await every_shell.execute("main", "vim -u NONE -N -n note", 1)
    await screen(every_shell, "", "alpha")
    assert "alpha beta" in await screen(every_shell, "A beta\x1b", "alpha beta")
    assert "gamma" in await screen(every_shell, "ogamma\ndelta\x1b", "delta")
    result = await every_shell.send_input("main", ":wq\n", LONG)
    assert (result.status, result.return_code) == ("completed", 0)
    assert (tmp_path / "note").read_text() == "alpha beta\ngamma\ndelta\n"


@needs("less")
async def test_less_turns_its_pages(every_shell: TerminalPool) -> None:
    await every_shell.execute("main", "seq 1000 | LESS= less", 1)
    page = await screen(every_shell, "G", "1000")
    assert "full-screen program" in page
    assert (await every_shell.send_input("main", "q", LONG)).status == "completed"


@needs("top")
async def test_top_shows_its_table_until_it_is_told_to_stop(every_shell: TerminalPool) -> None:
    first = await every_shell.execute("main", "top -d 1", 0.2)
    await until(every_shell, "main", "PID", first)
    table = await screen(every_shell, " ", "PID")  # a key makes it draw again, over what is there
    assert "full-screen program" in table
    assert "Tasks:" in table
    assert (await every_shell.send_input("main", "q", LONG)).status == "completed"
    assert (await every_shell.execute("main", "stty size; echo usable")).output.endswith("50 120\nusable")


async def test_a_curses_program_is_seen_as_its_screen(every_shell: TerminalPool, tmp_path: Path) -> None:
    (tmp_path / "tui.py").write_text(TUI)
    await every_shell.execute("main", f"{PYTHON} tui.py", 1)
    shown = await screen(every_shell, "", "middle")
    assert shown.splitlines()[-4:] == ["top", "", "", "          middle"]
    assert "          key z" in await screen(every_shell, "z", "key z")
    result = await every_shell.send_input("main", "q", LONG)
    assert (result.status, result.output) == ("completed", "left")
