"""The data sets a project has registered: name, file, what was in it then, and who is held out."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autopilot_runtime.cli.train.place import Project, checked_name
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.files import write_atomic
from autopilot_runtime.training.dataset import ListDataset
from autopilot_runtime.training.fault import meant
from autopilot_runtime.training.fingerprint import DatasetFingerprint


@dataclass
class Registry:
    """Kept in `datasets/registry.json` of the project; files below the project are named relative to it."""

    project: Project

    @property
    def folder(self) -> Path:
        """Where the project's data is."""
        return self.project.folder / "datasets"

    @property
    def file(self) -> Path:
        """Where it is kept."""
        return self.folder / "registry.json"

    def all(self) -> dict[str, dict[str, Any]]:
        """Name → what is known of it."""
        if not self.file.exists():
            return {}
        try:
            found = json.loads(self.file.read_text(encoding="utf-8"))
            return {str(name): dict(entry) for name, entry in found.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise SetupError(
                f"{self.file} cannot be read ({error}). Mend it, or move it away and register anew."
            ) from error

    def one(self, name: str) -> dict[str, Any]:
        """The one of that name."""
        found = self.all()
        if name not in found:
            raise SetupError(f"There is no data set {name!r} in {self.project.name}.{meant(name, found)}")
        return found[name]

    def put(self, name: str, path: Path, *, why: str) -> tuple[dict[str, Any], str]:
        """Register a file as it is now; gives the entry, and what is different from before."""
        known = self.all()
        data: ListDataset[Any] = ListDataset.from_jsonl(path)
        now = DatasetFingerprint.of(data)
        before = known.get(checked_name(name, "a data set"))
        entry = {
            **(before or {}),
            "path": self._spelt(path),
            "fingerprint": now.to_dict(),
            "items": len(data),
            "why": why,
            "at": time.time(),
        }
        self._save({**known, name: entry})
        return entry, DatasetFingerprint.from_dict(before["fingerprint"]).changes(now) if before else ""

    def note(self, name: str, **changes: Any) -> dict[str, Any]:
        """Add to what is known of one."""
        entry = {**self.one(name), **changes}
        self._save({**self.all(), name: entry})
        return entry

    def _save(self, entries: dict[str, dict[str, Any]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(entries, indent=1, ensure_ascii=False) + "\n"
        write_atomic(self.file, text.encode("utf-8", "backslashreplace"), mode=0o644)

    def path(self, name: str) -> Path:
        """Where its file is."""
        return (self.project.folder / str(self.one(name)["path"])).resolve()

    def items(self, name: str) -> ListDataset[Any]:
        """Its items, as they are now."""
        return ListDataset.from_jsonl(self.path(name))

    def changes(self, name: str) -> str:
        """What is different now from what was registered; empty for nothing."""
        before = DatasetFingerprint.from_dict(self.one(name)["fingerprint"])
        return before.changes(DatasetFingerprint.of(self.items(name)))

    def _spelt(self, path: Path) -> str:
        full, base = path.resolve(), self.project.folder.resolve()
        return os.path.relpath(full, base) if full.is_relative_to(base) else str(full)
