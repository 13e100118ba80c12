"""The `monty` engine: control blocks run by a Rust interpreter of a part of Python, in a worker process."""

from __future__ import annotations

import ast
import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

from autopilot_runtime.core.errors import AutopilotError
from autopilot_runtime.core.protocols import BlockResult, Caller, Limits, ToolSpec
from autopilot_runtime.sandbox.blockrun import BlockRun, diverged
from autopilot_runtime.sandbox.check import check
from autopilot_runtime.sandbox.monty_limits import unsupported
from autopilot_runtime.sandbox.monty_pool import Lease, lease, monty
from autopilot_runtime.sandbox.monty_talk import Talk

# For a worker that is wanted before the first block is: time it is given generously, the host keeps the real limit.
_EARLY = Limits(seconds=300.0)
_REPLACED = "[The worker of earlier blocks is gone; their variables are lost.]\n"


class MontySandbox:
    """A part of Python with nothing to reach, wherever there are wheels. Killing always works."""

    name = "monty"

    def __init__(self) -> None:
        monty()
        self._lease: Lease | None = None
        self._starting = asyncio.Lock()
        self._busy = False
        self._used = False

    async def start(self) -> None:
        """Have a worker ready."""
        await self._ready(None)

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
            failure = check(code, tools, payloads=payloads) or unsupported(ast.parse(code))
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
        before = self._lease
        worker = await self._ready(limits)
        if self._used and worker is not before:
            block.transcript.add("text", _REPLACED)
        self._used = True
        talk = Talk(worker, block, limits, tools=tools)
        failure = await talk.hold(code)
        if talk.broken:
            self._drop()
        elif block.reads.unread():
            after = f"\n{failure.text}" if failure else ""
            failure = diverged(block.reads.unread() + after, failure.line if failure else None)
        return block.result(failure)

    async def _ready(self, limits: Limits | None) -> Lease:
        """The worker; a fresh one in a forked child, or when an unused one was made for other limits."""
        async with self._starting:
            held = self._lease
            if held is not None and (held.host != os.getpid() or (not self._used and not held.fits(limits))):
                self._drop()
            if self._lease is None:
                self._lease = await lease(limits or _EARLY)
            return self._lease

    def _drop(self) -> None:
        if self._lease is not None:
            self._lease.kill()
            self._lease = None
