"""A conversation in a file: a second Runtime, perhaps in another process on another day, goes on with it."""

import tempfile
from pathlib import Path

from autopilot_runtime import AgentFile, FileSession, Runtime, ScriptedProvider


def talk(folder: str, task: str, reply: str) -> None:
    """One program: it opens the session, says something, and ends."""
    agent = AgentFile.load(Path(__file__).with_name("agent.yaml"), {"runtime.work_dir": f"{folder}/work"})
    model = ScriptedProvider([reply])
    with Runtime(agent, "file", "shop", Path(folder, "sessions"), provider=model) as runtime:
        runtime.hooks.clear()
        print(f"({len(runtime.messages)} messages so far)")
        print("you:  ", task)
        print("agent:", runtime.run(task) or runtime.last.summary)
        print(f"(the model was sent {len(model.calls[0].messages)} messages)\n")


with tempfile.TemporaryDirectory() as folder:
    talk(folder, "My shop is called Ada's.", "Noted: the shop is called Ada's.")
    talk(folder, "What is it called?", "Your shop is called Ada's.")
    for session in FileSession("_", "_", Path(folder, "sessions")).list_sessions():
        print(f"session {session['session_id']}: {session['messages']} messages")
