"""What of a Windows terminal is only text: what is typed and written, and what its marks and reports mean."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.shell.windows import WINDOWS_DIALECTS, WindowsTerminal, report_of

NONCE = "0123abcd"
FOLDER = Path("C:/Users/O'Brien x/run/1")
QUOTED = {
    "powershell": "'" + str(FOLDER).replace("O'Brien", "O''Brien"),
    "cmd": '"' + str(FOLDER),
}


@pytest.fixture
async def terminal(tmp_path: Path) -> WindowsTerminal:
    """One without a console: what it hears comes from the test."""
    terminal = WindowsTerminal("main", cwd="C:\\", env={}, run_dir=tmp_path, marker="pool/1", shell="cmd")
    (tmp_path / "1").mkdir()
    return terminal


@pytest.mark.parametrize("shell", WINDOWS_DIALECTS)
def test_a_command_is_a_file_and_one_typed_line(shell: str) -> None:
    dialect = WINDOWS_DIALECTS[shell]
    files, line = dialect.tell("echo 'ä' {x}\necho %y%\r\n", 7, folder=FOLDER, nonce=NONCE)
    assert line.endswith("\r")
    assert not set("\r\n") & set(line[:-1]), "a line break would run half of it"
    script = files[FOLDER / f"7{dialect.suffix}"]
    assert script == dialect.prologue + "echo 'ä' {x}\r\necho %y%\r\n"
    assert {files[FOLDER / "7.begin"], files[FOLDER / "7.mark"]} == {
        f"\x1b]633;C;{NONCE};7\x07",
        f"\x1b]633;D;{NONCE};7\x07",
    }
    assert "'ä'" not in line, "the text of a command is never typed"


@pytest.mark.parametrize("shell", WINDOWS_DIALECTS)
def test_the_line_names_its_files_in_order_and_quoted(shell: str) -> None:
    dialect = WINDOWS_DIALECTS[shell]
    _, line = dialect.tell("dir", 7, folder=FOLDER, nonce=NONCE)
    names = re.findall(r"7\.\w+", line)
    assert names == ["7.begin", f"7{dialect.suffix}", "7.end", "7.mark"]
    assert line.count(QUOTED[shell]) >= 4


def test_powershell_reads_its_file_as_utf8_and_cmd_says_nothing_of_itself() -> None:
    assert WINDOWS_DIALECTS["powershell"].prologue == "\ufeff"
    assert WINDOWS_DIALECTS["cmd"].prologue == "@echo off\r\n"


@pytest.mark.parametrize(
    ("text", "report"),
    [
        ("0;C:\\Users\\x\r\n", (0, "C:\\Users\\x")),
        ("\ufeff3;D:\\a;b c\n", (3, "D:\\a;b c")),
        ("-1073741510;C:\\", (0xC000013A, "C:\\")),
        ("True;C:\\", (1, "C:\\")),
        ("", (1, "")),
    ],
)
def test_a_report_is_a_code_and_a_folder(text: str, report: tuple[int, str]) -> None:
    assert report_of(text) == report


async def test_a_mark_says_when_to_read_the_report(terminal: WindowsTerminal, tmp_path: Path) -> None:
    ledger = terminal.ledger
    ledger.begin("dir")
    end = tmp_path / "1" / "1.end"
    end.write_text("5;D:\\work\r\n")
    stream = f'type "x" & call "y"\r\n\x1b]633;C;{ledger.nonce};1\x07listing\r\n\x1b]633;D;{ledger.nonce};1\x07 '
    for at in range(0, len(stream), 3):
        terminal._heard(stream[at : at + 3])
    result = ledger.look("new").result()
    assert (result.status, result.return_code, result.cwd) == ("completed", 5, "D:\\work")
    assert result.output.rstrip() == "listing"
    assert not end.exists()


async def test_a_mark_nobody_of_ours_wrote_ends_nothing(terminal: WindowsTerminal) -> None:
    ledger = terminal.ledger
    ledger.begin("dir")
    terminal._heard(f"\x1b]633;D;{ledger.nonce};2\x07\x1b]633;D;guessed;1\x07\x1b]633;D\x07")
    terminal._heard(f"\x1b]633;D;{ledger.nonce};1\x07")  # stolen: there is no report behind it
    assert ledger.running


async def test_the_end_of_the_shell_ends_its_command(terminal: WindowsTerminal) -> None:
    terminal.ledger.begin("exit 3")
    terminal._heard(3)
    assert terminal.state().status == "exited"
    assert terminal.ledger.return_code == 3
    with pytest.raises(ToolError, match="Nothing is running"):
        await terminal.send("x\n", timeout=1)


def test_an_unknown_shell_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="Use one of: powershell, cmd"):
        WindowsTerminal("main", cwd="C:\\", env={}, run_dir=tmp_path, marker="pool/1", shell="bash")


@pytest.mark.skipif(sys.platform == "win32", reason="there it starts")
async def test_where_it_cannot_start_it_says_why(terminal: WindowsTerminal, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="does not exist"):
        await terminal.start()
    terminal.ledger.cwd = str(tmp_path)
    with pytest.raises(ToolError, match="not installed"):
        await terminal.start()
