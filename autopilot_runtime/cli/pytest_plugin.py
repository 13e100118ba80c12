"""Fixtures for testing an application that embeds agents: no key, no network. pytest loads this by itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from autopilot_runtime.model.scripted import ScriptedProvider

_BUILD = "autopilot_runtime.runtime.build"


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--autopilot-replay record` asks the real models once and keeps what they say."""
    group = parser.getgroup("autopilot")
    group.addoption(
        "--autopilot-replay",
        choices=("replay", "record", "auto"),
        default="replay",
        help="what the autopilot_replay fixture does with its cassettes (default: replay)",
    )


@pytest.fixture
def autopilot_replay(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every agent of this test talks to recorded models. Gives their folder, `cassettes/<file>/<test>` beside it."""
    name = re.sub(r"[^\w.-]+", "-", request.node.name).strip("-")
    folder = request.path.parent / "cassettes" / request.path.stem / name
    mode = str(request.config.getoption("--autopilot-replay"))
    if mode != "replay":
        folder.mkdir(parents=True, exist_ok=True)
    elif not folder.is_dir():
        pytest.fail(f"nothing is recorded for this test: run it once with --autopilot-replay record ({folder})")
    monkeypatch.setenv("AUTOPILOT_REPLAY", str(folder))
    monkeypatch.setenv("AUTOPILOT_REPLAY_MODE", mode)
    return folder


@pytest.fixture
def autopilot_scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedProvider]:
    """Call it with replies: every agent made afterwards in this test gets them, whatever its file says."""
    # Imported in the fixture: pytest loads this file in every project that has the package installed.
    from importlib import import_module

    from autopilot_runtime.model.scripted import ScriptedProvider

    build = import_module(_BUILD)

    def script(*replies: Any) -> ScriptedProvider:
        only_function = len(replies) == 1 and callable(replies[0])
        provider = ScriptedProvider(replies[0] if only_function else list(replies))
        monkeypatch.setattr(build.Kit, "provider", property(lambda _: provider))
        monkeypatch.setattr(build, "warm", lambda *_, **__: None)
        return provider

    return script
