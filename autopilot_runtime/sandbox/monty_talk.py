"""The host's conversation with a Monty worker about one block: stepped in a thread, calls awaited on the loop."""

from __future__ import annotations

import ast
import asyncio
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

from autopilot_runtime.core.bridge import in_thread
from autopilot_runtime.core.protocols import Failure, Limits, Outcome
from autopilot_runtime.sandbox import monty_pool
from autopilot_runtime.sandbox.blockrun import LOST, BlockRun, diverged
from autopilot_runtime.sandbox.display import bare_names, rebound, splice
from autopilot_runtime.sandbox.forbidden import advice
from autopilot_runtime.sandbox.monty_bridge import bridge
from autopilot_runtime.sandbox.monty_pool import PRELUDE, VALUE, WORDS, Lease
from autopilot_runtime.sandbox.monty_system import answer
from autopilot_runtime.sandbox.monty_text import outcome_error, text_of, unknown_name
from autopilot_runtime.sandbox.monty_value import plain, shown
from autopilot_runtime.sandbox.reads import Diverged
from autopilot_runtime.sandbox.wire import WireError

# How long a block that must end may take to unwind before it is killed.
_GRACE_SECONDS = 0.5
_SLEEPS = ("system.sleep", "system.async_sleep")
_LEAVE = {"exc_type": "SystemExit", "message": ""}


