"""Where the paths of an agent file lead: resolved against the file, kept inside its project."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.shelf import shelf

MAX_PROMPT_BYTES = 256 * 1024
_PROMPT_ENDINGS = (".md", ".markdown", ".txt")
_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class PathFault(Exception):
    """Why a path of an agent file cannot be used; becomes one line of an `AgentFileError`."""


def shipped_agents() -> dict[str, Path]:
    """Name and file of every agent we ship."""
    return {file.stem: file for file in sorted(shelf("agentfiles").glob("*.yaml"))}


def agent_path(name: str | os.PathLike[str]) -> tuple[Path, bool]:
    """The file meant by a path, or by the bare name of an agent we ship, and whether it is a shipped one."""
    text = os.fspath(name)
    if re.fullmatch(r"[A-Za-z0-9_-]+", text):
        # A bare name never looks into the current folder: a stranger's checkout may have a file `coder`, too.
        shipped = shipped_agents()
        if text not in shipped:
            raise SetupError(f"No agent {text!r}. Shipped: {', '.join(shipped)}; or give the path of a .yaml file.")
        return shipped[text], True
    return Path(text), False


def read_regular(path: Path, limit: int) -> bytes:
    """At most `limit` + 1 bytes of a regular file; a FIFO or device raises instead of hanging."""
    fd = os.open(path, os.O_RDONLY | _FLAGS)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path} is not a regular file")
        return file.read(limit + 1)


def project_root(folder: Path) -> Path:
    """The repository around a folder, or the folder itself. A repository that holds the home does not count."""
    home = home_folder()
    for candidate in (folder, *folder.parents):
        if home is not None and home.is_relative_to(candidate):
            break
        if (candidate / ".git").exists():
            return candidate
    return folder


def home_folder() -> Path | None:
    """The real path of the home, when there is one."""
    with contextlib.suppress(RuntimeError, OSError):
        return Path.home().resolve()
    return None


def resolve(written: str, folder: Path) -> Path:
    """The real path of what is written in an agent file in `folder`."""
    try:
        return (folder / Path(written).expanduser()).resolve()
    except (RuntimeError, OSError, ValueError) as error:
        raise PathFault(f"{written[:80]!r} cannot be resolved: {error}") from None


def resolve_inside(written: str, folder: Path, *, roots: Sequence[Path]) -> Path:
    """The same, refused when it leads outside every root (symlinks are followed first)."""
    path = resolve(written, folder)
    if not any(path.is_relative_to(root) for root in roots):
        raise PathFault(
            f"{written[:80]!r} leads outside the project {roots[0]}; to allow it, "
            f"add its folder to `trusted_folders:` below `agent:`"
        )
    return path


def looks_like_path(text: str) -> bool:
    """Whether a `system_prompt` means a file: one line that begins like a path or ends like a prompt file."""
    if "\n" in text.strip() or len(text) > 500:
        return False
    text = text.strip()
    begins = text.startswith(("./", "../", "/", "~/", ".\\", "..\\"))
    return begins or (text.lower().endswith(_PROMPT_ENDINGS) and not re.search(r"\s", text))


def read_prompt(written: str, folder: Path, *, roots: Sequence[Path]) -> tuple[str, Path]:
    """The text of a prompt file, and its path."""
    path = resolve_inside(written.strip(), folder, roots=roots)
    if path.suffix.lower() not in _PROMPT_ENDINGS:
        raise PathFault(f"{written[:80]!r} looks like a path; a prompt file ends in .md or .txt")
    try:
        raw = read_regular(path, MAX_PROMPT_BYTES)
    except FileNotFoundError:
        raise PathFault(
            f"{written[:80]!r} looks like a path, but there is no {path}; "
            "write the prompt itself, or the path of a .md file relative to this file"
        ) from None
    except OSError as error:
        raise PathFault(f"{path} cannot be read: {error.strerror or error}") from None
    if len(raw) > MAX_PROMPT_BYTES:
        raise PathFault(f"{path} is longer than {MAX_PROMPT_BYTES:,} bytes")
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n"), path
    except UnicodeDecodeError as error:
        raise PathFault(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None


def work_folder(written: str, folder: Path, *, unsafe: bool) -> Path:
    """The workspace. The home, what holds it, and a drive's root are refused unless `unsafe_mode`."""
    path = resolve(written, folder)
    if path.exists() and not path.is_dir():
        raise PathFault(f"{path} is not a folder")
    home = home_folder()
    wide = path == Path(path.anchor) or (home is not None and home.is_relative_to(path))
    if wide and not unsafe:
        raise PathFault(f"{path} is everything you have; choose a folder for this work (or set `unsafe_mode: true`)")
    return path
