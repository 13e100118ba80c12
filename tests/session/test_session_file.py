"""File sessions: the seed's document, the journal, names, writers, damage."""

import json
import os
import stat
import time
from pathlib import Path

import pytest

from autopilot_runtime.core.errors import SessionConflict, SessionError, SetupError
from autopilot_runtime.core.protocols import SessionStore
from autopilot_runtime.session.create import create_session
from autopilot_runtime.session.file import FileSession
from autopilot_runtime.session.name import file_stem

HELLO = {"role": "user", "content": "hello"}
REPLY = {"role": "assistant", "content": "hi\r\n\0 \ud800 \u2028 🙂"}


def opened(folder: Path, session_id: str = "shop", **more: object) -> FileSession:
    return FileSession(session_id, "Builder", folder, **more)  # type: ignore[arg-type]


# ---------------------------------------------------------------- the document


def test_the_document_is_the_seeds(tmp_path: Path) -> None:
    now = [1712345678.0]
    session = opened(tmp_path, clock=lambda: now[0])
    session.save([HELLO])
    now[0] = 1712349999.0
    session.append([REPLY], extra={"memory_state": {"archived": [1]}})
    session.save([HELLO, REPLY])
    value = json.loads((tmp_path / "shop.json").read_bytes())
    assert {
        key: value[key] for key in ("session_id", "agent_name", "created_at", "updated_at", "messages", "extra")
    } == {
        "session_id": "shop",
        "agent_name": "Builder",
        "created_at": 1712345678.0,
        "updated_at": 1712349999.0,
        "messages": [HELLO, REPLY],
        "extra": {"memory_state": {"archived": [1]}},
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shop.json"]


def test_a_new_process_picks_up_where_the_last_one_left_off(tmp_path: Path) -> None:
    opened(tmp_path).save([HELLO, REPLY])
    again = opened(tmp_path)
    assert again.load() == [HELLO, REPLY]
    again.append([HELLO])
    again.save([*again.load(), REPLY])
    assert opened(tmp_path).load() == [HELLO, REPLY, HELLO, REPLY]


def test_a_document_of_the_seeds_release_loads_and_is_kept_when_first_written_over(tmp_path: Path) -> None:
    old = {
        "session_id": "shop",
        "agent_name": "A",
        "created_at": 1.0,
        "updated_at": 2.0,
        "messages": [HELLO],
        "extra": {"x": 1},
    }
    before = json.dumps(old, indent=2)
    (tmp_path / "shop.json").write_text(before)
    session = opened(tmp_path)
    assert session.load() == [HELLO]
    assert session.extra() == {"x": 1}
    session.append([REPLY])
    assert opened(tmp_path).load() == [HELLO, REPLY]
    session.save([HELLO, REPLY])
    assert opened(tmp_path).load() == [HELLO, REPLY]
    assert (tmp_path / "shop.json.v0.bak").read_text() == before
    session.save([HELLO])
    assert (tmp_path / "shop.json.v0.bak").read_text() == before


def test_an_older_writers_file_name_is_found_and_moved_to_the_new_one(tmp_path: Path) -> None:
    old = {
        "session_id": "MyShop",
        "agent_name": "A",
        "created_at": 1.0,
        "updated_at": 2.0,
        "messages": [HELLO],
        "extra": {},
    }
    (tmp_path / "MyShop.json").write_text(json.dumps(old))
    session = opened(tmp_path, "MyShop")
    assert session.exists()
    assert session.metadata() == {
        "session_id": "MyShop",
        "agent_name": "A",
        "created_at": 1.0,
        "updated_at": 2.0,
        "messages": 1,
    }
    session.save([*session.load(), REPLY])
    assert opened(tmp_path, "MyShop").load() == [HELLO, REPLY]
    assert not (tmp_path / "MyShop.json").exists()
    session.reset()
    assert list(tmp_path.iterdir()) == []


def test_a_newer_document_is_refused_with_both_versions_and_left_alone(tmp_path: Path) -> None:
    text = json.dumps({"version": 99, "messages": []})
    (tmp_path / "shop.json").write_text(text)
    with pytest.raises(SessionError, match=r"version 99.*reads up to 1"):
        opened(tmp_path).load()
    with pytest.raises(SessionError):
        opened(tmp_path).save([HELLO])
    assert (tmp_path / "shop.json").read_text() == text


def test_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "sessions"
    session = opened(folder)
    session.append([HELLO])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "shop.journal").stat().st_mode) == 0o600
    session.save([HELLO])
    assert stat.S_IMODE((folder / "shop.json").stat().st_mode) == 0o600


