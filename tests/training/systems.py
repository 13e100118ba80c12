"""Small systems that tests train: their data, what they do, and how well that is."""

from __future__ import annotations

from typing import Any

from autopilot_runtime.training import (
    AutoPilotModule,
    DataLoader,
    Datum,
    EvalDatum,
    ListDataset,
    Loss,
    Metric,
    RuleOptimizer,
    ScriptedOptimizer,
    TextGradient,
    TextParameter,
)

WORDS = ("ab", "cd", "ef", "gh")


def words(*given: str) -> list[Datum]:
    """One item for each word."""
    return [Datum(id=f"item-{word}", metadata={"word": word}) for word in given or WORDS]


def loader(*given: str, batch_size: int = 2) -> DataLoader:
    """Batches of these items."""
    return DataLoader(ListDataset(words(*given)), batch_size=batch_size)


class Missing(Loss):
    """Says which words are not known."""

    def forward(self, data: Any, targets: Any = None) -> Any:
        return [TextGradient(f"unknown {one.metadata['word']}", items=(one.id,)) for one in data if not one]


class Accuracy(Metric):
    """The share of words that are known."""

    name = "accuracy"

    def reset(self) -> None:
        self.right = self.all = 0

    def update(self, data: Any, batch: Any = None) -> None:
        self.right += sum(map(bool, data))
        self.all += len(data)

    def compute(self) -> float:
        return self.right / self.all


def learn_one(parameter: Any, gradient: Any) -> Any:
    """Add the first word that is not known."""
    return f"{parameter.data} {gradient.render().split()[1]}".strip()


class Vocabulary(AutoPilotModule):
    """Knows the words that stand in its only parameter. `script`: what an optimizer makes of it, else a rule."""

    def __init__(self, known: str = "", script: list[Any] | None = None) -> None:
        self.known = TextParameter(known)
        self.loss = Missing()
        self.accuracy = Accuracy()
        self.script = script
        self.calls: list[tuple[str, str]] = []

    def forward(self, batch: Any) -> Any:
        found = []
        for one in batch:
            self.calls.append(("train" if self.training else "val", one.id))
            right = one.metadata["word"] in self.known.data.split()
            found.append(EvalDatum(id=one.id, success=right, metadata=dict(one.metadata)))
        return found

    def configure_optimizers(self) -> Any:
        if self.script is not None:
            return ScriptedOptimizer(self.parameters(), self.script)
        return RuleOptimizer(self.parameters(), learn_one)
