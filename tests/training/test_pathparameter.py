"""Files as a parameter: they come back exactly, whatever they are, and nothing outside of them is touched."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from autopilot_runtime.core.errors import ObjectDamaged
from autopilot_runtime.store.objects import Store
from autopilot_runtime.training.fault import ParameterRefused
from autopilot_runtime.training.pathparameter import PathParameter
from tests.store.trees import FOLDERS, make, picture, plant


@pytest.fixture
def work(tmp_path: Path) -> Path:
    plant(tmp_path / "work")
    return tmp_path / "work"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(first=FOLDERS, second=FOLDERS)
def test_any_folder_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, first: dict[bytes, Any], second: dict[bytes, Any]
) -> None:
    base = tmp_path_factory.mktemp("t")
    make(base / "one", first)
    make(base / "two", second)
    one, two = PathParameter(base / "one"), PathParameter(base / "two")
    state, before = one.snapshot(), picture(base / "one")
    one.restore(two.snapshot())
    assert picture(base / "one") == picture(base / "two")
    assert one.digest == two.digest
    one.restore(state)
    assert (picture(base / "one"), one.snapshot()) == (before, state)


def test_a_rollback_undoes_every_kind_of_change(work: Path, tmp_path: Path) -> None:
    parameter = PathParameter(work)
    with Store(tmp_path / "store.db") as store:
        good, before = parameter.keep(store), picture(work)
        shutil.rmtree(work / "sub")
        (work / "sub").write_text("a file where a folder was\n")
        (work / "locked").chmod(0o755)
        (work / "locked" / "x").unlink()
        (work / "read only").chmod(0o644)
        (work / "read only").write_text("written\n")
        (work / os.fsdecode(b"caf\xe9\n.txt")).rename(work / os.fsdecode(b"\xff\xfe"))
        (work / "to nowhere").unlink()
        (work / "new" / "deep").mkdir(parents=True)
        (work / "new" / "deep" / "file").write_bytes(b"\0")
        parameter.bring(store, good)
    assert picture(work) == before


def test_one_file_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    (tmp_path / "rules.json").write_bytes(b"[]\r\n")
    (tmp_path / "rules.json").chmod(0o640)
    (tmp_path / "other").write_text("other\n")
    parameter = PathParameter(tmp_path / "rules.json")
    state = parameter.snapshot()
    assert (parameter.names(), parameter.text, parameter.data) == (["rules.json"], "[]\r\n", {"rules.json": "[]\r\n"})
    parameter.data = "[1]"
    (tmp_path / "other").write_text("changed\n")
    assert (parameter.read(), parameter.path.stat().st_mode & 0o777) == (b"[1]", 0o640)
    parameter.path.unlink()
    assert parameter.files() == {}
    parameter.restore(state)
    assert (parameter.text, parameter.path.stat().st_mode & 0o777) == ("[]\r\n", 0o640)
    assert (tmp_path / "other").read_text() == "changed\n"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.py", ["a.py"]),
        ("**/*.py", ["a.py", "p/b.py", "p/q/c.py"]),
        ("p/**", ["p/b.py", "p/q/.d", "p/q/c.py"]),
        ("p/*/*.py", ["p/q/c.py"]),
        (["a.*", "p/q/[!c]*"], ["a.md", "a.py", "p/q/.d"]),
        (["**/*.py", "!p/q/**"], ["a.py", "p/b.py"]),
        (["!**/*.py"], ["a.md", "p/q/.d"]),
        ("**/q/?.py", ["p/q/c.py"]),
        ("p", []),
        (None, ["a.md", "a.py", "p/b.py", "p/q/.d", "p/q/c.py"]),
    ],
)
def test_patterns_choose_the_files(tmp_path: Path, pattern: Any, names: list[str]) -> None:
    (tmp_path / "p" / "q").mkdir(parents=True)
    for name in ("a.py", "a.md", "p/b.py", "p/q/c.py", "p/q/.d"):
        (tmp_path / name).write_text(name)
    for hidden in (".git", "__pycache__", "p/.autopilot"):
        (tmp_path / hidden).mkdir()
        (tmp_path / hidden / "x.py").write_text("not ours\n")
    parameter = PathParameter(tmp_path, pattern)
    assert parameter.names() == sorted(parameter.files()) == names
    state, before = parameter.snapshot(), picture(tmp_path)
    for name in names:
        (tmp_path / name).unlink()
    parameter.restore(state)
    assert picture(tmp_path) == before


def test_what_the_pattern_leaves_out_is_neither_kept_nor_removed(work: Path, tmp_path: Path) -> None:
    parameter = PathParameter(work, "**/*.txt")
    state = parameter.snapshot()
    (work / "a.txt").unlink()
    (work / "zero").write_text("mine\n")
    (work / "fresh").mkdir()
    (work / "fresh" / "n.txt").write_text("n\n")
    (work / "fresh" / "n.bin").write_text("mine\n")
    parameter.restore(state)
    assert (work / "a.txt").read_bytes() == b"one\r\ntwo\0three"
    assert (work / "zero").read_text() == (work / "fresh" / "n.bin").read_text() == "mine\n"
    assert not (work / "fresh" / "n.txt").exists()


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "sub/../../out", "away/out", "away", "..", "", "a\0b"])
def test_a_path_that_leaves_the_root_is_refused(work: Path, path: str) -> None:
    (work.parent / "out").write_text("secret\n")
    (work / "away").symlink_to(work.parent)
    parameter = PathParameter(work)
    before = picture(work.parent)
    for act in (parameter.read, parameter.delete, lambda one: parameter.write(one, b"x")):
        if path != "away" or act != parameter.delete:
            with pytest.raises(ParameterRefused):
                act(path)
    with pytest.raises(ParameterRefused):
        parameter.data = {path: "x"}
    assert picture(work.parent) == before


def test_a_source_that_leaves_its_root_is_refused(work: Path) -> None:
    (work / "away").symlink_to(work.parent)
    for source in ("..", "../work2", "/etc", "away"):
        with pytest.raises(ParameterRefused, match="leads out of the root"):
            PathParameter(source, root=work)
    assert PathParameter("sub", root=work).path == work / "sub"
    for pattern in ("../*", "/etc/*", "!../*"):
        with pytest.raises(ParameterRefused, match="leaves the folder"):
            PathParameter(work, pattern)
    with pytest.raises(ParameterRefused, match=r"Did you mean 'a\.txt'"):
        PathParameter(work / "a.text")


def test_links_inside_the_root_are_followed_and_stay_links(work: Path) -> None:
    parameter = PathParameter(work)
    assert parameter.read("link") == b"one\r\ntwo\0three"
    assert parameter.write("to folder/new.txt", "new\r\n") == "sub/new.txt"
    parameter.write("link", b"changed")
    assert ((work / "link").is_symlink(), (work / "a.txt").read_bytes()) == (True, b"changed")
    assert stat.S_IMODE((work / "a.txt").stat().st_mode) == 0o640
    assert parameter.delete("link") == "link"
    assert (work / "a.txt").exists()


def test_a_file_outside_of_the_pattern_is_not_written(work: Path) -> None:
    parameter = PathParameter(work, "**/*.txt")
    with pytest.raises(ParameterRefused, match="none of the files"):
        parameter.write("run.sh", "rm\n")
    with pytest.raises(ParameterRefused, match="none of the files"):
        PathParameter(work).write(".git/hooks/post-commit", "rm\n")
    with pytest.raises(ParameterRefused, match=r"Did you mean 'a\.txt'"):
        parameter.read("b.txt")


def test_data_is_everything_and_can_be_set(work: Path) -> None:
    parameter = PathParameter(work)
    data = parameter.data
    assert (data["a.txt"], data["zero"], type(data["sub/big.bin"])) == ("one\r\ntwo\0three", "", bytes)
    before = picture(work)
    parameter.data = data
    assert picture(work) == before
    del data["zero"]
    parameter.data = {**data, "run.sh": "#!/bin/sh\ntrue\n"}
    assert not (work / "zero").exists()
    assert (work / "run.sh").stat().st_mode & 0o777 == 0o755
    with pytest.raises(ParameterRefused):
        parameter.data = 3


def test_feedback_finds_the_file_it_is_about(work: Path) -> None:
    parameter = PathParameter(work, name="rules")
    mine = ("rules", "rules:a.txt:3", "a.txt", "a.txt:12", "sub/big.bin:1:4", "./a.txt:3-5", str(work / "a.txt"))
    assert [one for one in mine if not parameter.owns(one)] == []
    others = ("", "b.txt", "b.txt:12", "../work", "/etc/passwd:1", "sub/a.txt", "locked/y")
    assert [one for one in others if parameter.owns(one)] == []


def test_it_reads_as_text(work: Path) -> None:
    shown = PathParameter(work).render()
    for part in (
        "--- zero\n",
        "--- sub/big.bin (binary, 512,000 bytes)",
        "--- link -> a.txt",
        "caf\\xe9",
        "#!/bin/sh",
    ):
        assert part in shown
    shown.encode()
    assert "no file fits '*.jsn'" in PathParameter(work, "*.jsn").render()


def test_what_cannot_be_kept_is_named(work: Path, tmp_path: Path) -> None:
    parameter = PathParameter(work)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(work / "sub" / "s"))
        with Store(tmp_path / "store.db") as store:
            for act in (parameter.snapshot, lambda: parameter.keep(store), parameter.names):
                with pytest.raises(ParameterRefused, match=r"sub/s cannot be kept.*'!sub/s'"):
                    act()
            assert "sub/s" not in PathParameter(work, "!sub/s").names()


def test_a_damaged_state_changes_nothing(work: Path) -> None:
    parameter = PathParameter(work)
    state = parameter.snapshot()
    (work / "a.txt").write_text("now\n")
    now = picture(work)
    for at in range(0, len(state), len(state) // 60):
        flipped = state[:at] + bytes([state[at] ^ 4]) + state[at + 1 :]
        for damaged in (flipped, state[:at]):
            with pytest.raises(ObjectDamaged):
                parameter.restore(damaged)
            assert picture(work) == now
    parameter.restore(state)


def test_a_file_that_is_written_all_the_time_is_kept_whole(tmp_path: Path) -> None:
    file = tmp_path / "work" / "f"
    file.parent.mkdir()
    texts = [bytes([number]) * 300_000 for number in (65, 66)]
    file.write_bytes(texts[0])
    done = Event()

    def write() -> None:
        while not done.is_set():
            for text in texts:
                temp = file.with_name("g")
                temp.write_bytes(text)
                temp.replace(file)

    writer = Thread(target=write)
    writer.start()
    try:
        with Store(tmp_path / "store.db", durable=False) as store:
            parameter = PathParameter(file)
            for number in range(40):
                digest = parameter.keep(store)
                parameter.verify(store, digest)
                twin = parameter.at(tmp_path / f"copy{number}")
                twin.base.mkdir()
                twin.fill(store, digest)
                assert (twin.base / "f").read_bytes() in texts
    finally:
        done.set()
        writer.join()
