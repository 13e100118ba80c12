"""The events of a run, async: each is numbered, and hangs under the one that caused it."""

import asyncio
import tempfile
from pathlib import Path

from autopilot_runtime import AgentFile, AsyncRuntime, EventType, ScriptedProvider

REPLY = """I count.

```codepilot
write_file("count.txt")
len(read_file("count.txt").splitlines())
```

```text
one
two
```

```completion
Two lines.
```
"""


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        agent = AgentFile.load(Path(__file__).with_name("agent.yaml"), {"runtime.work_dir": folder})
        async with AsyncRuntime(agent, stream=True, provider=ScriptedProvider([REPLY])) as runtime:
            runtime.hooks.clear()
            depth = {}
            async for event in runtime.stream("Count the lines"):
                depth[event.span] = depth.get(event.parent, -1) + 1
                if event.type is not EventType.STREAM:
                    print(f"{event.seq:>3} {'  ' * depth[event.span]}{event.type.value} {about(event)}".rstrip())


def about(event) -> str:
    """What is worth a look."""
    return str(
        next((event.data[key] for key in ("label", "path", "task", "status", "summary") if key in event.data), "")
    )


asyncio.run(main())
