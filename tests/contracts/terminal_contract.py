"""What every `Terminal` must do. Subclass `TerminalContract`, give `words` and a `terminal` fixture, and run it.

`PosixShellContract` adds what only the shells of POSIX have: signals, job control, `set -e`, heredocs.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import ToolError
from autopilot_runtime.shell.terminal import CommandResult, Terminal

LONG = 20.0
BROKEN = (
    *(
        "if true; then",
        "for",
        "case x in",
        "f() {",
        "{",
        "}",
        "fi",
        "echo )",
        "&& true",
        "; ;",
        "echo >",
        "local x+=1",
    ),
    *('echo "open', "echo 'open", "echo `open", "cat $(", "echo ${open", "echo $((1", "cat <<END\nnever closed"),
)


async def seen(terminal: Terminal, first: CommandResult, wanted: Callable[[str], bool]) -> str:
    """All output from `first` on, until it is as wanted (at most some seconds)."""
    text = first.output
    async with asyncio.timeout(LONG):
        while not wanted(text):
            look = await terminal.read(timeout=0.2)
            text = text + "\n" + look.output if look.mode == "delta" else look.output
    return text


@dataclass(frozen=True, slots=True)
class Words:
    """How one family of shells says what the contract needs."""

    say: str
    say_bare: str  # without a line break
    code: str  # leaves this code; the shell lives
    go: str
    remember: str
    recall: str
    lines: str  # says n1, n2, n3; is several lines itself
    wait: str  # for a line of input
    sleep: str


POSIX = Words(
    say="echo {0}",
    say_bare="printf {0}",
    code="(exit {0})",
    go="cd '{0}'",
    remember="word={0}",
    recall='echo "$word"',
    lines='for i in 1 2 3\ndo\n\techo "n$i"\ndone',
    wait="read x",
    sleep="sleep 1000",
)
POWERSHELL = Words(
    say="Write-Output {0}",
    say_bare="[Console]::Write('{0}')",
    code="cmd /c exit {0}",
    go="Set-Location '{0}'",
    remember="$word = '{0}'",
    recall="$word",
    lines='1..3 | ForEach-Object {\n  "n$_"\n}',
    wait="$null = [Console]::ReadLine()",
    sleep="Start-Sleep 1000",
)
CMD = Words(
    say="echo {0}",
    say_bare="<nul set /p ={0}",
    code="cmd /c exit {0}",
    go='cd /d "{0}"',
    remember="set word={0}",
    recall="echo %word%",
    lines="for %%i in (1 2 3) do (\n  echo n%%i\n)",
    wait="set /p x=",
    sleep="ping -n 1000 127.0.0.1 >nul",
)


class TerminalContract:
    """The behaviour every terminal shares, told through real commands."""

    words = POSIX

    @pytest.fixture
    async def terminal(self, tmp_path: Path) -> AsyncIterator[Terminal]:
        raise NotImplementedError
        yield

    async def say(self, terminal: Terminal, command: str, *, timeout: float = LONG) -> CommandResult:
        return await terminal.run(command, timeout=timeout)

    async def says(self, terminal: Terminal, text: str) -> str:
        return (await self.say(terminal, self.words.say.format(text))).output

    async def test_the_first_command_gets_its_own_output(self, terminal: Terminal) -> None:
        result = await self.say(terminal, self.words.say.format("first"))
        assert (result.status, result.return_code, result.output, result.mode) == ("completed", 0, "first", "new")

    async def test_a_folder_and_a_variable_are_kept(self, terminal: Terminal, tmp_path: Path) -> None:
        (tmp_path / "a b").mkdir()
        await self.say(terminal, self.words.go.format("a b"))
        await self.say(terminal, self.words.remember.format("kept"))
        result = await self.say(terminal, self.words.recall)
        assert (result.output, result.cwd) == ("kept", str(tmp_path / "a b"))
        assert terminal.cwd == result.cwd

    async def test_an_exit_code_is_exact(self, terminal: Terminal) -> None:
        for code in (42, 0, 255):
            assert (await self.say(terminal, self.words.code.format(code))).return_code == code

    async def test_many_lines_are_one_command(self, terminal: Terminal) -> None:
        assert (await self.say(terminal, self.words.lines)).output.split() == ["n1", "n2", "n3"]
        assert await self.says(terminal, "next") == "next"

    async def test_output_without_newline_ends_where_it_ends(self, terminal: Terminal) -> None:
        assert (await self.say(terminal, self.words.say_bare.format("abc"))).output == "abc"
        assert await self.says(terminal, "next") == "next"

    async def test_a_reader_is_answered_after_the_time_out(self, terminal: Terminal) -> None:
        first = await self.say(terminal, self.words.wait, timeout=0.3)
        assert (first.status, first.return_code) == ("running", None)
        last = await terminal.send("\n", timeout=LONG)
        assert (last.status, last.mode) == ("completed", "delta")
        assert (await terminal.read(timeout=LONG)).mode == "full"

    async def test_output_is_capped_and_both_ends_are_kept(self, terminal: Terminal) -> None:
        terminal.max_chars = 1_000
        result = await self.say(terminal, "\n".join(self.words.say.format(f"line{n}") for n in range(500)))
        assert len(result.output) < 1_200
        assert result.output.startswith("line0")
        assert result.output.endswith("line499")
        assert "left out" in result.output

    async def test_the_exit_of_the_shell_is_told_with_its_code(self, terminal: Terminal) -> None:
        result = await self.say(terminal, "exit 3")
        assert (result.status, result.return_code) == ("exited", 3)
        assert not terminal.alive

    async def test_a_nul_is_refused_and_nothing_runs(self, terminal: Terminal, tmp_path: Path) -> None:
        with pytest.raises(ToolError, match="NUL"):
            await self.say(terminal, self.words.go.format("..") + "\0")
        assert (await self.say(terminal, self.words.recall)).cwd == str(tmp_path)

    async def test_a_second_command_waits_for_nobody(self, terminal: Terminal) -> None:
        await self.say(terminal, self.words.wait, timeout=0)
        with pytest.raises(ToolError, match="still running: " + re.escape(self.words.wait)):
            await self.says(terminal, "no")
        await terminal.send("\n", timeout=LONG)
        assert await self.says(terminal, "yes") == "yes"

    async def test_typing_into_an_idle_shell_is_refused(self, terminal: Terminal) -> None:
        await self.says(terminal, "idle")
        with pytest.raises(ToolError, match="Nothing is running"):
            await terminal.send("touch x\n", timeout=1)

    async def test_cancelling_kills_what_runs(self, terminal: Terminal) -> None:
        task = asyncio.create_task(self.say(terminal, self.words.sleep))
        async with asyncio.timeout(LONG):
            while not terminal.running:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not terminal.alive

    async def test_state_tells_what_it_does(self, terminal: Terminal) -> None:
        assert terminal.state().status == "idle"
        await self.say(terminal, self.words.wait, timeout=0)
        state = terminal.state()
        assert (state.status, state.command, state.pid) == ("running", self.words.wait, terminal.pid)
        await terminal.close()
        assert terminal.state().status == "exited"

    async def test_closing_twice_is_closing_once(self, terminal: Terminal) -> None:
        await terminal.close()
        await terminal.close()
        assert not terminal.alive


class PosixShellContract(TerminalContract):
    """What shells of POSIX do besides."""

    async def test_state_is_kept_between_commands(self, terminal: Terminal, tmp_path: Path) -> None:
        (tmp_path / "a b").mkdir()
        await self.say(terminal, "cd 'a b'; word=kept; f() { echo \"f $1\"; }")
        result = await self.say(terminal, 'echo "$word"; f x; pwd')
        assert result.output == f"kept\nf x\n{tmp_path}/a b"
        assert result.cwd == terminal.cwd == f"{tmp_path}/a b"

    async def test_exit_codes_are_exact_and_passed_on(self, terminal: Terminal) -> None:
        assert (await self.say(terminal, "(exit 42)")).return_code == 42
        assert (await self.say(terminal, "echo $?")).output == "42"
        assert (await self.say(terminal, "no_such_program_here")).return_code == 127
        assert (await self.say(terminal, "true | false")).return_code == 1

    async def test_many_lines_and_a_heredoc_are_one_command(self, terminal: Terminal) -> None:
        command = "for i in 1 2 3\ndo\n\techo \"n$i\"\ndone\ncat <<'END'\n$HOME !! `x`\n\ttab\nEND\necho end"
        assert (await self.say(terminal, command)).output == "n1\nn2\nn3\n$HOME !! `x`\n\ttab\nend"

    @pytest.mark.parametrize("broken", BROKEN)
    async def test_an_unfinished_command_ends_and_harms_nothing(self, terminal: Terminal, broken: str) -> None:
        assert (await self.say(terminal, broken)).status != "running"
        assert (await self.say(terminal, "echo fine")).output == "fine"

    async def test_a_command_of_a_megabyte_is_one_command(self, terminal: Terminal) -> None:
        result = await self.say(terminal, f": {'x' * 1_000_000}\necho done")
        assert (result.output, result.return_code) == ("done", 0)

    async def test_a_command_of_five_thousand_lines_is_one_command(self, terminal: Terminal) -> None:
        result = await self.say(terminal, "n=0\n" + "n=$((n+1))\n" * 5_000 + "echo $n")
        assert result.output == "5000"

    async def test_time_out_is_no_end(self, terminal: Terminal) -> None:
        first = await self.say(
            terminal, "echo one; read x; echo two; exit_code() { return 3; }; exit_code", timeout=0.3
        )
        assert (first.status, first.return_code) == ("running", None)
        assert await seen(terminal, first, lambda text: "one" in text)
        last = await terminal.send("\n", timeout=LONG)
        assert (last.status, last.return_code, last.mode) == ("completed", 3, "delta")
        assert "two" in last.output
        assert "one" not in last.output
        again = await terminal.read(timeout=LONG)
        assert again.mode == "full"
        assert again.output.splitlines()[0] == "one"
        assert again.output.splitlines()[-1] == "two"

    async def test_ctrl_c_ends_a_program_and_a_loop_of_the_shell(self, terminal: Terminal) -> None:
        for endless in ("sleep 1000", "while :; do :; done"):
            await self.say(terminal, f"echo up; {endless}", timeout=0.3)
            result = await terminal.send("\x03", timeout=LONG)
            assert (result.status, result.return_code) == ("completed", 130)
            assert (await self.say(terminal, "echo alive")).output.splitlines()[-1] == "alive"

    async def test_ctrl_d_ends_a_reader_and_never_the_shell(self, terminal: Terminal) -> None:
        await self.say(terminal, "cat", timeout=0.2)
        await terminal.send("line\n", timeout=1)
        result = await terminal.send("\x04", timeout=LONG)
        assert (result.status, result.return_code) == ("completed", 0)
        assert terminal.alive

    async def test_ctrl_z_gives_the_shell_back(self, terminal: Terminal) -> None:
        await self.say(terminal, "sleep 1000", timeout=0.3)
        result = await terminal.send("\x1a", timeout=LONG)
        assert result.status == "completed"
        assert "sleep" in (await self.say(terminal, "jobs")).output

    async def test_what_nobody_read_is_not_run_and_not_read_by_the_next(
        self, terminal: Terminal, tmp_path: Path
    ) -> None:
        await self.say(terminal, "read x", timeout=0.2)
        await terminal.send(f"one\ntouch {tmp_path}/run\n", timeout=LONG)
        await self.say(terminal, "echo settled")
        assert not (tmp_path / "run").exists()
        await self.say(terminal, 'read y; echo "y=$y"', timeout=0.2)
        assert "y=fresh" in (await terminal.send("fresh\n", timeout=LONG)).output

    async def test_exit_ends_the_shell_with_its_code_and_folder(self, terminal: Terminal, tmp_path: Path) -> None:
        (tmp_path / "deep").mkdir()
        result = await self.say(terminal, "cd deep; exit 3")
        assert (result.status, result.return_code, result.cwd) == ("exited", 3, f"{tmp_path}/deep")
        assert not terminal.alive

    async def test_set_e_ends_the_shell_at_the_first_fault(self, terminal: Terminal) -> None:
        result = await self.say(terminal, "set -e; echo before; false; echo after")
        assert (result.status, result.return_code) == ("exited", 1)
        assert result.output.splitlines()[0] == "before"
        assert "after" not in result.output

    async def test_set_e_alone_does_not_end_the_shell(self, terminal: Terminal) -> None:
        assert (await self.say(terminal, "(exit 5)")).return_code == 5
        await self.say(terminal, "set -e; false || true")
        assert (await self.say(terminal, "echo here")).output == "here"

    async def test_exec_ends_with_its_program(self, terminal: Terminal) -> None:
        result = await self.say(terminal, "exec sh -c 'echo program; exit 7'")
        assert (result.status, result.return_code, result.output) == ("exited", 7, "program")

    async def test_a_killed_shell_is_told_with_its_signal(self, terminal: Terminal) -> None:
        result = await self.say(terminal, "kill -9 $$")
        assert (result.status, result.return_code) == ("exited", 137)
        assert "SIGKILL" in " ".join(result.notes)

    async def test_redirecting_the_shell_itself_loses_no_end(self, terminal: Terminal, tmp_path: Path) -> None:
        result = await self.say(terminal, "exec >out 2>&1; echo hidden")
        assert (result.status, result.output) == ("completed", "")
        assert (tmp_path / "out").read_text() == "hidden\n"
        assert (await self.say(terminal, "(exit 5)")).return_code == 5

    async def test_tracing_does_not_show_our_own_lines(self, terminal: Terminal) -> None:
        await self.say(terminal, "set -x")
        result = await self.say(terminal, "echo traced")
        assert "report" not in result.output
        assert result.output.splitlines()[-1] == "traced"
