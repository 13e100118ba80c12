"""An answer that is data. One that does not fit the schema goes back to the model with its faults."""

import json
import tempfile
from pathlib import Path

from autopilot_runtime import AgentFile, Runtime, ScriptedProvider

SCHEMA = {
    "type": "object",
    "properties": {"score": {"type": "integer", "minimum": 1, "maximum": 5}, "why": {"type": "string"}},
    "required": ["score", "why"],
}
REPLIES = [
    '```completion\n{"score": 7}\n```',
    '```completion\n{"score": 4, "why": "clear, but one case is not tested"}\n```',
]

with tempfile.TemporaryDirectory() as folder:
    here = Path(__file__).with_name("agent.yaml")
    agent = AgentFile.load(here, {"runtime.work_dir": folder, "output_schema": SCHEMA})
    with Runtime(agent, provider=ScriptedProvider(REPLIES)) as runtime:
        runtime.hooks.clear()
        runtime.run("Judge this change")
        print("after", runtime.last.steps, "steps:", json.dumps(runtime.last.output))
        print(next(m["content"] for m in runtime.messages if m["kind"] == "result").split("\n\n")[0])
