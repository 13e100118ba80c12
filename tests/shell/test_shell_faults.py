"""What goes wrong in a terminal ends well, whichever shell runs in it. Real shells throughout."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from autopilot_runtime.shell.pool import TerminalPool
from tests.shell.watching import LONG, lives, until

if sys.platform == "win32":
    pytest.skip("POSIX shells", allow_module_level=True)

PYTHON = sys.executable


async def test_a_hundred_megabytes_are_bounded(every_shell: TerminalPool) -> None:
    result = await every_shell.execute(
        "main", "head -c 100000000 /dev/zero | tr '\\0' x | fold -w 120; echo; echo end", 60
    )
    assert result.status == "completed"
    assert result.total_bytes > 100_000_000
    assert len(result.output) < 64_000
    assert result.output.endswith("\nend")
    assert "left out" in result.output
    assert (await every_shell.execute("main", "echo usable")).output == "usable"


async def test_a_flood_of_short_lines_is_bounded(every_shell: TerminalPool) -> None:
    result = await every_shell.execute("main", "yes | head -c 20M; echo end", 60)
    assert result.status == "completed"
    assert result.total_bytes > 20 * 2**20
    assert len(result.output) < 64_000
    assert result.output.endswith("y\nend")


async def test_binary_output_and_an_endless_line_are_safe(every_shell: TerminalPool) -> None:
    result = await every_shell.execute(
        "main", "head -c 300000 /dev/urandom; head -c 1000000 /dev/zero | tr '\\0' y; echo; echo end", LONG
    )
    assert result.status == "completed"
    assert result.output.endswith("\nend")
    assert len(result.output) < 64_000
    assert "\x1b" not in result.output
    assert (await every_shell.execute("main", "echo usable")).output.endswith("usable")


async def test_a_line_of_a_megabyte_without_an_end_is_read_to_its_last_byte(every_shell: TerminalPool) -> None:
    result = await every_shell.execute("main", "head -c 1048575 /dev/zero | tr '\\0' y; printf z", LONG)
    assert (result.status, result.total_bytes) == ("completed", 2**20)
    assert result.output.endswith("yz")


async def test_output_of_a_background_job_is_seen_later(every_shell: TerminalPool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    assert (await every_shell.execute("main", "(read x <go; echo from behind) &")).status == "completed"
    assert (await every_shell.execute("main", "jobs")).output
    await every_shell.execute("main", "echo > go")
    assert "from behind" in await until(every_shell, "main", "from behind")
    assert "usable" in (await every_shell.execute("main", "echo usable")).output.splitlines()


async def test_a_background_job_that_never_stops_writing_holds_up_no_command(every_shell: TerminalPool) -> None:
    await every_shell.execute("main", "yes &")
    for n in range(5):
        result = await every_shell.execute("main", f"(exit {n})", LONG)
        assert (result.status, result.return_code) == ("completed", n)


async def test_an_ignored_interrupt_ends_nothing_and_terminate_ends_all(
    every_shell: TerminalPool, tmp_path: Path
) -> None:
    first = await every_shell.execute("main", "trap '' INT TERM HUP; sh -c 'echo $$ > pid; echo up; sleep 1000'", 0.2)
    await until(every_shell, "main", "up", first)
    assert (await every_shell.send_input("main", "\x03", 0.5)).status == "running"
    assert (await every_shell.terminate("main")).status == "running"
    assert not lives(int((tmp_path / "pid").read_text()))
    assert (await every_shell.execute("main", "echo again")).output == "again"


async def test_a_program_gets_the_line_it_asks_for(every_shell: TerminalPool) -> None:
    for reader in ("printf 'name? '; read -r x; echo \"got $x\"", f"{PYTHON} -c \"print('got', input('name? '))\""):
        first = await every_shell.execute("main", reader, 0.2)
        await until(every_shell, "main", "name?", first)
        result = await every_shell.send_input("main", "two words\n", LONG)
        assert (result.status, result.output.splitlines()[-1]) == ("completed", "got two words")


async def test_a_hidden_password_is_read_and_not_echoed(every_shell: TerminalPool, shell: str) -> None:
    read = "stty -echo; read -r p; stty echo" if shell == "sh" else "read -r -s p"
    first = await every_shell.execute("main", f'printf Password:; {read}; echo; echo "length ${{#p}}"', 0.2)
    await until(every_shell, "main", "Password:", first)
    result = await every_shell.send_input("main", "hunter22\n", LONG)
    assert "length 8" in result.output
    assert "hunter22" not in result.output


async def test_text_is_utf8_on_a_host_without_terminal_or_locale(
    tmp_path: Path, shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TERM", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "C")
    monkeypatch.setenv("LC_ALL", "C")
    pool = TerminalPool(tmp_path, shell=shell)
    result = await pool.execute(
        "main", f"echo 'grüße 漢字'; printf '\\303\\244\\n'; {PYTHON} -c \"print('ö', len('ö'))\"", LONG
    )
    assert result.output == "grüße 漢字\nä\nö 1"
    await pool.close()


async def test_text_is_utf8_without_any_environment(tmp_path: Path, shell: str) -> None:
    pool = TerminalPool(tmp_path, {"PATH": os.environ["PATH"], "TERM": ""}, shell=shell)
    assert (await pool.execute("main", "echo 'grüße 漢字'; printf '\\303\\244\\n'")).output == "grüße 漢字\nä"
    await pool.close()


async def test_escape_sequences_reach_nobody(every_shell: TerminalPool) -> None:
    osc52, title = r"\033]52;c;cm0=\007", r"\033]0;title\007"
    link = r"\033]8;;http://x\033\\link\033]8;;\033\\"
    result = await every_shell.execute("main", f"printf '{osc52}a{title}b{link}c'; printf '\\033[31mred\\033[0m'")
    assert result.output == "ablinkcred"
    assert "\x1b" not in result.shown()


async def test_the_terminals_words_stolen_and_shown_again_end_nothing(every_shell: TerminalPool) -> None:
    stolen = (await every_shell.execute("main", "trap")).output  # what runs at exit carries the nonce
    nonce = stolen.split("633;X;")[1].split(";")[0]
    assert len(nonce) == 32
    fakes = [rf"\033]633;D;{nonce};{n}\007\033]633;X;{nonce};/fake\007{nonce};{n};0;/fake\n\000" for n in range(9)]
    first = await every_shell.execute("main", f"printf '{''.join(fakes)}'; read x; (exit 4)", 0.3)
    assert (first.status, first.cwd) == ("running", every_shell.work_dir)
    last = await every_shell.send_input("main", "\n", LONG)
    assert (last.status, last.return_code, last.cwd) == ("completed", 4, every_shell.work_dir)
