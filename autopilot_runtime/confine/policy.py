"""What a confined program may reach and use up: data, the same for every way of confining it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Network = Literal["off", "on"] | tuple[str, ...]
# A fork bomb must end in the sandbox, not on the machine; large enough for a parallel build.
MAX_PROCESSES = 2_048


@dataclass(frozen=True, slots=True)
class Policy:
    """Beside what is named here, a program sees the system's programs and libraries, and nothing else."""

    work_dir: str
    writable: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    # Read-only although they lie in a writable folder: what decides about the agent itself.
    protected: tuple[str, ...] = ()
    # "off" leaves a loopback of their own to the programs of one wall; a tuple names the hosts that are allowed.
    network: Network = "off"
    memory_mb: int | None = None
    max_processes: int = MAX_PROCESSES
