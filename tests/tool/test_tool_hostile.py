"""Nothing leaves the workspace, nothing hangs, and nothing is half written, whatever is put in the way."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.core.errors import EditConflict, PathRefused, ToolError
from autopilot_runtime.tool.folder import HAS_DESCRIPTORS, open_folder
from autopilot_runtime.tool.protect import protection
from autopilot_runtime.tool.workspace import Workspace

ROOT = Path(__file__).parents[2]
is_root = hasattr(os, "geteuid") and os.geteuid() == 0
posix = pytest.mark.skipif(os.name == "nt", reason="POSIX files")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "ws").mkdir()
    (tmp_path / "outside.txt").write_text("precious\n")
    return tmp_path / "ws"


def put(ws: Workspace, path: str, text: str = "x\n") -> None:
    ws.begin_step()
    ws.commit(ws.draft(path, "w", [text]))


def litter(folder: Path) -> list[Path]:
    return [one for one in folder.rglob("*") if one.name.endswith(".tmp")]


# ---------------------------------------------------------------- outside

OUTSIDE = [
    "../outside.txt",
    "/etc/passwd",
    "a/../../outside.txt",
    "../ws2/x",
    "..",
    "/",
    "sub/../../outside.txt",
    "//etc/passwd",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_that_leaves_is_refused_and_the_workspace_named(root: Path, path: str) -> None:
    ws = Workspace(root)
    for act in (lambda: ws.read(path), lambda: ws.draft(path, "w", ["x"]), lambda: ws.identity(path)):
        with pytest.raises(PathRefused) as caught:
            act()
        assert path in str(caught.value)
        assert str(root) in str(caught.value)


def test_a_neighbour_with_the_same_beginning_is_outside(root: Path) -> None:
    (root.parent / "ws-other").mkdir()
    (root.parent / "ws-other" / "a.txt").write_text("x")
    with pytest.raises(PathRefused):
        Workspace(root).read(str(root.parent / "ws-other" / "a.txt"))


@posix
@pytest.mark.parametrize(
    "target",
    ["../outside.txt", "{outside}", "/proc/self/root{outside}", "../nothing-yet.txt", "hop", "/proc/self/mem"],
)
def test_a_link_that_leaves_is_refused_and_its_target_untouched(root: Path, target: str) -> None:
    (root / "hop").symlink_to("../outside.txt")
    link = root / "link.txt"
    link.symlink_to(target.format(outside=root.parent / "outside.txt"))
    (root / "way").symlink_to("..")
    ws = Workspace(root)
    for path in ("link.txt", "way/outside.txt", "way/new.txt"):
        with pytest.raises(PathRefused):
            ws.read(path)
        with pytest.raises(PathRefused):
            put(ws, path)
    assert (root.parent / "outside.txt").read_text() == "precious\n"
    assert sorted(one.name for one in root.parent.iterdir()) == ["outside.txt", "ws"]


@posix
def test_links_in_a_circle_are_an_error_and_not_a_hang(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    for path in ("a", "a/c.txt"):
        with pytest.raises(ToolError):
            Workspace(root).read(path)


@posix
def test_unsafe_mode_works_outside_and_still_on_ordinary_files_only(root: Path) -> None:
    ws = Workspace(root, unsafe=True)
    outside = root.parent / "outside.txt"
    assert ws.read("../outside.txt").text == "precious\n"
    put(ws, "../outside.txt", "changed\n")
    assert outside.read_text() == "changed\n"
    assert ws.identity("../outside.txt") == str(outside)
    with pytest.raises(PathRefused, match="is a device"):
        ws.read("/dev/zero")
    with pytest.raises(ToolError):
        ws.read("/proc/self/mem")


@pytest.mark.parametrize("path", ["", "  ", "a\0b", "x" * 5_000, "\ud800.txt"])
def test_what_cannot_be_a_path_is_refused(root: Path, path: str) -> None:
    with pytest.raises(PathRefused):
        Workspace(root).read(path)


# ---------------------------------------------------------------- names

NAMES = [
    "CON", "con.txt", "sub/aux.py", "NUL.tar.gz", "com1", "LPT9.log", "COM¹", "a.", "b ", "dir./x",
    "line\nbreak", "tab\t.py",
    "esc\x1b[2K.py", "n" * 300, "é" * 130, "a:b", "a|b", 'a"b', "a?", "a*", "back\\slash.py", "~/x", "sub/",
    "end\u2028.py",
]  # fmt: skip


@posix
@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_none_elsewhere_is_not_written(root: Path, name: str) -> None:
    with pytest.raises(PathRefused) as caught:
        put(Workspace(root), name)
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["console.py", "aux_files/nul_test.py", ".env", "[id].tsx", "ünï 日本.md", "a b.txt", "x" * 200, "com10"]
)
def test_ordinary_names_are_written(root: Path, name: str) -> None:
    put(Workspace(root), name)
    assert (root / name).read_text() == "x\n"


# ---------------------------------------------------------------- special files


@posix
@pytest.mark.parametrize("kind", ["fifo", "socket", "folder", "device"])
def test_special_files_are_refused_at_once(root: Path, kind: str) -> None:
    path = root / "it"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        here = os.open(".", os.O_RDONLY)
        os.chdir(root)  # a socket's path may not be long
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("it")
        os.fchdir(here)
        os.close(here)
    elif kind == "folder":
        path.mkdir()
    else:
        try:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
        except OSError:
            pytest.skip("making a device needs rights")
    ws = Workspace(root)
    begun = time.monotonic()
    for act in (lambda: ws.read("it"), lambda: put(ws, "it"), lambda: ws.read("it/x"), lambda: put(ws, "it/x/y")):
        if kind == "folder" and path.joinpath("x").exists():
            continue
        with contextlib.suppress(ToolError) if kind == "folder" else pytest.raises(ToolError):
            act()
    assert time.monotonic() - begun < 1
    with pytest.raises(PathRefused, match=kind.replace("fifo", "named pipe")):
        ws.read("it")


# ---------------------------------------------------------------- swapped in between


SWAPPER = """
import os, shutil, sys
ws, outside = sys.argv[1:]
a, b = os.path.join(ws, "d"), os.path.join(ws, "e")
def attempt(action, *paths):  # a write that finds no folder makes one, right between two of these
    try:
        action(*paths)
    except OSError:
        if action is os.unlink:
            shutil.rmtree(a, ignore_errors=True)
