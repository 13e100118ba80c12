"""How runs end that do not complete: `run()` gives None, and `last` says why."""

import tempfile
from pathlib import Path

from autopilot_runtime import AgentFile, ProviderError, Runtime, ScriptedProvider

BUSY = "Still at it.\n\n```codepilot\n1 + 1\n```\n"
DOWN = ProviderError("The model is down for the day.", kind="overloaded")
STORIES = {
    "a chat answer": (["It is a leap year."], {}),
    "too many steps": ([BUSY] * 9, {"runtime.max_steps": 3}),
    "too many tokens": ([BUSY] * 9, {"runtime.max_tokens_total": 1_000}),
    "the model fails": ([DOWN], {}),
    "a block that loops": (
        ["```codepilot\nwhile True: pass\n```", "I give up."],
        {"runtime.limits": {"block_seconds": 0.5}},
    ),
}

with tempfile.TemporaryDirectory() as folder:
    for name, (replies, limits) in STORIES.items():
        agent = AgentFile.load(Path(__file__).with_name("agent.yaml"), {"runtime.work_dir": folder, **limits})
        with Runtime(agent, provider=ScriptedProvider(replies)) as runtime:
            runtime.hooks.clear()
            value = runtime.run("Is 2000 a leap year?")
            last = runtime.last
            print(f"{name:<19} run() -> {value}  status {last.status:<9}  steps {last.steps}  error: {last.error}")
