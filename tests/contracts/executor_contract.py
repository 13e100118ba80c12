"""What every `Executor` must do. Subclass `ExecutorContract`, give a `make` fixture that makes one, and run it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training import EvaluationFailed, Executor, Job
from tests.training import evaluations as work

Make = Callable[..., Executor]
PATIENCE = 120.0


def result(future: Future[Any]) -> Any:
    """What came of it, within reason."""
    return future.result(PATIENCE)


def failure(future: Future[Any]) -> EvaluationFailed:
    """How it failed, within reason."""
    error = future.exception(PATIENCE)
    assert isinstance(error, EvaluationFailed), error
    return error


def wait_until(done: Callable[[], bool], what: str) -> None:
    """Return when it is so; `what` says that it never was."""
    limit = time.monotonic() + work.PATIENCE
    while not done():
        assert time.monotonic() < limit, what
        time.sleep(0.01)


def a_tree(folder: Path) -> Path:
    """One of everything a folder may hold."""
    folder.mkdir()
    (folder / "rules.json").write_bytes(b'{"a":\r\n1}')
    (folder / "run.sh").write_bytes(b"#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "binary").write_bytes(bytes(range(256)))
    (folder / "empty").mkdir()
    (folder / "link").symlink_to("rules.json")
    (folder / "elsewhere").symlink_to("/nowhere/at/all")
    return folder


class ExecutorContract:
    """The stories that all of them live."""

    def test_it_is_an_executor(self, make: Make) -> None:
        assert isinstance(make(2), Executor)
        assert make(2).workers == 2

    def test_a_job_gives_what_its_function_gives(self, make: Make) -> None:
        executor = make(2)
        futures = [executor.submit(Job(work.add, (n,), {"b": 1})) for n in range(20)]
        assert [result(future) for future in futures] == list(range(1, 21))

    def test_a_coroutine_function_is_awaited(self, make: Make) -> None:
        assert result(make(1).submit(Job(work.add_later, (1, 2)))) == 3

    @pytest.mark.parametrize("function", [work.wrong, work.wrong_later])
    def test_a_job_that_raises_says_so_and_spoils_no_other(self, make: Make, function: Callable[..., Any]) -> None:
        executor = make(1)
        bad, good = executor.submit(Job(function, ("no such rule",))), executor.submit(Job(work.add, (1,)))
        error = failure(bad)
        assert error.kind == "raised"
        assert str(error) == f"{function.__name__}() raised ValueError: no such rule"
        assert isinstance(error.__cause__, ValueError)
        assert "evaluations.py" in error.trace
        assert "no such rule" in error.trace
        assert result(good) == 1

    def test_an_exception_that_cannot_be_made_again_is_told_all_the_same(self, make: Make) -> None:
        assert str(failure(make(1).submit(Job(work.awkward)))) == "awkward() raised Awkward: all wrong"

    def test_a_job_that_wants_to_end_the_program_only_fails(self, make: Make) -> None:
        executor = make(1)
        assert str(failure(executor.submit(Job(work.leave)))) == "leave() raised SystemExit: 3"
        assert result(executor.submit(Job(work.add, (1,)))) == 1

    @pytest.mark.parametrize("function", [work.hang, work.hang_later])
    def test_a_job_that_is_too_slow_fails_and_leaves_its_place(
        self, make: Make, function: Callable[..., Any]
    ) -> None:
        executor = make(1)
        error = failure(executor.submit(Job(function, timeout_s=0.2)))
        assert error.kind == "timeout"
        assert f"{function.__name__}() took longer than 0.2 s" in str(error)
        assert result(executor.submit(Job(work.add, (1,)))) == 1

    def test_workers_work_at_once(self, make: Make, tmp_path: Path) -> None:
        executor = make(3)
        futures = [executor.submit(Job(work.meet, (tmp_path / "here", 3))) for _ in range(3)]
        assert [result(future) for future in futures] == [3, 3, 3]

    def test_no_more_than_that_work_at_once(self, make: Make, tmp_path: Path) -> None:
        executor = make(2)
        for future in [executor.submit(Job(work.enter_and_leave, (tmp_path / "said",))) for _ in range(20)]:
            result(future)
        here, most = 0, 0
        for line in (tmp_path / "said").read_text().splitlines():
            here += int(line)
            most = max(most, here)
        assert (here, most) == (0, 2) or (here, most) == (0, 1)

    def test_what_is_asked_for_many_times_under_one_key_is_done_once(self, make: Make, tmp_path: Path) -> None:
        executor, file = make(4), tmp_path / "said"
        found: list[Future[Any]] = []
        start = threading.Barrier(8)

        def ask() -> None:
            start.wait()
            found.append(executor.submit(Job(work.say, (file,), key="commit/item")))

        askers = [threading.Thread(target=ask) for _ in range(8)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        assert {result(future) for future in found} == {1}
        assert result(executor.submit(Job(work.say, (file,), key="commit/item"))) == 1  # also when it is done
        assert result(executor.submit(Job(work.say, (file,), key="commit/other"))) == 2
        assert result(executor.submit(Job(work.say, (file,)))) == 3

    def test_what_failed_or_was_cancelled_under_a_key_is_done_again(self, make: Make, tmp_path: Path) -> None:
        executor, file = make(1), tmp_path / "said"
        assert failure(executor.submit(Job(work.flaky, (file, 2), key="k"))).kind == "raised"
        assert result(executor.submit(Job(work.flaky, (file, 2), key="k"))) == 2
        first = executor.submit(Job(work.say_then_hang, (tmp_path / "begun",), key="c"))
        assert executor.cancel(first)
        assert result(executor.submit(Job(work.add, (1,), key="c"))) == 1

    def test_a_flaky_job_is_tried_as_often_as_it_may_be(self, make: Make, tmp_path: Path) -> None:
        executor = make(1)
        assert result(executor.submit(Job(work.flaky, (tmp_path / "a", 3), retries=2))) == 3
        assert str(failure(executor.submit(Job(work.flaky, (tmp_path / "b", 3), retries=1)))).endswith("try 2")
        assert len((tmp_path / "b").read_text().splitlines()) == 2

    def test_a_job_that_hangs_once_goes_through_the_second_time(self, make: Make, tmp_path: Path) -> None:
        job = Job(work.hang_once, (tmp_path / "a",), timeout_s=1, retries=1)
        assert result(make(1).submit(job)) == "went through"

    def test_a_job_gets_its_own_copy_of_the_files(self, make: Make, tmp_path: Path) -> None:
        executor, tree = make(2), a_tree(tmp_path / "tree")
        looks = [result(executor.submit(Job(work.look, files=str(tree)))) for _ in range(2)]
        folders = {look.pop("") for look in looks}
        assert len(folders) == 2
        assert (
            looks[0]
            == looks[1]
            == {
                "binary": (bytes(range(256)), 0o644),
                "elsewhere": "-> /nowhere/at/all",
                "empty": "folder",
                "link": "-> rules.json",
                "rules.json": (b'{"a":\r\n1}', 0o644),
                "run.sh": (b"#!/bin/sh\n", 0o755),
            }
        )
        assert (tree / "rules.json").read_bytes() == b'{"a":\r\n1}'
        assert not (tree / "closed").exists()
        executor.shutdown()
        wait_until(lambda: not any(Path(folder).exists() for folder in folders), "a copy stays")

    def test_a_folder_that_is_not_there_is_refused_at_once(self, make: Make, tmp_path: Path) -> None:
        with pytest.raises(SetupError, match="no such folder"):
            make(1).submit(Job(work.look, files=str(tmp_path / "nope")))

    def test_a_job_that_was_cancelled_while_it_waited_is_never_begun(self, make: Make, tmp_path: Path) -> None:
        executor = make(1)
        first = executor.submit(Job(work.say_then_wait, (tmp_path / "begun", tmp_path / "go")))
        second = executor.submit(Job(work.say, (tmp_path / "never",)))
        assert executor.cancel(second)
        assert not executor.cancel(second) or second.cancelled()
        work.wait_for(tmp_path / "begun")
        work.say(tmp_path / "go")
        assert result(first) == "waited"
        assert result(executor.submit(Job(work.add, (1,)))) == 1
        assert not (tmp_path / "never").exists()
        assert not executor.cancel(first)

    def test_a_job_that_runs_can_be_cancelled_and_leaves_its_place(self, make: Make, tmp_path: Path) -> None:
        executor = make(1)
        future = executor.submit(Job(work.say_then_hang, (tmp_path / "begun",)))
        work.wait_for(tmp_path / "begun")
        assert executor.cancel(future)
        assert concurrent.futures.wait([future], PATIENCE).not_done == set()
        with pytest.raises(CancelledError):
            result(future)
        assert result(executor.submit(Job(work.add, (1,)))) == 1

    async def test_whoever_awaits_a_job_and_is_cancelled_stops_it(self, make: Make, tmp_path: Path) -> None:
        executor = make(1)
        future = executor.submit(Job(work.say_then_hang, (tmp_path / "begun",)))
        waiting = asyncio.ensure_future(asyncio.wrap_future(future))
        await asyncio.to_thread(work.wait_for, tmp_path / "begun")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.to_thread(concurrent.futures.wait, [future], PATIENCE)
        assert future.cancelled()
        assert await asyncio.wrap_future(executor.submit(Job(work.add, (1,)))) == 1

    def test_shutdown_waits_for_what_was_submitted(self, make: Make, tmp_path: Path) -> None:
        executor = make(2)
        futures = [executor.submit(Job(work.say, (tmp_path / "said",))) for _ in range(10)]
        executor.shutdown()
        assert sorted(future.result(0) for future in futures)[-1] == 10
        executor.shutdown()
        with pytest.raises(SetupError, match="was shut down"):
            executor.submit(Job(work.add, (1,)))

    def test_shutdown_at_once_cancels_what_is_not_done(self, make: Make, tmp_path: Path) -> None:
        executor = make(1)
        futures = [executor.submit(Job(work.say_then_hang, (tmp_path / "begun",))) for _ in range(3)]
        work.wait_for(tmp_path / "begun")
        executor.shutdown(wait=False)
        assert [future.cancelled() for future in futures] == [True] * 3
        assert len((tmp_path / "begun").read_text().splitlines()) == 1

    def test_every_job_comes_to_an_end_whatever_the_others_do(self, make: Make, tmp_path: Path) -> None:
        executor = make(3)
        jobs = [
            Job(work.add, (1,)),
            Job(work.wrong, ("no",)),
            Job(work.hang, timeout_s=0.1),
            Job(work.say, (tmp_path / "said",), key="one"),
            Job(work.flaky, (tmp_path / "flaky", 2), retries=3),
        ]
        futures = [executor.submit(job) for _ in range(6) for job in jobs]
        assert concurrent.futures.wait(futures, PATIENCE).not_done == set()
        told = [future.exception() or future.result() for future in futures]
        assert [bool(future.exception()) for future in futures] == [False, True, True, False, False] * 6, told
        assert len((tmp_path / "said").read_text().splitlines()) == 1