while True:
    attempt(os.rename, a, b); attempt(os.symlink, outside, a)
    attempt(os.unlink, a); attempt(os.rename, b, a)
"""


@posix
@pytest.mark.parametrize("at_once", [True, False])
def test_a_folder_swapped_for_a_link_is_never_followed(root: Path, at_once: bool) -> None:
    outside = root.parent / "secret"
    outside.mkdir()
    (outside / "a.txt").write_text("outside\n")
    (root / "d").mkdir()
    (root / "d" / "a.txt").write_text("inside\n")
    swapper = subprocess.Popen([sys.executable, "-c", SWAPPER, str(root), str(outside)])
    ws = Workspace(root)
    reached = refused = 0
    try:
        begun = time.monotonic()
        # On a busy machine it takes longer until both outcomes were met often enough.
        while (spent := time.monotonic() - begun) < 2.5 or (min(reached, refused) <= 20 and spent < 30):
            try:
                if at_once:
                    assert "outside" not in ws.read("d/a.txt").text
                    put(ws, "d/a.txt", "inside\n")
                else:
                    with open_folder(str(root), ["d"], at_once=False) as folder:
                        fd = folder.open("a.txt", os.O_RDONLY)
                        assert os.read(fd, 100) == b"inside\n"
                        os.close(fd)
                reached += 1
            except (ToolError, OSError):
                refused += 1
    finally:
        swapper.kill()
        swapper.wait(10)
    assert (outside / "a.txt").read_text() == "outside\n"
    assert [one.name for one in outside.iterdir()] == ["a.txt"]
    assert reached > 20 and refused > 20  # both outcomes were met, so the race was a race


@posix
def test_a_file_swapped_for_a_link_is_never_followed(root: Path) -> None:
    outside = root.parent / "outside.txt"
    (root / "a.txt").write_text("inside\n")
    stop = threading.Event()

    def swap() -> None:
        link, real = root / "l", root / "r"
        while not stop.is_set():
            with contextlib.suppress(OSError):
                link.symlink_to(outside)
                link.rename(root / "a.txt")
            with contextlib.suppress(OSError):
                real.write_text("inside\n")
                real.rename(root / "a.txt")

    thread = threading.Thread(target=swap)
    thread.start()
    ws = Workspace(root)
    try:
        until = time.monotonic() + 2
        while time.monotonic() < until:
            with contextlib.suppress(ToolError):
                assert ws.read("a.txt").text in ("inside\n", "mine\n")
            with contextlib.suppress(ToolError):
                put(ws, "a.txt", "mine\n")
    finally:
        stop.set()
        thread.join(10)
    assert outside.read_text() == "precious\n"


@pytest.mark.skipif(not HAS_DESCRIPTORS, reason="no folder descriptors here")
@pytest.mark.parametrize("at_once", [True, False])
def test_no_way_through_a_link_is_open(root: Path, at_once: bool) -> None:
    (root / "real" / "deep").mkdir(parents=True)
    (root / "link").symlink_to("real")
    with open_folder(str(root), ["real", "deep"], at_once=at_once) as folder:
        assert folder.stat("nothing") is None
    for parts in (["link"], ["link", "deep"]):
        with pytest.raises(PathRefused, match=r"replaced by a link"):
            open_folder(str(root), parts, at_once=at_once)
    with pytest.raises(FileNotFoundError):
        open_folder(str(root), ["real", "none"], at_once=at_once)
    open_folder(str(root), ["real", "new", "folders"], at_once=at_once, create=True).__exit__(None, None, None)
    assert (root / "real" / "new" / "folders").is_dir()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_no_descriptor_is_left_open(root: Path) -> None:
    ws = Workspace(root)

    def use() -> None:
        put(ws, "a/b/c.txt")
        ws.read("a/b/c.txt")
        for bad in ("none", "a", "../x", "a/b/c.txt/d"):
            with contextlib.suppress(ToolError):
                ws.read(bad)
            with contextlib.suppress(ToolError):
                put(ws, bad)
        (root / "none").unlink()

    use()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        use()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# ---------------------------------------------------------------- disks that say no


@contextlib.contextmanager
def mounted(where: Path, options: str) -> Iterator[None]:
    where.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(where)]
    if not is_root or subprocess.run(command, capture_output=True, check=False, timeout=20).returncode != 0:
        pytest.skip("mounting needs rights")
    try:
        yield
    finally:
        subprocess.run(["umount", str(where)], check=True, timeout=20)


def test_a_full_disk_keeps_the_old_content_and_is_told_with_what_is_free(root: Path) -> None:
    with mounted(root, "size=128k"):
        ws = Workspace(root)
        put(ws, "a.txt", "old\n")
        with pytest.raises(ToolError) as caught:
            put(ws, "a.txt", "x" * 500_000)
        assert "Cannot write a.txt: the disk is full" in str(caught.value)
        assert "ENOSPC" in str(caught.value) and "bytes are free" in str(caught.value)
        assert (root / "a.txt").read_text() == "old\n"
        assert [one.name for one in root.iterdir()] == ["a.txt"]
        assert ws.changes[-1].after == b"old\n"
        put(ws, "a.txt", "small\n")


def test_a_read_only_disk_is_told(root: Path) -> None:
    with mounted(root, "size=128k"):
        (root / "a.txt").write_text("old\n")
        subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True, timeout=20)
        for path in ("a.txt", "new.txt", "sub/new.txt"):
            with pytest.raises(ToolError, match=rf"Cannot write {path}: the file system is read-only \(EROFS\)"):
                put(Workspace(root), path)
        assert Workspace(root).read("a.txt").text == "old\n"


def test_an_immutable_file_is_told(root: Path) -> None:
    (root / "a.txt").write_text("old\n")
    if not is_root or subprocess.run(["chattr", "+i", root / "a.txt"], capture_output=True, check=False).returncode:
        pytest.skip("chattr does not work here")
    try:
        with pytest.raises(ToolError, match=r"Cannot write a.txt: .*immutable.*EPERM|a.txt: it is read-only"):
            put(Workspace(root), "a.txt")
    finally:
        subprocess.run(["chattr", "-i", root / "a.txt"], check=True)
    assert (root / "a.txt").read_text() == "old\n" and litter(root) == []


CHILD = """
import ctypes, fcntl, os, sys
sys.path.insert(0, sys.argv[1])
from autopilot_runtime.tool.workspace import Workspace
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
ws = Workspace(sys.argv[2])
for path in ("closed/a.txt", "closed/new.txt", "mine.txt", "others.txt"):
    try:
        ws.commit(ws.draft(path, "w", ["new"]))
        print("written")
    except Exception as error:
        print(type(error).__name__, error)
