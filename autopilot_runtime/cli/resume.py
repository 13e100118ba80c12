"""`--continue` and `--resume`: which session is meant, and what it was begun with."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from autopilot_runtime.cli import figures
from autopilot_runtime.cli.origin import Origin, origin_of
from autopilot_runtime.cli.overview import rows
from autopilot_runtime.cli.request import Request
from autopilot_runtime.cli.tty import Facts
from autopilot_runtime.core.errors import SessionError, SetupError
from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.agentpaths import shipped_agents

_PICKED_FROM = 200


def settled(request: Request, facts: Facts, tell: Callable[[str], None]) -> Request:
    """The request with its session, agent and folder known. Who picks nothing raises `KeyboardInterrupt`."""
    if not _names_one(request):
        return request
    request = _words(request)
    head = _newest(request) if request.newest else request.place.find(request.resume or _picked(request, facts))
    if head.get("error"):
        raise SessionError(str(head["error"]))
    session = str(head["session_id"])
    origin = _origin(request, session)
    done = replace(request, session=session, resume=None, newest=False, resuming=not request.task)
    done = _begun_with(done, origin, session)
    count = figures.count(int(head.get("messages") or 0), "message")
    tell(f"Going on with {session} ({count}).")
    return done


def _names_one(request: Request) -> bool:
    """Whether the flags name a session to go on with; at most one of them may."""
    resumes = request.resume is not None
    if not request.save and (request.session or resumes or request.newest):
        raise SetupError("--no-save keeps nothing, and a session is what is kept: leave one of them out.")
    if sum((resumes, request.newest, request.session is not None and (resumes or request.newest))) > 1:
        raise SetupError("--session, --resume and --continue each name a session: give one of them.")
    return resumes or request.newest


def _words(request: Request) -> Request:
    """With a session, the one word there is may be the agent or the task."""
    if request.agent and not request.task and not names_agent(request.agent):
        return replace(request, agent="", task=request.agent)
    return request


def names_agent(word: str) -> bool:
    """Whether a word reads as an agent: a shipped name, or the path of a YAML file."""
    return word in shipped_agents() or re.fullmatch(r"\S+\.ya?ml", word) is not None or _is_file(word)


def _is_file(word: str) -> bool:
    return word.endswith((".yaml", ".yml")) and Path(word).is_file()


def _begun_with(request: Request, origin: Origin | None, session: str) -> Request:
    """What the flags leave open is as it was when the session began."""
    if not request.agent and origin is None:
        raise SetupError(
            f"Session {session} does not say which agent it is of: autopilot run --resume {session} AGENT"
        )
    if origin is None:
        return request
    if not request.agent and origin.agent_file not in shipped_agents() and not Path(origin.agent_file).is_file():
        raise SetupError(
            f"The agent file of session {session} is gone: {origin.agent_file}. "
            f"Give another: autopilot run --resume {session} AGENT"
        )
    folder = request.work_dir or Path(origin.work_dir)
    if request.work_dir is None and not folder.is_dir():
        raise SetupError(f"The folder of session {session} is gone: {folder}. Give another with --work-dir.")
    return replace(
        request,
        agent=request.agent or origin.agent_file,
        work_dir=folder,
        model=request.model or origin.chosen_model,
    )


def _origin(request: Request, session: str) -> Origin | None:
    store = request.place.read(session)
    try:
        store.load()
        return origin_of(store.extra())
    finally:
        store.close()


def _newest(request: Request) -> dict[str, Any]:
    """The newest session of this agent in its folder; without an agent, the newest of this folder."""
    agent = AgentFile.load(request.agent, request.overrides) if request.agent else None
    for head in request.place.sessions():
        if head.get("error") or (agent is not None and head.get("agent_name") != agent.name):
            continue
        origin = _origin(request, str(head["session_id"]))
        if origin is not None and _fits(origin, agent):
            return head
    of = f"of {agent.name} in {agent.work_dir}" if agent is not None else f"begun in {Path.cwd()}"
    raise SetupError(f"There is no session {of} to continue. `autopilot sessions list` shows all there are.")


def _fits(origin: Origin, agent: AgentFile | None) -> bool:
    if agent is None:
        return origin.here
    same = origin.agent_file in shipped_agents() or origin.agent_file == str(agent.path)
    return same and origin.work_dir == str(agent.work_dir)


def _picked(request: Request, facts: Facts) -> str:
    if not facts.person:
        raise SetupError(
            "--resume without an id lets you pick, which needs a terminal. "
            "`autopilot sessions list` shows the ids: autopilot run --resume ID"
        )
    from autopilot_runtime.cli.pick import pick  # only where somebody picks

    agent = AgentFile.load(request.agent, request.overrides).name if request.agent else None
    found, older = rows(request.place, limit=_PICKED_FROM, agent=agent)
    good = [row for row in found if not row.error]
    if not good:
        raise SetupError("There is no session to go on with yet.")
    chosen = pick(good, facts, older=older)
    if chosen is None:
        raise KeyboardInterrupt
    return chosen.session_id
