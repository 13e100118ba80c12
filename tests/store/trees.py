"""Folders for the tests of the store: pictures of them, and awkward ones."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from hypothesis import strategies as st


def picture(folder: Path) -> dict[str, object]:
    """Everything in a folder: bytes, modes, links, empty folders."""
    return {os.fspath(path.relative_to(folder)): state(path) for path in folder.rglob("*")}


def state(path: Path) -> object:
    """All that is to be kept of one path."""
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        return "link", os.fsencode(path.readlink())
    if stat.S_ISDIR(info.st_mode):
        return "folder", stat.S_IMODE(info.st_mode)
    return stat.S_IMODE(info.st_mode), path.read_bytes()


def plant(folder: Path) -> None:
    """A small tree with all that is awkward."""
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"one\r\ntwo\0three")
    (folder / "a.txt").chmod(0o640)
    (folder / "zero").write_bytes(b"")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o4755)
    (folder / "read only").write_text("r\n")
    (folder / "read only").chmod(0o444)
    (folder / "link").symlink_to("a.txt")
    (folder / "to nowhere").symlink_to("/nowhere/at/all")
    (folder / "to folder").symlink_to("sub")
    (folder / os.fsdecode(b"caf\xe9\n.txt")).write_bytes(b"not utf-8")
    (folder / "sub" / "big.bin").write_bytes(bytes(range(256)) * 2_000)
    (folder / "sub").chmod(0o750)
    (folder / "locked").mkdir()
    (folder / "locked" / "x").write_text("x\n")
    (folder / "locked").chmod(0o555)


NAMES = st.binary(min_size=1, max_size=6).map(lambda n: n.replace(b"/", b"_").replace(b"\0", b"-")).filter(
    lambda n: n not in (b".", b"..")
)  # fmt: skip
LEAVES = st.one_of(
    st.tuples(st.just("file"), st.binary(max_size=300), st.sampled_from([0o644, 0o600, 0o755, 0o400, 0o000, 0o6711])),
    st.tuples(st.just("link"), st.binary(min_size=1, max_size=20).filter(lambda t: b"\0" not in t), st.just(0)),
)
FOLDERS = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=3),
    lambda inner: st.dictionaries(NAMES, st.one_of(LEAVES, inner), max_size=4),
    max_leaves=12,
)


def make(folder: Path, content: dict[bytes, Any]) -> None:
    """Such a folder on the disk."""
    folder.mkdir(exist_ok=True)
    for name, one in content.items():
        path = folder / os.fsdecode(name)
        if isinstance(one, dict):
            make(path, one)
            path.chmod(0o700 | len(one) & 0o77)
        elif one[0] == "link":
            path.symlink_to(os.fsdecode(one[1]))
        else:
            path.write_bytes(one[1])
            path.chmod(one[2])
