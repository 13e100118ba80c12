"""What only the `python` engine can read of clock and chance, and what a block makes of the clocks it is given."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from autopilot_runtime.confine.level import level
from autopilot_runtime.core.protocols import BlockResult, Limits
from autopilot_runtime.sandbox.python import PythonSandbox
from autopilot_runtime.sandbox.reads import Diverged, Reads
from tests.contracts.sandbox_contract import TOOLS, Desk, shown
from tests.sandbox.test_sandbox_worker import script

pytestmark = pytest.mark.skipif(sys.platform != "linux" or not level().workers, reason="no confinement here")
_GUEST = "next(c.cell_contents for c in echo.__closure__ if callable(c.cell_contents)).__self__"


@pytest.fixture
async def box() -> AsyncIterator[PythonSandbox]:
    sandbox = PythonSandbox()
    yield sandbox
    await sandbox.close()


async def run(
    box: PythonSandbox, code: str, desk: Desk | None = None, *, reads: Sequence[Any] = (), seconds: float = 20.0
) -> BlockResult:
    code = textwrap.dedent(code)
    limits = Limits(seconds=seconds)
    return await box.run(code, tools=TOOLS, call=desk or Desk(), limits=limits, reads=json.loads(json.dumps(reads)))


async def again(code: str, reads: Sequence[Any]) -> BlockResult:
    """In a worker of its own, with the reads of an earlier life."""
    box = PythonSandbox()
    try:
        return await run(box, code, reads=reads)
    finally:
        await box.close()


async def twice(box: PythonSandbox, code: str) -> BlockResult:
    """Run the block, then again with all it read; both must go well and show the same. Gives the first run."""
    first = await run(box, code)
    assert first.failure is None, first.failure
    second = await again(code, first.reads)
    assert second.failure is None, second.failure
    assert shown(second) == shown(first)
    assert second.reads == ()
    return first


# ---------------------------------------------------------------- everything there is to read


@pytest.mark.parametrize(
    "read",
    [
        "uuid.uuid4()",
        "uuid.uuid1()",
        "secrets.token_hex()",
        "secrets.choice(range(10**9))",
        "random.SystemRandom().random()",
        "random.sample(range(10**9), 3)",
        "random.gauss(0, 1)",
        "os.getrandom(9)",
        "len(os.urandom(5_000_000))",
        "datetime.datetime.utcnow()",
        "datetime.datetime.today()",
        "datetime.datetime.now(tz=datetime.timezone(datetime.timedelta(hours=5)))",
        "time.process_time_ns()",
        "time.thread_time()",
        "time.clock_gettime(time.CLOCK_REALTIME)",
        "time.localtime(None)",
        "timeit.timeit('1', number=3)",
        "email.utils.localtime()",
        "email.utils.formatdate(localtime=True)",
    ],
)
async def test_it_is_given_back(box: PythonSandbox, read: str) -> None:
    code = f"import datetime, email.utils, os, random, secrets, time, timeit, uuid\nprint({read})\n"
    first = await twice(box, code)
    assert first.reads
    assert len(json.dumps(first.reads)) < 2_000


@pytest.mark.parametrize(
    "given", ["time.localtime(0)", "time.gmtime(1.5)", "time.ctime(5)", "time.asctime((1,) * 9)"]
)
async def test_what_is_given_a_time_reads_none(box: PythonSandbox, given: str) -> None:
    assert (await run(box, f"import time\nprint({given})\n")).reads == ()


async def test_what_native_code_refuses_is_refused_alike(box: PythonSandbox) -> None:
    code = """
        import datetime, os, time
        for call in (
            lambda: time.time(1), lambda: os.urandom(-1), lambda: os.urandom("x"), lambda: time.strftime(),
            lambda: time.asctime(None), lambda: time.sleep(-1), lambda: time.sleep("x"),
            lambda: datetime.datetime.now("x"), lambda: time.localtime(1, 2), lambda: time.clock_gettime("x"),
        ):
            try:
                print(call())
            except (TypeError, ValueError) as error:
                print(type(error).__name__)
    """
    expected = "TypeError ValueError TypeError TypeError TypeError ValueError TypeError TypeError TypeError TypeError"
    assert shown(await run(box, code)).split() == expected.split()


async def test_a_set_of_texts_has_the_same_order_in_another_process(box: PythonSandbox) -> None:
    code = "print(list({f'word {n}' for n in range(50)}), hash('a'), hash(b'b'))"
    here = shown(await run(box, code))
    there = script(f'print(asyncio.run(once("""{code}""")).items[0].text, end="")')
    assert here == there


async def test_a_loop_of_tasks_and_threads_is_replayed(box: PythonSandbox) -> None:
    code = """
        import asyncio, time
        async def one(n):
            await asyncio.sleep(n / 1000)
            return await asyncio.to_thread(lambda: n * n)
        async def main():
            begun = asyncio.get_running_loop().time()
            values = await asyncio.gather(*(one(n) for n in range(20)))
            return values, asyncio.get_running_loop().time() - begun, time.time()
        print(asyncio.run(main()))
    """
    first = await twice(box, code)
    assert [read[0] for read in first.reads] == ["time.monotonic", "time.monotonic", "time.time"]


# ---------------------------------------------------------------- they are what they stand for


async def test_replaced_clocks_are_what_they_stand_for(box: PythonSandbox) -> None:
    code = """
        import copy, datetime, os, pickle, time
        from datetime import datetime as moment
        class Mine(moment):
            pass
        class Timer:
            clock = time.time
            def read(self):
                return self.clock()
        now = moment.now()
        print(type(Mine.now()) is Mine, type(Mine.utcnow()) is Mine)
        print(isinstance(now, datetime.date), type(now) is moment, repr(now).startswith("datetime.datetime(2"))
        print(pickle.loads(pickle.dumps(now)) == now == copy.deepcopy(now))
        print(type(now - datetime.timedelta(1)) is moment, type(Mine.today()) is Mine, moment.strptime("1", "%d").day)
        print(Timer().read() > 1e9, copy.deepcopy({"a": time.time})["a"] is time.time, callable(time.time))
        print(pickle.loads(pickle.dumps([time.time, os.urandom])) == [time.time, os.urandom], repr(time.time))
        print(abs(moment.now().timestamp() - time.time()) < 1, moment.now(datetime.timezone.utc).utcoffset())
    """
    result = await run(box, code)
    assert result.failure is None, result.failure
    words = set(shown(result).replace("<built-in function time>", "").split())
    assert words == {"True", "1", "0:00:00"}


async def test_a_block_may_patch_the_clock_itself(box: PythonSandbox) -> None:
    code = """
        import time, unittest.mock, random
        real = time.time
        time.time = lambda: 5.0
        with unittest.mock.patch("random.random", lambda: 0.25):
            print(time.time(), random.random(), real() > 1e9)
        print(random.random() != 0.25)
        random.random = lambda: 4
        print(random.random(), random.choice([1]), random.random())
    """
    first = await twice(box, code)
    assert shown(first) == "5.0 0.25 True\nTrue\n4 1 4\n"
    after = await run(box, "import random, time\nprint(time.time() > 1e9, random.random() < 1)\n")
    assert shown(after) == "True True\n"


async def test_the_shared_generator_goes_on_from_block_to_block(box: PythonSandbox) -> None:
    await run(box, "import random\nrandom.seed(7)\nx = random.random()\n")
    result = await run(box, "import random\nprint(random.random())\n")
    plain = __import__("random").Random(7)
    plain.random()
    assert shown(result) == f"{plain.random()}\n"
    assert result.reads == ()


async def test_each_worker_draws_a_start_of_its_own_at_first_use(box: PythonSandbox) -> None:
    assert (await run(box, "import random\n")).reads == ()
    one = await run(box, "import random\nx = random.random()\n")
    two = await again("import random\nx = random.random()\n", ())
    assert [read[0] for read in (*one.reads, *two.reads)] == ["random", "random"]
    assert one.reads != two.reads


async def test_reads_of_threads_are_all_there(box: PythonSandbox) -> None:
    code = """
        import threading, time
        def work():
            for _ in range(200):
                time.time()
        threads = [threading.Thread(target=work) for _ in range(5)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print("done")
    """
    assert len((await twice(box, code)).reads) == 1_000


async def test_a_finalizer_that_reads_the_clock_does_not_lock_up(box: PythonSandbox) -> None:
    code = """
        import gc, time
        class Late:
            def __del__(self):
                time.time()
        gc.set_threshold(5)
        for _ in range(2000):
            late = Late()
            late.me = late
            x = [time.time()]
        gc.set_threshold(700)
        print("done")
    """
    assert shown(await run(box, code)) == "done\n"


# ---------------------------------------------------------------- a block that cheats


@pytest.mark.parametrize(
    "cheat",
    [
        "guest._reads._noted.append(['x', [1]])",
        "guest._reads._noted.append({'lost': -5})",
        "guest._reads._noted.append(['x', 10**30])",
        "guest._reads._noted.append(['x', float('inf')])",
        "guest._reads._noted.append(['x', 'y' * 2_000_000])",
        "guest._reads._noted.append(['x', '\\ud800'])",
        "guest._reads._noted = 5",
        "guest._send({'op': 'diverged', 'text': 5})",
        "guest._send({'op': 'call', 'tool': 'echo', 'args': [1], 'kwargs': {}, 'bare': False, 'line': 1})",
    ],
)
async def test_reads_that_are_none_end_the_worker_and_not_the_host(box: PythonSandbox, cheat: str) -> None:
    result = await run(box, f"guest = {_GUEST}\n{cheat}\necho(1)\n")
    assert result.failure is not None
    assert result.reads == ()
    assert (await run(box, "print(1)\n")).failure is None


async def test_the_host_keeps_no_more_reads_than_fit_however_many_are_sent(box: PythonSandbox) -> None:
    desk = Desk()
    code = f"guest = {_GUEST}\nguest._reads._noted = [['x', 'y' * 900]] * 20_000\necho(1)\necho(2)\n"
    result = await run(box, code, desk)
    assert result.failure is None, result.failure
    assert len(json.dumps(desk.calls[0].reads)) < 1_100_000
    assert desk.calls[0].reads[-1]["lost"] > 18_000


async def test_a_divergence_can_be_claimed_only_at_the_blocks_own_cost(box: PythonSandbox) -> None:
    desk = Desk()
    code = f"guest = {_GUEST}\nguest._send({{'op': 'diverged', 'text': 'x' * 1_000_000}})\necho(1)\n"
    result = await run(box, code, desk)
    assert result.failure is not None
    assert len(result.failure.text) < 50_000
    assert desk.calls == []
    assert (await run(box, "print(1)\n")).failure is None


# ---------------------------------------------------------------- the record itself


def test_what_could_not_be_told_is_told_the_next_time() -> None:
    reads = Reads()
    reads.read("a", lambda: 1)
    taken = reads.take()
    reads.read("b", lambda: 2)
    reads.untake(taken)
    assert reads.take() == [["a", 1], ["b", 2]]


def test_a_divergence_stays_one() -> None:
    reads = Reads()
    reads.begin([["a", 1]])
    for source in ("b", "a"):
        with pytest.raises(Diverged, match="reads b, but when it was recorded it read a"):
            reads.read(source, lambda: 2)
