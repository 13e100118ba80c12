"""Two modules in a row, each with a parameter of its own: every mistake goes back to the one that made it."""

from collections import defaultdict
from dataclasses import dataclass, field

from data import Order, Orders

from autopilot_runtime.training import (
    AutoPilotModule,
    Datum,
    EvalDatum,
    Gradient,
    JSONParameter,
    Loss,
    Module,
    MonotonicGate,
    Optimizer,
    Policy,
    TargetStopper,
    Trainer,
)
from autopilot_runtime.training.gradient import parts_of


@dataclass(kw_only=True)
class Read(Datum):
    """What was understood of each order: how many, of which dish."""

    orders: list[tuple[int, str]] = field(default_factory=list)


class Reader(Module):
    def __init__(self) -> None:
        self.words = JSONParameter({"pizza m": "margherita", "green": "water"})

    def forward(self, batch: list[Order]) -> Read:
        parts = [one.text.split(" ", 1) for one in batch]
        return Read(orders=[(int(count), self.words.data.get(word, "")) for count, word in parts])


class Till(Module):
    def __init__(self) -> None:
        self.prices = JSONParameter({"margherita": 5.0})

    def forward(self, read: Read) -> list[float]:
        return [count * self.prices.data.get(dish, 0.0) for count, dish in read.orders]


class Restaurant(AutoPilotModule):
    def __init__(self) -> None:
        self.reader, self.till, self.loss = Reader(), Till(), Mistakes()

    def forward(self, batch: list[Order]) -> list[EvalDatum]:
        read = self.reader(batch)
        found = []
        for order, (count, dish), total in zip(batch, read.orders, self.till(read), strict=True):
            off = order.total - total
            seen = {"count": count, "dish": dish, "off": off}
            found.append(EvalDatum(id=order.id, success=abs(off) < 0.005, metrics={"error": abs(off)}, metadata=seen))
        return found

    def configure_optimizers(self) -> list[Optimizer]:
        return [Vocabulary(self.reader.parameters()), Pricing(self.till.parameters(), lr=0.8)]


@dataclass(frozen=True, kw_only=True)
class Fix(Gradient):
    """For which key of a parameter, what was right, or how far off it was."""

    attribution: str
    key: str
    right: str = ""
    off: float = 0.0

    def render(self) -> str:
        return f"{self.key!r} means {self.right!r}" if self.right else f"{self.key} is off by {self.off:+.2f}"


class Mistakes(Loss):
    def forward(self, data: list[EvalDatum], targets: list[Order]) -> list[Fix]:
        found = []
        for one, order in zip(data, targets, strict=True):
            seen = one.metadata
            if seen["dish"] != order.dish:
                found.append(Fix(attribution="reader.words", key=order.text.split(" ", 1)[1], right=order.dish))
            elif not one:
                found.append(Fix(attribution="till.prices", key=order.dish, off=seen["off"] / seen["count"]))
        return found


class Vocabulary(Optimizer):
    """Takes over what was said of a word; a few words a step."""

    def step(self) -> None:
        for parameter in self.parameters:
            learned = {fix.key: fix.right for fix in parts_of(parameter.grad)[:4]} if parameter.grad else {}
            parameter.data = {**parameter.data, **learned}


class Pricing(Optimizer):
    """Moves each price by its mean error, as gradient descent would."""

    def step(self) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                errors = defaultdict(list)
                for fix in parts_of(parameter.grad) if parameter.grad else ():
                    errors[fix.key].append(fix.off)
                moved = {key: sum(off) / len(off) * group["lr"] for key, off in errors.items()}
                new = {key: round(parameter.data.get(key, 0.0) + by, 2) for key, by in moved.items()}
                parameter.data = {**parameter.data, **new}


module = Restaurant()
policy = Policy(MonotonicGate("error", higher_is_better=False))
trainer = Trainer(policy=policy, stoppers=TargetStopper("success", 1.0), accumulate_grad_batches=3)
result = trainer.fit(module, datamodule=Orders(), max_epochs=20)
for row in result.history:
    print(f"{row.verdict:7} right {row.metrics['success']:4.0%}  off by {row.metrics['error']:5.2f} on average")
for name, parameter in module.named_parameters():
    print(name, dict(sorted(parameter.data.items())))
