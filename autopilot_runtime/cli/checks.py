"""The checks of the doctor, one function each. Each tries the real thing instead of reading about it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from autopilot_runtime.cli.release import release
from autopilot_runtime.core.errors import AutopilotError
from autopilot_runtime.core.protocols import Call, Limits, Outcome

Status = Literal["ok", "warn", "fail"]
_ONLINE_SECONDS = 5.0
_SANDBOX_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found. `warn`: works, but less well. `fail`: a run would not work."""

    name: str
    status: Status
    detail: str
    fix: str = ""


def run_all(agent: str | None, *, online: bool) -> list[Check]:
    """Every check; one that breaks is itself a finding."""
    found: list[Check] = []
    for check in (_python, _packages, _sandbox, _terminal, _shells, _ripgrep, _certificates, _sessions):
        found += _guarded(check)
    found += _guarded(lambda: _agent(agent, online=online) if agent else _keys())
    return found


def _guarded(check: Callable[[], Iterator[Check]]) -> list[Check]:
    try:
        return list(check())
    except Exception as error:
        # A check that cannot even run is the finding; the others still have something to say.
        name = getattr(check, "__name__", "check").strip("_<>")
        return [Check(name, "fail", f"{type(error).__name__}: {error}", "Please report this.")]


def _python() -> Iterator[Check]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Check("python", "ok", found)


