"""A task, streamed text, a file, and the summary."""

import tempfile
from pathlib import Path

from autopilot_runtime import AgentFile, Runtime, ScriptedProvider, on_stream

REPLY = """I write the greeting.

```codepilot
write_file("hello.txt")
```

```text
Hello, world!
```

```completion
hello.txt greets the world.
```
"""

with tempfile.TemporaryDirectory() as folder:
    agent = AgentFile.load(Path(__file__).with_name("agent.yaml"), {"runtime.work_dir": folder})
    with Runtime(agent, stream=True, provider=ScriptedProvider([REPLY])) as runtime:
        runtime.hooks.clear()

        @on_stream(runtime)
        def show(text, **_):
            print(text, end="", flush=True)

        summary = runtime.run("Greet the world")
        print("\n---")
        print("summary:", summary)
        print("status: ", runtime.last.status, "after", runtime.last.steps, "step")
        print("file:   ", Path(folder, "hello.txt").read_text().strip())
