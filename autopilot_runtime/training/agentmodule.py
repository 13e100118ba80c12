"""An agent as a module: its system prompt is the parameter, and it is measured by running it on every item."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from autopilot_runtime.core.bridge import bridge
from autopilot_runtime.core.protocols import RunResult, Usage
from autopilot_runtime.training.answer import verdict_of
from autopilot_runtime.training.asking import asked, gathered_in_order
from autopilot_runtime.training.autopilotmodule import AutoPilotModule
from autopilot_runtime.training.datum import Batch, EvalDatum, digest_of
from autopilot_runtime.training.fault import EvaluationFailed
from autopilot_runtime.training.judge import evaluated
from autopilot_runtime.training.loss import Loss
from autopilot_runtime.training.parameter import Parameter, TextParameter
from autopilot_runtime.training.pathparameter import PathParameter
from autopilot_runtime.training.runtimeagent import RuntimeAgent

# What an answer depends on, beside the prompt and the task.
_COUNTS = ("role", "model", "memory", "tools", "permissions", "output_schema", "mcp_servers")
Score = Callable[[Any, Any], Any]


class Faults(Loss):
    """Passes on what is said of the results that are no success."""

    def forward(self, data: Any, targets: Any = None) -> Any:
        return [one for one in data if not one]


class AgentModule(AutoPilotModule):
    """Trains the prompt of an agent file. Each item is a run of that agent, in an empty folder of its own.

    `task(item)` is what it is told (the item's `task`, unless given). `score(answer, item)` says how good the answer
    is, in any form a judge may answer; without it, that is left to the loss. A prompt that stands in a file is a
    `PathParameter`, one that stands in the agent file itself a `TextParameter`. Its loss passes on what the score
    says; set `self.loss` to a `JudgeLoss` to have the answers judged.
    """

    prompt: Parameter

    def __init__(
        self,
        agent_file: str | os.PathLike[str],
        *,
        task: Callable[[Any], str] | None = None,
        score: Score | None = None,
        provider: Any = None,
        overrides: Mapping[str, Any] | None = None,
        timeout: float | None = 600.0,
        at_once: int = 4,
    ) -> None:
        file = import_module("autopilot_runtime").AgentFile.load(agent_file, overrides)
        self.agent_file = file.path
        if file.prompt_path is not None:
            self.prompt = PathParameter(file.prompt_path)
        else:
            self.prompt = TextParameter(file.system_prompt)
        self.loss: Loss = Faults()
        said = file.resolved()
        self._version = digest_of({key: said[key] for key in _COUNTS})
        self._task, self._score = task or _task_of, score
        self._provider, self._overrides = provider, dict(overrides or {})
        self._timeout, self._at_once = timeout, at_once
        self.usage: Usage | None = None

    def evaluator_version(self) -> str:
        """Another model, or other tools, and the figures do not compare."""
        return self._version

    @property
    def text(self) -> str:
        """The prompt as it is now."""
        return self.prompt.text if isinstance(self.prompt, PathParameter) else str(self.prompt.data)

    def forward(self, batch: Any) -> Any:
        """One evaluation for each item."""
        items = list(batch) if isinstance(batch, (Batch, list, tuple)) else [batch]
        agent = RuntimeAgent(
            self.agent_file, provider=self._provider, overrides={**self._overrides, "system_prompt": self.text}
        )
        work = [self._run(agent, item) for item in items]
        found: list[EvalDatum] = bridge().call(gathered_in_order([*work], at_once=self._at_once))
        return found

    async def _run(self, agent: RuntimeAgent, item: Any) -> EvalDatum:
        with tempfile.TemporaryDirectory(prefix="autopilot-item-") as folder:
            task = self._task(item)
            result = await asked(agent.within(Path(folder).resolve()), task, timeout=self._timeout)
        self.usage = result.usage if self.usage is None else self.usage + result.usage
        return self._judged(result, item)

    def _judged(self, result: RunResult, item: Any) -> EvalDatum:
        """How it went. What is no fault of the agent (its model is down, say) is an error, and no score."""
        name = str(getattr(item, "id", ""))
        if result.status in ("failed", "aborted", "suspended"):
            raise EvaluationFailed(f"the agent's run on {name} {result.status}: {result.error}") from result.error
        answer = result.summary if result.output is None else result.output
        metrics: dict[str, float] = {"steps": float(result.steps)}
        if result.cost_usd is not None:
            metrics["usd"] = result.cost_usd
        if result.status not in ("completed", "answered"):
            text = f"it came to no end ({result.status}) in {result.steps} steps"
            found = EvalDatum(id=name, success=False, feedback=text)
        elif self._score is None:
            found = EvalDatum(id=name)
        else:
            found = evaluated(verdict_of(self._score(answer, item), item=name), item=name)
        return EvalDatum(
            id=name,
            metadata={"answer": answer},
            metrics={**metrics, **found.metrics},
            success=found.success,
            feedback=found.feedback,
        )


def _task_of(item: Any) -> str:
    task = getattr(item, "task", None) or getattr(item, "metadata", {}).get("task")
    if not isinstance(task, str) or not task.strip():
        name = getattr(item, "id", item)
        raise EvaluationFailed(f"item {name!r} has no task: give AgentModule task=<function of the item>")
    return task
