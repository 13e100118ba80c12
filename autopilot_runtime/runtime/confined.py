"""How the shells of an agent are confined: the policy of its file, the wall it gets, and the words for the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autopilot_runtime.confine.choice import best, open_wall
from autopilot_runtime.confine.policy import Policy
from autopilot_runtime.confine.wall import Kind, Wall, has_own_tmp
from autopilot_runtime.runtime.agentfile import AgentFile

_NOT_AROUND = (
    "What fails with `Read-only file system`, `Permission denied`, `No such file` or a name that is not resolved may "
    "fail for that reason, and a file that is missing outside the work folder proves nothing about the machine: work "
    "with what is there, or say what you would need. Make no replacement for what you cannot see."
)


def policy_of(agent: AgentFile, protected: Sequence[Path]) -> Policy:
    """What the agent file grants to shells. `protected` are the files that no tool may write."""
    spec = agent.runtime.sandbox
    here = agent.path.parent

    def places(written: Sequence[str]) -> tuple[str, ...]:
        return tuple(str((here / Path(place).expanduser()).absolute()) for place in written)

    return Policy(
        work_dir=str(agent.work_dir),
        writable=places(spec.writable),
        readable=places(spec.readable),
        protected=tuple(map(str, protected)),
        network=spec.network if isinstance(spec.network, str) else tuple(spec.network),
        memory_mb=spec.memory_mb,
        max_processes=spec.max_processes,
    )


def wall_opener(
    agent: AgentFile, env: Mapping[str, str], *, protected: Sequence[Path]
) -> Callable[[Sequence[str]], Wall]:
    """What a pool of terminals calls when its first shell starts. Blocks for some milliseconds."""
    mode, policy = agent.runtime.sandbox.shell, policy_of(agent, protected)
    return lambda readable: open_wall(mode, policy, env, readable=readable)


def expected(agent: AgentFile) -> tuple[Kind, tuple[str, ...]]:
    """The kind of wall this agent's shells get here, and why not a better one. Blocks some milliseconds once."""
    return ("none", ()) if agent.runtime.sandbox.shell == "off" else best()


def event_data(agent: AgentFile) -> dict[str, Any]:
    """What the event about it tells."""
    kind, why = expected(agent)
    network = agent.runtime.sandbox.network if kind != "none" else "on"
    return {"what": "shell", "level": kind, "network": network, "detail": "; ".join(why)}


def words(agent: AgentFile) -> str:
    """What the model has to know about it; "" when nothing is confined."""
    kind, _ = expected(agent)
    if kind == "none":
        return ""
    spec = agent.runtime.sandbox
    network = spec.network if isinstance(spec.network, str) else tuple(spec.network)
    temporary = "/tmp" if has_own_tmp(kind, network=network) else "$TMPDIR (not /tmp)"
    write = ", ".join(["the work folder", *spec.writable])
    lines = [
        f"Commands run in a sandbox. They can write {write}, and two places that all your terminals share but that "
        f"your file tools do not see: {temporary} and HOME. Those are deleted when you are done: what the user wants "
        "to find there you cannot leave there; say so. Installed programs are there, the user's own files are not.",
        _network(spec.network, kind),
        "`ps` and `kill` reach only what their own terminal started; the status names what runs in each."
        if kind == "bwrap"
        else "",
        _NOT_AROUND,
    ]
    return " ".join(filter(None, lines))


def _network(network: str | Sequence[str], kind: Kind) -> str:
    if network == "on":
        return ""
    local = "127.0.0.1 works between your own terminals" if kind != "seatbelt" else "127.0.0.1 does not work either"
    if isinstance(network, str):
        return f"There is no network; {local}."
    return f"The network reaches only {', '.join(network)}, through the proxy named in the environment; {local}."
