"""What every `SessionStore` must do. Subclass a contract, give a fixture `place`, and run it.

`SessionContract` is for all; `DurableContract` for stores that outlive their process and may have several writers.
An awaited store is driven through `Awaited`, so that the same stories run for both kinds.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import pytest

from autopilot_runtime.core.errors import SessionConflict, SessionError

HELLO = {"role": "user", "content": "hello", "kind": "task", "task": 1}
REPLY = {
    "role": "assistant",
    "content": "hi \0 \ud800 \r\n \u2028 🙂 '; drop table x; --",
    "kind": "reply",
    "task": 1,
}

PATHS = ["", ".", "..", "../../etc/passwd", "/abs", "a/b", "a_b", "a\\b", "~", "team~x", "a.json", "a.journal", "-rf"]
CASES = ["Foo", "foo", "FOO", "foo ", "foo  ", "con", "CON", "aux.txt", "name.", "é", "e\u0301", "É", "ß", "ss"]
SQL = ["'; drop table autopilot_sessions; --", '"', "%", "_", "%s", ":key", "?"]
WILD = [*PATHS, *CASES, *SQL, "nul\0byte", "nul", "🙂", "x" * 5_000, "x" * 5_001, "\ud800", "a\nb"]


class Place(Protocol):
    """Where sessions of one kind are. Every `open` is another store, as in another process, unless in memory."""

    def open(self, session_id: str = "team/a", **more: Any) -> Any: ...


class Awaited:
    """A store whose calls are coroutines, as one that blocks."""

    def __init__(self, session: Any, runner: asyncio.Runner) -> None:
        self._session = session
        self._runner = runner
        self._opened = False

    def load(self) -> list[dict[str, Any]]:
        """What is stored now."""
        self._opened = True
        self._runner.run(self._session.open())
        found: list[dict[str, Any]] = self._session.load()
        return found

    def extra(self) -> dict[str, Any]:
        """The extra state that is known."""
        if not self._opened:
            self.load()
        found: dict[str, Any] = self._session.extra()
        return found

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._session, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            made = found(*args, **kwargs)
            value = self._runner.run(made) if inspect.iscoroutine(made) else made
            return Awaited(value, self._runner) if hasattr(value, "append") and hasattr(value, "open") else value

        return call


def numbered(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Messages that say which they are."""
    return [{"role": "user", "content": str(number)} for number in range(first, first + count)]