class Talk:
    """One block in one worker. `broken` afterwards: this worker must not be used again."""

    def __init__(self, lease: Lease, block: BlockRun, limits: Limits, *, tools: Collection[str]) -> None:
        self.broken = False
        self._lease, self._block, self._limits = lease, block, limits
        self._tools = tools
        self._bare = bare_names(tools)
        self._callable = frozenset((*tools, *self._bare))
        self._left = limits.seconds
        self._monty = monty_pool.monty()
        self._over = threading.Event()
        self._writing = threading.Lock()
        self._current = ""
        self._source = b""

    async def hold(self, code: str) -> Failure | None:
        """Run the block to its end; why it failed, if it did."""
        self._lease.sources.fed()  # the prelude
        try:
            return await self._held(code)
        except TimeoutError:
            return self._lost(self._overdue())
        except self._monty.MontyCrashedError as error:
            return self._lost(_death(error, self._limits))
        except self._monty.MontySyntaxError as error:
            text = f"{error.display('type-msg')}\nThis interpreter cannot read the block. Nothing of it ran."
            return Failure("syntax", text)
        except self._monty.MontyRuntimeError as error:
            return self._failed(error)
        except (RuntimeError, self._monty.MontyError) as error:
            return self._lost(Failure("killed", f"The block broke the connection to its host: {error}"[:2_000]))
        finally:
            # Whatever the thread still prints or sleeps: this block is told.
            with self._writing:
                self._over.set()

    def _lost(self, failure: Failure) -> Failure:
        self.broken = True
        return Failure(failure.kind, f"{failure.text}\n{LOST}", failure.line)

    def _overdue(self) -> Failure:
        if self._block.stopped is not None:
            return self._block.stopped
        text = f"The block was stopped after {self._limits.seconds:g} s of its own time (tool calls do not count)."
        return Failure("timeout", text)

    async def _held(self, code: str) -> Failure | None:
        spliced = splice(bridge(code, rebound(ast.parse(code))), self._tools, last=True)
        self._source = spliced.encode()
        self._lease.bound(self._limits.seconds)
        await self._step(self._lease.session.feed_run, PRELUDE, inputs=_stubs(self._monty, self._tools))
        self._current = self._lease.sources.fed(code)
        asked = await self._step(self._begin, spliced)
        while asked is not None:
            answer = await self._called(asked)
            asked = await self._step(self._resume, asked, answer)
        return None

    # ------------------------------------------------------------ in the thread

    async def _step(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Give the block the word: the only time its clock runs."""
        begun = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, self._left)):
                return await in_thread(work, *args, **kwargs)
        finally:
            self._left -= time.monotonic() - begun

    def _begin(self, code: str) -> Any:
        return self._advance(self._lease.session.feed_start(code, print_callback=self._print))

    def _resume(self, asked: Any, answer: dict[str, Any]) -> Any:
        return self._advance(asked.resume(answer))

    def _advance(self, snapshot: Any) -> Any:
        """On to the next tool call, or to the end (None); what needs no tool is answered here."""
        while not isinstance(snapshot, self._monty.MontyComplete):
            if isinstance(snapshot, self._monty.NameLookupSnapshot):
                snapshot = snapshot.resume()
            elif isinstance(snapshot, self._monty.FutureSnapshot):
                nothing = {"exc_type": "RuntimeError", "message": "nothing will ever answer this await"}
                snapshot = snapshot.resume(dict.fromkeys(snapshot.pending_call_ids, nothing))
            elif snapshot.is_os_function:
                try:
                    snapshot = self._system(snapshot)
                except Diverged as error:
                    self._block.stopped = diverged(str(error))
                    return snapshot
            elif snapshot.object_id is None and snapshot.function_name in self._callable:
                return snapshot
            else:
                snapshot = snapshot.resume(self._own(snapshot))
        return None

    def _system(self, snapshot: Any) -> Any:
        name = str(snapshot.function_name)
        if name in _SLEEPS:
            seconds = snapshot.args[0] if snapshot.args else 0
            # Waiting while replaying is waste: nobody else is there to wait for.
            if isinstance(seconds, (int, float)) and seconds > 0 and not self._block.reads.replaying:
                self._over.wait(min(float(seconds), self._limits.seconds))
            return snapshot.resume({"return_value": None})
        known = answer(name, snapshot.args, reads=self._block.reads, pace=self._lease.pace)
        if known is not None:
            return snapshot.resume(known)
        if name == "open" or name.startswith(("Path.", "os.")):
            kind = "env" if "environ" in name or "getenv" in name else "files"
            return snapshot.resume({"exc_type": "PermissionError", "message": f"{name}: {advice(kind, self._tools)}"})
        return snapshot.resume_not_handled()

    def _own(self, snapshot: Any) -> dict[str, Any]:
        """A call of a name that is no tool: ours, one of Python's we stand in for, or nothing."""
        name, args = str(snapshot.function_name), snapshot.args
        if snapshot.object_id is not None:
            return {"exc_type": "AttributeError", "message": f"there is no tool {name!r} here"}
        if name in (VALUE, WORDS) and args:
            self._write("value", args[0][:20_000] if name == WORDS and isinstance(args[0], str) else shown(args[0]))
            return {"return_value": None}
        if name in ("exit", "quit"):
            return {"exc_type": "SystemExit", "message": shown(args[0])[:500] if args and args[0] is not None else ""}
        if name == "input":
            return outcome_error("EOFError", "there is nobody to type here")
        return {"exc_type": "NameError", "message": unknown_name(name, self._tools)}

    def _print(self, stream: str, text: str) -> None:
        self._write("text", text)

    def _write(self, kind: Any, text: str) -> None:
        with self._writing:
            if not self._over.is_set():
                self._block.transcript.add(kind, text)

    # ------------------------------------------------------------ calls

    async def _called(self, asked: Any) -> dict[str, Any]:
        if self._block.stopped is not None:
            raise TimeoutError  # it was told to leave and calls on, or does not go the way it went
        name = str(asked.function_name)
        tool = self._bare.get(name, name)
        try:
            args = tuple(plain(value) for value in asked.args)
            kwargs = {str(key): plain(value) for key, value in asked.kwargs.items()}
        except WireError as error:
            return outcome_error("TypeError", f"{tool}(): {error}")
        outcome = await self._block.answer(tool, args, kwargs, bare=name in self._bare, line=self._line(asked))
        if outcome.fatal:
            self._left = _GRACE_SECONDS
            return _LEAVE
        return _answer(outcome)

    def _line(self, asked: Any) -> int | None:
        place = asked.position
        return self._source.count(b"\n", 0, place.start) + 1 if place.filename == self._current else None

    # ------------------------------------------------------------ failures

    def _failed(self, error: Any) -> Failure | None:
        inner = error.exception()
        if isinstance(inner, SystemExit):
            code = error.display("msg")
            if code not in ("", "0", "None") and self._block.stopped is None:
                self._write("text", f"[the block ended itself: exit {code[:500]}]\n")
            return None
        if isinstance(inner, TimeoutError) and not error.traceback():  # the interpreter's own limit, not a raise
            return self._lost(self._overdue())
        text, line = text_of(error, sources=self._lease.sources, current=self._current, tools=self._tools)
        if isinstance(inner, MemoryError):
            return Failure("memory", f"{text}\nThe block may use {self._lease.memory_mb} MB.", line)
        if isinstance(inner, NameError) and "Tools here" not in text:
            text += f"\nTools here: {', '.join(sorted(self._tools)) or 'none'}"[:1_000]
        return Failure("error", text, line)


def _answer(outcome: Outcome) -> dict[str, Any]:
    if outcome.error is not None:
        return outcome_error(outcome.error_type, outcome.error)
    try:
        return {"return_value": plain(outcome.value)}
    except WireError as error:
        text = f"The call took effect, but its result cannot be given to the block: {error}."
        return outcome_error("ToolError", text)


def _stubs(monty: Any, tools: Collection[str]) -> dict[str, Any]:
    """The tools as the interpreter gets them: names that call the host, and nothing of the host."""
    stubs: dict[str, Any] = {}
    servers: dict[str, dict[str, Any]] = {}
    for tool in tools:
        server, dot, attr = tool.partition(".")
        (servers.setdefault(server, {}) if dot else stubs)[attr or tool] = _stub(tool)
    for name, members in servers.items():
        stubs[name] = monty.ClassInstance(Server(members), eager_attrs=tuple(members))
    return stubs


class Server:
    """The tools of one server, `server.tool(...)`: attributes that are sent along, and no way back to this object."""

    def __init__(self, members: dict[str, Any]) -> None:
        self.__dict__.update(members)


def _stub(name: str) -> Callable[..., None]:
    def tool(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a stub of a tool was called on the host")

    tool.__name__ = tool.__qualname__ = name
    return tool


def _death(error: Any, limits: Limits) -> Failure:
    text = str(error)[:500]
    if "memory" in text.lower() or "alloc" in text.lower():
        return Failure("memory", f"The block used more than {limits.memory_mb} MB and its worker ended: {text}")
    return Failure("killed", f"The block's worker ended: {text}")
