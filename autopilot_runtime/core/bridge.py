"""The one door between sync and async: one background loop per process, and daemon threads for users' code."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import queue
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from autopilot_runtime.core.errors import AutopilotError

T = TypeVar("T")
_IDLE_SECONDS = 10.0
_CLEANUP_SECONDS = 10.0
_GRACE_SECONDS = 0.5


class Threads:
    """Daemon threads that are reused while busy and leave when idle. A stuck one never blocks the exit."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def start(self, job: Callable[[], None]) -> None:
        """Run `job` on some thread, soon. It must not raise."""
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
                self._jobs.put(job)
                return
        threading.Thread(target=self._serve, args=(job,), name="autopilot-user-code", daemon=True).start()

    def _serve(self, job: Callable[[], None]) -> None:
        while True:
            job()
            del job
            with self._lock:
                self._idle += 1
            try:
                job = self._jobs.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._idle > 0:
                        self._idle -= 1
                        return
                # Somebody counted on this thread between the time-out and the lock: the job is there.
                job = self._jobs.get()


class Bridge:
    """A loop of its own on a daemon thread. Terminals and connections live on it across `run()` calls."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._serve, name="autopilot-loop", daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait. Ctrl+C cancels it, waits for its clean-up, and is raised once."""
        if threading.current_thread() is self.thread:
            work.close()
            raise AutopilotError("A sync call was made from the runtime's own loop thread; use AsyncRuntime there.")
        ticket: _Ticket[T] = _Ticket(work)
        try:
            # Inside the `try`: the work may be running, and Ctrl+C come, before this very call has returned.
            self.loop.call_soon_threadsafe(ticket.start)
            ticket.wait()
        except BaseException:
            self.loop.call_soon_threadsafe(ticket.cancel)
            ticket.ended.wait(_CLEANUP_SECONDS)
            raise
        return ticket.result()

    def close(self) -> None:
        """End the loop and its thread; what still runs there is cancelled, and has a moment to clean up."""
        self.call(_cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_CLEANUP_SECONDS)
    await asyncio.get_running_loop().shutdown_asyncgens()


class _Ticket(Generic[T]):
    """One coroutine on its way through the bridge, and what came of it."""

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self.work = work
        self.ended = threading.Event()
        self.value: list[T] = []
        self.error: BaseException | None = None
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.get_running_loop().create_task(self._run())

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()
            return
        self.work.close()  # it never came to a start
        self.ended.set()

    async def _run(self) -> None:
        try:
            self.value.append(await self.work)
        except BaseException as error:
            self.error = error
        finally:
            self.ended.set()

    def wait(self) -> None:
        # The main thread looks up now and then: a Ctrl+C that comes in the instant before it falls asleep would not
        # wake it, and on Windows none ever would.
        nap = 0.2 if threading.current_thread() is threading.main_thread() else None
        while not self.ended.wait(nap):
            continue

    def result(self) -> T:
        if self.error is not None:
            raise self.error
        return self.value[0]


_lock = threading.Lock()
_bridges: dict[int, Bridge] = {}
_threads: dict[int, Threads] = {}


def bridge() -> Bridge:
    """The bridge of this process; a forked child gets its own."""
    with _lock:
        pid = os.getpid()
        if pid not in _bridges:
            _bridges.clear()
            _bridges[pid] = Bridge()
        return _bridges[pid]


def threads() -> Threads:
    """The thread supply of this process."""
    with _lock:
        pid = os.getpid()
        if pid not in _threads:
            _threads.clear()
            _threads[pid] = Threads()
        return _threads[pid]


def _fresh_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)


class Contained(Exception):
    """A `SystemExit`, `KeyboardInterrupt` or the like that users' code raised; must not end the host."""

    def __init__(self, inner: BaseException) -> None:
        super().__init__(f"{type(inner).__name__}: {inner}" if str(inner) else type(inner).__name__)
        self.inner = inner


async def in_thread(func: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run users' sync code on a daemon thread. Cancelling abandons the thread, never waits for it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, error: Exception | None) -> None:
        if not future.done():
            future.set_exception(error) if error else future.set_result(value)

    def job() -> None:
        value: Any = None
        error: Exception | None = None
        try:
            value = context.run(func, *args, **kwargs)
        except Exception as caught:
            error = Contained(caught) if isinstance(caught, StopIteration) else caught
        except BaseException as caught:
            error = Contained(caught)
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
            loop.call_soon_threadsafe(settle, value, error)

    threads().start(job)
    return await future


async def in_task(work: Awaitable[T]) -> T:
    """Await users' async code. Cancelling gives it a moment to clean up; what swallows that is left behind."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task], timeout=_GRACE_SECONDS)
        if task.done() and not task.cancelled():
            task.exception()  # looked at: nobody else will, and asyncio would complain
        raise
    if task.cancelled():
        raise Contained(asyncio.CancelledError())
    return task.result()


async def contained(work: Awaitable[T]) -> T:
    """Await users' code so that its own SystemExit or CancelledError does not pass for ours."""
    done, error = await in_task(_shielded(work))
    if error is not None:
        raise error
    return done[0]


async def _shielded(work: Awaitable[T]) -> tuple[list[T], Exception | None]:
    try:
        return [await work], None
    except asyncio.CancelledError as error:
        current = asyncio.current_task()
        if current is not None and current.cancelling():
            raise
        return [], Contained(error)
    except Exception as error:
        return [], error
    except BaseException as error:
        return [], Contained(error)
