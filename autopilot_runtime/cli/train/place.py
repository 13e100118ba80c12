"""Where training is kept on disk: the workspace above the current folder, its projects, and what is active."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autopilot_runtime.cli.train.own import active_project, own
from autopilot_runtime.cli.train.recipe import Recipe, load_recipe
from autopilot_runtime.core.errors import SetupError
from autopilot_runtime.core.files import write_atomic
from autopilot_runtime.training.experiment import FILE, Experiment
from autopilot_runtime.training.fault import meant
from autopilot_runtime.training.record import Record

MARK = ".autopilot"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass
class Workspace:
    """A folder with `.autopilot/` in it: the settings that are active, and the list of what was executed."""

    root: Path
    active: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def found(cls, given: Path | None) -> Workspace:
        """The one that was named, else the nearest above the current folder."""
        start = (given or Path()).resolve()
        for folder in [start] if given else [start, *start.parents]:
            # The user's own ~/.autopilot is no workspace: only what `workspace init` made is.
            if (folder / MARK / "workspace.json").is_file():
                return cls(folder, _read(folder / MARK / "workspace.json"))
        raise SetupError(
            f"There is no workspace in {start}{'' if given else ' or above it'}. Make one:\n"
            "autopilot workspace init --context 'begin'"
        )

    @classmethod
    def made(cls, folder: Path) -> tuple[Workspace, bool]:
        """The one in this folder, and whether it is new."""
        folder = folder.resolve()
        if (folder / MARK / "workspace.json").is_file():
            return cls.found(folder), False
        (folder / MARK).mkdir(parents=True, exist_ok=True)
        (folder / "autopilot" / "projects").mkdir(parents=True, exist_ok=True)
        workspace = cls(folder, {"version": 1, "project": None, "experiments": {}})
        workspace.save()
        return workspace, True

    def save(self) -> None:
        """Keep what is active."""
        text = json.dumps(self.active, indent=2, ensure_ascii=False) + "\n"
        write_atomic(self.root / MARK / "workspace.json", text.encode())

    @property
    def executions(self) -> Path:
        """The list of what was executed."""
        return self.root / MARK / "executions.jsonl"

    @property
    def projects(self) -> list[str]:
        """Their names."""
        folder = self.root / "autopilot" / "projects"
        return sorted(one.name for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []

    def project(self, given: str | None) -> Project:
        """The one that was named, else the active one, else the only one."""
        name = given or active_project() or self.active.get("project")
        names = self.projects
        if name is None and len(names) == 1:
            name = names[0]
        if name is None:
            raise SetupError(
                "No project is active. Make one: autopilot project init NAME --context '...'"
                if not names
                else f"Which project? There are {', '.join(names)}: --project NAME"
            )
        if name not in names:
            raise SetupError(f"There is no project {name!r} in {self.root}.{meant(name, names)}")
        return Project(self, name)


@dataclass
class Project:
    """One project of a workspace."""

    workspace: Workspace
    name: str

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self.workspace.root / "autopilot" / "projects" / self.name

    @property
    def kept(self) -> Path:
        """Where its experiments are kept."""
        return self.folder / "experiments"

    def record(self) -> Record:
        """Its record; there is one as soon as there is an experiment."""
        if not (self.kept / FILE).is_file():
            raise SetupError(
                f"Project {self.name!r} has no experiment yet: autopilot experiment create SLUG --context '...'"
            )
        return Record.open(self.kept / FILE)

    def slug(self, given: str | None) -> str:
        """The experiment that was named, else the active one."""
        slug = given or self.workspace.active.get("experiments", {}).get(self.name)
        if not slug:
            raise SetupError("No experiment is active. Make one: autopilot experiment create SLUG --context '...'")
        return str(slug)

    def experiment(self, given: str | None) -> Experiment:
        """The experiment, as it is; it has to be there."""
        slug = self.slug(given)
        record = self.record()
        try:
            record.experiment(slug)
        except BaseException:
            record.close()
            raise
        return Experiment(slug, record=record)

    def recipe(self) -> Recipe:
        """What is trained: as its file says, with the module that the project's own command has wired."""
        recipe = load_recipe(str(self.folder / "trainer.py"))
        module = own(self.name, "module")
        if module is not None:
            recipe.module = module
        return recipe

    def activate(self, slug: str) -> None:
        """From now on commands without --experiment mean this one."""
        self.workspace.active["project"] = self.name
        self.workspace.active.setdefault("experiments", {})[self.name] = slug
        self.workspace.save()


def checked_name(name: str, what: str) -> str:
    """A name that can be a folder's."""
    if not _NAME.fullmatch(name):
        raise SetupError(f"{name!r} is no name for {what}: letters, digits, dots, dashes, at most 64, no spaces.")
    return name


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
    except (OSError, ValueError) as error:
        raise SetupError(
            f"{path} cannot be read ({error}). It only says what is active: move it away, and init anew."
        ) from error
    return found
