"""Checkpoints as files: whole or absent, bytes and all, and refused when damaged."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Protocol

from autopilot_runtime.core.errors import ObjectDamaged
from autopilot_runtime.core.files import write_atomic
from autopilot_runtime.training.fault import TrainingError, meant

FORMAT = "autopilot checkpoint"
VERSION = 1
_BYTES = "$bytes"
_ESCAPED = "$dict"


class CheckpointIO(Protocol):
    """How the state of a fit becomes a file, and comes back."""

    def save(self, state: dict[str, Any], path: str | os.PathLike[str]) -> None:
        """Write it; after a crash the old file is there, or the new one."""

    def load(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """What `save` was given."""

    def remove(self, path: str | os.PathLike[str]) -> None:
        """Remove it, if it is there."""


class JSONCheckpointIO:
    """As JSON that a person can read, with the digest of the state beside it."""

    def save(self, state: dict[str, Any], path: str | os.PathLike[str]) -> None:
        """Write it; after a crash the old file is there, or the new one."""
        try:
            body = json.dumps(_packed(state, "state"), sort_keys=True)
        except (ValueError, RecursionError) as error:
            raise TrainingError(f"This state cannot be a checkpoint: {error}.") from error
        head = {"format": FORMAT, "version": VERSION, "sha256": hashlib.sha256(body.encode()).hexdigest()}
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        # The state stands last and on a line of its own, so what is checked is exactly what was written.
        write_atomic(place, f'{json.dumps(head)[:-1]}, "state":\n{body}\n}}\n'.encode())

    def load(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """What `save` was given; what is damaged or of another kind is refused."""
        place = Path(path)
        try:
            text = place.read_bytes()
        except FileNotFoundError:
            near = meant(place.name, [one.name for one in place.parent.iterdir()]) if place.parent.is_dir() else ""
            raise TrainingError(f"There is no checkpoint {place}.{near}") from None
        head, _, rest = text.partition(b"\n")
        body = rest.removesuffix(b"}\n").removesuffix(b"\n")
        try:
            about = json.loads(head.removesuffix(b', "state":') + b"}")
            known = about["format"] == FORMAT and int(about["version"]) > 0
            version, digest = int(about["version"]), about["sha256"]
        except (ValueError, LookupError, TypeError):
            known, version, digest = False, 0, ""
        if not known:
            raise ObjectDamaged(
                f"{place} is no checkpoint, or its beginning is damaged; nothing was restored from it."
            )
        if version > VERSION:
            raise TrainingError(f"{place} was written by a newer release (version {version}); upgrade this one.")
        if hashlib.sha256(body).hexdigest() != digest:
            raise ObjectDamaged(
                f"The checkpoint {place} is damaged: it is not what was written. Nothing was restored from it; an "
                "earlier one may be whole, and ckpt_path='last' goes on from the experiment's own record."
            )
        state: dict[str, Any] = _unpacked(json.loads(body))
        return state

    def remove(self, path: str | os.PathLike[str]) -> None:
        """Remove it, if it is there."""
        Path(path).unlink(missing_ok=True)


def _packed(value: Any, where: str) -> Any:
    """A value as JSON can say it. Bytes are spelled out; so is a dict that looks like spelled-out bytes."""
    if isinstance(value, (bytes, bytearray)):
        return {_BYTES: base64.b64encode(value).decode()}
    if isinstance(value, dict):
        odd = next((key for key in value if not isinstance(key, str)), None)
        if odd is not None:
            raise TrainingError(f"{where} has the key {odd!r}; a checkpoint takes texts as keys.")
        packed = {key: _packed(one, f"{where}[{key!r}]") for key, one in value.items()}
        return {_ESCAPED: packed} if value.keys() in ({_BYTES}, {_ESCAPED}) else packed
    if isinstance(value, (list, tuple)):
        return [_packed(one, f"{where}[{at}]") for at, one in enumerate(value)]
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TrainingError(
        f"{where} is {type(value).__name__}, which a JSON checkpoint cannot say. Give plain values or bytes, or "
        "another io: save_checkpoint(path, io=...)."
    )


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unpacked(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {_BYTES}:
        return base64.b64decode(value[_BYTES])
    if value.keys() == {_ESCAPED}:
        return {key: _unpacked(one) for key, one in value[_ESCAPED].items()}
    return {key: _unpacked(one) for key, one in value.items()}
