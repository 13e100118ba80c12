"""Rules decide first; where they say `ask`, a handler sees the diff and may say no, with a reason."""

import tempfile
from pathlib import Path

from autopilot_runtime import AgentFile, Decision, Runtime, ScriptedProvider, on_permission_request

REPLIES = [
    """I put the key where the program looks for it.

```codepilot
for path in [".env", "notes.txt", "main.py"]:
    try:
        write_file(path)
        print(path, "written")
    except Exception as error:
        print(path, "not written:", error)
```

```text filename=.env
KEY=123
```

```text filename=notes.txt
The key is in the environment.
```

```python filename=main.py
KEY = "123"
```
""",
    "```completion\nOnly the notes were written.\n```",
]
RULES = ("deny: write_file(.env)", "allow: write_file(notes.txt)", "ask: write_file(*)")

with tempfile.TemporaryDirectory() as folder:
    agent = AgentFile.load(Path(__file__).with_name("agent.yaml"), {"runtime.work_dir": folder})
    with Runtime(agent, provider=ScriptedProvider(REPLIES), permissions=RULES) as runtime:
        runtime.hooks.clear()

        @on_permission_request(runtime)
        def judge(tool, description, diff, **_):
            print(f"{description}?\n{diff}")
            return Decision("KEY" not in diff, reason="no keys in the source")

        print(runtime.run("Store the key"))
        for event in runtime.messages:
            if event["kind"] == "result":
                print(event["content"].split("\n\n")[0].partition("\n")[2])
        print(sorted(path.name for path in Path(folder).iterdir()))
