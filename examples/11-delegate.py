"""One agent calls another: its answer is a value, and its events hang under the call."""

import tempfile
from pathlib import Path

from autopilot_runtime import AgentFile, EventType, Runtime, ScriptedProvider

REPLIES = [
    """I have it reviewed before I touch it.

```codepilot
review = delegate("reviewer", "Review total.py. Say what is wrong, with its line.")
print(review["status"], "after", review["steps"], "steps:", review["summary"])
```
""",
    """The reviewer is right.

```codepilot
write_file("total.py", mode="edit", start_line=2)
delegate("reviewer", "Review total.py again.")
```

```
    total = 0
```

```completion
The sum starts at 0 now, and the reviewer has no more to say.
```
""",
]
REVIEWER = {"name": "delegate", "config": {"agents": {"reviewer": "./reviewer.yaml"}, "max_steps": 5}}

with tempfile.TemporaryDirectory() as folder:
    Path(folder, "total.py").write_text(
        "def add_up(numbers):\n    total = 1\n    for number in numbers:\n        total += number\n    return total\n"
    )
    here = Path(__file__).with_name("agent.yaml")
    agent = AgentFile.load(here, {"runtime.work_dir": folder, "tools": ["write_file", REVIEWER]})
    with Runtime(agent, provider=ScriptedProvider(REPLIES)) as runtime:
        runtime.hooks.clear()
        for event in runtime.stream("Find out why add_up() is wrong, and fix it"):
            if event.type is EventType.TOOL_CALL:
                who = event.data.get("agent", "")
                print(f"{'    ' if who else ''}{who or 'lead':<9}{event.label}")
            elif event.type is EventType.DELEGATED and event.event == "finish":
                print(f"    {event.agent} says: {event.data['data']['summary']}")
            elif event.type is EventType.FINISH:
                print(event.summary)
        print(runtime.last.steps, "steps of its own,", runtime.last.usage.calls, "model calls in all")
