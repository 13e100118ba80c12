"""An agent that makes items: each is checked, none comes twice, and all are kept, so that a kill loses none."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, get_type_hints

from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.protocols import NOTHING_USED, Usage
from autopilot_runtime.training.answer import json_in
from autopilot_runtime.training.answerlog import AnswerLog
from autopilot_runtime.training.asking import answer_of, ask, name_of
from autopilot_runtime.training.datum import Datum, digest_of, item_digest
from autopilot_runtime.training.fault import TrainingError, meant
from autopilot_runtime.training.showing import shortened, shown_item

log = logging.getLogger("autopilot_runtime.training")
_SHOWN = 12  # items that there are already, shown so that others come
_OURS = frozenset({"id", "metadata", "grad_fn", "_named"})


class GeneratorAgent:
    """Makes items of `type` by the instructions. `generate(n)` gives exactly n different ones, or says what it lacks.

    `check(item)` raises, or gives false, for an item that will not do; the agent is told why. With `checkpoint`, a
    file, items are kept as they come: after a kill only those that are missing are made.
    """

    def __init__(
        self,
        agent: Any,
        instructions: str,
        type: type[Datum] = Datum,
        *,
        check: Callable[[Any], object] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        at_a_time: int = 10,
        patience: int = 3,
        timeout: float | None = 300.0,
    ) -> None:
        if not instructions.strip():
            raise TrainingError("GeneratorAgent needs instructions: say what the items are")
        self.agent, self.instructions, self.type, self.check = agent, instructions, type, check
        self.at_a_time, self.patience, self.timeout = at_a_time, patience, timeout
        self.usage: Usage = NOTHING_USED
        self.rejected: list[str] = []
        self._kept = AnswerLog(checkpoint)
        self.items: list[Any] = [self._made(fields) for _, fields in self._kept]

    def generate(self, n: int, *, examples: Iterable[Any] = ()) -> list[Any]:
        """n items. Asks the agent only for those that are not there yet."""
        models, idle = list(examples), 0
        complaints: list[str] = []
        while len(self.items) < n:
            wanted = min(self.at_a_time, n - len(self.items))
            complaints = self._asked(wanted, models, complaints)
            idle = 0 if len(complaints) < wanted else idle + 1
            if idle >= self.patience:
                raise TrainingError(
                    f"{name_of(self.agent)} made {len(self.items)} of {n} items, then nothing that would do in "
                    f"{idle} tries: {complaints[-1] if complaints else 'no item'}. What there is stays in .items"
                    + (f" and in {self._kept.path}" if self._kept.path else "")
                )
        return self.items[:n]

    __call__ = generate

    def _asked(self, wanted: int, models: Sequence[Any], complaints: Sequence[str]) -> list[str]:
        """Ask once; gives what was wrong, with one entry for each item that is still lacking."""
        try:
            result = ask(self.agent, self._task(wanted, models, complaints), timeout=self.timeout)
            self.usage += result.usage
            answer = answer_of(result, who=name_of(self.agent))
        except SetupError:
            raise
        except Exception as error:
            log.warning("%s failed: %s", name_of(self.agent), error)
            return [f"{type(error).__name__}: {error}"] * wanted
        listed = json_in(answer, list) if isinstance(answer, str) else answer
        if isinstance(listed, dict):
            listed = listed.get("items")
        if not isinstance(listed, list):
            return ["the answer was no JSON list"] * wanted
        faults: list[str] = []
        taken = 0
        for fields in listed[:wanted]:
            fault = self._take(fields)
            taken += not fault
            faults += [fault] if fault else []
        self.rejected += faults
        return faults + ["there were too few items"] * (wanted - taken - len(faults))

    def _take(self, fields: Any) -> str:
        """Keep one item; gives what is wrong with it, if anything is."""
        try:
            item = self._made(fields)
            if self.check is not None and self.check(item) is False:
                raise ValueError("it was refused by the check")
        except Exception as error:
            return f"{shortened(json.dumps(fields, ensure_ascii=False, default=repr), 200)}: {error}"
        key = _sameness(item)
        if key in self._kept:
            return f"{shortened(json.dumps(fields, ensure_ascii=False), 200)}: there is one like it already"
        self._kept.put(key, fields)
        self.items.append(item)
        return ""

    def _made(self, fields: Any) -> Any:
        if not isinstance(fields, dict):
            raise ValueError("an item is a JSON object")
        known = {f.name for f in dataclasses.fields(self.type) if f.init}
        if self.type is Datum:
            extra = {key: value for key, value in fields.items() if key not in known}
            return Datum(id=str(fields.get("id") or ""), metadata={**fields.get("metadata", {}), **extra})
        for name in fields:
            if name not in known:
                raise ValueError(f"there is no field {name!r}.{meant(name, known - _OURS)}")
        hints = _hints(self.type)
        for name, value in fields.items():
            wanted = hints.get(name)
            if isinstance(wanted, type) and not _fits(value, wanted):
                raise ValueError(f"{name} is {type(value).__name__}, and must be {wanted.__name__}")
        return self.type(**fields)

    def _task(self, wanted: int, models: Sequence[Any], complaints: Sequence[str]) -> str:
        parts = [f"Make {wanted} items.", self.instructions, self._form()]
        if models:
            parts.append("Such as these:\n" + "\n".join(shown_item(one) for one in models))
        if self.items:
            shown = "\n".join(shortened(shown_item(one), 400) for one in self.items[-_SHOWN:])
            parts.append(f"There are {len(self.items)} already; make others. The newest:\n{shown}")
        if complaints:
            parts.append("Of your last answer, this would not do:\n" + "\n".join(dict.fromkeys(complaints)))
        return "\n\n".join([*parts, "Answer with one JSON list of these objects and nothing else."])

    def _form(self) -> str:
        hints = _hints(self.type)
        fields = [f for f in dataclasses.fields(self.type) if f.init and f.name not in _OURS]
        if not fields:
            return "Each is a JSON object."
        kinds = {f.name: hints.get(f.name, f.type) for f in fields}
        named = (f'"{name}" ({getattr(kind, "__name__", kind)})' for name, kind in kinds.items())
        return f"Each is a JSON object with {', '.join(named)}."


def _hints(type: type[Datum]) -> dict[str, Any]:
    try:
        return get_type_hints(type, None, {"Context": object})  # of the graph, and never generated
    except (NameError, TypeError):
        return {}  # names that only a type checker knows: what is made of the fields decides


def _fits(value: Any, wanted: type) -> bool:
    if wanted is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, wanted) and (wanted is not int or not isinstance(value, bool))


def _sameness(item: Any) -> str:
    """The same for items that differ in spaces and capitals only."""
    if not isinstance(item, Datum):
        return item_digest(item)
    content = {key: value for key, value in item.to_dict().items() if key != "id"}
    return digest_of(_squeezed(json.loads(json.dumps(content, default=repr))))


def _squeezed(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(value.casefold().split())
    if isinstance(value, dict):
        return {key: _squeezed(one) for key, one in value.items()}
    return [_squeezed(one) for one in value] if isinstance(value, list) else value
