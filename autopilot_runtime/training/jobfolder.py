"""Folders for one job alone: copies of what it works on, gone afterwards whatever the job made of them."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import stat
import tarfile
import tempfile
from pathlib import Path

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.process import started

_PREFIX = "autopilot-jobs-"


def check_folder(files: str | None) -> None:
    """Refuse what is not there to be copied."""
    if files is not None and not Path(files).is_dir():
        raise SetupError(f"Job(files={files!r}): there is no such folder to copy for the job.")


def copy_folder(source: str, into: str) -> None:
    """Copy a folder: bytes, rights, links as links, empty folders; pipes and sockets are left out."""
    shutil.copytree(source, into, symlinks=True, copy_function=_copy_file, ignore=_not_ours)


def pack_folder(source: str) -> bytes:
    """The same copy as bytes, for another machine."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(source, arcname=".", filter=_packable)
    return packed.getvalue()


def unpack_folder(packed: bytes, into: str) -> None:
    """Make a folder of what `pack_folder` gave."""
    Path(into).mkdir()
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        # All of it, links to anywhere too: it was packed by us from the user's own folder.
        archive.extractall(into, filter="fully_trusted")


def fingerprint(source: str) -> tuple[tuple[object, ...], ...]:
    """Changes when the folder does, as far as sizes, times and rights tell."""
    found: list[tuple[object, ...]] = []
    for base, folders, names in os.walk(source):
        for name in (*folders, *names, "."):
            known = os.lstat(os.path.join(base, name))  # noqa: PTH118
            found.append(
                (base, name, known.st_mode, known.st_size, known.st_mtime_ns, known.st_ctime_ns, known.st_ino)
            )
    return tuple(sorted(found, key=lambda entry: (str(entry[0]), str(entry[1]))))


def new_scratch() -> str:
    """A folder of this process; `sweep` of a later one removes it should this one be killed."""
    return tempfile.mkdtemp(prefix=f"{_PREFIX}{_space()}-{os.getpid()}-{started(os.getpid()) or 0}-")


def sweep() -> None:
    """Remove the scratch folders of processes that run no more."""
    space = str(_space())
    with contextlib.suppress(OSError):
        for entry in os.scandir(tempfile.gettempdir()):
            owner = entry.name.removeprefix(_PREFIX).split("-")
            if not entry.name.startswith(_PREFIX) or len(owner) < 4 or owner[0] != space or not owner[1].isdigit():
                continue
            with contextlib.suppress(OSError):  # somebody else sweeps, too
                known = entry.stat(follow_symlinks=False)
                ours = stat.S_ISDIR(known.st_mode) and (not hasattr(os, "getuid") or known.st_uid == os.getuid())
                if ours and started(int(owner[1])) not in (owner[2], ""):
                    remove(entry.path)


def empty(folder: str) -> None:
    """Remove all that is in it."""
    for entry in list(os.scandir(folder)):
        if entry.is_dir(follow_symlinks=False):
            remove(entry.path)
        else:
            with contextlib.suppress(OSError):
                Path(entry.path).unlink()


def remove(folder: str | os.PathLike[str]) -> None:
    """Remove a folder, also one in which a job took away its own rights."""
    shutil.rmtree(folder, ignore_errors=True)
    if Path(folder).is_dir():
        for base, folders, _ in os.walk(folder):
            for path in (Path(base), *(Path(base, name) for name in folders)):
                with contextlib.suppress(OSError):
                    if not path.is_symlink():
                        path.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)


def _not_ours(_: str, names: list[str]) -> list[str]:
    """The folder for temporary files may lie in what is copied: a copy must not hold itself."""
    return [name for name in names if name.startswith(_PREFIX)]


def _copy_file(source: str, target: str) -> str:
    if stat.S_ISREG(os.lstat(source).st_mode):
        shutil.copy2(source, target, follow_symlinks=False)
    return target


def _packable(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if Path(entry.name).name.startswith(_PREFIX):
        return None
    return entry if entry.isreg() or entry.isdir() or entry.issym() or entry.islnk() else None


def _space() -> int:
    """Where process numbers mean the same: containers may share a folder for temporary files."""
    with contextlib.suppress(OSError):
        return Path("/proc/self/ns/pid").stat().st_ino
    return 0
