"""A backend whose runs outlive it: one waits for an approval, the server is killed, and HTTP approves it afterwards."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2 as httpx
import uvicorn
from fastapi import FastAPI

from autopilot_runtime import AgentFile, AsyncRuntime, ScriptedProvider

REPLY = "I write it.\n\n```codepilot\nwrite_file('release.txt')\n```\n\n```\nversion 2\n```\n"
DONE = "```completion\nReleased.\n```"
app, here = FastAPI(), Path(os.environ.get("BACKEND", "."))


def think(messages):
    """The model of this example: writes first, and is done when it has seen the result."""
    return DONE if "modified" in messages[-1].content or "new, 1 line" in messages[-1].content else REPLY


def runtime(session_id: str) -> AsyncRuntime:
    """Made for each request: between requests a session is rows in a database, and nothing else."""
    agent = AgentFile.load(here / "agent.yaml")
    url = f"sqlite:///{here / 'sessions.db'}"
    return AsyncRuntime(agent, "db", session_id, db_url=url, provider=ScriptedProvider(think))


@app.post("/sessions/{session_id}/run")
async def run(session_id: str, task: str):
    async with runtime(session_id) as agent:
        text = await agent.run(task)
        return {"status": agent.last.status, "text": text, "waits_for": agent.open_requests}


@app.post("/sessions/{session_id}/answers/{request_id}")
async def answer(session_id: str, request_id: str, value: bool):
    async with runtime(session_id) as agent:
        return {"text": await agent.answer(request_id, value), "status": agent.last.status}


def serve(folder: str, port: int) -> subprocess.Popen:
    """The same file as a server, in a process of its own."""
    server = subprocess.Popen([sys.executable, __file__, str(port)], env={**os.environ, "BACKEND": folder})
    while socket.socket().connect_ex(("127.0.0.1", port)):
        time.sleep(0.05)
    return server
