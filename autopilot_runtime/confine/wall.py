"""The wall around the programs of one runtime: what each kind of it offers those who start a program."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from autopilot_runtime.confine.policy import Network

Kind = Literal["bwrap", "landlock", "seatbelt", "none"]


@dataclass(frozen=True, slots=True)
class Launch:
    """How one program is started behind the wall."""

    argv: tuple[str, ...]
    cwd: str
    pass_fds: tuple[int, ...] = ()
    in_child: Callable[[], None] | None = None
    # The program is started by another one, which ends with 128 + n when a signal has ended the program.
    relayed: bool = False
    # Where the program's standard input has to be when it starts; its terminal is on 0 then.
    stdin: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """What a wall does, for people and for the model."""

    kind: Kind
    network: str = "on"
    limits: str = ""
    gaps: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.kind if self.kind == "none" else f"{self.kind}, network {self.network}"


class Wall:
    """No wall: programs run as they are. What the others share."""

    kind: Kind = "none"

    def __init__(self, *, gaps: Sequence[str] = ()) -> None:
        self.told = Told("none", gaps=tuple(gaps))
        # Folders and groups that are left when this process is killed.
        self.leftovers: tuple[str, ...] = ()

    def env(self, env: Mapping[str, str]) -> dict[str, str]:
        """The variables of a program behind it."""
        return dict(env)

    @contextlib.contextmanager
    def launch(self, argv: Sequence[str], *, cwd: str, waits: bool = False, leads: bool = False) -> Iterator[Launch]:
        """How to start `argv`; what this hands out is valid inside the `with`.

        `waits`: it is a shell that does nothing before it has been admitted. `leads`: it must lead its terminal.
        """
        yield Launch(tuple(argv), cwd)

    def has_folder(self, path: str) -> bool:
        """Whether a program would find a folder there."""
        return os.path.isdir(path)

    def hint(self, output: str) -> str:
        """Why a program may have failed, going by what it said, if the wall may be the reason; else ""."""
        return ""

    def expect(self, pid: int) -> None:
        """A shell that waits is coming up: begin what takes a moment, so that `admit` need not wait for it."""

    def admit(self, pids: Iterable[int]) -> None:
        """Count a shell that waits, and what it consists of, among the programs behind it. May block."""

    def members(self) -> set[int]:
        """The processes behind it now, as far as somebody counts them."""
        return set()

    def close(self) -> None:
        """End what is left behind it, and remove its folders. Blocks for some milliseconds."""


def has_own_tmp(kind: Kind, *, network: Network) -> bool:
    """Whether programs behind such a wall have a /tmp of their own, and need no other name for it."""
    if kind != "landlock":
        return kind == "bwrap"
    from autopilot_runtime.confine import cover  # Linux only

    # An ordinary user makes mounts only in a namespace of their own, which comes with a network.
    return cover.possible() and (os.geteuid() == 0 or network != "on")
