"""`run --dry-run` and `lint`: what would happen, and whether the agent file is right. Calls nothing, needs no key."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from autopilot_runtime.cli import figures, safe, wire
from autopilot_runtime.cli.drive import close
from autopilot_runtime.cli.exitcode import ExitCode
from autopilot_runtime.cli.request import Request, load_agent, open_runtime
from autopilot_runtime.cli.resume import settled
from autopilot_runtime.cli.tty import look
from autopilot_runtime.context.budget import Estimate
from autopilot_runtime.model.compatible import PRESETS
from autopilot_runtime.model.prices import price_of
from autopilot_runtime.model.scripted import ScriptedProvider
from autopilot_runtime.model.settings import Price
from autopilot_runtime.runtime.agentfile import AgentFile
from autopilot_runtime.runtime.runtime import AsyncRuntime


def dry_run(request: Request) -> ExitCode:
    """Show the configuration, the system prompt, the tools and what the first call costs."""
    request = settled(request, look(), lambda _: None)
    agent = load_agent(request, person=True)
    runtime = open_runtime(request, agent, stream=False, provider=ScriptedProvider([]))
    try:
        facts = _facts(request, agent, runtime)
    finally:
        close(runtime)
    if request.output == "text":
        sys.stdout.write("\n".join(_text(facts)) + "\n")
    else:
        sys.stdout.write(wire.dumps({"type": "dry_run", **facts}) + "\n")
    return ExitCode.DONE


def lint(path: str) -> ExitCode:
    """Check an agent file with its tools and rules; faults are raised with their places."""
    agent = AgentFile.load(path)
    # The packs know the names of tools: only a runtime that is put together has seen them all.
    runtime = AsyncRuntime(agent, provider=ScriptedProvider([]))
    tools = len(runtime.registry.specs())
    close(runtime)
    sys.stdout.write(f"{safe.one_line(agent.shown_path)}: good ({figures.count(tools, 'tool')})\n")
    return ExitCode.DONE


def _facts(request: Request, agent: AgentFile, runtime: AsyncRuntime) -> dict[str, Any]:
    config = agent.resolved()
    prompt, task = runtime.system_prompt, "" if request.task == "-" else request.task
    sent = Estimate().tokens(prompt) + Estimate().tokens(task)
    return {
        "config": config,
        "keys_missing": [line for one in (agent, *runtime.team) for line in one.missing_keys(os.environ)],
        "rules_from_flags": list(request.rules),
        "permission_mode": request.permission_mode or "ask",
        "system_prompt": prompt,
        "tools": [spec.signature for spec in runtime.registry.specs().values()],
        "task": "(standard input, not read)" if request.task == "-" else request.task,
        "estimate": _estimate(agent, sent),
    }


def _estimate(agent: AgentFile, sent: int) -> dict[str, Any]:
    model, price = agent.model, _price(agent)
    first = None if price is None else sent * price.input / 1e6
    reply = None if price is None else model.max_tokens * price.output / 1e6
    return {
        "first_call_input_tokens": sent,
        "first_call_input_usd": first,
        "longest_reply_tokens": model.max_tokens,
        "longest_reply_usd": reply,
        "max_steps": agent.runtime.max_steps,
        "max_cost_usd": agent.runtime.max_cost_usd,
    }


def _price(agent: AgentFile) -> Price | None:
    spec, preset = agent.model.price, PRESETS.get(agent.model.provider)
    if spec is not None:
        return Price(spec.input, spec.output, spec.cache_read or spec.input, spec.cache_write or spec.input)
    if preset is not None and preset.free:
        return Price(0, 0, 0, 0)
    return price_of(agent.model.name)


def _text(facts: dict[str, Any]) -> Iterator[str]:
    yield "Configuration (paths absolute, defaults filled in)"
    for key, value in facts["config"].items():
        yield from _entry(key, value)
    yield f"  permission_mode: {facts['permission_mode']}"
    for rule in facts["rules_from_flags"]:
        yield f"  rule from a flag: {safe.one_line(rule)}"
    for missing in facts["keys_missing"]:
        yield f"  missing: {safe.one_line(missing)}"
    yield f"\nTools ({len(facts['tools'])})"
    for signature in facts["tools"]:
        yield f"  {safe.one_line(signature)}"
    yield "\nSystem prompt"
    for line in safe.prose(facts["system_prompt"]).splitlines():
        yield f"  {line}".rstrip()
    yield f"\nTask\n  {safe.one_line(facts['task'])}"
    yield from _costs(facts["estimate"])
    yield "Nothing was sent."


def _entry(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield f"  {key}:"
        for name, one in value.items():
            if one not in (None, {}, []):
                yield f"    {name}: {safe.one_line(_plain(one))}"
    elif value not in (None, "", [], {}):
        yield f"  {key}: {safe.one_line(_plain(value))}"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _costs(estimate: dict[str, Any]) -> Iterator[str]:
    yield "\nEstimate"
    first = figures.dollars(estimate["first_call_input_usd"])
    yield f"  first call: about {figures.tokens(estimate['first_call_input_tokens'])} in, {first}"
    longest = figures.dollars(estimate["longest_reply_usd"])
    yield f"  each reply: at most {figures.tokens(estimate['longest_reply_tokens'])} out, {longest}"
    limit = estimate["max_cost_usd"]
    ends = "no limit in dollars" if limit is None else f"stops before it costs more than {figures.dollars(limit)}"
    yield f"  the run: at most {figures.count(estimate['max_steps'], 'step')}, {ends}"
