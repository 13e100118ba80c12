"""What of this machine one wall shows: computed once from a policy, then built by whatever builds the wall."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autopilot_runtime.confine import places
from autopilot_runtime.confine.places import within
from autopilot_runtime.confine.policy import Policy
from autopilot_runtime.confine.repository import outside

_NO_HOME = "/tmp"


@dataclass(frozen=True, slots=True)
class View:
    """Absolute paths without links. What is in none of the lists is not there for a confined program."""

    work_dir: str
    etc: tuple[str, ...]
    readable: tuple[str, ...]
    writable: tuple[str, ...]
    # Parts of the above that must not be read, and parts that must not be changed.
    hidden: tuple[str, ...]
    protected: tuple[str, ...]
    # Folders on the way to those, which must keep their names: under another one they would not be covered.
    held: tuple[str, ...]
    home: str

    def shows(self, path: str) -> bool:
        """Whether a program would find something of this machine there."""
        seen = any(within(path, place) for place in (*self.etc, *self.readable, *self.writable))
        return seen and not any(within(path, place) for place in self.hidden)


def view(policy: Policy, env: Mapping[str, str], *, also: Iterable[str] = ()) -> View:
    """The view of a policy; `also` are more folders to read."""
    home = os.path.realpath(env.get("HOME") or os.path.expanduser("~"))
    work_dir = os.path.realpath(policy.work_dir)
    _led_out(policy, work_dir)
    repository = outside(work_dir)
    writable = _outermost(map(os.path.realpath, (work_dir, *policy.writable, *repository.writable)))
    tools = places.tools(env, home=home, work_dir=work_dir, own=writable)
    readable = [*places.SYSTEM, *tools, *repository.readable, *map(os.path.realpath, policy.readable), *also]
    # What is the agent's to change stays so, a virtual environment in its workspace say.
    readable = [place for place in _outermost(readable) if os.path.exists(place) and not _seen(place, writable)]
    own = (work_dir, *writable, *map(os.path.realpath, policy.readable))
    hidden = [
        place for place in places.credentials(home) if _seen(place, (*readable, *writable)) and place not in own
    ]
    # A folder of keys that the policy names is meant to be seen.
    hidden = [place for place in hidden if not any(within(mine, place) for mine in own)]
    kept = (*policy.protected, *repository.protected)
    protected = [os.path.realpath(place) for place in kept if os.path.exists(place)]
    protected = [place for place in dict.fromkeys(protected) if _seen(place, writable)]
    return View(
        work_dir,
        tuple(places.etc()),
        tuple(readable),
        tuple(writable),
        tuple(dict.fromkeys(hidden)),
        tuple(protected),
        tuple(_between((*protected, *hidden), writable)),
        home if home != "/" and not _seen(home, places.SYSTEM) else _NO_HOME,
    )


def _between(places: Iterable[str], writable: Sequence[str]) -> list[str]:
    found: dict[str, None] = {}
    for place in places:
        for root in writable:
            folder = os.path.dirname(place)
            while within(folder, root) and folder != root:
                found[folder] = None
                folder = os.path.dirname(folder)
    return sorted(found, key=len)


def _led_out(policy: Policy, work_dir: str) -> None:
    """A place in the workspace is the agent's to replace by a link: it may not lead out of there."""
    for place in policy.writable:
        if not os.path.isdir(place):
            raise OSError(2, f"there is no folder {place} (runtime.sandbox.writable)")
        if os.path.realpath(place) == "/":
            raise OSError(22, "runtime.sandbox.writable has the whole machine; `shell: off` says that")
    for place in (*policy.writable, *policy.readable):
        if within(os.path.normpath(place), work_dir) and not within(os.path.realpath(place), work_dir):
            raise OSError(40, f"{place} is a link that leads out of {work_dir}")


def _seen(path: str, roots: Iterable[str]) -> bool:
    return any(within(path, root) for root in roots)


def _outermost(paths: Iterable[str]) -> list[str]:
    """The paths without those that lie inside another of them, in their order."""
    unique = list(dict.fromkeys(paths))
    return [path for path in unique if not any(within(path, other) and path != other for other in unique)]