def _packages() -> Iterator[Check]:
    found = [f"autopilot-runtime {release()}"]
    missing = []
    for name in ("pydantic", "pyyaml", "typer", "rich", "anthropic", "openai"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    detail = ", ".join(found) + (f"; missing: {', '.join(missing)}" if missing else "")
    yield Check(
        "packages", "fail" if missing else "ok", detail, f"pip install {' '.join(missing)}" if missing else ""
    )


def _sandbox() -> Iterator[Check]:
    """Starts a worker and lets it compute: the only proof."""
    from autopilot_runtime.confine.level import level
    from autopilot_runtime.core.bridge import bridge
    from autopilot_runtime.sandbox.engine import open_sandbox

    here = level()
    try:
        sandbox = open_sandbox("auto")
    except AutopilotError as error:
        yield Check("sandbox", "fail", str(error), "pip install 'autopilot-runtime[monty]'")
        return

    async def prove() -> str | None:
        await sandbox.start()
        try:
            result = await sandbox.run("1 + 1", tools={}, call=_no_tools, limits=Limits(seconds=_SANDBOX_SECONDS))
            return result.failure.text if result.failure else None
        finally:
            await sandbox.close()

    begun = time.monotonic()
    broken = bridge().call(prove())
    took = f"{(time.monotonic() - begun) * 1000:.0f} ms"
    walls = f"Landlock {here.landlock}, seccomp {'on' if here.seccomp else 'off'}"
    if broken:
        yield Check("sandbox", "fail", f"{sandbox.name}: {broken}", "Try `runtime.control: monty` in the agent file.")
    elif here.missing:
        yield Check("sandbox", "warn", f"{sandbox.name} works ({took}); missing: {'; '.join(here.missing)}")
    else:
        yield Check("sandbox", "ok", f"{sandbox.name} works ({took}); {walls}")


async def _no_tools(_: Call) -> Outcome:
    raise AutopilotError("the doctor grants no tools")


def _terminal() -> Iterator[Check]:
    if os.name == "nt":
        yield Check("terminals", "ok", "through pywinpty")
        return
    import pexpect  # only this check needs it

    child = pexpect.spawn("/bin/sh", ["-c", "echo $((6*7))"], timeout=5, encoding="utf-8")
    try:
        child.expect("42")
        yield Check("terminals", "ok", f"a shell answered on a PTY (TERM={os.environ.get('TERM') or 'not set'})")
    except pexpect.ExceptionPexpect as error:
        first = str(error).splitlines()[0]
        yield Check("terminals", "fail", f"no shell on a PTY: {first}", "Mount /dev/pts (devpts) in this container.")
    finally:
        child.close(force=True)


def _shells() -> Iterator[Check]:
    """Starts a program behind the best wall there is, and lets it try to get out."""
    import subprocess  # only this check needs them
    import tempfile

    from autopilot_runtime.confine.choice import best, open_wall
    from autopilot_runtime.confine.policy import Policy
    from autopilot_runtime.shell.environ import child_environment

    env = child_environment(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        wall = open_wall("auto", Policy(folder), env)
        try:
            if wall.kind == "none":
                detail = f"not confined: {'; '.join(wall.told.gaps)}"
                yield Check("shells", "warn", detail, "Run agents in a container, or with `ask: execute(*)`.")
                return
            script = (
                f"echo in > {folder}/in && cat {folder}/in; echo out 2>/dev/null > {Path.home()}/.autopilot-probe"
            )
            with wall.launch(["/bin/sh", "-c", script], cwd=folder) as launch:
                ran = subprocess.run(
                    launch.argv, cwd=launch.cwd, env=wall.env(env), pass_fds=launch.pass_fds,
                    preexec_fn=launch.in_child, capture_output=True, text=True, timeout=_SANDBOX_SECONDS, check=False,
                )  # fmt: skip
            escaped = (Path.home() / ".autopilot-probe").exists()
        finally:
            wall.close()
    told = f"confined by {wall.kind}; network {wall.told.network}; {wall.told.limits}"
    if escaped or ran.stdout != "in\n":
        detail = "a file outside could be written" if escaped else f"no program runs: {ran.stderr.strip()[-200:]}"
        yield Check(
            "shells", "fail", f"{wall.kind}: {detail}", "Set `runtime.sandbox.shell: off`, or use a container."
        )
    elif wall.kind == "landlock":
        gaps = "; ".join([*wall.told.gaps, *best()[1]])
        yield Check(
            "shells", "warn", f"{told}; {gaps}", "apt-get install bubblewrap (or your system's package of it)"
        )
    else:
        yield Check("shells", "ok", told)


def _ripgrep() -> Iterator[Check]:
    beside = Path(sys.executable).with_name("rg")
    found = str(beside) if beside.is_file() else shutil.which("rg")
    if found:
        yield Check("ripgrep", "ok", found)
    else:
        yield Check("ripgrep", "warn", "not found; find is slower without", "pip install 'autopilot-runtime[search]'")


def _certificates() -> Iterator[Check]:
    import ssl  # only this check needs it

    fix = "Install your system's certificates (Debian: apt-get install ca-certificates)."
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    folder = Path(paths.capath or paths.openssl_capath)
    held = len(context.get_ca_certs()) or (sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0)
    place = paths.cafile or str(folder)
    if held or sys.platform in ("darwin", "win32"):
        yield Check("certificates", "ok", f"{held} in {place}")
    else:
        yield Check("certificates", "fail", f"none in {place}: no HTTPS address can be trusted", fix)


def _sessions() -> Iterator[Check]:
    from autopilot_runtime.session.file import default_folder

    folder = default_folder()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if os.access(there, os.W_OK | os.X_OK):
        yield Check("sessions", "ok", str(folder))
    else:
        yield Check("sessions", "warn", f"{folder} cannot be written", "Make it writable, or use session='memory'.")


def _keys() -> Iterator[Check]:
    """Without an agent no key is needed yet; any will do."""
    from autopilot_runtime.cli.init import ollama_model
    from autopilot_runtime.model.compatible import PRESETS

    names = [preset.key_env for preset in PRESETS.values() if preset.key_env]
    have = [name for name in names if os.environ.get(name, "").strip()]
    model = ollama_model()
    found = [*(f"{name} is set" for name in have), *([f"Ollama runs ({model})"] if model else [])]
    if found:
        yield Check("models", "ok", ", ".join(found))
    else:
        fix = f"export {names[0]}=..., or start Ollama. `autopilot demo` needs neither."
        yield Check("models", "warn", "no key is set, and no Ollama answers on 127.0.0.1:11434", fix)


def _agent(path: str, *, online: bool) -> Iterator[Check]:
    from autopilot_runtime.model.connect import base_url, missing_key
    from autopilot_runtime.model.scripted import ScriptedProvider
    from autopilot_runtime.runtime.agentfile import AgentFile
    from autopilot_runtime.runtime.runtime import AsyncRuntime

    try:
        agent = AgentFile.load(path)
        runtime = AsyncRuntime(agent, provider=ScriptedProvider([]))
    except AutopilotError as error:
        yield from (Check("agent file", "fail", line, "Correct it; see above.") for line in str(error).splitlines())
        return
    yield Check("agent file", "ok", f"{agent.path} ({len(runtime.registry.specs())} tools)")
    settings = agent.model_settings()
    missing = missing_key(settings)
    if missing:
        yield Check("key", "fail", f"{missing} is not set; {settings.provider} needs it", f"export {missing}=...")
    else:
        yield Check("key", "ok", f"{settings.api_key_env} is set" if settings.api_key_env else "none needed")
    for other in runtime.team:
        yield from (
            Check("key", "fail", line, "A call of this agent fails.") for line in other.missing_keys(os.environ)
        )
    if settings.provider in ("replay", "scripted"):
        yield Check("model address", "ok", f"{settings.provider}: nothing to reach")
    elif online:
        yield from _address(base_url(settings))
    else:
        yield Check("model address", "ok", f"{base_url(settings)} (not tried; --online tries it)")


def _address(url: str) -> Iterator[Check]:
    """Name, connection and TLS; no request is sent, so no key leaves."""
    import socket  # only this check needs them
    import ssl

    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    begun = time.monotonic()
    try:
        with socket.create_connection((host, port), timeout=_ONLINE_SECONDS) as plain:
            if parts.scheme == "https":
                with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as secure:
                    spoken = secure.version() or "TLS"
            else:
                spoken = "no TLS"
    except OSError as error:
        yield Check("model address", "fail", f"{url}: {error}", "Check the network, a proxy, or `model.base_url`.")
        return
    yield Check("model address", "ok", f"{url} answers ({spoken}, {(time.monotonic() - begun) * 1000:.0f} ms)")
