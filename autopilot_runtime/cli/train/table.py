"""The training commands, each with a line of help; what is behind a name is imported when it is called."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from typer.core import TyperGroup

PANEL = "Train"
COMMANDS = {
    "train": "Train what a Python file describes: autopilot train train.py:module",
    "workspace": "Make and look at the place where projects and their experiments are kept.",
    "project": "Create, list and check projects.",
    "experiment": "Create, list, show and compare experiments.",
    "optimize": "Run the loop of the project: train, validate, test.",
    "ai": "Generate data and judge results with an agent.",
    "store": "The states of the parameters: log, diff, checkout, fsck.",
    "status": "How the experiment stands: epoch, metrics, why it stopped.",
    "tree": "What came from what: candidates and experiments.",
    "query": "Find experiments and epochs by status, metric and tag.",
    "checkout": "Go to an experiment, and let the files be its accepted state.",
    "stabilize": "Make the accepted result the project's own.",
    "execute": "Run Python code, a file or a module, and keep a record of it.",
    "debug": "What was executed, when, why and how it ended.",
    "diagnose": "Which items fail most, and which parameters the feedback names.",
    "propose": "Make, check, take back and list proposals.",
    "policy": "Check metrics against the policy, and say what it asks.",
    "dataset": "Register, split and look at data.",
    "report": "Plot the training here, and as one HTML file.",
    "explain": "Why a candidate was kept or not, with the numbers.",
    "trace": "Collect and look at what single evaluations did.",
}


class _Later(TyperGroup):
    """Stands for a command in the help; becomes the real one when it is called."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, help=COMMANDS[name], rich_help_panel=PANEL)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """That of the real command."""
        from typer.main import get_command

        module = import_module(f"autopilot_runtime.cli.train.{self.name}")
        return get_command(module.app).make_context(info_name, args, parent=parent, **extra)


class WithTraining(TyperGroup):
    """The table of all commands, those of training after the others."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in their order."""
        there = [name for name in COMMANDS if find_spec(f"autopilot_runtime.cli.train.{name}") is not None]
        return [*super().list_commands(ctx), *there]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name."""
        found = super().get_command(ctx, cmd_name)
        return found if found is not None or cmd_name not in COMMANDS else _Later(cmd_name)
