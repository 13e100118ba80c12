"""Bubblewrap: a root that holds only what a view shows, processes nobody else sees, all gone at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from autopilot_runtime.confine.places import ETC_LIVE, within
from autopilot_runtime.confine.scratch import Scratch
from autopilot_runtime.confine.view import View

_USUAL = ("/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap", "/run/current-system/sw/bin/bwrap")
# Never what is on PATH: an agent may have put it there, and this runs before anything is confined.
_SYSTEM = "/usr/bin:/bin:/usr/sbin:/sbin:/run/current-system/sw/bin"
LEADERS_STDIN = 6
_PROBE_SECONDS = 10.0
# In a /proc of its own, too, the kernel takes the word of who is root on the machine. (bubblewrap sees to the rest.)
_KERNEL_SETTINGS = ("/proc/sys", "/proc/sysrq-trigger", "/proc/fs", "/proc/acpi", "/proc/scsi")
_CPUS = "/sys/devices/system/cpu"
# What root needs to work in files that are not its own; they reach no further than the view.
_OWNERSHIP = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER")


@cache
def working() -> tuple[str | None, str]:
    """The program, if it is here and really works, else why not. Asked once per process by running it."""
    program = next((path for path in _USUAL if Path(path).exists()), None)
    if program is None:
        return None, "bubblewrap is not installed"
    command = [program, *_namespaces(), "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--"]
    try:
        run = subprocess.run(
            [*command, shutil.which("true", path=_SYSTEM) or "/bin/true"],
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
            env={},
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"bubblewrap does not work here: {error}"
    if run.returncode == 0:
        return program, ""
    said = run.stderr.decode(errors="replace").strip().splitlines()
    return None, f"bubblewrap does not work here: {said[-1] if said else f'exit code {run.returncode}'}"


def command(program: str, view: View, *, scratch: Scratch, cwd: str, seccomp: int, alone: bool = False) -> list[str]:
    """The words in front of a confined program. `seccomp`: a descriptor of the filter; `alone`: with no network."""
    return [
        program,
        *_namespaces(),
        *("--die-with-parent", "--cap-drop", "ALL"),
        *(["--unshare-net"] if alone else []),
        *_ownership(view.work_dir),
        *mounts(view, scratch),
        *("--chdir", cwd, "--seccomp", str(seccomp), "--"),
    ]


@cache
def leader() -> tuple[str, ...]:
    """The words that make a shell the leader of the terminal on 0, and then put its real input there.

    The leader is outside otherwise, and has no number in here: a simple shell stumbles over that when it ends.
    """
    program = shutil.which("setsid", path=_SYSTEM)
    swap = f'exec "$0" "$@" <&{LEADERS_STDIN} {LEADERS_STDIN}<&-'
    return (program, "-c", "/bin/sh", "-c", swap) if program else ()


def _namespaces() -> list[str]:
    # The network is not among them: all terminals of a runtime share one, made beforehand.
    user = [] if os.geteuid() == 0 else ["--unshare-user"]
    return [*user, "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]


def _ownership(work_dir: str) -> list[str]:
    if os.geteuid() != 0 or Path(work_dir).stat().st_uid == 0:
        return []
    return [word for capability in _OWNERSHIP for word in ("--cap-add", capability)]


def mounts(view: View, scratch: Scratch) -> list[str]:
    """The root, from the outside in: what lies deeper covers what it lies in."""
    live = [place for place in view.etc if place in ETC_LIVE]
    temporary = [(at, source) for at, source in _temporary(view, scratch) if at not in view.writable]
    between = _between(view, [at for at, _ in temporary])
    shown: list[tuple[str, list[str]]] = [
        ("/proc", ["--proc", "/proc"]),
        *_bound("--ro-bind", _settings()),
        ("/dev", ["--dev", "/dev"]),
        ("/run", ["--tmpfs", "/run"]),
        ("/etc", ["--ro-bind", scratch.etc, "/etc"]),
        (_CPUS, ["--ro-bind-try", _CPUS, _CPUS]),
        *((at, ["--bind", source, at]) for at, source in temporary),
        *((place, ["--tmpfs", place]) for place in between),
        *((place, _as_it_is(place)) for place in (*live, *view.readable)),
        *_bound("--bind", (*view.writable, *view.held)),
        *_bound("--ro-bind", view.protected),
        *((place, _covered(place, scratch)) for place in view.hidden),
    ]
    ordered = sorted(shown, key=lambda mount: mount[0].rstrip("/").count("/"))
    sealed = [word for place in (*between, "/") for word in ("--remount-ro", place)]
    return [word for _, words in ordered for word in words] + sealed


def _bound(how: str, places: Iterable[str]) -> list[tuple[str, list[str]]]:
    return [(place, [how, place, place]) for place in places]


def _settings() -> list[str]:
    return [place for place in _KERNEL_SETTINGS if os.path.exists(place)] if os.geteuid() == 0 else []


def _temporary(view: View, scratch: Scratch) -> list[tuple[str, str]]:
    """What is writable and their own: a place, and the folder that stands there."""
    return [("/tmp", scratch.tmp), ("/var/tmp", scratch.tmp), (view.home, scratch.home), ("/dev/shm", scratch.shm)]


def _between(view: View, temporary: Sequence[str]) -> list[str]:
    """Folders on the way to a workspace in a temporary place: what is written there would silently be lost.

    In a home all of the way is meant. Elsewhere only the last folder is: others may share what is before it.
    """
    found: dict[str, None] = {}
    for place in view.writable:
        for at in temporary:
            if within(place, at):
                first = f"{at}/{place[len(at) + 1 :].partition('/')[0]}"
                folder = first if at == view.home else os.path.dirname(place)
                seen = any(within(folder, shown) for shown in (*view.readable, *view.writable))
                if folder not in (at, place) and not seen:
                    found[folder] = None
    return list(found)


def _as_it_is(place: str) -> list[str]:
    """A link of the system's root as a link: what it points to is shown in its own right."""
    if Path(place).is_symlink() and place.count("/") == 1:
        return ["--symlink", str(Path(place).readlink()), place]
    return ["--ro-bind-try", place, place]


def _covered(place: str, scratch: Scratch) -> list[str]:
    return ["--ro-bind", scratch.no_folder if Path(place).is_dir() else scratch.no_file, place]


def host_path(path: str, view: View, scratch: Scratch) -> str | None:
    """Where a confined program's path is on this machine; None when it is nowhere."""
    if view.shows(path):
        return path
    inside = [(at, source) for at, source in _temporary(view, scratch) if within(path, at)]
    return f"{inside[-1][1]}{path[len(inside[-1][0]) :]}" if inside else None
