"""The terminals of one runtime, by name. `main` is always there; its shell starts at first use."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from autopilot_runtime.confine.scratch import fast_folder
from autopilot_runtime.confine.wall import Wall
from autopilot_runtime.core.errors import RuntimeClosed, ToolError
from autopilot_runtime.shell.environ import child_environment
from autopilot_runtime.shell.guard import Guard
from autopilot_runtime.shell.program import MAX_BYTES, ProgramResult, run_program
from autopilot_runtime.shell.terminal import COLUMNS, MAX_CHARS, ROWS, CommandResult, Terminal, TerminalState
from autopilot_runtime.shell.tree import kill_tree

MAIN = "main"
_MOST_TERMINALS = 128
_FRESH = "the terminal of before is gone, with its variables and jobs; this is a fresh one in {cwd}"


class TerminalPool:
    """Named terminals in `work_dir`. Two pools share nothing: no shell, no folder, no name."""

    def __init__(
        self,
        work_dir: str | os.PathLike[str],
        env: Mapping[str, str] | None = None,
        *,
        shell: str | None = None,
        size: tuple[int, int] = (ROWS, COLUMNS),
        max_output_chars: int = MAX_CHARS,
        most: int = _MOST_TERMINALS,
        open_wall: Callable[[Sequence[str]], Wall] | None = None,
    ) -> None:
        """`open_wall` gets the folders that programs must be able to read, and gives what confines them."""
        self.work_dir = os.path.realpath(work_dir)
        self.env = dict(env) if env is not None else child_environment(os.environ)
        self.max_output_chars = max_output_chars
        self._id = secrets.token_hex(8)
        self._shell = shell
        self._size = size
        self._most = most
        self._terminals: dict[str, Terminal] = {}
        self._left: dict[str, str] = {}  # folders of terminals that an earlier process had, by name
        self._count = 0
        self._run_dir: Path | None = None
        self._guard: Guard | None = None
        self._closed = False
        self._owner = os.getpid()
        self._opening: set[str] = set()
        self._open_wall = open_wall
        self._wall: Wall | None = None
        self._grounding = threading.Lock()

    # ---------------------------------------------------------------- what tools ask for

    async def execute(
        self,
        session_id: str,
        command: str,
        timeout: float = 10,
        new_terminal: bool = False,
        shell: str | None = None,
        *,
        max_chars: int | None = None,
    ) -> CommandResult:
        """Run a command in a terminal; after `timeout` seconds it goes on and the result says `running`."""
        if not command.strip():
            raise ToolError("The command is empty; nothing was run.")
        seconds = _checked(timeout)
        terminal, note = await self._ready(session_id, new_terminal=new_terminal, shell=shell)
        terminal.max_chars = max_chars or self.max_output_chars
        result = self._explained(await terminal.run(command, timeout=seconds))
        return replace(result, notes=(note, *result.notes)) if note else result

    async def read_output(
        self, session_id: str, timeout: float = 5, *, max_chars: int | None = None
    ) -> CommandResult:
        """New output of the newest command, waited for; all of it when it has ended and nothing is new."""
        return self._explained(await self._existing(session_id, max_chars).read(timeout=_checked(timeout)))

    async def send_input(
        self, session_id: str, text: str, timeout: float = 5, *, max_chars: int | None = None
    ) -> CommandResult:
        """Type into the running command. An idle terminal refuses: nothing typed is ever run by the shell itself."""
        return await self._existing(session_id, max_chars).send(text, timeout=_checked(timeout))

    async def program(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 60,
        stdin: str | bytes | None = None,
        env: Mapping[str, str] | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> ProgramResult:
        """Run one short program in `work_dir`, without a terminal, confined as shells are. `env` adds variables."""
        self._check_usable()
        marker = self._next_marker()
        wall = await self._standing()
        return await run_program(
            argv, cwd=self.work_dir, env={**wall.env(self.env), **(env or {})}, marker=marker, wall=wall,
            timeout=_checked(timeout), stdin=stdin, max_bytes=max_bytes,
        )  # fmt: skip

    async def terminate(self, session_id: str) -> TerminalState:
        """Kill a terminal and everything it started; gives what it was doing."""
        terminal = self._existing(session_id)
        state = terminal.state()
        del self._terminals[session_id]
        await self._end(terminal)
        return state

    def resize(self, session_id: str, rows: int, columns: int) -> None:
        """Give a terminal another size."""
        self._existing(session_id).resize(rows, columns)

    def snapshot(self) -> list[TerminalState]:
        """All terminals as they are now, `main` first."""
        ordered = sorted(self._terminals.values(), key=lambda terminal: terminal.name != MAIN)
        states = [terminal.state() for terminal in ordered]
        if MAIN not in self._terminals:
            states.insert(0, TerminalState(MAIN, None, "not started", self.work_dir, self._shell or "default"))
        return states

    def running(self, session_id: str) -> str | None:
        """The command that runs in a terminal now; None when it is idle, dead or unknown."""
        terminal = self._terminals.get(session_id)
        return terminal.state().command if terminal is not None and terminal.running else None

    def recall(self, folders: Mapping[str, str]) -> None:
        """An earlier process left terminals in these folders: what is typed next counts on being there."""
        self._left.update(folders)

    def kill(self) -> None:
        """End every terminal in which a command runs, now, without waiting (abort). Idle ones keep their state."""
        for terminal in self._terminals.values():
            if terminal.running:
                terminal.kill()

    async def close(self) -> None:
        """Kill and reap everything, remove the pool's folder. A closed pool refuses commands."""
        self._closed = True
        if os.getpid() != self._owner:
            return  # a forked copy must not touch what belongs to its parent
        terminals, self._terminals = self._terminals, {}
        for terminal in terminals.values():
            await terminal.close()
        await asyncio.to_thread(self._clear_ground)

    def _explained(self, result: CommandResult) -> CommandResult:
        """With a word on the sandbox, where a command failed because of it."""
        hint = self._wall.hint(result.output) if self._wall is not None and result.return_code != 0 else ""
        return replace(result, notes=(*result.notes, hint)) if hint else result

    # ---------------------------------------------------------------- finding and starting

    def _existing(self, session_id: str, max_chars: int | None = None) -> Terminal:
        self._check_usable()
        terminal = self._terminals.get(session_id)
        if terminal is not None:
            terminal.max_chars = max_chars or self.max_output_chars
            return terminal
        if session_id == MAIN:
            raise ToolError(f"Terminal {MAIN!r} has not run anything yet. Use execute({MAIN!r}, command).")
        raise ToolError(f"There is no terminal {session_id!r}. {self._known()}")

    async def _ready(self, session_id: str, *, new_terminal: bool, shell: str | None) -> tuple[Terminal, str]:
        """A living terminal for a command, and what the caller should know about it."""
        self._check_usable()
        old = self._terminals.get(session_id)
        if old is None and session_id != MAIN and not new_terminal:
            raise ToolError(f"There is no terminal {session_id!r}. {self._known()} To open it: new_terminal=True.")
        if old is None:
            return await self._first(session_id, shell or self._shell)
        if old.alive:
            if shell not in (None, old.shell):
                raise ToolError(
                    f"Terminal {session_id!r} runs {old.shell}, not {shell}. Open another with new_terminal=True."
                )
            return (
                old,
                "this terminal was already open, so it was used as it is" if new_terminal and not old.running else "",
            )
        fresh = await self._open(session_id, old.cwd, shell or old.shell)
        await self._end(old)
        note = "the shell had ended; this is a fresh one in the same folder"
        if fresh.cwd != old.cwd:
            note = f"the shell had ended and its folder {old.cwd} is gone; this is a fresh one in {fresh.cwd}"
        return fresh, note

    async def _first(self, session_id: str, shell: str | None) -> tuple[Terminal, str]:
        """A terminal that is new to this pool, where an earlier process may have left it."""
        left = self._left.pop(session_id, self.work_dir)
        fresh = await self._open(session_id, left, shell)
        return fresh, _FRESH.format(cwd=fresh.cwd) if left != self.work_dir else ""

    async def _open(self, session_id: str, cwd: str, shell: str | None) -> Terminal:
        self._check_can_open(session_id)
        marker = self._next_marker()
        others = len(self._opening)
        self._opening.add(session_id)
        try:
            wall = await self._standing()
            cwd = cwd if wall.has_folder(cwd) else self.work_dir
            terminal = self._make(session_id, cwd, shell, marker=marker, wall=wall)
            for _ in range(others):  # a fork takes milliseconds: one a turn of the loop, however many are asked for
                await asyncio.sleep(0)
            await terminal.start()
        finally:
            self._opening.discard(session_id)
        if self._guard is not None and terminal.pid is not None:
            self._guard.watch(terminal.pid)
        if self._closed:
            await terminal.close()
            raise RuntimeClosed("The terminals were closed while a shell was starting.")
        self._terminals[session_id] = terminal
        return terminal

    def _check_can_open(self, session_id: str) -> None:
        if not session_id or len(session_id) > 100 or not session_id.isprintable():
            raise ToolError("A terminal's name is 1 to 100 printable characters.")
        if session_id in self._opening:
            raise ToolError(f"Terminal {session_id!r} is just being opened by another call.")
        if session_id not in self._terminals and len(self._terminals) + len(self._opening) >= self._most:
            raise ToolError(f"{self._most} terminals are open; terminate one first. {self._known()}")

    def _make(self, session_id: str, cwd: str, shell: str | None, *, marker: str, wall: Wall) -> Terminal:
        if sys.platform == "win32":
            # Imported here: each of the two modules can only be loaded on its own system.
            from autopilot_runtime.shell.windows import WindowsTerminal

            return WindowsTerminal(
                session_id, cwd=cwd, env=self.env, run_dir=self.run_dir, marker=marker, shell=shell,
                size=self._size, max_chars=self.max_output_chars,
            )  # fmt: skip
        from autopilot_runtime.shell.posix import PosixTerminal

        return PosixTerminal(
            session_id, cwd=cwd, env=wall.env(self.env), run_dir=self.run_dir, marker=marker, shell=shell,
            size=self._size, max_chars=self.max_output_chars, wall=wall,
        )  # fmt: skip

    async def _end(self, terminal: Terminal) -> None:
        await terminal.close()
        if self._guard is not None and terminal.pid is not None:
            self._guard.forget(terminal.pid)

    # ---------------------------------------------------------------- what terminals stand on

    @property
    def run_dir(self) -> Path:
        """Where command files are; made with the first terminal."""
        self._ground()
        assert self._run_dir is not None
        return self._run_dir

    @property
    def wall(self) -> Wall:
        """What confines the programs; put up now if it is not. Raises SandboxUnavailable where it cannot be had."""
        return self._ground()

    async def _standing(self) -> Wall:
        """The wall, put up off the event loop if it is not up yet."""
        return self._wall if self._wall is not None else await asyncio.to_thread(self._ground)

    def _next_marker(self) -> str:
        """What tells the processes of the next shell or program from those of the others."""
        self._count += 1
        return f"{self._id}/{self._count}"

    def _ground(self) -> Wall:
        """Make what every terminal needs, once: the private folder (0700, unpredictable), the wall, the guard."""
        with self._grounding:
            if self._wall is None:
                self._check_usable()
                folder = Path(tempfile.mkdtemp(prefix="autopilot-", dir=fast_folder()))
                try:
                    wall = self._open_wall([str(folder)]) if self._open_wall is not None else Wall()
                except BaseException:
                    folder.rmdir()
                    raise
                self._guard = Guard(self._id, [str(folder), *wall.leftovers])
                # A pool nobody closed and nobody holds: let the guard end what it left.
                self._abandoned = weakref.finalize(self, self._guard.abandon, wall.close)
                self._run_dir, self._wall = folder, wall
            return self._wall

    def _clear_ground(self) -> None:
        """End what terminals left, and remove the folders."""
        with self._grounding:
            guard, folder, wall = self._guard, self._run_dir, self._wall
            self._guard = self._run_dir = self._wall = None
        if guard is None or folder is None or wall is None:
            return
        self._abandoned.detach()
        guard.close()
        kill_tree(f"{self._id}/")
        wall.close()
        shutil.rmtree(folder, ignore_errors=True)

    def _known(self) -> str:
        names = [MAIN, *(name for name in self._terminals if name != MAIN)]
        return f"Open terminals: {', '.join(names)}."

    def _check_usable(self) -> None:
        if self._closed:
            raise RuntimeClosed("The terminals are closed.")
        if os.getpid() != self._owner:
            raise RuntimeClosed(
                "These terminals belong to the process that forked this one; make a new Runtime here."
            )


def _checked(timeout: float) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 <= timeout <= 86_400:
        raise ToolError(f"timeout is seconds between 0 and 86400, not {timeout!r}.")
    return float(timeout)
