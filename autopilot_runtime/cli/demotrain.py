"""The training half of the demo: the indexes of a database, trained as `autopilot train` does, told line by line."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autopilot_runtime.cli import figures
from autopilot_runtime.cli.screen import Screen
from autopilot_runtime.cli.train.recipe import load_recipe
from autopilot_runtime.cli.train.report import write_report
from autopilot_runtime.core.shelf import shelf
from autopilot_runtime.training.callback import Callback
from autopilot_runtime.training.experiment import FOLDER, Experiment
from autopilot_runtime.training.plottext import progress_text
from autopilot_runtime.training.record import EpochRow
from autopilot_runtime.training.story import read_story

PROJECT = ("train.py", "workload.py", "indexes.sql")
_WORDS = {"accept": "KEEP", "discard": "DISCARD", "rollback": "ROLLBACK", "stop": "STOP"}
_COLOURS = {"accept": "green", "rollback": "red"}
_PLOT_WIDTH, _PLOT_HEIGHT = 80, 8


def train_indexes(screen: Screen, work: Path) -> tuple[Path, Path]:
    """Write the project, train it, write the report; gives where the two are."""
    file = _project(work / "indexes")
    _introduce(screen)
    begun = time.monotonic()
    with _no_bytecode():
        recipe = load_recipe(str(file))
    experiment = Experiment(file.stem, path=file.parent / FOLDER, why="the training half of autopilot demo")
    epochs = Epochs(screen, recipe.train)
    try:
        trainer = recipe.trainer(experiment=experiment, callbacks=[epochs])
        trainer.fit(recipe.module, recipe.train, recipe.val)
        _conclude(screen, epochs, seconds=time.monotonic() - begun)
        _plot(screen, experiment)
        report = write_report(experiment.record, experiment.slug, work / "report.html")
    finally:
        experiment.close()
    return file, report


class Epochs(Callback):
    """Tells of every candidate: its work on both kinds of queries, what became of it, and why."""

    def __init__(self, screen: Screen, train: Any) -> None:
        self._screen, self._train = screen, train
        self._work = 0  # on the queries that are learnt from, with the state that was measured last
        self._kept_work = 0
        self._refused: set[str] = set()
        self.first = self.kept = 0.0  # the work on the other queries: at the beginning, and now
        self.tempting: tuple[str, float] | None = None  # what training alone would have kept first, and how bad it is

    def on_validation_end(self, trainer: Any, module: Any, metrics: dict[str, float]) -> None:
        """Only shown, never decided by: what the queries that are learnt from need now."""
        self._work = sum(one.metrics["steps"] for batch in self._train for one in module(batch))

    def on_sanity_check_end(self, trainer: Any, module: Any) -> None:
        """What everything is compared with."""
        self.first = self.kept = trainer.callback_metrics["steps"]
        self._kept_work = self._work
        self._screen.line(f"{'baseline':16}  {self._figures(self.first)}")

    def on_epoch_end(self, trainer: Any, module: Any) -> None:
        """One line."""
        row, paint = trainer.history[-1], self._screen.paint
        steps, change = row.metrics["steps"], row.extra["why"]
        told = self._told(row, change)
        word = paint(f"{_WORDS[row.verdict]:8}", _COLOURS.get(row.verdict, "dim"))
        because = paint(f"  ← {told}", "dim") if told else ""
        shown = f"{change:19}" if told else change
        self._screen.line(f"epoch {row.epoch} {word}  {self._figures(steps)}  {shown}{because}")
        if row.verdict == "accept":
            self.kept, self._kept_work = steps, self._work

    def _figures(self, steps: float) -> str:
        return f"train {self._work:7,.0f}  val {steps:7,.0f}"

    def _told(self, row: EpochRow, change: str) -> str:
        """Why, in a few words."""
        again = change in self._refused
        if row.verdict == "accept":
            return "refused before, right now" if again else ""
        self._refused.add(change)
        times = row.metrics["steps"] / self.kept
        if times > 1 and self._work < self._kept_work and self.tempting is None:
            self.tempting = change, times
        held_out = f"{times:.1f}x worse held out" if times > 1 else "no better held out"
        dear = any(not gate["passed"] and "writes" in gate["gate"] for gate in row.gates)
        return f"{held_out}, writes cost too much" if dear else held_out


def _project(folder: Path) -> Path:
    """The user's own copy, to look at, change and run again."""
    folder.mkdir()
    for name in PROJECT:
        shutil.copyfile(shelf("examples") / "index_tuning" / name, folder / name)
    return folder / PROJECT[0]


@contextmanager
def _no_bytecode() -> Iterator[None]:
    """The user's folder holds what we say it holds, and no `__pycache__`."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _introduce(screen: Screen) -> None:
    screen.line(f"{screen.paint('train:', 'bold')} The indexes of a small SQLite database. No model is asked here.")
    screen.line("Query plans are the gradient; what an index saves on other queries (val) decides whether it stays.")
    screen.line(screen.paint("Steps of SQLite's machine:", "dim"))


def _conclude(screen: Screen, epochs: Epochs, *, seconds: float) -> None:
    times = f"x{epochs.first / epochs.kept:.0f} fewer" if epochs.kept else "none left"
    took = figures.seconds(seconds)
    screen.line(f"val steps {epochs.first:,.0f} -> {epochs.kept:,.0f} = {screen.paint(times, 'bold')}, {took}")
    if epochs.tempting is not None:
        change, worse = epochs.tempting
        harm = f"made the other queries {worse:.1f}x dearer"
        screen.line(f"Training alone would have kept {change} at once, and {harm}.")
    screen.line()


def _plot(screen: Screen, experiment: Experiment) -> None:
    story = read_story(experiment.record, experiment.slug)
    width = min(shutil.get_terminal_size().columns - 1, _PLOT_WIDTH)
    screen.line(progress_text(story, width=width, height=_PLOT_HEIGHT, colour=screen.facts.err_colour))
