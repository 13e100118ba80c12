"""Code as the parameter: the function that says where an item goes is rewritten until it beats the textbook's."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from autopilot_runtime.training import (
    AutoPilotModule,
    DataLoader,
    Datum,
    EvalDatum,
    Loss,
    MonotonicGate,
    Optimizer,
    TextParameter,
    Trainer,
)

ROOM, SIZES = 100, (18, 22, 27, 31, 36, 44, 52, 61)
CODE = "def rank(item, left):\n    return {}\n"
WORST_FIT, BEST_FIT = CODE.format("left"), CODE.format("-left")


@dataclass(kw_only=True)
class Delivery(Datum):
    """Items that come one by one; each must be put into a box before the next is seen."""

    items: list[int]


def deliveries(count: int, seed: int) -> DataLoader:
    chance = random.Random(seed)
    found = [Delivery(id=f"{seed}-{at}", items=chance.choices(SIZES, k=120)) for at in range(count)]
    return DataLoader(found, batch_size=count)


def packed(items: list[int], rank: Callable[[int, int], float]) -> int:
    """How many boxes are used when each item goes where `rank` is highest. `left` is what would still be free."""
    free: list[int] = []
    for item in items:
        fitting = [at for at, room in enumerate(free) if room >= item]
        if fitting:
            free[max(fitting, key=lambda at: rank(item, free[at] - item))] -= item
        else:
            free.append(ROOM - item)
    return len(free)


class Packer(AutoPilotModule):
    def __init__(self, code: str) -> None:
        self.code = TextParameter(code, check=lambda text: compile(text, "rank", "exec"))
        self.loss = Waste()

    def forward(self, batch: list[Delivery]) -> list[EvalDatum]:
        names: dict = {}
        exec(
            self.code.data, names
        )  # made below, of parts that do no harm; a model's code belongs into a ProcessExecutor
        return [self.judged(one, names["rank"]) for one in batch]

    def judged(self, one: Delivery, rank: Callable[[int, int], float]) -> EvalDatum:
        least = math.ceil(sum(one.items) / ROOM)
        try:
            boxes, broke = packed(one.items, rank), ""
        except ArithmeticError as error:
            boxes, broke = len(one.items), repr(error)  # a box for each item needs no code
        waste = boxes / least - 1
        said = broke or f"{waste:.1%} more boxes than could do"
        return EvalDatum(id=one.id, success=not broke, metrics={"waste": waste}, feedback=said)

    def configure_optimizers(self) -> "Rewrite":
        return Rewrite(self.parameters())


class Waste(Loss):
    def forward(self, data: list[EvalDatum], targets: object = None) -> list[EvalDatum]:
        return data


class Rewrite(Optimizer):
    """Stands where a model would: drops, replaces or adds a term of the formula, by chance."""

    steps = 2000

    def step(self) -> None:
        self.steps += 1
        chance, code = random.Random(self.steps), self.parameters[0]
        terms = code.data.partition("return ")[2].strip().split(" + ")
        at, how = chance.randrange(len(terms)), chance.random()
        if how < 0.2 and len(terms) > 1:
            del terms[at]
        elif how < 0.5:
            terms[at] = term(chance)
        else:
            terms.append(term(chance))
        self.why = " + ".join(terms)
        code.data = CODE.format(self.why)

    def state_dict(self) -> dict:
        return {**super().state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.steps = state["steps"]


def term(chance: random.Random) -> str:
    a, b = (chance.choice((2, 5, 10, *SIZES)) for _ in "ab")
    forms = (
        "-left",
        "item",
        "item / left",
        "{a} * (left < {b})",
        "{a} * (left > item)",
        "abs(left - {a})",
        "left % {a}",
    )
    return chance.choice(forms).format(a=a, b=b)


module = Packer(WORST_FIT)
trainer = Trainer(policy=MonotonicGate("waste", higher_is_better=False, strict=True))
result = trainer.fit(module, deliveries(4, seed=1), deliveries(12, seed=2), max_epochs=120)
for row in result.history:
    if row.verdict != "discard":
        print(f"{row.verdict:7} {row.metrics['waste']:6.2%} more boxes than could do  {row.extra.get('why', '')}")
print(f"{sum(row.verdict == 'discard' for row in result.history)} other formulas were no better")
fresh = deliveries(40, seed=3)
for name, code in (("worst fit", WORST_FIT), ("best fit", BEST_FIT), ("found", module.code.data)):
    print(f"on fresh deliveries: {name:9} {trainer.test(Packer(code), fresh)['waste']:6.2%}")
