"""A project's own command: wire module, judge and generator in `__init__`, and call it."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from autopilot_runtime.core.errors import SetupError


class AutoPilotCLI:
    """Subclass it with `project='name'`; `MyCLI()()` is then the `autopilot` command with that project active."""

    project: ClassVar[str] = ""
    module: Any = None
    generator: Any = None
    judge: Any = None

    def __init_subclass__(cls, *, project: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.project = project or cls.project

    def __init__(self) -> None:
        if not self.project:
            raise SetupError(f"class {type(self).__name__}(AutoPilotCLI, project='name'): which project is it?")

    def __call__(self, arguments: list[str] | None = None) -> int:
        """Run the command, and end the program with its exit code."""
        from autopilot_runtime.cli.app import app
        from autopilot_runtime.cli.entry import guarded
        from autopilot_runtime.cli.train.own import wired

        words = list(sys.argv[1:] if arguments is None else arguments)
        with wired(self):
            sys.argv[1:] = words
            sys.exit(guarded(app, debug="--debug" in words))
