"""Work for executors, as a user's module would hold it: importable in any process. Says in files what it does."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

LOADED_IN = os.getpid()
CHANGED: list[int] = []
LONG = 600.0
PATIENCE = 120.0


def add(a: int, b: int = 0) -> int:
    return a + b


async def add_later(a: int, b: int = 0) -> int:
    await asyncio.sleep(0)
    return a + b


def wrong(text: str) -> None:
    raise ValueError(text)


async def wrong_later(text: str) -> None:
    await asyncio.sleep(0)
    raise ValueError(text)


class Awkward(Exception):
    """Cannot be made again from what it gives to `Exception`."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(one + other)


def awkward() -> None:
    raise Awkward("all ", "wrong")


def leave() -> None:
    sys.exit(3)


def hang() -> None:
    time.sleep(LONG)


async def hang_later() -> None:
    await asyncio.sleep(LONG)


def say(file: Path, text: str = "x") -> int:
    """Append a line, whole even where many processes do so at once; gives the number of lines."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, text.encode() + b"\n")
    os.close(fd)
    return len(file.read_text().splitlines())


def wait_for(file: Path, lines: int = 1) -> None:
    """Return when others have said so much there."""
    until = time.monotonic() + PATIENCE
    while not file.exists() or len(file.read_text().splitlines()) < lines:
        assert time.monotonic() < until, f"{file} stays short"
        time.sleep(0.005)


def meet(file: Path, others: int) -> int:
    """Come back when that many are here at once."""
    say(file)
    wait_for(file, others)
    return others


def say_then_hang(file: Path) -> None:
    say(file)
    hang()


def say_then_wait(file: Path, other: Path) -> str:
    say(file)
    wait_for(other)
    return "waited"


def enter_and_leave(file: Path) -> None:
    say(file, "+1")
    time.sleep(0.01)
    say(file, "-1")


def flaky(file: Path, good: int) -> int:
    """Fails until it is tried for the `good`th time."""
    tries = say(file)
    if tries < good:
        raise ConnectionError(f"try {tries}")
    return tries


def hang_once(file: Path) -> str:
    if say(file) == 1:
        hang()
    return "went through"


def look(worktree: str) -> dict[str, Any]:
    """What is in the folder; then spoil it."""
    top = Path(worktree)
    found: dict[str, Any] = {"": worktree}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = (path.read_bytes(), path.stat().st_mode & 0o777)
    for path in top.iterdir():
        if path.is_file() and not path.is_symlink():
            path.write_text("spoiled")
    closed = top / "closed" / "within"
    closed.mkdir(parents=True)
    (closed / "file").write_text("x")
    closed.parent.chmod(0)
    return found


def number() -> int:
    return os.getpid()


def parent() -> int:
    return os.getppid()


def loaded_in() -> tuple[int, int]:
    return LOADED_IN, os.getpid()


def change() -> int:
    CHANGED.append(1)
    return len(CHANGED)


def chance() -> float:
    return random.random()


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def vanish() -> None:
    os._exit(7)


def eat(megabytes: int) -> int:
    return len(bytearray(megabytes << 20))


def compute() -> None:
    while True:
        pass


def much(megabytes: int) -> bytes:
    return bytes(megabytes << 20)


def unsendable() -> Any:
    return threading.Lock()


def litter(seconds: str) -> str:
    """Leave a process behind that has gone into a session of its own, and a file; gives where."""
    subprocess.Popen(["sleep", seconds], start_new_session=True)
    fd, name = tempfile.mkstemp()
    os.close(fd)
    return name


def litter_then_hang(seconds: str, worktree: str = "") -> None:
    litter(seconds)
    hang()


def told(name: str) -> str | None:
    return os.environ.get(name)
