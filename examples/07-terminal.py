"""A failing test, fixed, and run again. The terminal keeps its folder and variables from call to call."""

import sys
import tempfile
from pathlib import Path

from autopilot_runtime import AgentFile, Runtime, ScriptedProvider, on_tool_call

REPLIES = [
    f"""I run the check.

```codepilot
execute("main", "cd app && PY={sys.executable}")
first = execute("main", "$PY check.py")
print(first["return_code"], first["output"].splitlines()[-1])
```
""",
    """The sum is off by one.

```codepilot
write_file("app/total.py")
second = execute("main", "$PY check.py")
print(second["return_code"], second["output"], "in", second["cwd"].rpartition("/")[2])
```

```python
def total(numbers):
    return sum(numbers)
```
""",
    "```completion\nFixed: total() added one too many. The check passes.\n```",
]

with tempfile.TemporaryDirectory() as folder:
    app = Path(folder, "app")
    app.mkdir()
    (app / "total.py").write_text("def total(numbers):\n    return sum(numbers) + 1\n")
    (app / "check.py").write_text(
        "from total import total\nassert total([1, 2]) == 3, total([1, 2])\nprint('good')\n"
    )
    agent = AgentFile.load(Path(__file__).with_name("agent.yaml"), {"runtime.work_dir": folder})
    with Runtime(agent, provider=ScriptedProvider(REPLIES)) as runtime:
        runtime.hooks.clear()

        @on_tool_call(runtime)
        def called(label, **_):
            print("-", label.replace(sys.executable, "python"))

        print(runtime.run("Make check.py pass"))
        for message in runtime.messages:
            if message["kind"] == "result":
                print("the model saw:", message["content"].split("\n\n")[0].splitlines()[-1])