def test_the_default_folder_is_in_the_home_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    session = FileSession(session_id="_", agent_name="_")
    assert session.path.parent == tmp_path / ".autopilot" / "sessions"
    assert session.list_sessions() == []
    assert list(tmp_path.iterdir()) == []


def test_reset_leaves_nothing_and_the_next_save_starts_fresh(tmp_path: Path) -> None:
    session = opened(tmp_path)
    session.append([HELLO], extra={"memory_state": 1})
    session.save([HELLO])
    session.append([REPLY])
    session.reset()
    assert list(tmp_path.iterdir()) == []
    assert not session.exists()
    assert session.load() == []
    assert session.extra() == {}
    session.append([HELLO])
    session.save([HELLO])
    assert opened(tmp_path).load() == [HELLO]


def test_resetting_what_was_never_there_makes_nothing(tmp_path: Path) -> None:
    opened(tmp_path / "none").reset()
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- lists


def test_lists_and_metadata_show_counts_without_messages(tmp_path: Path) -> None:
    now = [10.0]
    for name in ("a", "b", "team/c"):
        now[0] += 1
        opened(tmp_path, name, clock=lambda: now[0]).save([HELLO])
    running = opened(tmp_path, "d", clock=lambda: 5.0)
    running.append([HELLO, REPLY])
    (tmp_path / "broken.json").write_text("{")
    listed = opened(tmp_path, "_").list_sessions()
    assert [(one["session_id"], one["messages"]) for one in listed] == [
        ("team/c", 1),
        ("b", 1),
        ("a", 1),
        ("d", 2),
        ("broken", 0),
    ]
    assert "damaged at byte" in listed[-1]["error"]
    assert opened(tmp_path, "nobody").metadata() is None
    meta = opened(tmp_path, "b").metadata()
    assert meta is not None
    assert meta["updated_at"] == 12.0


def test_metadata_of_a_huge_session_reads_one_line(tmp_path: Path) -> None:
    opened(tmp_path).save([{"role": "user", "content": "x" * 1_000}] * 20_000)
    began = time.perf_counter()
    meta = opened(tmp_path).metadata()
    assert time.perf_counter() - began < 0.05
    assert meta is not None
    assert meta["messages"] == 20_000


# ---------------------------------------------------------------- names

PATHS = ["", ".", "..", "../../etc/passwd", "/abs", "a/b", "a_b", "a\\b", "~", "team~x", "a.json", "a.journal", "-rf"]
CASES = ["Foo", "foo", "FOO", "con", "CON", "aux.txt", "name.", "name ", "é", "e\u0301"]
WILD = [*PATHS, *CASES, "nul\0byte", "🙂", "x" * 5_000, "x" * 5_001, "\ud800", "a\nb"]


def test_any_id_has_a_file_of_its_own_inside_the_folder(tmp_path: Path) -> None:
    names = [opened(tmp_path, one).path.name for one in WILD]
    assert len({name.lower() for name in names}) == len(WILD)
    for index, one in enumerate(WILD):
        session = opened(tmp_path, one)
        assert session.path.parent == tmp_path
        assert len(session.path.name) < 100
        session.save([{"role": "user", "content": str(index)}])
    for index, one in enumerate(WILD):
        assert opened(tmp_path, one).load()[0]["content"] == str(index)
    listed = {one["session_id"] for one in opened(tmp_path).list_sessions()}
    assert listed == set(WILD)


def test_a_plain_id_keeps_its_name_and_no_other_can_look_like_it() -> None:
    assert file_stem("ecommerce-api") == "ecommerce-api"
    wild = file_stem("Team/A")
    assert wild.startswith("team-a~")
    assert file_stem(wild) != wild


# ---------------------------------------------------------------- steps


def test_a_step_is_there_for_others_before_the_run_ends(tmp_path: Path) -> None:
    writer = opened(tmp_path)
    writer.append([HELLO], extra={"a": 1, "b": 2})
    writer.append([REPLY], extra={"b": None, "c": [3]})
    assert writer.extra() == {"a": 1, "c": [3]}
    reader = opened(tmp_path)
    assert reader.load() == [HELLO, REPLY]
    assert reader.extra() == {"a": 1, "c": [3]}
    assert reader.exists()


def test_what_is_handed_in_or_out_is_not_shared(tmp_path: Path) -> None:
    session = opened(tmp_path)
    state = {"list": [1]}
    session.append([HELLO], extra=state)
    state["list"].append(2)
    session.extra()["list"].append(3)
    assert session.extra() == {"list": [1]}


