"""A backend whose runs outlive it: one waits for an approval, the server is killed, the next one is told yes."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from autopilot_runtime import AgentFile, AsyncRuntime, ScriptedProvider

WRITE = "I write it.\n\n```codepilot\nwrite_file('release.txt')\n```\n\n```\nversion 2\n```\n"
app, home = FastAPI(), Path(os.environ.get("BACKEND", "."))


def opened(name: str) -> AsyncRuntime:
    """Made for each request: in between, a session is rows in a database and nothing else."""
    settings = {"runtime.work_dir": str(home / name), "runtime.on_unanswered": "suspend"}
    agent = AgentFile.load(Path(__file__).with_name("agent.yaml"), {**settings, "permissions": [{"ask": "*"}]})
    model = ScriptedProvider(lambda messages: WRITE if len(messages) == 1 else "```completion\nReleased.\n```")
    runtime = AsyncRuntime(agent, "db", name, db_url=f"sqlite:///{home / 'sessions.db'}", provider=model)
    runtime.hooks.clear()
    return runtime


@app.post("/{name}/run")
async def run(name: str, task: str) -> dict:
    async with opened(name) as runtime:
        text = await runtime.run(task)
        return {"status": runtime.last.status, "text": text, "waits_for": runtime.open_requests}


@app.post("/{name}/answers/{request_id}")
async def answer(name: str, request_id: str, yes: bool) -> dict:
    async with opened(name) as runtime:
        return {"text": await runtime.answer(request_id, yes), "status": runtime.last.status}


if len(sys.argv) > 1:  # the server: this file once more, with a socket that is listened to already
    uvicorn.run(app, fd=int(sys.argv[1]), log_level="warning")
    sys.exit()

with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as door:
    waiting = {}
    for turn in ("/blue/run?task=Release", "/blue/answers/{request_id}?yes=true"):
        command = [sys.executable, __file__, str(door.fileno())]
        server = subprocess.Popen(command, pass_fds=[door.fileno()], env={**os.environ, "BACKEND": folder})
        url = f"http://127.0.0.1:{door.getsockname()[1]}" + turn.format(**waiting)
        reply = json.load(urllib.request.urlopen(urllib.request.Request(url, method="POST")))
        print(reply["status"], "-", reply["text"])
        server.kill()
        server.wait()
        for waiting in reply.get("waits_for", ()):
            print(waiting["description"], waiting["diff"], sep="\n")
    print(Path(folder, "blue", "release.txt").read_text(), end="")
