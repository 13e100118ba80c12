"""How a fit goes, in the terminal: bars for training and validation, and a line for every candidate's verdict."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any

from autopilot_runtime.core.event import Event, EventType
from autopilot_runtime.tool.visible import visible
from autopilot_runtime.training.callback import Callback
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.gate import number_in
from autopilot_runtime.training.plot import clipped
from autopilot_runtime.training.plotaxis import change, figure

if TYPE_CHECKING:
    from autopilot_runtime.training.record import EpochRow
    from autopilot_runtime.training.trainer import Trainer

_WORDS = {"accept": "kept", "discard": "not kept", "rollback": "rolled back", "stop": "stopped"}
_STYLES = {"accept": "green", "discard": "dim", "rollback": "red", "stop": "red"}
_LONGEST = 160


class ProgressBar(Callback):
    """Bars where a person looks on, else one line for each candidate. Writes to stderr: stdout stays the program's.

    `live` says whether there are bars; None looks at the terminal.
    """

    def __init__(
        self,
        *,
        stream: IO[str] | None = None,
        live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._wanted, self._clock = stream, live, clock
        self._bars: _Bars | None = None
        self._heard: Any = None
        self._broken = False
        self._began = 0.0
        self._accepted: Mapping[str, float] = {}

    # ------------------------------------------------------------ hooks

    def on_fit_start(self, trainer: Trainer, module: Any) -> None:
        self._broken = False
        self._accepted = _accepted(trainer)
        stream = self._stream or sys.stderr
        if self._wanted if self._wanted is not None else is_live(stream):
            self._bars = _Bars(stream, _total(trainer, "train"), _total(trainer, "held_out"), _epochs(trainer))
        if self._heard is not trainer.stream:
            # However a fit ends, Ctrl-C included: the terminal gets its cursor back.
            trainer.stream.listen(self._hear)
            self._heard = trainer.stream
        if trainer.budget.limits:
            self._say(f"budget: {trainer.forecast()}", "bold")

    def on_sanity_check_end(self, trainer: Trainer, module: Any) -> None:
        self._accepted = dict(trainer.callback_metrics)
        self._say(f"start: {_numbers(self._accepted)}", "bold")

    def on_epoch_start(self, trainer: Trainer, module: Any) -> None:
        self._began = self._clock()
        self._draw(lambda bars: bars.epoch(trainer.current_epoch))

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._draw(lambda bars: bars.advance("train", batch_idx + 1))

    def on_validation_start(self, trainer: Trainer, module: Any) -> None:
        self._draw(lambda bars: bars.advance("val", 0))

    def on_validation_batch_end(
        self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._draw(lambda bars: bars.advance("val", batch_idx + 1))

    def on_epoch_end(self, trainer: Trainer, module: Any) -> None:
        if not trainer.history:
            return
        row = trainer.history[-1]
        seconds = self._clock() - self._began
        line = epoch_line(row, self._accepted, trainer.monitor, total=_epochs(trainer), seconds=seconds)
        self._say(line, _STYLES.get(row.verdict, ""))
        for gate in row.gates:
            if not gate.get("passed"):
                word, style = ("warned", "yellow") if gate.get("warning") else ("failed", "red")
                said = f"{gate.get('gate')}: {gate.get('reason')}"
                self._say(f"    {word} {_one_line(said)}", style)
        if row.verdict == "accept":
            self._accepted = dict(row.metrics)
        self._draw(lambda bars: bars.done(trainer.current_epoch + 1))

    # ------------------------------------------------------------ output

    def _hear(self, event: Event) -> None:
        if event.type is not EventType.FIT_END:
            return
        why = event.data.get("why")
        self._say(f"{event.data.get('status')}{f': {_one_line(str(why))}' if why else ''}", "bold")
        self._draw(lambda bars: bars.close())
        self._bars = None

    def _say(self, line: str, style: str) -> None:
        """One whole line, above the bars."""
        if self._bars is not None:
            self._draw(lambda bars: bars.say(line, style))
            return
        stream = self._stream or sys.stderr
        self._guarded(lambda: (stream.write(f"{line}\n"), stream.flush()))

    def _draw(self, how: Callable[[_Bars], object]) -> None:
        bars = self._bars
        if bars is not None:
            self._guarded(lambda: how(bars))

    def _guarded(self, write: Callable[[], object]) -> None:
        # Nobody reads stderr any more: the work is still wanted.
        if self._broken:
            return
        try:
            write()
        except (OSError, ValueError):
            self._broken = True


class _Bars:
    """Three bars: candidates, training batches, validation batches; each with its own total."""

    def __init__(self, stream: IO[str], train: int | None, val: int | None, epochs: int) -> None:
        # Only needed where somebody looks on, and slow to load.
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = Console(file=stream, force_terminal=True, highlight=False)
        same = _is_tty(sys.stdout) and _is_tty(stream)
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            # What the program prints goes where it was sent: into a pipe, past the bars.
            redirect_stdout=same,
            redirect_stderr=stream is sys.stderr,
        )
        self._epochs = self._progress.add_task("candidates", total=epochs)
        self._tasks = {
            "train": self._progress.add_task("train", total=train, visible=train != 0),
            "val": self._progress.add_task("val", total=val, visible=bool(val)),
        }
        self._progress.start()

    def epoch(self, at: int) -> None:
        """A new candidate begins: its bars are empty."""
        self._progress.update(self._epochs, completed=max(0, at))
        for task in self._tasks.values():
            self._progress.reset(task)

    def advance(self, which: str, done: int) -> None:
        """So many batches are done."""
        self._progress.update(self._tasks[which], completed=done)

    def done(self, epochs: int) -> None:
        """So many candidates are done."""
        self._progress.update(self._epochs, completed=epochs)

    def say(self, line: str, style: str) -> None:
        """A line above the bars."""
        self._console.print(line, style=style or None, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bars away."""
        self._progress.stop()