@pytest.mark.parametrize("cut", [1, 5, 9, 40])
def test_a_torn_tail_is_dropped_and_the_session_goes_on(tmp_path: Path, cut: int) -> None:
    session = opened(tmp_path)
    session.append([HELLO])
    whole = (tmp_path / "shop.journal").stat().st_size
    session.append([REPLY])
    session.close()
    data = (tmp_path / "shop.journal").read_bytes()
    (tmp_path / "shop.journal").write_bytes(data[: whole + cut])
    again = opened(tmp_path)
    assert again.load() == [HELLO]
    again.append([HELLO])
    again.close()
    assert opened(tmp_path).load() == [HELLO, HELLO]


def test_every_cut_of_a_journal_loads_as_a_prefix_of_its_steps(tmp_path: Path) -> None:
    session = opened(tmp_path)
    for index in range(4):
        session.append([{"role": "user", "content": f"step {index}"}])
    session.close()
    data = (tmp_path / "shop.journal").read_bytes()
    seen = set()
    for cut in range(len(data) + 1):
        (tmp_path / "shop.journal").write_bytes(data[:cut] + b"\0" * 7)
        contents = [one["content"] for one in opened(tmp_path).load()]
        assert contents == [f"step {index}" for index in range(len(contents))]
        seen.add(len(contents))
    assert seen == {0, 1, 2, 3, 4}


def test_a_last_line_of_the_right_length_with_wrong_bytes_is_torn_too(tmp_path: Path) -> None:
    session = opened(tmp_path)
    session.append([HELLO])
    session.append([REPLY])
    session.close()
    data = (tmp_path / "shop.journal").read_bytes()
    (tmp_path / "shop.journal").write_bytes(data[:-20] + b"\0" * 19 + b"\n")
    assert opened(tmp_path).load() == [HELLO]


def test_damage_in_the_middle_of_a_journal_is_told_not_skipped(tmp_path: Path) -> None:
    session = opened(tmp_path)
    for _ in range(3):
        session.append([HELLO])
    session.close()
    data = bytearray((tmp_path / "shop.journal").read_bytes())
    second = data.index(b"\n") + 1
    data[second + 20] ^= 1
    (tmp_path / "shop.journal").write_bytes(data)
    with pytest.raises(SessionError, match=f"damaged at byte {second}"):
        opened(tmp_path).load()
    assert (tmp_path / "shop.journal").read_bytes() == data


def test_a_journal_already_folded_into_the_document_counts_once(tmp_path: Path) -> None:
    session = opened(tmp_path)
    session.append([HELLO])
    left = (tmp_path / "shop.journal").read_bytes()
    session.save([HELLO])
    (tmp_path / "shop.journal").write_bytes(left)  # as after a kill between the rename and the removal
    again = opened(tmp_path)
    assert again.load() == [HELLO]
    again.append([REPLY])
    again.close()
    assert opened(tmp_path).load() == [HELLO, REPLY]


def test_a_journal_of_another_state_is_never_mixed_in(tmp_path: Path) -> None:
    session = opened(tmp_path)
    session.save([HELLO])
    session.append([REPLY])
    session.close()
    (tmp_path / "shop.json").unlink()
    with pytest.raises(SessionError, match="another state"):
        opened(tmp_path).load()


def test_what_json_cannot_hold_is_refused_and_the_session_lives_on(tmp_path: Path) -> None:
    session = opened(tmp_path)
    session.append([HELLO])
    for bad in ({"role": "user", "content": {1, 2}}, {"role": "user", "content": float("nan")}):
        with pytest.raises(SessionError, match="cannot be stored"):
            session.append([bad])
        with pytest.raises(SessionError, match="cannot be stored"):
            session.save([bad])
    with pytest.raises(SessionError, match="cannot be stored"):
        session.append([], extra={"x": object()})
    session.append([REPLY])
    session.save([HELLO, REPLY])
    assert opened(tmp_path).load() == [HELLO, REPLY]


def test_a_step_costs_the_same_however_long_the_session_is(tmp_path: Path) -> None:
    session = opened(tmp_path)
    session.save([{"role": "user", "content": "x" * 200}] * 100_000)
    session = opened(tmp_path)
    began = time.perf_counter()
    assert len(session.load()) == 100_000
    assert time.perf_counter() - began < 2.0
    session.append([HELLO])
    times = []
    for _ in range(40):
        began = time.perf_counter()
        session.append([HELLO])
        times.append(time.perf_counter() - began)
    session.close()
    assert sorted(times)[38] < 0.25


# ---------------------------------------------------------------- two writers


def test_a_reset_by_somebody_else_is_noticed(tmp_path: Path) -> None:
    one = opened(tmp_path)
    one.save([HELLO])
    opened(tmp_path).reset()
    with pytest.raises(SessionConflict):
        one.append([REPLY])


