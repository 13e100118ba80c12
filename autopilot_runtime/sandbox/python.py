"""The `python` engine: control blocks run by CPython in a confined worker, one worker for the life of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from autopilot_runtime.core.errors import AutopilotError
from autopilot_runtime.core.protocols import BlockResult, Caller, Limits, ToolSpec
from autopilot_runtime.sandbox.blockrun import BlockRun
from autopilot_runtime.sandbox.channel import Worker, hire
from autopilot_runtime.sandbox.check import check
from autopilot_runtime.sandbox.talk import Talk

_REPLACED = "[The worker of earlier blocks is gone; their variables are lost.]\n"


class PythonSandbox:
    """Full Python with nothing to reach. Killing always works; variables live until then."""

    name = "python"

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._starting = asyncio.Lock()
        self._busy = False
        self._used = False

    async def start(self) -> None:
        """Have a worker ready. Raises SandboxUnavailable where it cannot be confined."""
        async with self._starting:
            if self._worker is not None and self._worker.stale():
                self._drop()
            if self._worker is None:
                self._worker = await hire()

    async def run(
        self,
        code: str,
        *,
        tools: Mapping[str, ToolSpec],
        call: Caller,
        limits: Limits,
        payloads: int = 0,
        reads: Sequence[Any] = (),
    ) -> BlockResult:
        """Run one block. Cancelling kills the worker; the next `run` gets a fresh one."""
        if self._busy:
            raise AutopilotError("This sandbox is running a block already; one at a time.")
        self._busy = True
        try:
            failure = check(code, tools, payloads=payloads)
            if failure is not None:
                return BlockResult(failure=failure)
            block = BlockRun(tools=tools, call=call, limits=limits, reads=reads)
            return await self._run(code, block, limits, tools=tools)
        except BaseException:
            self._drop()
            raise
        finally:
            self._busy = False

    async def close(self) -> None:
        """Let the worker go."""
        self._drop()

    async def _run(self, code: str, block: BlockRun, limits: Limits, *, tools: Mapping[str, ToolSpec]) -> BlockResult:
        before = self._worker
        await self.start()
        worker = self._worker
        assert worker is not None
        if self._used and worker is not before:
            block.transcript.add("text", _REPLACED)
        self._used = True
        worker.limit_memory(limits.memory_mb)
        talk = Talk(worker, block, limits)
        message = {
            "op": "run",
            "code": code,
            "tools": list(tools),
            "chars": limits.output_chars,
            "reads": block.given,
        }
        failure = await talk.hold(message)
        if talk.broken:
            self._drop()
        return block.result(failure)

    def _drop(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None
