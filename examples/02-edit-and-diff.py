"""An edit of one line, and the diff of it."""

import tempfile
from pathlib import Path

from autopilot_runtime import AgentFile, Runtime, ScriptedProvider, on_file_changed

REPLIES = [
    """I look at the settings first.

```codepilot
read_file("config.py")
```
""",
    """Ten seconds are too few for the mirror.

```codepilot
write_file("config.py", mode="replace")
```

```
<<<<<<< SEARCH
TIMEOUT = 10
=======
TIMEOUT = 30
>>>>>>> REPLACE
```

```completion
The timeout is 30 seconds now.
```
""",
]

with tempfile.TemporaryDirectory() as folder:
    Path(folder, "config.py").write_text("HOST = 'mirror'\nTIMEOUT = 10\nRETRIES = 3\n")
    agent = AgentFile.load(Path(__file__).with_name("agent.yaml"), {"runtime.work_dir": folder})
    with Runtime(agent, provider=ScriptedProvider(REPLIES)) as runtime:
        runtime.hooks.clear()

        @on_file_changed(runtime)
        def changed(path, change, diff, **_):
            print(f"{path} was {change}:\n{diff}")

        print(runtime.run("The mirror times out"))
