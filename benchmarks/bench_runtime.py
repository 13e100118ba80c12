"""The runtime's own cost: import, construction, a step that does nothing, an event, and what stays cached."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from autopilot_runtime import Runtime, ScriptedProvider
from autopilot_runtime.core.event import EventType
from autopilot_runtime.core.hooks import HookSystem
from autopilot_runtime.core.message import Message
from autopilot_runtime.core.stream import Scope, Stream

AGENT = """
agent:
  name: "Bench"
  model: {provider: scripted, name: none.yaml}
  runtime: {max_steps: 5000}
  tools: [read_file, write_file, ask_user]
"""
# VmHWM, because ru_maxrss of a fresh process still remembers its parent's size.
IMPORT = """
import time
t = time.process_time()
{}
t = time.process_time() - t
print(t, next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def imported(code: str, rounds: int = 5) -> tuple[float, float]:
    """Median CPU seconds and MB of a fresh interpreter that runs `code`."""
    found = []
    for _ in range(rounds):
        out = subprocess.run([sys.executable, "-c", IMPORT.format(code)], capture_output=True, text=True, check=True)
        seconds, kilobytes = out.stdout.split()
        found.append((float(seconds), float(kilobytes) / 1024))
    return statistics.median(f[0] for f in found), statistics.median(f[1] for f in found)


def imports() -> None:
    """Import time against a package everybody has, and against a peer when it is installed."""
    base, _ = imported("import asyncio, json, pathlib")
    for code in ("import autopilot_runtime", "from autopilot_runtime import Runtime"):
        seconds, megabytes = imported(code)
        print(f"{code}: {seconds * 1000:.0f} ms CPU ({seconds / base:.2f}x of asyncio), {megabytes:.0f} MB")
    if importlib.util.find_spec("smolagents"):
        peer, megabytes = imported("import smolagents")
        own, _ = imported("from autopilot_runtime import Runtime")
        print(f"import smolagents: {peer * 1000:.0f} ms CPU, {megabytes:.0f} MB; ours is {own / peer:.2f}x of it")


def construction(agent: Path, rounds: int = 200) -> None:
    """A Runtime object, against parsing its agent file with the plain YAML loader."""
    import yaml

    taken, plain = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        Runtime(agent, provider=ScriptedProvider([]))
        middle = time.perf_counter()
        yaml.safe_load(agent.read_text())
        taken.append(middle - begun)
        plain.append(time.perf_counter() - middle)
    own, base = statistics.median(taken), statistics.median(plain)
    print(f"construction: {own * 1000:.2f} ms ({own / base:.1f}x of yaml.safe_load)")


def steps(agent: Path, count: int = 1000) -> None:
    """A step whose control block does nothing: its cost over the model's time, early and late."""
    marks: list[float] = []

    def reply(_: Sequence[Message]) -> str:
        marks.append(time.perf_counter())
        return "```codepilot\npass\n```\n" if len(marks) < count else "```completion\ndone\n```"

    with Runtime(agent, provider=ScriptedProvider(reply)) as runtime:
        runtime.hooks.clear()
        runtime.run("go")
    gaps = [late - early for early, late in pairwise(marks)]
    early, late = statistics.median(gaps[5:45]), statistics.median(gaps[-40:])
    print(f"no-op step: {early * 1000:.2f} ms at step 10, {late * 1000:.2f} ms at step {count}: {late / early:.2f}x")


def events(count: int = 50_000) -> None:
    """An event with one subscriber, against a bare call of the same function."""
    stream = Stream()
    scope = Scope(stream, "bench").child(run_id="run")
    hooks = HookSystem(stream, scope)
    seen = [0]

    def handler(text: str, **_: object) -> None:
        seen[0] += 1

    hooks.register(EventType.STREAM, handler)
    begun = time.perf_counter()
    for _ in range(count):
        scope.emit(EventType.STREAM, text="hello world")
    asyncio.run(hooks.drain())
    each = (time.perf_counter() - begun) / count
    print(f"event with one hook: {each * 1e6:.1f} us, {seen[0]} delivered")


def prefix(folder: Path, count: int = 20) -> None:
    """How much of each request is, byte for byte, the beginning of the next one, over a real wire."""
    from tests.fake_provider import FakeModel

    replies = [f"Step {n}.\n\n```codepilot\nprint('x' * 2000)\n```\n" for n in range(count - 1)]
    with FakeModel([*replies, "```completion\ndone\n```"]) as fake:
        os.environ["BENCH_KEY"] = "bench-key"
        agent = folder / "wire.yaml"
        agent.write_text(
            "agent:\n  name: Bench\n  tools: [read_file, write_file]\n"
            f"  model: {{provider: anthropic, name: claude-test, api_key_env: BENCH_KEY, base_url: '{fake.url}'}}\n"
        )
        with Runtime(agent) as runtime:
            runtime.hooks.clear()
            runtime.run("go")
        bodies = [request.body for request in fake.requests]
    shares = []
    for early, late in pairwise(bodies):
        same = next((i for i, (a, b) in enumerate(zip(early, late, strict=False)) if a != b), len(early))
        shares.append(same / len(early))
    marked = b"cache_control" in bodies[0]
    print(f"unchanged prefix over {len(bodies)} requests: worst {min(shares):.2%}; cache breakpoints sent: {marked}")


def main() -> None:
    """Print every figure."""
    with tempfile.TemporaryDirectory() as folder:
        agent = Path(folder) / "agent.yaml"
        agent.write_text(AGENT)
        imports()
        construction(agent)
        steps(agent)
        prefix(Path(folder))
        events()


if __name__ == "__main__":
    os.environ.pop("AUTOPILOT_REPLAY", None)
    main()
