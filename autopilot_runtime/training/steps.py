"""Runs single evaluations: what was run before is read from the record, what fails is tried again, then told."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from autopilot_runtime.core.bridge import bridge
from autopilot_runtime.training.budget import Budget
from autopilot_runtime.training.datum import item_digest
from autopilot_runtime.training.executor import Executor, Job
from autopilot_runtime.training.fault import EvaluationFailed
from autopilot_runtime.training.packing import Unpackable, pack, unpack
from autopilot_runtime.training.record import EvalKey, Evaluation, Record

Step = Callable[[Any, int], Any]


@dataclass(slots=True)
class Done:
    """One evaluation. `extra` is what else was kept with it; `error` stands for an output that there is not."""

    index: int
    batch: Any
    key: EvalKey | None
    output: Any = None
    error: Exception | None = None
    cached: bool = False
    extra: Any = None
    seconds: float = 0.0


class Steps:
    """Runs steps of one fit. `put` keeps what came of one; the next who asks gets it from there."""

    def __init__(
        self,
        record: Record,
        *,
        version: str,
        budget: Budget,
        executor: Executor | None = None,
        retries: int = 1,
        timeout_s: float | None = None,
    ) -> None:
        self._record, self._version, self._budget = record, version, budget
        self._executor, self._retries, self._timeout = executor, retries, timeout_s
        self._older: set[tuple[str, str, int]] = set()  # (commit, split, replicate) that the record knows
        self._fresh: set[tuple[str, str, int]] = set()  # and that it did not when we began with it

    def key(self, batch: Any, *, commit: str, split: str, replicate: int) -> EvalKey | None:
        """What this evaluation is called; None when the batch has no content to name it by."""
        try:
            return EvalKey(commit, item_digest(batch), self._version, split, replicate)
        except TypeError:
            return None

    def kept(self, done: Done) -> bool:
        """Fill in what is on record; whether there was anything."""
        found = self._record.evaluation(done.key) if done.key is not None and self._may_know(done.key) else None
        if found is None:
            return False
        try:
            if found.ok:
                done.output, done.extra = unpack(found.output["output"]), found.output.get("extra")
            else:
                done.error = EvaluationFailed(found.error)
        except Unpackable:
            return False
        done.cached, done.seconds = True, found.seconds
        return True

    def _may_know(self, key: EvalKey) -> bool:
        """Whether anything of this commit was evaluated before we began with it: asked once, not for every item."""
        group = (key.commit, key.split, key.replicate)
        if group in self._fresh:
            return False
        if group not in self._older:
            found = self._record.evaluations(key.commit, key.split)
            (self._older if any(one.key.replicate == key.replicate for one in found) else self._fresh).add(group)
        return group in self._older

    def look_again(self) -> None:
        """What was evaluated since we began with a commit is asked of the record, too, from now on."""
        self._fresh.clear()

    def put(self, done: Done, *, metrics: dict[str, float] | None = None, feedback: str = "") -> None:
        """Keep what came of it, where it can be kept."""
        if done.key is None or done.cached:
            return
        error = "" if done.error is None else str(done.error)
        try:
            output = None if done.error else {"output": pack(done.output), "extra": done.extra}
        except Unpackable:
            return
        self._record.put_evaluation(
            Evaluation(done.key, not error, output, metrics or {}, feedback, error, {}, done.seconds, time.time())
        )

    def many(
        self, step: Step, batches: Iterable[tuple[int, Any]], *, commit: str, split: str, replicate: int, retry: bool
    ) -> Iterator[Done]:
        """Run a step on batches, one after the other or side by side; gives what came of each, in order."""
        todo = (
            Done(index, batch, self.key(batch, commit=commit, split=split, replicate=replicate))
            for index, batch in batches
        )
        if self._executor is None:
            for done in todo:
                if not self.kept(done):
                    self._here(step, done, retry=retry)
                yield done
        else:
            yield from self._elsewhere(self._executor, step, list(todo), retry=retry)

    def _here(self, step: Step, done: Done, *, retry: bool) -> None:
        for attempt in range(1 + (self._retries if retry else 0)):
            self._budget.reserve(calls=_size(done.batch))
            began = time.perf_counter()
            try:
                done.output, done.error = awaited(step(done.batch, done.index)), None
            except Exception as error:
                done.error = error
                error.add_note(f"in batch {done.index}, attempt {attempt + 1}")
            done.seconds = time.perf_counter() - began
            if done.error is None:
                return

    def _elsewhere(self, executor: Executor, step: Step, todo: list[Done], *, retry: bool) -> Iterator[Done]:
        waiting = [(done, None if self.kept(done) else self._submit(executor, step, done, 0)) for done in todo]
        try:
            for done, first in waiting:
                if first is not None:
                    self._await(executor, step, done, first, tries=1 + (self._retries if retry else 0))
                yield done
        finally:
            for _, future in waiting:
                if future is not None and not future.done():
                    executor.cancel(future)

    def _await(self, executor: Executor, step: Step, done: Done, future: Future[Any], *, tries: int) -> None:
        for attempt in range(1, tries + 1):
            try:
                (done.output, done.seconds), done.error = future.result(), None
                return
            except Exception as error:
                done.error = error
            if attempt < tries:
                future = self._submit(executor, step, done, attempt)

    def _submit(self, executor: Executor, step: Step, done: Done, attempt: int) -> Future[Any]:
        self._budget.reserve(calls=_size(done.batch))
        key = "" if done.key is None else f"{'/'.join(map(str, done.key))}/{attempt}"
        job = Job(timed, (step, done.batch, done.index), key=key, timeout_s=self._timeout)
        return executor.submit(job)


def timed(step: Step, batch: Any, index: int) -> tuple[Any, float]:
    """What a step gives, and how long it took."""
    began = time.perf_counter()
    output = awaited(step(batch, index))
    return output, time.perf_counter() - began


def awaited(value: Any) -> Any:
    """The value, waited for where it is a coroutine."""
    return bridge().call(value) if inspect.iscoroutine(value) else value


def _size(batch: Any) -> int:
    try:
        return max(1, len(batch))
    except TypeError:
        return 1
