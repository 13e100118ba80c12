"""Numbers and choices searched with Optuna: when do two entries of an address book mean the same person?"""

import random
import re
import sys
from dataclasses import dataclass

from autopilot_runtime.training import (
    AutoPilotModule,
    DataLoader,
    Datum,
    EvalDatum,
    JSONParameter,
    Metric,
    MinGate,
    MonotonicGate,
    Policy,
    ScalarParameter,
    SearchOptimizer,
    Trainer,
)

try:
    import optuna
except ImportError:
    sys.exit("This example needs Optuna: pip install 'autopilot-runtime[optuna]'")

NAMES = (
    "Anna Bernd Björn Carla Carlo Dieter Jörg Jürgen Karin Maria Mario Sören Ute",
    "Becker Bäcker Fischer Groß Hoffmann Jäger Köhler Krüger Meier Müller Schäfer Weiß",
    "Aachen Augsburg Bonn Bremen Jülich Köln Lübeck München Münster Würzburg",
)
PARTS = [names.split() for names in NAMES]  # given name, family name, town
UMLAUTS = {
    way: str.maketrans(dict(zip("äöüß", to.split(), strict=True)))
    for way, to in {"keep": "ä ö ü ß", "drop": "a o u s", "spell out": "ae oe ue ss"}.items()
}


@dataclass(kw_only=True)
class Pair(Datum):
    """Two entries, and whether they mean the same person."""

    one: str
    other: str
    same: bool


def pairs(count: int, seed: int) -> DataLoader:
    chance, found = random.Random(seed), []
    for at in range(count):
        who = [chance.choice(names) for names in PARTS]
        other, same = list(who), chance.random() < 0.5
        if not same:  # a relative, a neighbour, or a namesake elsewhere
            part = chance.randrange(3)
            other[part] = chance.choice([name for name in PARTS[part] if name != who[part]])
        found.append(Pair(id=f"{seed}-{at}", one=" ".join(who), other=typed(other, chance), same=same))
    return DataLoader(found, batch_size=count)


def typed(who: list[str], chance: random.Random) -> str:
    """The entry as somebody else typed it."""
    given, family, town = who
    text = chance.choice((f"{given} {family} {town}", f"{family} {given}, {town}"))
    text = text.translate(UMLAUTS[chance.choice(("keep", "spell out"))])
    for _ in range(chance.randrange(3)):  # a letter is lost, or there twice
        at = chance.randrange(1, len(text))
        text = text[:at] + chance.choice(("", text[at] * 2)) + text[at + 1 :]
    return chance.choice((str, str.upper))(text)


class Matcher(AutoPilotModule):
    """Compares word with word by their pieces of a few letters. A person is the same from a threshold on."""

    def __init__(self, study: optuna.Study) -> None:
        self.length = ScalarParameter(3, low=1, high=4, integer=True)
        self.threshold = ScalarParameter(0.5, low=0.2, high=1.0)
        self.worst = ScalarParameter(
            0.0, low=0.0, high=1.0
        )  # how much the least similar word counts, not all of them
        self.text = JSONParameter({"umlauts": "keep", "case": "ignore", "similarity": "jaccard"})
        self.f1, self.precision, self.study = Rate("f1"), Rate("precision"), study

    def forward(self, batch: list[Pair]) -> list[EvalDatum]:
        said = [self.alike(one.one, one.other) >= self.threshold.data for one in batch]
        return [
            EvalDatum(id=one.id, success=same == one.same, metadata={"same": same})
            for one, same in zip(batch, said, strict=True)
        ]

    def alike(self, one: str, other: str) -> float:
        mine, theirs = self.words(one), self.words(other)
        best = [max((self.common(word, partner) for partner in theirs), default=0.0) for word in mine]
        return (1 - self.worst.data) * sum(best) / len(best) + self.worst.data * min(best)

    def words(self, text: str) -> list[set[str]]:
        text = text.lower() if self.text.data["case"] == "ignore" else text
        found = re.findall(r"\w+", text.translate(UMLAUTS[self.text.data["umlauts"]]))
        size = self.length.data
        padded = [f"^{word}$" for word in found]
        return [{word[at : at + size] for at in range(max(1, len(word) - size + 1))} for word in padded]

    def common(self, one: set[str], other: set[str]) -> float:
        both = len(one & other)
        if self.text.data["similarity"] == "jaccard":
            return both / len(one | other)
        if self.text.data["similarity"] == "dice":
            return 2 * both / (len(one) + len(other))
        return both / min(len(one), len(other))

    def configure_optimizers(self) -> SearchOptimizer:
        space = {
            "text.umlauts": list(UMLAUTS),
            "text.case": ["keep", "ignore"],
            "text.similarity": ["jaccard", "dice", "overlap"],
        }
        return SearchOptimizer(self.study, self.parameters(), space=space, metric="f1")


class Rate(Metric):
    """Precision: how many of those called the same are. F1: that, and how many of the same were found."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def reset(self) -> None:
        self.right = self.said = self.all = 0

    def update(self, data: list[EvalDatum], batch: list[Pair]) -> None:
        for one, pair in zip(data, batch, strict=True):
            same = one.metadata["same"]
            self.right += same and pair.same
            self.said += same
            self.all += pair.same

    def compute(self) -> float:
        of = self.said if self.kind == "precision" else (self.said + self.all) / 2
        return self.right / of if of else 0.0


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=1))
module = Matcher(study)
train, held_out, fresh = pairs(20, seed=1), pairs(200, seed=2), pairs(400, seed=3)
# The study looks for the best F1. The gate has the last word: two persons made one are hard to tell apart again.
trainer = Trainer(policy=Policy([MonotonicGate("f1", strict=True), MinGate("precision", 0.99)]))
before = trainer.test(module, fresh)
result = trainer.fit(module, train, held_out, max_epochs=60)
for row in result.history:
    if row.verdict != "discard":
        trial = row.extra.get("why", "").partition(":")[0]
        print(f"{row.verdict:7} F1 {row.metrics['f1']:.3f}  precision {row.metrics['precision']:.3f}  {trial}")
refused = [row for row in result.history if row.verdict == "discard"]
best = max(refused, key=lambda row: row.metrics["f1"])
print(f"{len(refused)} other trials were not kept. The best of them had F1 {best.metrics['f1']:.3f}: {best.reason}")
after = trainer.test(module, fresh)
print(f"on entries that nothing was decided by: F1 {before['f1']:.3f} -> {after['f1']:.3f}, ", end="")
print(f"precision {before['precision']:.3f} -> {after['precision']:.3f}")
for name, parameter in module.named_parameters():
    print(f"{name} = {parameter.data if name == 'text' else round(parameter.data, 3)}")
