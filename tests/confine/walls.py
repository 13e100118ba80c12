"""Walls for tests: of every kind that can be had here, around a folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from autopilot_runtime.confine.choice import best, open_wall
from autopilot_runtime.confine.policy import Network, Policy
from autopilot_runtime.confine.wall import Kind, Launch, Wall
from autopilot_runtime.shell.environ import child_environment

KINDS: tuple[Kind, ...] = ("bwrap", "landlock") if sys.platform == "linux" else ("seatbelt",)
ENV = child_environment(os.environ)


def need(kind: Kind) -> None:
    """Skip where a kind cannot be had."""
    here, why = best()
    if here == "none" or (kind == "bwrap" and here != "bwrap"):
        pytest.skip(f"no {kind} here: {'; '.join(why)}")


def opener(
    kind: Kind,
    work_dir: Path,
    *,
    network: Network = "off",
    memory_mb: int | None = None,
    max_processes: int = 256,
    writable: Sequence[Path] = (),
    readable: Sequence[Path] = (),
    protected: Sequence[Path] = (),
    env: dict[str, str] | None = None,
) -> Callable[[Sequence[str]], Wall]:
    """What a pool of terminals calls to get its wall."""
    need(kind)
    policy = Policy(
        str(work_dir),
        writable=tuple(map(str, writable)),
        readable=tuple(map(str, readable)),
        protected=tuple(map(str, protected)),
        network=network,
        memory_mb=memory_mb,
        max_processes=max_processes,
    )
    return lambda needed: open_wall("auto", policy, env or ENV, readable=needed, kind=kind)


def run(wall: Wall, argv: Sequence[str], cwd: Path, *, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Run one program behind a wall; gives its code and all it wrote."""
    with wall.launch(argv, cwd=str(cwd)) as launch:
        done = subprocess.run(
            launch.argv,
            cwd=launch.cwd,
            env=wall.env(env or ENV),
            pass_fds=launch.pass_fds,
            preexec_fn=launch.in_child,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
    return done.returncode, done.stdout.decode(errors="replace")


class Wrapping(Wall):
    """A wall that is only words before the program, and something done in the child."""

    def __init__(self, *words: str, in_child: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._words, self._in_child = words, in_child

    @contextlib.contextmanager
    def launch(self, argv: Sequence[str], *, cwd: str, waits: bool = False, leads: bool = False) -> Iterator[Launch]:
        yield Launch((*self._words, *argv), cwd, in_child=self._in_child)


def refuse() -> None:
    """A confinement that cannot be had."""
    raise RuntimeError("cannot be had here")


PYTHON = shutil.which("python3", path=ENV["PATH"]) or sys.executable
