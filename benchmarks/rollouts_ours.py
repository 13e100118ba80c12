"""Runs a `Trainer` on a landscape; counts rollouts until what it would leave is good enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from landscape import Fault, Item, Landscape, Writer

from autopilot_runtime.training import (
    AutoPilotModule,
    Callback,
    DataLoader,
    Datum,
    EvalDatum,
    ListDataset,
    Loss,
    Optimizer,
    PairedAcceptor,
    RandomSampler,
    StepCheck,
    TextGradient,
    TextParameter,
    Trainer,
)
from autopilot_runtime.training.gradient import parts_of


class Faults(Loss):
    """Says what is wrong, each to the component it belongs to."""

    def forward(self, data: Any, targets: Any = None) -> Any:
        return [
            TextGradient(f"{fault.kind} {fault.line}", attribution=fault.component, items=(one.id,))
            for one in data
            for fault in (Fault(*each) for each in one.metadata["faults"])
        ]


class Texts(AutoPilotModule):
    """The texts of a landscape, one parameter each."""

    def __init__(self, land: Landscape, writer: Writer) -> None:
        self.land, self.writer = land, writer
        self.loss = Faults()
        for component, text in land.first().items():
            setattr(self, component, TextParameter(text))

    @property
    def state(self) -> dict[str, str]:
        return {component: getattr(self, component).data for component in self.land.components}

    def forward(self, batch: Any) -> Any:
        found = []
        for one in batch:
            seen = self.land.measure(self.state, one.metadata["item"])
            faults = [[fault.kind, fault.component, fault.line] for fault in seen.faults]
            found.append(
                EvalDatum(id=one.id, success=True, metrics={"score": seen.score}, metadata={"faults": faults})
            )
        return found

    def configure_optimizers(self) -> Any:
        return Writing(self.parameters(), self.writer)


class Writing(Optimizer):
    """Lets the writer change a text, by the faults that reached it."""

    def __init__(self, params: Any, writer: Writer) -> None:
        super().__init__(params)
        self.writer = writer

    def step(self) -> None:
        by_name = {one.name: one for one in self.parameters}
        faults = [
            Fault(part.text.split()[0], name, part.text.split()[1])
            for name, one in by_name.items()
            if one.grad is not None
            for part in parts_of(one.grad)
            if isinstance(part, TextGradient)
        ]
        if faults:
            state = {name: one.data for name, one in by_name.items()}
            for name, text in self.writer.write(state, faults, list(by_name)).items():
                by_name[name].data = text


class Arrival(Callback):
    """Notes how many rollouts it took until what a fit would leave is truly good enough; then asks to stop."""

    def __init__(self, land: Landscape, goal: float) -> None:
        self.land, self.goal = land, goal
        self.states: dict[str, dict[str, str]] = {}
        self.at: int | None = None

    def on_accept(self, trainer: Any, module: Any, decision: Any) -> None:
        self.states[trainer.record.ref("fit", "last_accepted")] = module.state
        left = trainer.record.ref("fit", "best" if trainer.selector is not None else "last_accepted")
        if self.at is None and left in self.states and self.land.quality(self.states[left]) >= self.goal:
            self.at = self.land.rollouts
            trainer.should_stop = True


def run(
    land: Landscape,
    writer: Writer,
    *,
    goal: float,
    limit: int,
    batch_size: int = 1,
    selector: Callable[[], Any] = lambda: None,
    check: Callable[[], Any] = lambda: StepCheck(PairedAcceptor(alpha=0.05, max_replicates=4), tries=8, keep=8),
    acceptor: Callable[[], Any] = lambda: PairedAcceptor(alpha=0.2, max_replicates=2),
) -> int | None:
    """Rollouts until the goal, or None when `limit` came first."""
    arrival = Arrival(land, goal)
    train = ListDataset([_datum(item) for item in land.items["train"]])
    trainer = Trainer(
        callbacks=[arrival],
        budget={"calls": limit},
        monitor="score",
        selector=selector(),
        acceptor=acceptor(),
        step_check=check(),
        noise_replicates=2,
        seed=land.seed,
    )
    trainer.fit(
        Texts(land, writer),
        DataLoader(train, batch_size=batch_size, sampler=RandomSampler(train, seed=land.seed)),
        DataLoader(ListDataset([_datum(item) for item in land.items["val"]]), batch_size=len(land.items["val"])),
        max_epochs=limit,
    )
    return arrival.at


def _datum(item: Item) -> Datum:
    return Datum(id=item.name, metadata={"item": item})