class SessionContract:
    """The stories of every backend."""

    def test_a_new_session_is_empty(self, place: Place) -> None:
        session = place.open()
        assert session.session_id == "team/a"
        assert session.load() == []
        assert session.extra() == {}
        assert not session.exists()
        assert session.metadata() is None
        session.close()

    def test_appended_messages_are_loaded_in_order(self, place: Place) -> None:
        session = place.open()
        session.append([HELLO])
        session.append([REPLY, HELLO])
        assert session.load() == [HELLO, REPLY, HELLO]
        assert session.exists()
        session.close()

    def test_a_save_replaces_messages_and_keeps_the_extra_state(self, place: Place) -> None:
        session = place.open()
        session.append([HELLO, REPLY], extra={"memory_state": {"archived": [1]}})
        session.save([REPLY])
        assert session.load() == [REPLY]
        assert session.extra() == {"memory_state": {"archived": [1]}}
        session.append([HELLO], extra={"memory_state": None, "tag": "#1"})
        assert session.load() == [REPLY, HELLO]
        assert session.extra() == {"tag": "#1"}
        session.save([REPLY, HELLO, *numbered(3)], extra={"tag": "#2"})
        assert session.load() == [REPLY, HELLO, *numbered(3)]
        assert session.extra() == {"tag": "#2"}
        session.save([])
        assert session.load() == []
        session.close()

    def test_extra_state_can_be_added_alone(self, place: Place) -> None:
        session = place.open()
        session.append([], extra={"a": 1})
        session.append([], extra={"b": 2, "none": None})
        assert session.extra() == {"a": 1, "b": 2}
        assert session.load() == []
        session.close()

    def test_extra_keys_may_be_any_text(self, place: Place) -> None:
        session = place.open()
        wild = {key: {"of": key} for key in WILD}
        session.append([], extra=wild)
        session.append([], extra={"foo": "changed", "FOO": None})
        wild["foo"] = "changed"
        del wild["FOO"]
        assert session.extra() == wild
        session.load()
        assert session.extra() == wild
        session.close()

    def test_loading_twice_gives_lists_of_their_own(self, place: Place) -> None:
        session = place.open()
        session.append([HELLO])
        session.load().clear()
        session.load()[0]["content"] = "changed"
        assert session.load() == [HELLO]
        session.close()

    def test_what_is_handed_in_or_out_is_not_shared(self, place: Place) -> None:
        session = place.open()
        state = {"list": [1]}
        session.append([HELLO], extra=state)
        state["list"].append(2)
        session.extra()["list"].append(3)
        assert session.extra() == {"list": [1]}
        session.save([HELLO], extra=state)
        state["list"].append(4)
        assert session.extra() == {"list": [1, 2]}
        session.close()

    def test_a_step_that_need_not_survive_a_power_cut_is_there_all_the_same(self, place: Place) -> None:
        session = place.open()
        session.append([HELLO], durable=False)
        session.append([REPLY], durable=True)
        session.append([HELLO], extra={"a": 1}, durable=False)
        assert session.load() == [HELLO, REPLY, HELLO]
        assert session.extra() == {"a": 1}
        session.close()

    def test_reset_forgets_all_and_the_session_can_be_used_again(self, place: Place) -> None:
        session = place.open()
        session.append([HELLO], extra={"a": 1})
        session.save([HELLO])
        session.reset()
        session.reset()
        assert session.load() == []
        assert session.extra() == {}
        assert not session.exists()
        session.append([REPLY])
        assert session.load() == [REPLY]
        session.close()

    def test_metadata_and_lists_show_counts_without_messages(self, place: Place) -> None:
        now = [5.0]
        session = place.open(clock=lambda: now[0])
        session.append([HELLO])
        now[0] = 7.0
        session.append([REPLY])
        session.close()
        wanted = {
            "session_id": "team/a",
            "agent_name": "agent",
            "created_at": 5.0,
            "updated_at": 7.0,
            "messages": 2,
        }
        assert session.metadata() == wanted
        assert session.list_sessions() == [wanted]

    def test_a_clock_that_goes_backwards_changes_no_order(self, place: Place) -> None:
        now = [2_000_000_000.0]
        session = place.open(clock=lambda: now[0])
        for message in numbered(5):
            session.append([message])
            now[0] -= 3_600.0
        session.close()
        assert session.load() == numbered(5)
        assert session.metadata()["created_at"] == 2_000_000_000.0

    # ------------------------------------------------------------ forks

    def test_a_fork_is_a_session_of_its_own_with_the_first_messages(self, place: Place) -> None:
        session = place.open()
        state = {"tag": "#1", "memory_state": {"a": [1]}}
        session.append(numbered(4), extra={**state, "inbox.1": "later", "run": {}, "grants": [1], "call.1": 2})
        fork = session.fork(2)
        assert fork.session_id.startswith("team/a-fork-")
        assert fork.load() == numbered(2)
        assert fork.extra() == state
        fork.append([HELLO])
        session.append([REPLY])
        assert session.load() == [*numbered(4), REPLY]
        assert fork.load() == [*numbered(2), HELLO]
        assert "parent" not in fork.metadata()
        assert fork.metadata()["agent_name"] == session.metadata()["agent_name"]
        ids = {one["session_id"] for one in session.list_sessions()}
        assert ids == {"team/a", fork.session_id}
        fork.reset()
        assert session.load() == [*numbered(4), REPLY]
        for one in (session, fork):
            one.close()

    def test_a_fork_takes_all_messages_by_default_and_the_name_it_is_given(self, place: Place) -> None:
        session = place.open()
        session.append(numbered(3))
        session.save(numbered(3))
        fork = session.fork(session_id="other")
        assert fork.session_id == "other"
        assert fork.load() == numbered(3)
        empty = session.fork(0)
        assert empty.load() == []
        assert empty.exists()
        for one in (session, fork, empty):
            one.close()

    def test_a_fork_refuses_a_session_that_exists_and_a_place_that_does_not(self, place: Place) -> None:
        session = place.open()
        session.append(numbered(3))
        other = session.fork(session_id="other")
        for taken in ("other", "team/a"):
            with pytest.raises(SessionError, match=r"is a session .* already"):
                session.fork(1, taken)
        assert other.load() == numbered(3)
        for at in (-1, 4):
            with pytest.raises(SessionError, match=f"has 3 messages.*{at}"):
                session.fork(at, "nobody")
        assert {one["session_id"] for one in session.list_sessions()} == {"team/a", "other"}
        session.append([HELLO])
        for one in (session, other):
            one.close()

    # ------------------------------------------------------------ nested sessions

    def test_a_nested_session_belongs_to_its_parent_and_goes_with_it(self, place: Place) -> None:
        session = place.open()
        session.append([HELLO])
        nested = session.nested("reviewer")
        assert nested.session_id == "team/a/reviewer"
        assert nested.load() == []
        nested.append([REPLY], extra={"a": 1})
        nested.save([REPLY])
        deep = nested.nested("helper")
        deep.append([HELLO])
        deep.close()
        assert nested.metadata()["parent"] == "team/a"
        assert [one["session_id"] for one in session.list_sessions()] == ["team/a"]
        listed = session.list_sessions(nested=True)
        assert {one["session_id"]: one.get("parent") for one in listed} == {
            "team/a": None,
            "team/a/reviewer": "team/a",
            "team/a/reviewer/helper": "team/a/reviewer",
        }
        again = session.nested("reviewer")
        assert again.load() == [REPLY]
        assert again.extra() == {"a": 1}
        fork = session.fork()
        assert fork.nested("reviewer").load() == []
        session.reset()
        assert session.nested("reviewer").load() == []
        assert [one["session_id"] for one in session.list_sessions(nested=True)] == [fork.session_id]
        for one in (session, nested, deep, again, fork):
            one.close()

    def test_a_nested_session_needs_a_name(self, place: Place) -> None:
        session = place.open()
        with pytest.raises(SessionError, match="needs a name"):
            session.nested("")
        session.close()


