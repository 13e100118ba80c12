"""Runs single evaluations: what was run before is read from the record, what fails is tried again, then told."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from autopilot_runtime.training.budget import Budget
from autopilot_runtime.training.datum import item_digest
from autopilot_runtime.training.executor import Executor, Job
from autopilot_runtime.training.fault import EvaluationFailed, TrainingError
from autopilot_runtime.training.graph import tape
from autopilot_runtime.training.packing import Unpackable, pack, unpack
from autopilot_runtime.training.parameter import Parameter
from autopilot_runtime.training.record import EvalKey, Evaluation, Record
from autopilot_runtime.training.runstep import Ran, Step, run, run_packed


@dataclass(slots=True)
class Done:
    """One evaluation. `extra` is what else was kept with it; `error` stands for an output that there is not."""

    index: int
    batch: Any
    key: EvalKey | None
    output: Any = None
    logged: list[tuple[str, float]] = field(default_factory=list)
    error: Exception | None = None
    cached: bool = False
    extra: Any = None
    judged: list[Any] = field(default_factory=list)  # what each loss gave
    seconds: float = 0.0


class Steps:
    """Runs steps of one fit. `put` keeps what came of one; the next who asks gets it from there.

    `files` gives the folder that holds a commit's files, for evaluations in other processes.
    """

    def __init__(
        self,
        record: Record,
        parameters: list[tuple[str, Parameter]],
        *,
        version: str,
        budget: Budget,
        executor: Executor | None = None,
        retries: int = 1,
        timeout_s: float | None = None,
        files: Callable[[str], str | None] | None = None,
        own: Executor | None = None,
    ) -> None:
        self._own = own
        self._record, self._parameters, self._version, self._budget = record, parameters, version, budget
        self._executor, self._retries, self._timeout, self._files = executor, retries, timeout_s, files
        self._older: set[tuple[str, str, int]] = set()  # (commit, split, replicate) that the record knows
        self._fresh: set[tuple[str, str, int]] = set()  # and that it did not when we began with it
        self._mine: set[EvalKey] = set()  # what was put since: a checked step may lead back to a state

    def close(self) -> None:
        """Let go of the executor that is nobody else's."""
        if self._own is not None:
            self._own.shutdown(wait=False)

    def key(self, batch: Any, *, commit: str, split: str, replicate: int) -> EvalKey | None:
        """What this evaluation is called; None when the batch has no content to name it by."""
        try:
            return EvalKey(commit, item_digest(batch), self._version, split, replicate)
        except TypeError:
            return None

    # ------------------------------------------------------------ the record

    def kept(self, done: Done) -> bool:
        """Fill in what is on record; whether there was anything."""
        found = self._record.evaluation(done.key) if done.key is not None and self._may_know(done.key) else None
        if found is None:
            return False
        try:
            if found.ok:
                done.output, done.extra = unpack(found.output["output"]), found.output.get("extra")
                done.logged = [(name, value) for name, value in found.output.get("logged", ())]
            else:
                done.error = EvaluationFailed(found.error)
        except Unpackable:
            return False
        done.cached, done.seconds = True, found.seconds
        return True

    def _may_know(self, key: EvalKey) -> bool:
        """Whether anything of this commit was evaluated before we began with it: asked once, not for every item."""
        if key in self._mine:
            return True
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
        self._mine.add(done.key)
        error = "" if done.error is None else str(done.error) or type(done.error).__name__
        try:
            output = None if done.error else {"output": pack(done.output), "extra": done.extra, "logged": done.logged}
        except Unpackable:
            return
        self._record.put_evaluation(
            Evaluation(done.key, not error, output, metrics or {}, feedback, error, {}, done.seconds, time.time())
        )

    # ------------------------------------------------------------ running

    def many(
        self, step: Step, batches: Iterable[tuple[int, Any]], *, commit: str, split: str, replicate: int, retry: bool
    ) -> Iterator[Done]:
        """Run a step on batches, one after the other or side by side; gives what came of each, in order."""
        todo = (
            Done(index, batch, self.key(batch, commit=commit, split=split, replicate=replicate))
            for index, batch in batches
        )
        tries = 1 + (self._retries if retry else 0)
        if self._executor is None:
            for done in todo:
                if not self.kept(done):
                    self._here(step, done, tries=tries)
                yield done
        else:
            yield from self._elsewhere(self._job(step, commit), list(todo), tries=tries)

    def _here(self, step: Step, done: Done, *, tries: int) -> None:
        for attempt in range(tries):
            self._budget.reserve(calls=_size(done.batch))
            try:
                ran = run(step, done.batch, done.index)
            except Exception as error:
                error.add_note(f"in batch {done.index}, attempt {attempt + 1}")
                done.error = error
            else:
                done.output, done.logged, done.seconds, done.error = ran.output, ran.logged, ran.seconds, None
                return

    def _job(self, step: Step, commit: str) -> Callable[[Done], Job]:
        """How a batch becomes a job. Where nothing is shared, the module goes along, with a copy of its files."""
        if not getattr(self._executor, "remote", False):
            known = {"recording": tape.recording}  # another thread knows nothing of a no_grad() around us
            return lambda done: Job(run, (step, done.batch, done.index), known, timeout_s=self._timeout)
        module: Any = getattr(step, "__self__", None)
        try:
            packed = pickle.dumps(module)
        except Exception as error:
            raise TrainingError(
                f"{type(module).__name__} cannot go to another process ({error}): define it in a module that can be "
                "imported, without lambdas and open files, or use a LocalExecutor"
            ) from error
        files, name = self._files(commit) if self._files is not None else None, step.__name__
        return lambda done: Job(
            run_packed, (packed, name, done.batch, done.index), files=files, timeout_s=self._timeout
        )

    def _elsewhere(self, job: Callable[[Done], Job], todo: list[Done], *, tries: int) -> Iterator[Done]:
        waiting = [(done, None if self.kept(done) else self._submit(job, done)) for done in todo]
        try:
            for done, first in waiting:
                if first is not None:
                    self._await(job, done, first, tries=tries)
                yield done
        finally:
            for _, future in waiting:
                if future is not None and not future.done() and self._executor is not None:
                    self._executor.cancel(future)

    def _await(self, job: Callable[[Done], Job], done: Done, future: Future[Any], *, tries: int) -> None:
        for attempt in range(1, tries + 1):
            try:
                ran: Ran = future.result()
            except Exception as error:
                done.error = error
                if attempt < tries:
                    future = self._submit(job, done)
            else:
                ran.arrive(self._parameters)
                done.output, done.logged, done.seconds, done.error = ran.output, ran.logged, ran.seconds, None
                return

    def _submit(self, job: Callable[[Done], Job], done: Done) -> Future[Any]:
        assert self._executor is not None
        self._budget.reserve(calls=_size(done.batch))
        return self._executor.submit(job(done))


def _size(batch: Any) -> int:
    try:
        return max(1, len(batch))
    except TypeError:
        return 1
