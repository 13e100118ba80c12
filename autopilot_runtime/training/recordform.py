"""How the rows of a record hold values, and how they are told from damaged ones."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from autopilot_runtime.core.errors import ObjectDamaged
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.recordrows import EpochRow, EvalKey, Evaluation, ExperimentRow, plain_fields


def body_of(value: Any, what: str = "a row", *, lenient: bool = False) -> str:
    """A value as a row holds it. Half a character (a lone surrogate) comes back as it was. What JSON cannot say is
    an error; when `lenient`, for what must not stop a run, it is described instead."""
    try:
        return (_LENIENT if lenient else _STRICT)(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise TrainingError(f"{what} holds something that JSON cannot say ({error}); give plain values.") from error


def key_text(text: str) -> str:
    """A text as a column can hold it: half a character is spelled out."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def seal(*parts: object) -> int:
    """Tells whether a row is still what was written."""
    return zlib.crc32("\0".join(map(str, parts)).encode("utf-8", "surrogatepass"))


def unsealed(what: str, mark: int, *parts: Any) -> Any:
    """The value in the last part of a row; `ObjectDamaged` when the row is not what was written."""
    if seal(*parts) != mark:
        raise ObjectDamaged(f"{what} is damaged; it is not used. Run fsck() to see what else is.")
    return opened(parts[-1], what)


def opened(body: str, what: str) -> Any:
    """The value that a text holds; `ObjectDamaged` when it is none."""
    try:
        return json.loads(body)
    except (TypeError, ValueError) as error:
        raise ObjectDamaged(f"{what} is damaged ({error}); run fsck() to see what else is.") from error


def _described(value: Any) -> Any:
    try:
        return _plain(value)
    except TypeError:
        return f"<{type(value).__name__}> {value!s:.200}"


def _plain(value: Any) -> Any:
    """Numbers and texts of other libraries, and read-only mappings, as JSON says them."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return value.item()
    if isinstance(value, (set, frozenset, Sequence)) and not isinstance(value, (bytes, bytearray, memoryview)):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


_STRICT = json.JSONEncoder(separators=(",", ":"), default=_plain).encode
_LENIENT = json.JSONEncoder(separators=(",", ":"), default=_described).encode


def experiment_of(row: Sequence[Any]) -> ExperimentRow:
    """The experiment of a row."""
    slug, status, parent, reason, created, changed, body, mark = row
    held = unsealed(f"Experiment {slug!r}", mark, slug, body)
    tags = tuple(held.get("tags", ()))
    return ExperimentRow(slug, status, parent, held["config"], tags, held["why"], reason, created, changed)


def evaluation_row(one: Evaluation, at: float) -> tuple[Any, ...]:
    """The row of an evaluation that has no time of its own but `at`."""
    commit, item, version, split, replicate = one.key
    held = {  # spelled out: this is done for every item
        "ok": one.ok,
        "output": one.output,
        "metrics": one.metrics,
        "feedback": one.feedback,
        "error": one.error,
        "cost": one.cost,
        "seconds": one.seconds,
        "at": at,
    }
    where = (commit, key_text(split), key_text(item), key_text(version), replicate)
    body = body_of(held, f"the evaluation of item {item!r}")
    return (*where, body, seal(*where, body))


def evaluation_of(row: Sequence[Any]) -> Evaluation:
    """The evaluation of a row; `ObjectDamaged` when it is not what was written."""
    commit, item, version, split, replicate, body, mark = row
    what = f"The {split} evaluation of item {item!r} on commit {commit[:12]}"
    held = unsealed(what, mark, commit, split, item, version, replicate, body)
    return Evaluation(EvalKey(commit, item, version, split, replicate), **held)


def epoch_of(row: Sequence[Any]) -> EpochRow:
    """The epoch of a row; `ObjectDamaged` when it is not what was written."""
    *parts, mark = row
    return EpochRow(**unsealed(f"Epoch {parts[1]} of experiment {parts[0]!r}", mark, *parts))


def epoch_row(row: EpochRow) -> tuple[Any, ...]:
    """The row of an epoch."""
    body = body_of(plain_fields(row), f"epoch {row.epoch} of {row.experiment!r}")
    where = (key_text(row.experiment), row.epoch, row.commit, row.verdict)
    return (*where, body, seal(*where, body))
