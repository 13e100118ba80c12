"""`ProcessExecutor`: the contract, and what only processes can give."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training import Job, ProcessExecutor, jobfolder
from tests.contracts.executor_contract import ExecutorContract, Make, failure, result, wait_until
from tests.running import is_running, wait_for
from tests.training import evaluations as work

ROOT = Path(__file__).parents[2]
SCRIPT = """
from autopilot_runtime.training import Job, ProcessExecutor

class Answer:
    def __init__(self, value):
        self.value = value

def evaluate(n):
    return Answer(n + 1)

def main():
    with ProcessExecutor(1) as executor:
        print([executor.submit(Job(evaluate, (n,))).result(60).value for n in range(3)])

"""
KILLED = """
from autopilot_runtime.training import Job, ProcessExecutor
from tests.training import evaluations as work

if __name__ == "__main__":
    executor = ProcessExecutor(2, fresh={fresh})
    executor.submit(Job(work.litter_then_hang, ("{nap}",), files="."))
    executor.submit(Job(work.hang)).result()
"""


@pytest.fixture(params=[True, False], ids=["fresh", "shared"])
def fresh(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def make(fresh: bool) -> Iterator[Make]:
    made: list[ProcessExecutor] = []

    def one(workers: int, **options: Any) -> ProcessExecutor:
        made.append(ProcessExecutor(workers, fresh=fresh, **options))
        return made[-1]

    yield one
    for executor in made:
        executor.shutdown(wait=False)


def unique_nap() -> str:
    """A number of seconds that no other test sleeps for."""
    return f"{600 + os.getpid() % 300}.{time.monotonic_ns() % 10**9:09d}"


def run_script(tmp_path: Path, code: str, *how: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "script.py").write_text(code)
    command = [sys.executable, *(how or ("script.py",))]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)


class TestProcessExecutor(ExecutorContract):
    pass


@pytest.mark.parametrize("fresh", [True], indirect=True)
class TestFreshProcesses:
    """How little a job has to do with those before it."""

    def test_no_job_sees_what_another_changed(self, make: Make) -> None:
        executor = make(1)
        assert [result(executor.submit(Job(work.change))) for _ in range(3)] == [1, 1, 1]

    def test_chance_is_another_one_in_each_job(self, make: Make) -> None:
        executor = make(1)
        assert len({result(executor.submit(Job(work.chance))) for _ in range(5)}) == 5

    def test_what_a_job_needs_is_loaded_once_for_those_after_it(self, make: Make) -> None:
        executor = make(1)
        found = [result(executor.submit(Job(work.loaded_in))) for _ in range(4)]
        assert found[0][0] == found[0][1]
        assert len({loaded for loaded, _ in found[1:]}) == 1
        assert all(loaded != own for loaded, own in found[1:])
        alone = make(1, preload=False)
        assert all(a == b for a, b in (result(alone.submit(Job(work.loaded_in))) for _ in range(3)))

    def test_a_module_that_begins_threads_when_it_is_loaded_is_loaded_by_each_job(
        self, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "threaded_work.py").write_text(
            "import threading\n"
            "thread = threading.Thread(target=threading.Event().wait, daemon=True)\n"
            "thread.start()\n"
            "def alive():\n    return thread.is_alive()\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        import threaded_work  # type: ignore[import-not-found]

        executor = make(1)
        assert [result(executor.submit(Job(threaded_work.alive))) for _ in range(3)] == [True] * 3


@pytest.mark.parametrize("fresh", [False], indirect=True)
def test_jobs_that_share_a_process_see_what_those_before_changed(make: Make) -> None:
    executor = make(1)
    result(executor.submit(Job(work.add, (1,))))  # what it loaded is loaded for those after it, in a new process
    assert [result(executor.submit(Job(work.change))) for _ in range(3)] == [1, 2, 3]
    assert failure(executor.submit(Job(work.hang, timeout_s=0.1))).kind == "timeout"
    assert result(executor.submit(Job(work.change))) == 1


def test_a_crash_fails_one_job_and_says_what_it_was(make: Make) -> None:
    executor = make(1)
    error = failure(executor.submit(Job(work.crash)))
    assert (error.kind, str(error)) == ("died", "crash() gave no result: its process was killed by SIGSEGV")
    assert str(failure(executor.submit(Job(work.vanish)))) == "vanish() gave no result: its process ended with code 7"
    assert result(executor.submit(Job(work.add, (1,)))) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_memory_is_limited_for_one_job(make: Make) -> None:
    executor = make(1)
    error = failure(executor.submit(Job(work.eat, (400,), memory_mb=200)))
    assert (error.kind, str(error)) == ("memory", "eat() needed more memory than the 200 MB it may use")
    assert result(executor.submit(Job(work.eat, (400,)))) == 400 << 20


def test_computing_is_limited_for_one_job(make: Make) -> None:
    executor = make(1)
    error = failure(executor.submit(Job(work.compute, cpu_s=1)))
    assert (error.kind, str(error)) == ("cpu", "compute() computed for more than 1 s and was stopped")
    assert result(executor.submit(Job(work.add, (1,)))) == 1


def test_a_result_that_is_too_large_or_cannot_be_sent_says_so(make: Make) -> None:
    executor = make(1, result_mb=1)
    error = failure(executor.submit(Job(work.much, (2,))))
    assert error.kind == "result"
    assert "gave 2,097," in str(error)
    assert "raise `result_mb`" in str(error)
    error = failure(executor.submit(Job(work.unsendable)))
    assert error.kind == "result"
    assert "unsendable() gave a lock that cannot be sent back" in str(error)
    assert result(executor.submit(Job(work.add, (1,)))) == 1


def test_work_that_cannot_be_sent_is_refused_with_what_to_change(make: Make) -> None:
    executor = make(1)
    with pytest.raises(SetupError, match=r"<lambda>\(\) cannot be sent to another process.*top level of a module"):
        executor.submit(Job(lambda: 1))
    with pytest.raises(SetupError, match=r"add\(\) cannot be sent.*it is one of its arguments"):
        executor.submit(Job(work.add, (work.unsendable(),)))


def test_nothing_that_a_job_leaves_behind_stays(make: Make) -> None:
    executor, nap = make(1), unique_nap()
    left = Path(result(executor.submit(Job(work.litter, (nap,)))))
    result(executor.submit(Job(work.add, (1,))))  # what was left is gone before the next one begins
    assert not is_running(f"sleep {nap}")
    assert not left.exists()


def test_a_job_that_is_too_slow_is_stopped_with_all_it_started(make: Make) -> None:
    executor, nap = make(1), unique_nap()
    assert failure(executor.submit(Job(work.litter_then_hang, (nap,), timeout_s=0.5))).kind == "timeout"
    result(executor.submit(Job(work.add, (1,))))
    assert not is_running(f"sleep {nap}")


def test_when_the_process_that_watches_is_killed_one_job_fails_and_the_next_is_done(
    make: Make, tmp_path: Path
) -> None:
    executor = make(1)
    host = result(executor.submit(Job(work.parent)))
    future = executor.submit(Job(work.say_then_hang, (tmp_path / "begun",)))
    work.wait_for(tmp_path / "begun")
    os.kill(host, signal.SIGKILL)
    assert failure(future).kind == "died"
    assert result(executor.submit(Job(work.parent))) != host
    assert len((tmp_path / "begun").read_text().splitlines()) == 1


def test_a_process_that_was_killed_between_two_jobs_costs_none(make: Make) -> None:
    executor = make(1)
    host = result(executor.submit(Job(work.parent)))
    os.kill(host, signal.SIGKILL)
    assert result(executor.submit(Job(work.add, (1,)))) == 1


def test_no_job_is_lost_or_done_twice_while_processes_die(make: Make, tmp_path: Path) -> None:
    executor = make(3)
    done = [executor.submit(Job(work.say, (tmp_path / "said", str(n)), key=str(n))) for n in range(30)]
    died = [executor.submit(Job(work.crash)) for _ in range(5)]
    for future in done:
        result(future)
    assert {failure(future).kind for future in died} == {"died"}
    assert sorted((tmp_path / "said").read_text().split(), key=int) == [str(n) for n in range(30)]


def test_nothing_stays_when_this_process_is_killed(tmp_path: Path, fresh: bool) -> None:
    nap, temporary = unique_nap(), tmp_path / "tmp"
    temporary.mkdir()
    (tmp_path / "script.py").write_text(KILLED.format(fresh=fresh, nap=nap))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    with subprocess.Popen([sys.executable, "script.py"], cwd=tmp_path, env=env) as process:
        try:
            wait_for(f"sleep {nap}", work.PATIENCE)
            assert list(temporary.iterdir())
        finally:
            process.kill()
    wait_until(lambda: not is_running(f"sleep {nap}"), "what the job started still runs")
    wait_until(lambda: not list(temporary.iterdir()), "a folder stays")


def test_what_a_script_defines_can_be_sent_from_it(tmp_path: Path) -> None:
    code = SCRIPT + 'if __name__ == "__main__":\n    main()\n'
    found = run_script(tmp_path, code)
    assert (found.stdout, found.stderr) == ("[1, 2, 3]\n", "")
    found = run_script(tmp_path, code, "-m", "script")
    assert (found.stdout, found.stderr) == ("[1, 2, 3]\n", "")


def test_a_script_that_would_begin_itself_again_is_told_what_to_change(tmp_path: Path) -> None:
    found = run_script(tmp_path, SCRIPT + "main()\n")
    assert found.returncode == 1
    assert "makes a ProcessExecutor not only as a program" in found.stderr
    assert 'below `if __name__ == "__main__":`' in found.stderr


def test_what_nobody_else_can_load_is_refused(tmp_path: Path) -> None:
    found = run_script(tmp_path, "", "-c", SCRIPT + "main()\n")
    assert "evaluate() is defined in an interactive session" in found.stderr
    assert "module of its own" in found.stderr


def test_the_folders_of_a_killed_process_are_swept_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "from autopilot_runtime.training import jobfolder; print(jobfolder.new_scratch())"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    left = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    ours, other = Path(jobfolder.new_scratch()), tmp_path / "autopilot-jobs-somebody-else"
    other.mkdir()
    assert Path(left.stdout.strip()).is_dir()
    jobfolder.sweep()
    assert sorted(tmp_path.iterdir()) == sorted([ours, other])


def test_workers_must_be_some() -> None:
    with pytest.raises(SetupError, match="at least one"):
        ProcessExecutor(0)
