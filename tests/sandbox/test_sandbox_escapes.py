"""Hostile control blocks: none of them reaches a file, a key, a port, a process or the memory of the host."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from autopilot_runtime.confine.level import level
from autopilot_runtime.core.protocols import BlockResult, Limits
from autopilot_runtime.sandbox.python import PythonSandbox
from tests.contracts.sandbox_contract import TOOLS, Desk, everything, sections, shown

ESCAPES = sections(Path(__file__).with_name("escapes.txt"))
NEXT = 'x = read_file("a.py")\nprint("still here")\n'
LIMITS = Limits(seconds=1.5, memory_mb=256, output_chars=200_000, calls=50)
# Put together at run time, so that no payload contains it.
SECRET = "-".join(["sekret", "do", "not", "leak"])


@dataclass
class Host:
    """What must not be touched, and what would show that it was."""

    folder: Path
    port: int
    listener: socket.socket
    datagrams: socket.socket
    at_path: socket.socket
    signals: list[int] = field(default_factory=list)

    def fill(self, payload: str) -> str:
        """The payload with the addresses of this host's treasures."""
        for name, value in {
            "{SECRET_FILE}": self.folder / "secret.txt",
            "{SECRET_FOLDER}": self.folder,
            "{CANARY}": self.folder / "canary",
            "{SOCKET}": self.folder / "s",
            "{HOST_PID}": os.getpid(),
            "{PORT}": self.port,
            "{GUEST}": "next(c.cell_contents for c in read_file.__closure__ if callable(c.cell_contents)).__self__",
        }.items():
            payload = payload.replace(name, str(value))
        return payload

    def assert_untouched(self) -> None:
        """Files as they were, no connection, no signal."""
        assert sorted(path.name for path in self.folder.iterdir()) == ["planted.py", "s", "secret.txt"]
        assert (self.folder / "secret.txt").read_text() == SECRET
        for sock in (self.listener, self.at_path):
            with pytest.raises(BlockingIOError):
                sock.accept()
        with pytest.raises(BlockingIOError):
            self.datagrams.recv(10)
        assert self.signals == []
        assert os.getpriority(os.PRIO_PROCESS, 0) < 19


@pytest.fixture
def host(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    folder = tmp_path_factory.mktemp("h")
    (folder / "secret.txt").write_text(SECRET)
    (folder / "planted.py").write_text(f"VALUE = {SECRET!r}\n")
    monkeypatch.setenv("PLANTED_API_KEY", SECRET)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = listener.getsockname()[1]
        datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams.bind(("127.0.0.1", port))
        at_path = stack.enter_context(socket.socket(socket.AF_UNIX))
        at_path.bind(str(folder / "s"))
        at_path.listen()
        for sock in (listener, datagrams, at_path):
            sock.setblocking(False)
        it = Host(folder, port, listener, datagrams, at_path)
        before = signal.signal(signal.SIGUSR2, lambda number, frame: it.signals.append(number))
        yield it
        signal.signal(signal.SIGUSR2, before)


def assert_contained(result: BlockResult, desk: Desk) -> None:
    """Nothing that came back, or arrived at a tool, is of the host; and it is not without bounds."""
    text = (
        everything(result) + repr([(call.tool, len(repr(call.args)), call.args[:1]) for call in desk.calls])[:100_000]
    )
    assert SECRET not in text
    assert "ESCAPED" not in shown(result)
    assert result.failure is None or "ESCAPED" not in result.failure.kind
    assert len(everything(result)) < 300_000


def test_there_are_enough_payloads_of_enough_kinds() -> None:
    assert len(ESCAPES) >= 80
    assert len({name.partition("/")[0] for name, _ in ESCAPES}) >= 10


def as_written(payload: str) -> str:
    return payload


def past_the_lint(payload: str) -> str:
    """In a string no check looks into, so that only the walls are left."""
    return f"exec(compile({payload!r}, '<payload>', 'exec'))\n"


@pytest.mark.skipif(sys.platform != "linux" or not level().workers, reason="no confinement here")
@pytest.mark.parametrize("form", [as_written, past_the_lint])
@pytest.mark.parametrize("payload", [code for _, code in ESCAPES], ids=[name for name, _ in ESCAPES])
async def test_a_hostile_block_reaches_nothing(host: Host, payload: str, form: Callable[[str], str]) -> None:
    box, desk = PythonSandbox(), Desk({"a.py": "print(1)\n"})
    try:
        result = await box.run(form(host.fill(payload)), tools=TOOLS, call=desk, limits=LIMITS)
        assert_contained(result, desk)
        # Whatever it did to its own worker: the next block has its tools, and its output.
        desk.calls.clear()
        after = await box.run(NEXT, tools=TOOLS, call=desk, limits=LIMITS)
        if after.failure is not None:
            # A worker whose memory the block filled, or whose pipe it spoiled, is replaced; then it works.
            after = await box.run(
                'x = read_file("a.py")\nprint("still here")\n', tools=TOOLS, call=desk, limits=LIMITS
            )
        assert after.failure is None, after.failure
        assert "still here" in shown(after, "text")
        assert "read_file" in desk.called()
    finally:
        await box.close()
    host.assert_untouched()
