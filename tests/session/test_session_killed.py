"""Kill -9 at random instants of a writing process: what it acknowledged is there, nothing is half."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autopilot_runtime.session.file import FileSession

ROUNDS = 25
# Appends a few steps, folds them, goes on; after each acknowledged step it says its number.
WRITER = """
import sys
from pathlib import Path
from autopilot_runtime.session.file import FileSession

session = FileSession("shop", "a", Path(sys.argv[1]))
messages = session.load()
number = len(messages)
while True:
    step = {"role": "user", "content": f"{number}:" + "x" * 3_000}
    session.append([step], extra={"number": number})
    messages.append(step)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
    number += 1
    if number % 3 == 0:
        session.save(messages)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_killed_writer_loses_nothing_it_acknowledged_and_leaves_nothing_half(tmp_path: Path) -> None:
    rng = random.Random(7)
    acknowledged = -1
    for _ in range(ROUNDS):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            assert int(writer.stdout.readline()) == acknowledged + 1
            time.sleep(rng.uniform(0.0, 0.03))
            writer.send_signal(signal.SIGKILL)
            lines = writer.stdout.read().split("\n")[:-1]
            writer.wait(10)
        acknowledged = int(lines[-1]) if lines else acknowledged + 1
        reader = FileSession("shop", "a", tmp_path)
        loaded = reader.load()
        numbers = [int(one["content"].partition(":")[0]) for one in loaded]
        assert numbers == list(range(len(numbers)))
        # One step more than was said: it was durable, but the word did not get out.
        assert len(numbers) in (acknowledged + 1, acknowledged + 2)
        assert reader.extra() == {"number": len(numbers) - 1}
        acknowledged = len(numbers) - 1
    assert acknowledged > ROUNDS
    assert len(list(tmp_path.glob("*.json"))) == 1


# Ends the process at the n-th operation on files of a `save`, as kill -9 would: no clean-up runs.
SAVER = """
import os, sys
from pathlib import Path
from autopilot_runtime.session.file import FileSession

session = FileSession("shop", "a", Path(sys.argv[1]))
messages = session.load()
messages.append({"role": "user", "content": str(len(messages))})
session.append(messages[-1:], extra={"count": len(messages)})
left = [int(sys.argv[2])]

def deadly(real):
    def call(*args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            os._exit(9)
        return real(*args, **kwargs)
    return call

for name in ("open", "write", "fsync", "fchmod", "replace", "rename", "unlink", "ftruncate", "close"):
    setattr(os, name, deadly(getattr(os, name)))
session.save(messages)
os._exit(0)
"""


@pytest.mark.skipif(os.name == "nt", reason="counts POSIX calls")
def test_a_save_that_dies_at_any_operation_keeps_every_step_once(tmp_path: Path) -> None:
    for operation in range(40):
        count = len(FileSession("shop", "a", tmp_path).load())
        done = subprocess.run([sys.executable, "-c", SAVER, str(tmp_path), str(operation)], timeout=30, check=False)
        session = FileSession("shop", "a", tmp_path)
        assert [one["content"] for one in session.load()] == [str(number) for number in range(count + 1)]
        assert session.extra() == {"count": count + 1}
        if done.returncode == 0:
            break
        assert done.returncode == 9
    assert 5 < operation < 39
    assert [path.name for path in tmp_path.iterdir()] == ["shop.json"]
