"""What single evaluations did, as it is on record: plain values, for which no code of the project has to run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from autopilot_runtime.training.record import Evaluation, Record
from autopilot_runtime.training.recordrows import plain_fields


@dataclass(frozen=True, slots=True)
class Trace:
    """One item in one evaluation."""

    number: int
    commit: str
    split: str
    replicate: int
    item: str
    ok: bool
    output: Any = None
    metrics: dict[str, Any] = field(default_factory=dict)
    feedback: str = ""
    error: str = ""
    seconds: float = 0.0
    at: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return plain_fields(self)


def traces(record: Record, commit: str, split: str | None = None) -> list[Trace]:
    """Those of a state, in the order in which they were made."""
    found: list[Trace] = []
    for one in record.evaluations(commit, split):
        for item in _of(one):
            found.append(Trace(number=len(found) + 1, **item))
    return found


def _of(one: Evaluation) -> Iterator[dict[str, Any]]:
    """An evaluation of a batch has several results; one that raised has none."""
    about = {
        "commit": one.key.commit,
        "split": one.key.split,
        "replicate": one.key.replicate,
        "seconds": one.seconds,
        "at": one.at,
    }
    if not one.ok:
        yield {**about, "item": one.key.item[:12], "ok": False, "error": one.error, "feedback": one.feedback}
        return
    output = _plain((one.output or {}).get("output"))
    for result in output if isinstance(output, list) else [output]:
        yield {**about, **_result(result, one.key.item[:12])}


def _result(result: Any, name: str) -> dict[str, Any]:
    if not isinstance(result, dict) or "success" not in result:
        return {"item": name, "ok": True, "output": result}
    rest = {key: value for key, value in result.items() if key not in _TOLD and value not in ("", None, {}, [], 0)}
    return {
        "item": str(result.get("id") or name),
        "ok": bool(result["success"]) and not result.get("error_message"),
        "output": rest,
        "metrics": dict(result.get("metrics") or {}),
        "feedback": str(result.get("feedback") or ""),
        "error": str(result.get("error_message") or ""),
    }


_TOLD = frozenset({"id", "success", "metrics", "feedback", "error_message", "_named"})


def _plain(value: Any) -> Any:
    """A value as it was packed, without the names of its classes."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    if "$" in value:
        return _plain(value.get("v"))
    return {key: _plain(one) for key, one in value.items()}
