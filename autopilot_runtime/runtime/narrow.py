"""A sub-agent's file as its caller's file allows it: the same folder, and no power the caller does not have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.agentpaths import resolve
from autopilot_runtime.runtime.agentschema import LimitsSpec, SandboxSpec
from autopilot_runtime.tool.bounds import least

Network = Literal["off", "on"] | list[str]
_STRICTEST = ("required", "auto", "off")


def narrowed(agent: AgentFile, within: AgentFile) -> AgentFile:
    """The agent, in its caller's folder, confined at least as its caller is."""
    mine, theirs = agent.runtime, within.runtime
    changes = {
        "work_dir": str(within.work_dir),
        "unsafe_mode": mine.unsafe_mode and theirs.unsafe_mode,
        "sandbox": stricter(mine.sandbox, theirs.sandbox, folder=agent.path.parent, other_folder=within.path.parent),
        "limits": _lesser(mine.limits, theirs.limits),
    }
    return replace(agent, work_dir=within.work_dir, runtime=mine.model_copy(update=changes))


def stricter(one: SandboxSpec, other: SandboxSpec, *, folder: Path, other_folder: Path) -> SandboxSpec:
    """What both allow. Each one's paths are relative to its own folder; those of the result are absolute."""
    return SandboxSpec(
        shell=min(one.shell, other.shell, key=_STRICTEST.index),
        network=_network(one.network, other.network),
        writable=_inside(one.writable, folder, other.writable, other_folder),
        readable=_inside(one.readable, folder, [*other.readable, *other.writable], other_folder),
        env=[name for name in one.env if name in other.env],
        memory_mb=least(one.memory_mb, other.memory_mb),
        max_processes=min(one.max_processes, other.max_processes),
    )


def _inside(paths: Sequence[str], folder: Path, others: Sequence[str], other_folder: Path) -> list[str]:
    """Those of the paths that lie in one of the others."""
    roots = [resolve(path, other_folder) for path in others]
    found = (resolve(path, folder) for path in paths)
    return [str(path) for path in found if any(path.is_relative_to(root) for root in roots)]


def _network(one: Network, other: Network) -> Network:
    if "off" in (one, other):
        return "off"
    if one == "on" or other == "on":
        return other if one == "on" else one
    found = (_common(host, pattern) for host in one for pattern in other)
    return list(dict.fromkeys(host for host in found if host)) or "off"


def _common(one: str, other: str) -> str:
    """What two entries such as `pypi.org:443` and `*.org` both allow; "" for nothing. No port means any."""
    (name, port), (pattern, wanted) = _split(one), _split(other)
    narrow = name if fnmatchcase(name, pattern) else pattern if fnmatchcase(pattern, name) else ""
    if not narrow or (port and wanted and port != wanted):
        return ""
    return ":".join(filter(None, (narrow, port or wanted)))


def _split(host: str) -> tuple[str, str]:
    name, _, port = host.lower().partition(":")
    return name, port


def _lesser(one: LimitsSpec, other: LimitsSpec) -> LimitsSpec:
    return LimitsSpec(**{key: min(value, getattr(other, key)) for key, value in one.model_dump().items()})
