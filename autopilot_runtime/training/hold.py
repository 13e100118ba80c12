"""One trainer at a time: who trains an experiment is written down, and a dead one is followed by the next."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass

from autopilot_runtime.core.process import started
from autopilot_runtime.store.objects import Store
from autopilot_runtime.training.fault import ExperimentBusy


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that trains an experiment. `born` tells it from a later one with the same number."""

    host: str
    pid: int
    born: str
    token: str
    at: float

    @property
    def alive(self) -> bool:
        """Whether it still runs. One on another machine counts as alive: nobody here can tell."""
        if self.host != platform.node():
            return True
        now = started(self.pid)
        return now is not None and self.born in ("", now)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Holds:
    """The holds of one open record. Whoever has it open may take the same hold twice; nobody else may."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._token = os.urandom(8).hex()
        self._depth: dict[str, int] = {}
        self._before: dict[str, Holder | None] = {}

    def holder(self, experiment: str) -> Holder | None:
        """Who holds it, dead or alive."""
        rows = self._store.rows(
            "SELECT host, pid, born, token, at FROM train_holds WHERE experiment = ?", (experiment,)
        )
        return Holder(*rows[0]) if rows else None

    @contextlib.contextmanager
    def hold(self, experiment: str) -> Iterator[Holder | None]:
        """Be the only one; gives the dead process that held it until now, if there was one."""
        before = self._take(experiment)
        try:
            yield before
        finally:
            self._give_back(experiment)

    def free(self, experiment: str) -> None:
        """Take the hold from whoever has it: for when its machine is gone."""
        with self._store.transaction() as link:
            link.execute("DELETE FROM train_holds WHERE experiment = ?", (experiment,))

    def _take(self, experiment: str) -> Holder | None:
        with self._store.transaction() as link:
            now = self.holder(experiment)
            if now is not None and now.token == self._token and now.pid == os.getpid():
                self._depth[experiment] = self._depth.get(experiment, 0) + 1
                return self._before.get(experiment)
            if now is not None and now.alive:
                raise ExperimentBusy(
                    f"Experiment {experiment!r} in {self._store.path} is being trained by {now}. Wait for it or stop "
                    f"it, or use another experiment; if that machine is gone: Record.open(path).free({experiment!r})."
                )
            pid = os.getpid()
            row = (experiment, platform.node(), pid, started(pid) or "", self._token, self._store.clock())
            link.execute("INSERT OR REPLACE INTO train_holds VALUES (?, ?, ?, ?, ?, ?)", row)
            self._depth[experiment] = 1
            self._before[experiment] = now
        return now

    def _give_back(self, experiment: str) -> None:
        with self._store.transaction() as link:
            self._depth[experiment] -= 1
            if self._depth[experiment] == 0:
                link.execute(
                    "DELETE FROM train_holds WHERE experiment = ? AND token = ? AND pid = ?",
                    (experiment, self._token, os.getpid()),
                )