def epoch_line(
    row: EpochRow, accepted: Mapping[str, float], monitor: str, *, total: int = 0, seconds: float | None = None
) -> str:
    """How one epoch went, on one line."""
    of = f" ({row.epoch + 1}/{total})" if total > row.epoch else ""
    name = monitor or next(iter(row.metrics), "")
    passed = sum(bool(gate.get("passed")) for gate in row.gates)
    # What a gate said has a line of its own.
    reason = row.reason if row.verdict != "accept" and passed == len(row.gates) else ""
    parts = (
        f"candidate {row.epoch}{of}: {_WORDS.get(row.verdict, row.verdict)}",
        *_measured(row, accepted, name),
        f"gates {passed}/{len(row.gates)}" if row.gates else "",
        "" if seconds is None else f"{seconds:.1f} s",
        clipped(str(row.extra.get("why") or ""), 80),
        _one_line(reason),
    )
    return "  ".join(part for part in parts if part)


def _measured(row: EpochRow, accepted: Mapping[str, float], name: str) -> tuple[str, str]:
    """(held out, on training data)."""
    value, before, train = _value(row.metrics, name), _value(accepted, name), _value(row.train, name)
    moved = "" if value is None or before is None else f" ({change(value, before)})"
    val = f"val {_one_line(name)} {figure(value)}{moved}" if name else ""
    return val, "" if train is None else f"train {figure(train)}"


def is_live(stream: IO[str], env: Mapping[str, str] = os.environ) -> bool:
    """Whether a line may be drawn again on this stream."""
    ci = env.get("CI", "").lower() not in ("", "0", "false")
    return _is_tty(stream) and not ci and env.get("TERM", "") not in ("dumb", "unknown")


def _is_tty(stream: IO[str] | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def _one_line(text: str) -> str:
    return visible(" ".join(text.split()), limit=_LONGEST)


def _numbers(metrics: Mapping[str, Any]) -> str:
    numbers = [f"{_one_line(name)} {figure(_value(metrics, name))}" for name in metrics]
    return ", ".join(numbers) or "nothing measured"


def _value(metrics: Mapping[str, Any], name: str) -> float | None:
    found = number_in(metrics, name)
    return None if isinstance(found, str) else found


def _accepted(trainer: Trainer) -> Mapping[str, float]:
    kept = [row for row in trainer.history if row.verdict in ("accept", "seed")]
    return dict(kept[-1].metrics) if kept else {}


def _epochs(trainer: Trainer) -> int:
    fit = getattr(trainer, "_fit", None)
    return int(getattr(fit, "max_epochs", 0) or 0)


def _total(trainer: Trainer, which: str) -> int | None:
    """How many batches; None when the loader does not know, 0 when there is none."""
    loader = getattr(getattr(trainer, "_fit", None), which, None)
    if loader is None:
        return 0
    try:
        return len(loader)
    except (TypeError, TrainingError):
        return None
