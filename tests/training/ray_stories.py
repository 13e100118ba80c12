"""`RayExecutor` on a cluster of two nodes: the contract, nodes that are lost, and a fit that outlives one.

Ray listens on all interfaces, whatever it is told: `test_rayexecutor.py` runs this where there is none but loopback.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.training import Callback, Experiment, Job, QualityFirstPolicy, RayExecutor, Trainer
from tests.contracts.executor_contract import ExecutorContract, Make, failure, result, wait_until
from tests.running import is_running, wait_for
from tests.training import evaluations as work
from tests.training.systems import Vocabulary, loader

ROOT = Path(__file__).parents[2]
LOOPBACK = "127.0.0.1"
SCRIPT = """
import tempfile
from autopilot_runtime.training import Job, RayExecutor

class Answer:
    def __init__(self, value):
        self.value = value

def evaluate(n):
    return Answer(n + 1)

with RayExecutor(workers=2) as executor:
    print([executor.submit(Job(evaluate, (n,))).result(100).value for n in range(3)])
    print(executor.submit(Job(lambda: "a lambda")).result(100))
    print(executor.submit(Job(tempfile.gettempdir)).result(100))
"""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    os.environ["PYTHONPATH"] = str(ROOT)  # for the nodes
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

    from ray.cluster_utils import Cluster

    node = {"num_cpus": 4, "node_ip_address": LOOPBACK, "include_dashboard": False, "object_store_memory": 100 << 20}
    made = Cluster(initialize_head=True, head_node_args=node)
    made.add_node(**node)
    yield made
    made.shutdown()


@pytest.fixture(scope="session")
def connected(cluster: Any) -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    executor = RayExecutor(cluster.address, _node_ip_address=LOOPBACK)
    assert executor.workers == 8
    assert signal.getsignal(signal.SIGTERM) == before
    yield
    executor.shutdown()
    import ray

    assert not ray.is_initialized()


@pytest.fixture
def make(connected: None) -> Iterator[Make]:
    made: list[RayExecutor] = []

    def one(workers: int, **options: Any) -> RayExecutor:
        made.append(RayExecutor(workers=workers, **options))
        return made[-1]

    yield one
    for executor in made:
        executor.shutdown(wait=False)


def test_an_address_where_nobody_is_says_so() -> None:
    with pytest.raises(SetupError, match=r"there is no Ray cluster .*ray start --head"):
        RayExecutor("127.0.0.1:1")  # before this program is connected to any


class TestRayExecutor(ExecutorContract):
    pass


def test_functions_that_only_this_program_knows_are_sent_along(make: Make) -> None:
    executor, outer = make(1), 20
    assert result(executor.submit(Job(lambda n: n + outer, (1,)))) == 21
    with pytest.raises(SetupError, match="cannot be sent to another process"):
        executor.submit(Job(work.add, (threading.Lock(),)))


def test_limits_are_kept_on_the_nodes(make: Make) -> None:
    executor = make(1)
    assert failure(executor.submit(Job(work.eat, (400,), memory_mb=200))).kind == "memory"
    assert failure(executor.submit(Job(work.compute, cpu_s=1))).kind == "cpu"
    assert str(failure(executor.submit(Job(work.crash)))).endswith("killed by SIGSEGV")


def test_a_job_that_is_cancelled_is_killed_with_all_it_started(make: Make) -> None:
    executor, nap = make(1), f"611.{time.monotonic_ns() % 10**9:09d}"
    future = executor.submit(Job(work.litter_then_hang, (nap,)))
    wait_for(f"sleep {nap}", work.PATIENCE)
    assert executor.cancel(future)
    wait_until(lambda: not is_running(f"sleep {nap}"), "what the job started still runs")


def test_a_folder_is_sent_once_while_it_does_not_change(make: Make, tmp_path: Path) -> None:
    executor, tree = make(2), tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_text("one")
    seen = [result(executor.submit(Job(work.look, files=str(tree))))["a"][0] for _ in range(2)]
    assert isinstance(executor, RayExecutor)
    assert len(executor._folders) == 1
    (tree / "a").write_text("other")
    seen.append(result(executor.submit(Job(work.look, files=str(tree))))["a"][0])
    assert seen == [b"one", b"one", b"other"]


def test_a_second_address_is_refused(connected: None) -> None:
    with pytest.raises(SetupError, match="connected to a Ray cluster already"):
        RayExecutor("127.0.0.1:1")


def test_jobs_of_a_node_that_is_lost_are_done_on_another_and_have_one_result(
    make: Make, cluster: Any, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=4, node_ip_address=LOOPBACK, object_store_memory=100 << 20)
    executor, begun, go = make(8), tmp_path / "begun", tmp_path / "go"
    futures = [
        executor.submit(Job(work.say_then_wait, (begun, go), key=str(n))) for n in range(8)
    ]  # what is left has room for all
    told: list[str] = []
    for future in futures:
        future.add_done_callback(lambda done: told.append(done.result()))
    work.wait_for(begun, 8)  # on all three nodes
    cluster.remove_node(node, allow_graceful=False)
    work.wait_for(begun, 9)
    work.say(go)
    assert [result(future) for future in futures] == ["waited"] * 8
    assert told == ["waited"] * 8
    assert 8 < len(begun.read_text().splitlines()) <= 12  # those of the lost node, and no others, were begun twice


class Loses(Callback):
    """Loses a node in the middle of an epoch."""

    def __init__(self, cluster: Any, node: Any) -> None:
        self.cluster, self.node = cluster, node

    def on_validation_start(self, trainer: Any, module: Any, **_: Any) -> None:
        if self.node is not None:
            threading.Thread(target=self.cluster.remove_node, args=(self.node, False)).start()
            self.node = None


def recorded(experiment: Experiment, found: Any) -> list[Any]:
    """Every evaluation there is of what a fit has made."""
    commits = dict.fromkeys(row.commit for row in found.history)
    return sorted(one.key for commit in commits for one in experiment.record.evaluations(commit))


def test_a_fit_that_loses_a_node_ends_as_one_that_does_not(make: Make, cluster: Any, tmp_path: Path) -> None:
    policy = QualityFirstPolicy("accuracy")
    here, there = Vocabulary(), Vocabulary()
    with Experiment("e", path=tmp_path / "plain") as experiment:
        trainer = Trainer(policy=policy, experiment=experiment)
        plain = trainer.fit(here, loader(), loader(batch_size=1), max_epochs=3)
        wanted = recorded(experiment, plain)
    node = cluster.add_node(num_cpus=4, node_ip_address=LOOPBACK, object_store_memory=100 << 20)
    with Experiment("e", path=tmp_path / "record") as experiment:
        trainer = Trainer(policy=policy, executor=make(12), experiment=experiment, callbacks=[Loses(cluster, node)])
        other = trainer.fit(there, loader(), loader(batch_size=1), max_epochs=3)
        assert recorded(experiment, other) == wanted
    assert trainer.callbacks[0].node is None
    assert (other.commit, other.metrics) == (plain.commit, plain.metrics)
    assert there.known.data == here.known.data


def test_a_script_may_begin_a_cluster_of_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "script.py"]
    found = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert found.stdout.splitlines()[:2] == ["[1, 2, 3]", "a lambda"], found.stderr
    folder = Path(found.stdout.splitlines()[2])
    wait_until(lambda: not folder.exists(), "a folder stays")