"""


@posix
def test_missing_rights_are_told_to_an_ordinary_user() -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        root.chmod(0o777)
        (root / "closed").mkdir()
        for name in ("closed/a.txt", "mine.txt", "others.txt"):
            (root / name).write_text("old\n")
        (root / "closed").chmod(0o555)
        (root / "mine.txt").chmod(0o444)
        (root / "others.txt").chmod(0o666)
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(ROOT), place],
            capture_output=True, text=True, timeout=60, check=False, cwd="/",
        )  # fmt: skip
        (root / "closed").chmod(0o755)
        lines = done.stdout.splitlines()
        assert [line.split(":")[0] for line in lines] == [
            "ToolError Cannot write closed/a.txt",
            "ToolError Cannot write closed/new.txt",
            "ToolError Cannot write mine.txt",
            "written",
        ], done.stderr
        assert "EACCES" in lines[1] and "read-only (mode 0444)" in lines[2]
        assert (root / "closed" / "a.txt").read_text() == "old\n"
        assert litter(root) == []
        # Only root can give a file back to its owner; the rights and the content are as they should be.
        assert (root / "others.txt").read_text() == "new"
        assert stat.S_IMODE((root / "others.txt").stat().st_mode) == 0o666


@pytest.mark.parametrize("which", ["fsync", "replace"])
def test_a_failing_disk_is_told_and_nothing_counts_as_saved(
    root: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = Workspace(root)
    put(ws, "a.txt", "old\n")
    draft = ws.draft("a.txt", "a", ["new\n"])

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, which, fail)
    with pytest.raises(ToolError, match=r"Cannot write a.txt: the disk reported an input/output error \(EIO\)"):
        ws.commit(draft)
    monkeypatch.undo()
    assert (root / "a.txt").read_text() == "old\n"
    assert litter(root) == [] and len(ws.changes) == 1


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from autopilot_runtime.tool.workspace import Workspace
ws = Workspace(sys.argv[2])
n = 0
while True:
    n += 1
    ws.begin_step()
    ws.commit(ws.draft("a.txt", "w", [f"{n % 10}" * 300_000]))
    print(n, flush=True)
"""


