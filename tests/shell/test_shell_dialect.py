"""Which commands are quoted on the line of the shell, and that nobody can tell the difference."""

from __future__ import annotations

import sys

import pytest

from autopilot_runtime.shell.dialect import choose, fits_a_line
from autopilot_runtime.shell.pool import TerminalPool

if sys.platform == "win32":
    pytest.skip("POSIX shells", allow_module_level=True)

PLAIN = (
    "true",
    "ls -la ~ | wc -l; ! false",
    "git commit -m 'a (b) `c` $d'",
    'echo "it\'s" $HOME $? a*b {c,d} >out 2>&1 &',
    "# only a comment",
    "x=1 y=$x env",
)
WANT_A_FILE = (
    "one\ntwo",
    "return 3",
    "exec sh",
    "cat <<END",
    "cat <<<word",
    "echo $LINENO $(date)",
    "echo `date`",
    "echo ${x}",
    "echo $((1))",
    'echo "$x"',
    'echo "open',
    "echo 'open",
    "a=(1",
    "a[1",
    "[[ x",
    "echo a \\",
    "-x",
    "echo grüße",
    "echo \x1b",
    "echo " + "x" * 1_000,
)


@pytest.mark.parametrize("command", PLAIN)
def test_plain_words_fit_a_line(command: str) -> None:
    assert fits_a_line(command)


@pytest.mark.parametrize("command", WANT_A_FILE)
def test_what_could_swallow_the_next_line_gets_a_file(command: str) -> None:
    assert not fits_a_line(command)


def test_deciding_takes_no_time() -> None:
    assert not fits_a_line("a" * 499 + "(")
    assert not fits_a_line("'" * 499)


async def test_a_line_and_a_file_do_the_same(every_shell: TerminalPool) -> None:
    await every_shell.execute("main", "alias say='echo said'; f() { cd /; }")
    for command in ("say it", "f; pwd", "false", "x=$x.; echo $x", "no-such-program", "shift 99", "! true | cat"):
        assert fits_a_line(command)
        line = await every_shell.execute("main", command)
        await every_shell.execute("main", "x=")
        file = await every_shell.execute("main", f"{command}\n")
        await every_shell.execute("main", "x=")
        assert (line.return_code, line.cwd) == (file.return_code, file.cwd), command
        if line.return_code == 0:
            assert line.output == file.output


async def test_aliases_of_our_own_words_harm_nothing(every_shell: TerminalPool) -> None:
    await every_shell.execute("main", "alias builtin=false command=false eval=false printf=false pwd=false")
    result = await every_shell.execute("main", "cd /; true")
    assert (result.status, result.return_code, result.cwd) == ("completed", 0, "/")


async def test_a_returned_code_is_the_commands_code(every_shell: TerminalPool) -> None:
    assert (await every_shell.execute("main", "return 3")).return_code == 3
    assert (await every_shell.execute("main", "echo $?")).output == "3"


def test_the_best_shell_there_is_is_chosen() -> None:
    assert choose(None, None)[0].name in ("bash", "sh")
