"""Rules that a doctor can read, learned on real data (scikit-learn's breast-cancer set) from a bad first one."""

import sys
from dataclasses import dataclass

from autopilot_runtime.training import (
    AutoPilotModule,
    DataLoader,
    Datum,
    EvalDatum,
    Gradient,
    JSONParameter,
    ListDataset,
    Loss,
    Metric,
    MinGate,
    MonotonicGate,
    Policy,
    RuleOptimizer,
    StratifiedSplitter,
    Trainer,
)
from autopilot_runtime.training.gradient import parts_of

try:
    from sklearn.datasets import load_breast_cancer
except ImportError:
    sys.exit("This example needs scikit-learn, which brings the data: pip install scikit-learn")


@dataclass(kw_only=True)
class Sample(Datum):
    values: dict[str, float]
    malignant: bool


def samples() -> ListDataset[Sample]:
    found = load_breast_cancer()
    rows = zip(found.data.tolist(), found.target.tolist(), strict=True)
    names = [str(name) for name in found.feature_names]
    return ListDataset(
        Sample(id=f"s{at}", values=dict(zip(names, row, strict=True)), malignant=kind == 0)
        for at, (row, kind) in enumerate(rows)
    )


class Recall(Metric):
    """The share of the malignant ones that were found."""

    def reset(self) -> None:
        self.found = self.all = 0

    def update(self, data: list[EvalDatum], batch: list[Sample]) -> None:
        sick = [bool(one) for one, sample in zip(data, batch, strict=True) if sample.malignant]
        self.found, self.all = self.found + sum(sick), self.all + len(sick)

    def compute(self) -> float:
        return self.found / self.all if self.all else 1.0


def holds(rule: dict, values: dict[str, float]) -> bool:
    return values[rule["feature"]] > rule["above"]


class Rules(AutoPilotModule):
    """A sample is malignant when any of the rules holds."""

    def __init__(self) -> None:
        self.rules = JSONParameter([{"feature": "mean smoothness", "above": 0.1}])
        self.loss, self.recall = Findings(), Recall()

    def forward(self, batch: list[Sample]) -> list[EvalDatum]:
        found = [any(holds(rule, one.values) for rule in self.rules.data) for one in batch]
        return [EvalDatum(id=one.id, success=said == one.malignant) for one, said in zip(batch, found, strict=True)]

    def configure_optimizers(self) -> "Change":
        return Change(self.parameters())


@dataclass(frozen=True)
class Finding(Gradient):
    """One sample, what it is, and whether the rules said so."""

    values: dict[str, float]
    malignant: bool
    right: bool
    attribution: str = "rules"

    def render(self) -> str:
        return f"a {'malignant' if self.malignant else 'benign'} sample was {'' if self.right else 'not '}recognised"


class Findings(Loss):
    def forward(self, data: list[EvalDatum], targets: list[Sample]) -> list[Finding]:
        pairs = zip(data, targets, strict=True)
        return [Finding(sample.values, sample.malignant, bool(one)) for one, sample in pairs]


class Change(RuleOptimizer):
    """Drops or adds the rule that puts the most samples right. What was not kept is not tried again."""

    def propose(self, parameter: JSONParameter, gradient: Gradient) -> list[dict] | None:
        seen, rules = parts_of(gradient), parameter.data
        options = [(f"drop {spelt(rule)}", [one for one in rules if one is not rule]) for rule in rules]
        for feature in seen[0].values:
            bounds = sorted(one.values[feature] for one in seen)[:: len(seen) // 12]
            added = [{"feature": feature, "above": float(f"{bound:.4g}")} for bound in bounds]
            options += [(f"add  {spelt(rule)}", [*rules, rule]) for rule in added]
        best = sorted(options, key=lambda option: -right(option[1], seen))
        self.why, value = next((one for one in best if not self.is_blocked(one[0])), ("", None))
        return value

    def told(self, verdict: str, reason: str) -> None:
        if verdict == "accept":
            self.blocked.clear()
        else:
            self.block_strategy(self.why, reason)


def right(rules: list[dict], seen: tuple[Finding, ...]) -> int:
    return sum(any(holds(rule, one.values) for rule in rules) == one.malignant for one in seen)


def spelt(rule: dict) -> str:
    return f"{rule['feature']} > {rule['above']:g}"


data = samples()
parts = StratifiedSplitter({"train": 0.6, "val": 0.2, "test": 0.2}, by="malignant", seed=1).split(data).datasets(data)
loaders = {name: DataLoader(part, batch_size=len(part)) for name, part in parts.items()}
module = Rules()
trainer = Trainer(policy=Policy([MonotonicGate("success", strict=True), MinGate("recall", 0.8)]))
before = trainer.test(module, loaders["test"])
result = trainer.fit(module, loaders["train"], loaders["val"], max_epochs=8)
for row in result.history:
    if row.verdict != "discard":
        figures = f"right {row.metrics['success']:.1%}, malignant found {row.metrics['recall']:.1%}"
        print(f"{row.verdict:7} {figures}  {row.extra.get('why', '')}")
after = trainer.test(module, loaders["test"])
print(f"{sum(row.verdict == 'discard' for row in result.history)} other changes were tried, and not kept. Now:")
print("malignant is what has", " or ".join(map(spelt, module.rules.data)))
print(f"on samples that nothing was decided by: right {before['success']:.1%} -> {after['success']:.1%}, ", end="")
print(f"malignant found {before['recall']:.1%} -> {after['recall']:.1%}")
