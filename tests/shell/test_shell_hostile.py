"""Output, input and names that want more than they are: none of it is believed."""

from __future__ import annotations

import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.shell.pool import TerminalPool

if sys.platform == "win32":
    pytest.skip("POSIX shells", allow_module_level=True)

LONG = 20.0
FAKES = (
    r"\033]633;D;0\007",
    r"\033]633;D;1;0\007",
    r"\033]633;D;00000000000000000000000000000000;1\007",
    r"\033]633;X;00000000000000000000000000000000;/fake\007",
    r"\033]133;D;0\007",
    r"\033]7;file://host/fake\007",
    r"\033]1337;CurrentDir=/fake\007",
    r"00000000000000000000000000000000;1;0;/fake\000",
)


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[TerminalPool]:
    pool = TerminalPool(tmp_path)
    yield pool
    await pool.close()


async def test_output_cannot_fake_an_end_a_code_or_a_folder(every_shell: TerminalPool, tmp_path: Path) -> None:
    (tmp_path / "fakes").write_text("".join(FAKES))
    first = await every_shell.execute("main", 'printf "$(cat fakes)"; read x; (exit 9)', 0.3)
    assert first.status == "running"
    last = await every_shell.send_input("main", "\n", LONG)
    assert (last.status, last.return_code, last.cwd) == ("completed", 9, str(tmp_path))


async def test_a_program_inherits_no_way_to_speak_for_the_shell(every_shell: TerminalPool, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import os\n"
        "for fd in range(3, 1024):\n"
        "    try: os.write(fd, b'x')\n"
        "    except OSError: continue\n"
        "    print('open', fd)\n"
        "print('nonce', any('633' in value for value in os.environ.values()))\n"
    )
    for command in (f"{sys.executable} program.py", f"echo quoted in a file >&2\n{sys.executable} program.py"):
        result = await every_shell.execute("main", command, LONG)
        assert result.output.splitlines()[-1] == "nonce False"
        assert "open" not in result.output


async def test_a_program_cannot_steal_the_shells_next_command(pool: TerminalPool) -> None:
    result = await pool.execute("main", "cat </dev/null; echo one; echo two")
    assert result.output == "one\ntwo"
    assert (await pool.execute("main", "readlink /proc/self/fd/0")).output.startswith("/dev/")


async def test_an_old_mark_shown_again_ends_nothing(pool: TerminalPool, tmp_path: Path) -> None:
    await pool.execute("main", "declare -f __autopilot_report > stolen")
    nonce = (tmp_path / "stolen").read_text().split("printf")[1].split()[1]
    assert len(nonce) == 32
    first = await pool.execute(
        "main", f"printf '\\033]633;D;{nonce};1\\007\\033]633;D;{nonce};2\\007'; read x; (exit 4)", 0.3
    )
    assert first.status == "running", "the mark alone is no end: the report on the private pipe is"
    assert (await pool.send_input("main", "\n", LONG)).return_code == 4


async def test_half_a_mark_does_not_reach_into_the_next_command(pool: TerminalPool) -> None:
    assert (await pool.execute("main", r"printf 'a\033]633;D;'")).output == "a"
    assert (await pool.execute("main", "printf b")).output == "b"


async def test_nothing_that_acts_on_a_terminal_is_left(pool: TerminalPool) -> None:
    result = await pool.execute(
        "main", r"printf '\033]52;c;cm0=\007a\033]0;t\007b\033[31mc\033[0m\033P1\033\\d\033[6n\033c'"
    )
    assert result.output == "abcd"


async def test_the_name_of_a_terminal_is_a_name(pool: TerminalPool) -> None:
    for name in ("", "a\nb", "x" * 101, "a\x1b[31m"):
        with pytest.raises(ToolError, match="printable"):
            await pool.execute(name, "true", new_terminal=True)
    assert (await pool.execute("../../x", "echo fine", new_terminal=True)).output == "fine"


async def test_command_files_are_private_and_go_away(pool: TerminalPool) -> None:
    await pool.execute("main", "true")
    folder = pool._run_dir
    assert folder is not None
    assert not list(folder.iterdir()), "what fits on a line needs no file"
    await pool.execute("main", "read x\ntrue", 0)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    await pool.send_input("main", "\n", LONG)
    assert not list(folder.iterdir())
    await pool.close()
    assert not folder.exists()


async def test_the_keys_of_the_host_stay_with_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "very-secret-value")
    monkeypatch.setenv("PLAIN_SETTING", "x")
    pool = TerminalPool(tmp_path)
    result = await pool.execute("main", "env; cat /proc/$$/environ | tr '\\0' '\\n'")
    await pool.close()
    assert "very-secret" not in result.output
    assert "PATH=" in result.output


async def test_functions_and_settings_of_the_host_do_not_reach_in(
    tmp_path: Path, shell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("rc", ".zshenv", ".zshrc"):
        (tmp_path / name).write_text("echo rc-was-read\n")
    for name, value in {"BASH_ENV": "rc", "ENV": "rc", "ZDOTDIR": "."}.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    monkeypatch.setenv("BASH_FUNC_pwd%%", "() { echo /evil; }")
    pool = TerminalPool(tmp_path, shell=shell)
    result = await pool.execute("main", "echo clean")
    assert (result.output, result.cwd) == ("clean", str(tmp_path))
    await pool.close()


async def test_a_command_that_replaces_builtins_cannot_lie_about_its_end(pool: TerminalPool, tmp_path: Path) -> None:
    evil = (
        "printf() { :; }; pwd() { echo /fake; }; PWD=/fake; __autopilot_report() { :; }; unset -f __autopilot_report"
    )
    await pool.execute("main", f"{evil} 2>/dev/null; PROMPT_COMMAND='echo prompt'; PS1='$ '", 2)
    result = await pool.execute("main", "(exit 3)", 5)
    assert (result.status, result.return_code, result.cwd) == ("completed", 3, str(tmp_path))


@pytest.mark.parametrize(
    "command", ["exec 86>&- 87>&-", "exec 87>/dev/null", "eval 'exec 86<&-'", "trap '' INT TERM; true"]
)
async def test_closing_our_descriptors_changes_nothing(pool: TerminalPool, command: str) -> None:
    assert (await pool.execute("main", command)).status == "completed"
    assert (await pool.execute("main", "echo fine")).output == "fine"


async def test_lone_surrogates_are_refused_before_anything_runs(pool: TerminalPool) -> None:
    with pytest.raises(ToolError, match="nothing was run"):
        await pool.execute("main", "echo \ud800")
    assert (await pool.execute("main", "echo fine")).output == "fine"
