"""What may be read at a workbench: parameters, feedback, figures, history. Of held-out items nothing but figures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from autopilot_runtime.block.diff import unified_diff
from autopilot_runtime.training.budget import KINDS
from autopilot_runtime.training.collate import ConcatCollator, gravity
from autopilot_runtime.training.fault import TrainingError, meant
from autopilot_runtime.training.fit import Fit
from autopilot_runtime.training.gradient import parts_of
from autopilot_runtime.training.parameter import Parameter
from autopilot_runtime.training.record import Commit, EpochRow
from autopilot_runtime.training.showing import shortened, shown_item
from autopilot_runtime.training.trial import Trial
from autopilot_runtime.training.workbench import Workbench

_ITEM_CHARS = 1_500


def budget_left(fit: Fit) -> dict[str, float]:
    """What is left of each kind that has a limit."""
    return {kind: round(fit.budget.left(kind), 6) for kind in KINDS if kind in fit.budget.limits}


def budget(fit: Fit) -> dict[str, Any]:
    """Limits, what is spent, and what that is enough for."""
    calls = _length(fit.train) + _length(fit.held_out)
    return {
        "limits": dict(fit.budget.limits),
        "spent": {kind: round(value, 6) for kind, value in fit.budget.state_dict()["spent"].items()},
        "forecast": fit.budget.forecast(calls_per_proposal=calls),
    }


def parameters(bench: Workbench, fit: Fit) -> list[dict[str, Any]]:
    """Each parameter: name, kind, size, digest, and its files when it is files."""
    assert fit.accepted is not None
    found: list[dict[str, Any]] = []
    for name, one in fit.parameters:
        entry: dict[str, Any] = {
            "name": name,
            "kind": type(one).__name__,
            "digest": fit.accepted.parameters[name][:12],
            "frozen": not one.requires_grad,
        }
        for bound in ("low", "high"):
            if getattr(one, bound, None) is not None:
                entry[bound] = getattr(one, bound)
        files = files_of(one)
        if files is None:
            entry["chars"] = len(one.render())
        else:
            entry["files"] = {path: len(data) for path, data in files.items()}
        found.append(entry)
    return found


def read(bench: Workbench, fit: Fit, name: str, path: str | None, commit: str | None) -> Any:
    """A parameter's value, or the text of one of its files, in the accepted state or in another."""
    one = bench.parameter(fit, name)
    with bench.state(fit, bench.commit(fit, commit)):
        files = files_of(one)
        if path is None and files and len(files) == 1:
            path = next(iter(files))  # as it is written, too: one file needs no name
        if path is None:
            return one.render() if files is not None or isinstance(one.data, str) else one.data
        if files is None:
            raise TrainingError(f"Parameter {name!r} is no files: read it without a path.")
        if path not in files:
            raise TrainingError(f"{name!r} has no file {path!r}.{meant(path, files)}")
        return files[path].decode("utf-8", "backslashreplace")


def files_of(parameter: Parameter) -> dict[str, bytes] | None:
    """Name → bytes of a parameter that is files; None for any other."""
    listed = getattr(parameter, "files", None)
    return dict(listed()) if callable(listed) else None


def trial_of(bench: Workbench, fit: Fit, commit: str | None) -> Trial:
    """The newest run of a commit on training data."""
    wanted = bench.commit(fit, commit)
    found = bench.trial(wanted)
    if found is None:
        which = "the accepted state" if fit.accepted is not None and wanted.id == fit.accepted.id else wanted.id[:12]
        raise TrainingError(f"There is no feedback on {which} yet: evaluate() runs it on the training data first.")
    return found


def gradients(trial: Trial, name: str | None, top: int | None) -> dict[str, list[str]]:
    """Parameter → its feedback, the most severe first."""
    together = ConcatCollator()
    found: dict[str, list[str]] = {}
    for key, gradient in trial.gradients.items():
        if name in (None, key):
            merged = together.collate([gradient])
            parts = sorted(() if merged is None else parts_of(merged), key=gravity)
            found[key] = [shortened(part.render(), _ITEM_CHARS) for part in parts[:top]]
    return found


def failures(trial: Trial, limit: int) -> list[dict[str, Any]]:
    """The items that did not come out well, each with what went in and what came out."""
    return [
        {
            "item": one.item,
            "input": shortened(shown_item(one.input), _ITEM_CHARS),
            "output": "" if one.output is None else shortened(shown_item(one.output), _ITEM_CHARS),
            "feedback": shortened(one.feedback, _ITEM_CHARS),
            "error": shortened(one.error, _ITEM_CHARS),
        }
        for one in trial.failures[:limit]
    ]


def metrics(bench: Workbench, fit: Fit, commit: Commit) -> dict[str, Any]:
    """The figures of a commit: on training data (the newest run), and on held-out data."""
    trial, held_out = bench.trial(commit), fit.known.get(commit.id)
    rows = [row for row in fit.history if row.commit == commit.id]
    val = held_out.metrics if held_out is not None else rows[-1].metrics if rows else {}
    return {
        "commit": commit.id[:12],
        "train": figures(trial.metrics) if trial is not None else {},
        "train_items": trial.items if trial is not None else 0,
        "val": figures(val),
        "monitor": fit.trainer.monitor,
        "noise": figures(fit.noise),
    }


def figures(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers as one reads them; what is no number in words."""
    return {
        key: round(one, 6) if isinstance(one, float) and math.isfinite(one) else one for key, one in values.items()
    }


def history(fit: Fit, limit: int) -> list[dict[str, Any]]:
    """The newest submissions: what was changed, why, and what became of it."""
    return [
        {
            "epoch": row.epoch,
            "commit": row.commit[:12],
            "from": row.parent[:12],
            "verdict": row.verdict,
            "reason": told_reason(row.reason, row.extra.get("errors") or ()),
            "why": str(row.extra.get("why") or ""),
            "metrics": figures(row.metrics),
        }
        for row in _rows(fit)[-limit:]
    ]


def _rows(fit: Fit) -> list[EpochRow]:
    return sorted(fit.history, key=lambda row: row.epoch)


def told_reason(reason: str, errors: Any) -> str:
    """Why it was decided so. What a held-out item has raised may quote the item: only how many did is told."""
    if not errors:
        return reason
    return f"{len(errors)} evaluation{'s' if len(errors) > 1 else ''} on held-out data failed"


def difference(bench: Workbench, fit: Fit, a: str | None, b: str | None) -> str:
    """A unified diff of all parameters between two commits; "" when they are the same."""
    one, other = bench.commit(fit, a), bench.commit(fit, b)
    names = [name for name in one.parameters if one.parameters[name] != other.parameters.get(name)]
    before, after = _contents(bench, fit, one, names), _contents(bench, fit, other, names)
    paths = sorted(before.keys() | after.keys())
    return "".join(unified_diff(before.get(path, b""), after.get(path, b""), path) for path in paths)


def _contents(bench: Workbench, fit: Fit, commit: Commit, names: list[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with bench.state(fit, commit):
        for name, one in fit.parameters:
            if name not in names:
                continue
            files = files_of(one)
            if files is None:
                text = one.render()
                found[name] = (text if text.endswith("\n") else text + "\n").encode("utf-8", "surrogatepass")
            else:
                found.update({f"{name}/{path}": data for path, data in files.items()})
    return found


def _length(loader: Any) -> int:
    try:
        return len(loader)
    except TypeError:
        return 0