@posix
def test_killed_at_any_moment_a_file_is_old_or_new_and_never_half(root: Path) -> None:
    for pause in (0.0, 0.003, 0.007, 0.011, 0.02):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(ROOT), str(root)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "1\n"
        threading.Event().wait(pause)
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        child.stdout.close()
        text = (root / "a.txt").read_text()
        assert len(text) == 300_000 and len(set(text)) == 1


def test_two_writers_at_once_lose_nothing(root: Path) -> None:
    put(Workspace(root), "count.txt", "")
    done: list[int] = []

    def work(name: int) -> None:
        ws = Workspace(root)
        made = 0
        while made < 15:
            ws.begin_step()
            try:
                ws.read("count.txt")
                ws.commit(ws.draft("count.txt", "a", [f"{name}\n"]))
                made += 1
            except EditConflict:
                continue
        done.append(name)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert sorted(done) == [0, 1, 2]
    assert sorted((root / "count.txt").read_text().split()) == ["0"] * 15 + ["1"] * 15 + ["2"] * 15


# ---------------------------------------------------------------- files that must not be changed


def test_the_agents_own_files_are_never_written(root: Path) -> None:
    (root / "agent.yaml").write_text("agent:\n")
    (root / "prompts").mkdir()
    (root / "also.yaml").symlink_to("agent.yaml")
    ws = Workspace(root, protected=[root / "agent.yaml", root / "prompts"])
    for path in ("agent.yaml", "./agent.yaml", "also.yaml", "prompts/new.md", "AGENT.yaml"):
        with pytest.raises(PathRefused, match=r"agent's own configuration"):
            put(ws, path)
    assert (root / "agent.yaml").read_text() == "agent:\n"
    assert ws.read("agent.yaml").text == "agent:\n"


@pytest.mark.parametrize(
    "path",
    [
        ".git/hooks/pre-commit", ".git/config", "sub/.git/config", ".GIT/config", "git~1/config",
        ".gi\u200bt/config", ".git",
        ".bashrc", "home/.zshrc", ".vscode/tasks.json", ".ssh/authorized_keys", ".envrc", "sitecustomize.py",
        "x.pth", ".profile",
    ],
)  # fmt: skip
def test_files_that_run_by_themselves_need_a_persons_word(root: Path, path: str) -> None:
    assert "is protected" in Workspace(root).protection(path)


@pytest.mark.parametrize(
    "path", [".gitignore", ".github/workflows/x.yml", "src/profile.py", "bashrc", ".env", "docs/git/config"]
)
def test_ordinary_files_do_not(root: Path, path: str) -> None:
    assert Workspace(root).protection(path) == ""


@posix
def test_a_link_is_protected_by_where_it_leads_and_by_what_it_is_called(root: Path) -> None:
    (root / ".git").mkdir()
    (root / "innocent").symlink_to(".git/config")
    (root / ".bashrc").symlink_to("notes.txt")
    ws = Workspace(root)
    assert ws.protection("innocent") and ws.protection(".bashrc")
    assert not protection(("notes.txt",))
