"""Which commands are quoted on the line of the shell, and that nobody can tell the difference."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from autopilot_runtime.shell.dialect import DIALECTS, choose, fits_a_line
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


@pytest.fixture(params=DIALECTS)
async def pool(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TerminalPool]:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    pool = TerminalPool(tmp_path, shell=request.param)
    yield pool
    await pool.close()


@pytest.mark.parametrize("command", PLAIN)
def test_plain_words_fit_a_line(command: str) -> None:
    assert fits_a_line(command)


@pytest.mark.parametrize("command", WANT_A_FILE)
def test_what_could_swallow_the_next_line_gets_a_file(command: str) -> None:
    assert not fits_a_line(command)


def test_deciding_takes_no_time() -> None:
    assert not fits_a_line("a" * 499 + "(")
    assert not fits_a_line("'" * 499)


async def test_a_line_and_a_file_do_the_same(pool: TerminalPool) -> None:
    await pool.execute("main", "alias say='echo said'; f() { cd /; }")
    for command in ("say it", "f; pwd", "false", "x=$x.; echo $x", "no-such-program", "shift 99", "! true | cat"):
        assert fits_a_line(command)
        line = await pool.execute("main", command)
        await pool.execute("main", "x=")
        file = await pool.execute("main", f"{command}\n")
        await pool.execute("main", "x=")
        assert (line.return_code, line.cwd) == (file.return_code, file.cwd), command
        if line.return_code == 0:
            assert line.output == file.output


async def test_a_returned_code_is_the_commands_code(pool: TerminalPool) -> None:
    assert (await pool.execute("main", "return 3")).return_code == 3
    assert (await pool.execute("main", "echo $?")).output == "3"


def test_the_best_shell_there_is_is_chosen() -> None:
    assert choose(None, None)[0].name in ("bash", "sh")
