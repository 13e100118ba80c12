"""File sessions on bad days: full disks, folders nobody may write to, writers that collide, clocks that jump."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import SessionConflict, SessionError
from autopilot_runtime.session.create import create_session
from autopilot_runtime.session.file import FileSession
from tests.ordinary import as_an_ordinary_user

HELLO = {"role": "user", "content": "hello"}
REPLY = {"role": "assistant", "content": "hi"}


def opened(folder: Path, session_id: str = "shop", **more: object) -> FileSession:
    return FileSession(session_id, "Builder", folder, **more)  # type: ignore[arg-type]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=False).returncode:
        pytest.skip("may not mount here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_told_and_leaves_the_session_as_it_was(small_disk: Path) -> None:
    session = opened(small_disk)
    session.append([HELLO])
    for write in (session.append, session.save):
        with pytest.raises(SessionError, match=r"No space left.*What was saved is intact"):
            write([{"content": "x" * 400_000}])
        assert sorted(path.name for path in small_disk.iterdir()) == ["shop.journal"]
        assert opened(small_disk).load() == [HELLO]
    session.append([REPLY])
    session.save([HELLO, REPLY])
    assert opened(small_disk).load() == [HELLO, REPLY]
    with pytest.raises(SessionError, match="No space left"):
        session.save([{"content": "x" * 400_000}])
    assert opened(small_disk).load() == [HELLO, REPLY]
    session.append([HELLO])
    session.close()
    assert opened(small_disk).load() == [HELLO, REPLY, HELLO]


@pytest.mark.skipif(os.name == "nt", reason="modes of folders")
def test_a_folder_that_is_read_only_is_told_at_construction() -> None:
    with tempfile.TemporaryDirectory() as outer:
        Path(outer).chmod(0o755)
        folder = Path(outer) / "sessions"
        folder.mkdir(mode=0o555)
        with as_an_ordinary_user():
            with pytest.raises(SessionError, match=r"read-only; give session_dir="):
                create_session("file", "shop", session_dir=folder)
            with pytest.raises(SessionError, match="cannot be read or written"):
                create_session("file", "shop", session_dir=folder / "deeper")
        assert list(folder.iterdir()) == []


HOMELESS = """
import os
os.environ.pop("HOME", None)
os.setuid(54_321)  # an account nobody has
from autopilot_runtime import FileSession, SessionError, create_session
for make in (lambda: FileSession("x", "a"), lambda: create_session("file", "x")):
    try:
        make()
    except SessionError as error:
        print(error)
"""


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root may become nobody")
def test_without_a_home_folder_the_error_comes_at_construction(tmp_path: Path) -> None:
    code = "import autopilot_runtime.session.create, autopilot_runtime.session.file\n" + HOMELESS
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["There is no home folder (HOME is not set); give session_dir=."] * 2


def test_a_clock_that_goes_backwards_changes_neither_order_nor_what_counts(tmp_path: Path) -> None:
    now = [5_000_000_000.0]  # after 2038
    session = opened(tmp_path, clock=lambda: now[0])
    for number in range(6):
        session.append([{"content": str(number)}])
        now[0] -= 86_400.0
        if number == 2:
            session.save(session.load())
    session.close()
    assert [one["content"] for one in opened(tmp_path).load()] == list("012345")
    meta = opened(tmp_path).metadata()
    assert meta is not None
    assert meta["created_at"] == 5_000_000_000.0


WRITER = """
import sys
from pathlib import Path
from autopilot_runtime.core.errors import SessionConflict
from autopilot_runtime.session.file import FileSession

print("ready", flush=True)
sys.stdin.readline()
wrote = []
while len(wrote) < 5:
    session = FileSession("shop", "a", Path(sys.argv[1]))
    try:
        messages = session.load()
        name = f"{sys.argv[2]}.{len(wrote)}"
        session.append([{"content": name}])
        wrote.append(name)
        session.save([*messages, {"content": name}])
    except SessionConflict:
        session.close()
print(*wrote)
"""


def test_processes_that_write_by_turns_lose_no_step(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([*command, str(number)], **pipes) for number in range(3)]  # type: ignore[call-overload]
    for one in writers:
        assert one.stdout.readline() == "ready\n"
    wrote = [name for one in writers for name in one.communicate("\n", timeout=60)[0].split()]
    assert len(wrote) == 15
    assert sorted(one["content"] for one in opened(tmp_path).load()) == sorted(wrote)


def test_a_step_costs_the_same_however_much_extra_state_there_is(tmp_path: Path) -> None:
    few, many = opened(tmp_path, "few"), opened(tmp_path, "many")
    few.append([HELLO], extra={"key": 1})
    many.append([HELLO], extra={f"key.{number}": {"value": [number] * 10} for number in range(20_000)})

    def fastest(session: FileSession) -> float:
        taken = []
        for number in range(60):
            begun = time.perf_counter()
            session.append([HELLO], extra={"number": number, f"key.{number}": None}, durable=False)
            taken.append(time.perf_counter() - begun)
        return min(taken)

    assert fastest(many) < 3 * fastest(few) + 0.001
    assert len(many.extra()) == 20_000 - 60 + 1
    for one in (few, many):
        one.close()


def test_a_long_session_opens_at_once(tmp_path: Path) -> None:
    session = opened(tmp_path)
    session.save([{"role": "user", "content": "x" * 200}] * 5_000)
    for _ in range(50):
        session.append([{"role": "user", "content": "x" * 200}] * 100, durable=False)
    session.close()
    begun = time.perf_counter()
    session = opened(tmp_path)
    assert len(session.load()) == 10_000
    session.extra()
    assert time.perf_counter() - begun < 0.5


def test_a_step_that_may_be_lost_in_a_power_cut_is_safe_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_size), real(fd))[1])
    session = opened(tmp_path)
    session.append([HELLO], durable=False)
    assert synced == []
    session.append([REPLY])
    assert synced[0] == (tmp_path / "shop.journal").stat().st_size
    session.close()
    assert opened(tmp_path).load() == [HELLO, REPLY]


def test_threads_of_one_store_take_turns(tmp_path: Path) -> None:
    session = opened(tmp_path)
    threads = [
        threading.Thread(target=lambda n=number: [session.append([{"content": f"{n}.{k}"}]) for k in range(10)])
        for number in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({one["content"] for one in session.load()}) == 50
    session.close()


def test_a_nested_session_that_is_damaged_is_kept_when_its_parent_goes(tmp_path: Path) -> None:
    session = opened(tmp_path)
    session.append([HELLO])
    nested = session.nested("reviewer")
    nested.save([REPLY])
    nested.path.write_bytes(b"{")
    session.reset()
    assert [path.name for path in tmp_path.iterdir()] == [nested.path.name]


def test_a_fork_that_loses_the_race_for_its_name_leaves_nothing(tmp_path: Path) -> None:
    session = opened(tmp_path)
    session.append([HELLO])
    busy = opened(tmp_path, "other")
    busy.acquire()
    with pytest.raises(SessionConflict):
        session.fork(session_id="other")
    busy.append([REPLY])
    busy.close()
    assert opened(tmp_path, "other").load() == [REPLY]
    session.close()


def test_a_fork_does_not_hide_that_somebody_else_wrote(tmp_path: Path) -> None:
    session, other = opened(tmp_path), opened(tmp_path)
    session.load()
    other.save([HELLO])
    assert session.fork(session_id="copy").load() == [HELLO]
    with pytest.raises(SessionConflict):
        session.append([REPLY])