class DurableContract(SessionContract):
    """Stores that outlive their process: other stores of the same session, names, refusals."""

    def test_a_new_process_picks_up_where_the_last_one_left_off(self, place: Place) -> None:
        first = place.open()
        first.append([HELLO], extra={"a": {"b": [1]}})
        first.append([REPLY])
        first.close()
        again = place.open()
        assert again.load() == [HELLO, REPLY]
        assert again.extra() == {"a": {"b": [1]}}
        again.append([HELLO], extra={"a": None})
        again.save([*again.load(), REPLY])
        again.close()
        last = place.open()
        assert last.load() == [HELLO, REPLY, HELLO, REPLY]
        assert last.extra() == {}
        last.close()

    def test_any_text_is_an_id_of_its_own(self, place: Place) -> None:
        sessions = [place.open(one) for one in WILD]
        for index, session in enumerate(sessions):
            session.save(numbered(1, index))
        for index, one in enumerate(WILD):
            assert place.open(one).load() == numbered(1, index)
        assert {one["session_id"] for one in sessions[0].list_sessions()} == set(WILD)
        for session in sessions:
            session.close()

    def test_a_step_is_there_for_others_before_the_run_ends(self, place: Place) -> None:
        writer, reader = place.open(), place.open()
        writer.append([HELLO], extra={"a": 1})
        assert reader.load() == [HELLO]
        assert reader.extra() == {"a": 1}
        assert reader.metadata()["messages"] == 1
        for one in (writer, reader):
            one.close()

    def test_the_second_writer_gets_a_conflict_and_nothing_is_overwritten(self, place: Place) -> None:
        first, second = place.open(), place.open()
        first.load()
        second.load()
        first.append([HELLO])
        for write in (lambda: second.append([REPLY]), lambda: second.save([REPLY]), second.acquire, second.reset):
            with pytest.raises(SessionConflict, match="Somebody else is writing"):
                write()
        first.save([HELLO])
        with pytest.raises(SessionConflict, match="since it was loaded"):
            second.append([REPLY])
        with pytest.raises(SessionConflict, match="Nothing was overwritten"):
            second.save([REPLY])
        assert place.open().load() == [HELLO]
        assert second.load() == [HELLO]
        second.append([REPLY])
        second.save([HELLO, REPLY])
        with pytest.raises(SessionConflict):
            first.append([HELLO])
        assert place.open().load() == [HELLO, REPLY]
        for one in (first, second):
            one.close()

    def test_steps_of_a_writer_that_went_away_are_not_overwritten_unseen(self, place: Place) -> None:
        late, gone = place.open(), place.open()
        late.load()
        gone.append([HELLO])
        gone.close()
        with pytest.raises(SessionConflict):
            late.save([REPLY])
        assert late.load() == [HELLO]
        late.save([HELLO, REPLY])
        late.close()

    def test_a_reset_by_somebody_else_is_noticed(self, place: Place) -> None:
        one, other = place.open(), place.open()
        one.save([HELLO])
        other.reset()
        with pytest.raises(SessionConflict):
            one.append([REPLY])
        other.save([HELLO])  # another session of the same name
        with pytest.raises(SessionConflict):
            one.append([REPLY])
        assert place.open().load() == [HELLO]
        for each in (one, other):
            each.close()

    def test_who_only_acquired_leaves_nothing(self, place: Place) -> None:
        session, other = place.open(), place.open()
        session.acquire()
        session.acquire()
        assert not other.exists()
        assert other.list_sessions() == []
        with pytest.raises(SessionConflict):
            other.acquire()
        session.close()
        other.append([HELLO])
        other.close()
        assert place.open().load() == [HELLO]

    def test_a_closed_session_can_be_used_again(self, place: Place) -> None:
        session = place.open()
        session.append([HELLO])
        session.close()
        session.close()
        session.append([REPLY])
        session.close()
        assert session.load() == [HELLO, REPLY]
        session.close()

    def test_a_reader_sees_a_session_whole_or_not_at_all(self, place: Place) -> None:
        whole = numbered(300)
        writer, stop = place.open(), threading.Event()

        def rewrite() -> None:
            while not stop.is_set():
                writer.append(whole)
                writer.reset()
            writer.close()

        if isinstance(writer, Awaited):
            pytest.skip("one loop has one thread; the blocking twin shares all of its code")
        thread = threading.Thread(target=rewrite)
        thread.start()
        reader, seen = place.open(), set[int]()
        limit = time.monotonic() + 1.0
        try:
            while time.monotonic() < limit:
                loaded = reader.load()
                assert loaded in ([], whole)
                seen.add(len(loaded))
        finally:
            stop.set()
            thread.join(30)
            reader.close()
        assert seen

    def test_of_many_threads_one_writes_and_no_step_is_lost(self, place: Place) -> None:
        wrote: list[str] = []
        refused: list[Exception] = []
        sessions = [place.open() for _ in range(6)]
        if isinstance(sessions[0], Awaited):
            pytest.skip("one loop has one thread; the blocking twin shares all of its code")

        def write(number: int) -> None:
            for step in range(5):
                try:
                    sessions[number].load()
                    sessions[number].append([{"content": f"{number}.{step}"}])
                    wrote.append(f"{number}.{step}")
                    sessions[number].close()
                except SessionConflict as error:
                    refused.append(error)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(wrote) + len(refused) == 30
        assert wrote
        assert sorted(one["content"] for one in place.open().load()) == sorted(wrote)

    def test_a_nested_session_is_not_somebody_elses(self, place: Place) -> None:
        other = place.open("team/a/reviewer")
        other.append([HELLO])
        other.close()
        session = place.open()
        with pytest.raises(SessionError, match="does not belong to 'team/a'"):
            session.nested("reviewer").load()
        with pytest.raises(SessionError, match="does not belong to 'team/a'"):
            session.nested("reviewer").append([REPLY])
        session.append([HELLO])
        session.reset()
        assert place.open("team/a/reviewer").load() == [HELLO]

    def test_a_reset_waits_for_nobody_who_writes_to_a_nested_session(self, place: Place) -> None:
        session = place.open()
        session.append([HELLO])
        session.save([HELLO])
        busy = session.nested("busy")
        busy.append([REPLY])
        with pytest.raises(SessionConflict):
            session.reset()
        assert place.open().load() == [HELLO]
        busy.close()
        session.reset()
        assert session.list_sessions(nested=True) == []

    def test_what_json_cannot_hold_is_refused_and_the_session_lives_on(self, place: Place) -> None:
        session = place.open()
        session.append([HELLO])
        writes: list[Callable[[Any], None]] = [lambda bad: session.append([bad]), lambda bad: session.save([bad])]
        for bad in ({"content": {1, 2}}, {"content": float("nan")}):
            for write in writes:
                with pytest.raises(SessionError, match="cannot be stored"):
                    write(bad)
        with pytest.raises(SessionError, match="cannot be stored"):
            session.append([], extra={"x": object()})
        session.append([REPLY])
        session.save([HELLO, REPLY])
        assert place.open().load() == [HELLO, REPLY]
        session.close()

    def test_a_big_message_is_kept_whole(self, place: Place) -> None:
        session = place.open()
        big = {"role": "user", "content": "é\0" * 400_000}
        session.append([big])
        session.close()
        assert place.open().load() == [big]
