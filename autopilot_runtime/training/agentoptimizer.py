"""An optimizer that lets an agent change the parameters: it gets files, the feedback and what was tried before."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.protocols import NOTHING_USED, RunResult, Usage
from autopilot_runtime.training.asking import answer_of, ask, name_of
from autopilot_runtime.training.fault import ParameterRefused, TrainingError
from autopilot_runtime.training.optimizer import Optimizer, Params
from autopilot_runtime.training.parameter import Parameter
from autopilot_runtime.training.paramfiles import ParameterFiles
from autopilot_runtime.training.proposaltask import proposal_task, refused_task
from autopilot_runtime.training.showing import shortened

_REMEMBERED = 50
_GIVE_UP = 3  # failures of the agent itself in a row: its key was withdrawn, say, and no epoch will go better
_STRATEGY = re.compile(r"^\W*strategy\W*:\W*(.+?)\W*$", re.IGNORECASE | re.MULTILINE)


class StepFailed(ParameterRefused):
    """The agent came to no end, so that there is no change to judge. The parameters are as they were."""


class AgentOptimizer(Optimizer):
    """`AgentOptimizer(agent, parameters)`, in either order. A step is one task for the agent.

    The agent works on copies in a scratch folder: through `agent.within(folder)` where it has that, else it is told
    the folder, or answers with fenced blocks that name the files. What it leaves is checked as a whole; a change that
    is refused goes back to it once (`repairs`), then `ParameterRefused` is raised and nothing is changed. `usage` is
    what all steps have used, `last` how the newest run ended, `history` what became of each change.
    """

    def __init__(
        self,
        agent: Any = None,
        parameters: Params | Parameter | Any = None,
        *,
        params: Params | None = None,
        instructions: str = "",
        timeout: float | None = 1_800.0,
        repairs: int = 1,
        **defaults: Any,
    ) -> None:
        given = parameters if parameters is not None else params
        if not _is_agent(agent) and _is_agent(given):
            agent, given = given, agent
        if not _is_agent(agent):
            raise TrainingError("AgentOptimizer needs an agent: AgentOptimizer(agent, module.parameters())")
        super().__init__([given] if isinstance(given, Parameter) else given, **defaults)
        if callable(ready := getattr(agent, "ready", None)):
            ready()  # what is missing is said now, not after the first epoch was paid for
        self.agent, self.instructions, self.timeout, self.repairs = agent, instructions, timeout, repairs
        self.usage: Usage = NOTHING_USED
        self.last: RunResult | None = None
        self.history: list[dict[str, Any]] = []
        self.strategy = ""
        self._failed_in_a_row = 0

    def step(self) -> int:
        """Let the agent change the parameters; gives how many it changed. Without feedback it is not asked."""
        if all(one.grad is None for one in self.parameters):
            self.why = "there was no feedback"
            return 0
        with tempfile.TemporaryDirectory(prefix="autopilot-step-") as scratch:
            files = ParameterFiles(Path(scratch).resolve(), self.parameters)
            files.lay_out()
            changed = self._worked(files)
        if changed:
            self.history.append({"why": self.why, "strategy": self.strategy, "changed": changed, "verdict": ""})
            del self.history[:-_REMEMBERED]
        return len(changed)

    def _worked(self, files: ParameterFiles) -> list[str]:
        task = proposal_task(
            files,
            folder=str(files.folder),
            tried=self.history,
            blocked=self.blocked,
            instructions=self.instructions,
        )
        said = task
        for left in range(self.repairs, -1, -1):
            answer = self._answer(said, files)
            try:
                self._check_strategy()
                return files.adopt() or (files.adopt() if files.take_blocks(answer) else [])
            except ParameterRefused as error:
                if not left:
                    raise
                said = refused_task(task, str(error), left=files.difference())
        raise AssertionError("the last try returns or raises")

    def _answer(self, task: str, files: ParameterFiles) -> str:
        """Run the agent; its answer. The parameters themselves must be as before: it works on copies."""
        within = getattr(self.agent, "within", None)
        agent = within(files.folder) if callable(within) else self.agent
        before = [(one, one.digest, one.snapshot()) for one in self._parameters]
        try:
            self.last = ask(agent, task, timeout=self.timeout)
            self.usage += self.last.usage
            answer = answer_of(self.last, who=name_of(self.agent))
        except SetupError:
            raise
        except Exception as error:
            self._failed(error)
        finally:
            touched = [one.name for one, digest, state in before if _put_back(one, digest, state)]
        if touched:
            raise StepFailed(
                f"{name_of(self.agent)} changed {', '.join(touched)} in place, not the copies it was given. "
                "That was undone. Give the agent no access to the live files."
            )
        self._failed_in_a_row = 0
        text = answer if isinstance(answer, str) else str(answer)
        named = _STRATEGY.search(text)
        self.strategy = named[1][:80] if named else ""
        self.why = shortened(text.strip(), 2_000) or f"{name_of(self.agent)} gave no reason"
        return text

    def _failed(self, error: Exception) -> None:
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= _GIVE_UP:
            raise TrainingError(
                f"{name_of(self.agent)} failed {self._failed_in_a_row} times in a row: {error}"
            ) from error
        raise StepFailed(f"no change was made: {error}") from error

    def _check_strategy(self) -> None:
        for name, why in self.blocked.items():
            if self.strategy and name.casefold() == self.strategy.casefold():
                raise ParameterRefused(
                    f"the strategy {name!r} is blocked{': ' + why if why else ''}. Try another one."
                )

    def told(self, verdict: str, reason: str) -> None:
        """Remember what became of the newest change, for the next task."""
        if self.history and not self.history[-1]["verdict"]:
            self.history[-1] |= {"verdict": verdict, "reason": reason}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "history": [dict(one) for one in self.history]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.history = [dict(one) for one in state.get("history", ())]


def _is_agent(value: Any) -> bool:
    if value is None or isinstance(value, (Parameter, list, tuple, Mapping)):
        return False
    return callable(getattr(value, "run", None)) or callable(value)


def _put_back(parameter: Parameter, digest: str, state: bytes) -> bool:
    """Restore a parameter that is not what it was; whether it was not."""
    if parameter.digest == digest:
        return False
    parameter.restore(state)
    return True
