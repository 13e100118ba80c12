"""The agent asks, and the user speaks up while it works."""

import tempfile
from pathlib import Path

from autopilot_runtime import (
    AgentFile,
    Runtime,
    ScriptedProvider,
    on_ask_user,
    on_tool_call,
    on_user_message_injected,
)

REPLIES = [
    """I need to know one thing.

```codepilot
port = ask_user("Which port?")
```
""",
    """I write it down.

```codepilot
write_file("server.toml")
```

```toml
port = 8080
host = "localhost"
```

```completion
The server listens on localhost:8080.
```
""",
]

with tempfile.TemporaryDirectory() as folder:
    agent = AgentFile.load(Path(__file__).with_name("agent.yaml"), {"runtime.work_dir": folder})
    with Runtime(agent, provider=ScriptedProvider(REPLIES)) as runtime:
        runtime.hooks.clear()

        @on_ask_user(runtime)
        def answer(question, **_):
            print("agent asks:", question)
            return "8080"

        @on_tool_call(runtime)
        def speak_up(tool, **_):
            # From any thread, at any time: it is delivered with the next message to the model.
            if tool == "ask_user":
                runtime.send_message("Only on localhost, please.")

        @on_user_message_injected(runtime)
        def delivered(message, **_):
            print("delivered: ", message)

        print(runtime.run("Configure the server"))
        print(Path(folder, "server.toml").read_text(), end="")