def test_two_runtimes_in_one_process_may_take_turns(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.append([HELLO])
    first.save([HELLO])
    second = opened(tmp_path)
    second.save([*second.load(), REPLY])
    assert opened(tmp_path).load() == [HELLO, REPLY]


def test_a_forgotten_session_lets_go_of_its_lock(tmp_path: Path) -> None:
    forgotten = opened(tmp_path)
    forgotten.append([HELLO])
    del forgotten
    again = opened(tmp_path)
    again.append([REPLY])
    assert again.load() == [HELLO, REPLY]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_neither_keeps_nor_breaks_the_lock(tmp_path: Path) -> None:
    session = opened(tmp_path)
    session.append([HELLO])
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        session.close()
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    with pytest.raises(SessionConflict):
        opened(tmp_path).acquire()
    session.save([HELLO])
    second = opened(tmp_path)
    second.append([REPLY])
    assert second.load() == [HELLO, REPLY]
    os.write(go[1], b"x")
    os.waitpid(pid, 0)
    for fd in (*ready, *go):
        os.close(fd)


# ---------------------------------------------------------------- damage and refusals


@pytest.mark.parametrize(
    ("data", "offset", "reason"),
    [
        (b"", 0, "empty"),
        (b'{"messages": [', 14, "line 1 column 15"),
        ('{"é": x'.encode(), 7, "Expecting value"),
        (b'{"a": "\xff"}', 7, "UTF-8"),
        (b"[]", 0, "object"),
        (b'{"messages": [1]}', 0, "list of objects"),
        (b"[" * 100_000, 0, "recursion"),
    ],
    ids=["empty", "cut", "bytes-not-characters", "not-utf8", "list", "messages", "deep"],
)
def test_a_damaged_document_is_named_with_its_offset_and_kept(
    tmp_path: Path, data: bytes, offset: int, reason: str
) -> None:
    path = tmp_path / "shop.json"
    path.write_bytes(data)
    for use in (lambda s: s.load(), lambda s: s.save([HELLO]), lambda s: s.append([HELLO])):
        with pytest.raises(SessionError, match=f"damaged at byte {offset}: .*{reason}") as caught:
            use(opened(tmp_path))
        assert str(path) in str(caught.value)
    assert path.read_bytes() == data
    opened(tmp_path).reset()
    assert not path.exists()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder nobody can write to")
def test_a_folder_that_cannot_be_written_is_refused_at_construction() -> None:
    with pytest.raises(SessionError, match="cannot be read or written"):
        create_session("file", "x", session_dir=Path("/proc/self/fdinfo/none"))
    with pytest.raises(SessionError, match="cannot be read or written"):
        FileSession("x", "a", Path("/proc/self/fdinfo/none")).append([HELLO])


def test_a_failed_write_leaves_the_session_whole_and_the_next_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(tmp_path)
    session.append([HELLO])
    real = os.fsync

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for write in (lambda: session.append([REPLY]), lambda: session.save([REPLY])):
        with pytest.raises(SessionError, match="No space left on device"):
            write()
    monkeypatch.setattr(os, "fsync", real)
    assert opened(tmp_path).load() == [HELLO]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shop.journal"]
    session.append([REPLY])
    assert opened(tmp_path).load() == [HELLO, REPLY]
    session.save([HELLO, REPLY])
    assert opened(tmp_path).load() == [HELLO, REPLY]


def test_sessions_are_made_by_the_name_of_their_backend(tmp_path: Path) -> None:
    assert isinstance(create_session(), SessionStore)
    made = create_session("file", "x", "agent", tmp_path / "new")
    assert isinstance(made, FileSession)
    assert isinstance(made, SessionStore)
    assert (tmp_path / "new").is_dir()
    with pytest.raises(SetupError, match="Did you mean 'memory'"):
        create_session("memroy")


def test_a_long_document_is_not_written_anew_for_a_few_lines(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "x" * 5_000, "kind": "note", "task": 1}] * 1_000
    session = FileSession("long", "agent", tmp_path)
    session.append(messages)
    session.finish(extra={"run": 1}, messages=lambda: messages)
    before = session.path.stat().st_ino
    assert not session.journal_path.exists()
    session.append([REPLY], extra={"run": 2})
    session.finish(extra={"run": 3}, messages=lambda: [*messages, REPLY])
    assert session.path.stat().st_ino == before
    other = FileSession("long", "agent", tmp_path)
    assert other.load() == [*messages, REPLY]
    assert other.extra() == {"run": 3}
    [listed] = other.list_sessions()
    assert listed["messages"] == 1_001
    assert listed == other.metadata()
    other.append(messages[:200])
    other.finish(messages=lambda: [*messages, REPLY, *messages[:200]])
    assert other.path.stat().st_ino != before
    assert not other.journal_path.exists()
