"""Sorts messages by rules in a file, says which it got wrong, and writes better rules. No model anywhere."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from autopilot_runtime.training import (
    AutoPilotModule,
    DataLoader,
    Datum,
    EvalDatum,
    Gradient,
    ListDataset,
    Loss,
    PathParameter,
    RuleOptimizer,
)
from autopilot_runtime.training.gradient import parts_of

HERE = Path(__file__).parent


@dataclass(kw_only=True)
class Message(Datum):
    text: str
    label: str


def loader(name: str) -> DataLoader:
    """The messages of one file, in batches."""
    return DataLoader(ListDataset.from_jsonl(HERE / f"{name}.jsonl", Message), batch_size=8)


class Sorter(AutoPilotModule):
    """The first rule whose pattern is found says the label."""

    def __init__(self, rules: Path) -> None:
        self.rules = PathParameter(rules)
        self.loss = Mistakes()

    def forward(self, batch: list[Message]) -> list[EvalDatum]:
        rules = json.loads(self.rules.text)
        found = []
        for one in batch:
            label = next((r["label"] for r in rules if re.search(r["pattern"], one.text, re.IGNORECASE)), "")
            found.append(EvalDatum(id=one.id, success=label == one.label, metadata={"label": label}))
        return found

    def configure_optimizers(self) -> "NewRule":
        return NewRule(self.parameters())


@dataclass(frozen=True)
class Mistake(Gradient):
    """One message with the wrong label."""

    text: str
    label: str
    got: str
    attribution: str = "rules"

    def render(self) -> str:
        return f"{self.text!r} is {self.label}, not {self.got}"


class Mistakes(Loss):
    def forward(self, data: list[EvalDatum], targets: list[Message]) -> list[Mistake]:
        pairs = zip(data, targets, strict=True)
        return [Mistake(item.text, item.label, one.metadata["label"]) for one, item in pairs if not one]


class NewRule(RuleOptimizer):
    """Puts a rule on top: the word that most tells the mistakes of one label from those of the others."""

    def propose(self, parameter: PathParameter, gradient: Gradient) -> PathParameter | None:
        for label, word in self._told_apart(parts_of(gradient)):
            if not self.is_blocked(f"{word} -> {label}"):
                self.why = f"{word} -> {label}"
                rules = [{"pattern": word, "label": label}, *json.loads(parameter.text)]
                parameter.text = "[\n" + ",\n".join(f"  {json.dumps(rule)}" for rule in rules) + "\n]\n"
                return parameter
        return None

    def _told_apart(self, mistakes: tuple[Mistake, ...]) -> list[tuple[str, str]]:
        """Label and word, the most telling first."""
        telling: Counter[tuple[str, str]] = Counter()
        for one in mistakes:
            for word in set(re.findall(r"[a-z]{4,}", one.text.lower())):
                for label in {other.label for other in mistakes}:
                    telling[label, word] += 1 if label == one.label else -1
        return sorted(telling, key=lambda pair: (-telling[pair], pair))

    def told(self, verdict: str, reason: str) -> None:
        if verdict != "accept" and self.why:
            self.block_strategy(self.why, reason)
