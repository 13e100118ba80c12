"""A run whose database goes away in the middle: it waits, nothing is lost, nothing is there twice."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from sqlalchemy import URL, make_url

from autopilot_runtime import Runtime, ScriptedProvider
from tests.flows.stage import act, finish
from tests.session.proxy import Proxy
from tests.session.servers import database


def test_a_database_that_goes_and_comes_back_costs_a_run_nothing(tmp_path: Path) -> None:
    with database("postgresql") as direct:
        _lives_through(make_url(direct), tmp_path)


def _lives_through(direct: URL, tmp_path: Path) -> None:
    proxy = Proxy((str(direct.host), direct.port or 5432))
    try:
        agent = {
            "name": "Db",
            "model": {"provider": "scripted", "name": "scripted"},
            "runtime": {"work_dir": "work"},
            "tools": ["read_file"],
        }
        (tmp_path / "agent.yaml").write_text(json.dumps({"agent": agent}))
        marks: list[int] = []

        def mark(n: int) -> str:
            """Leave a mark; at the second, the database goes, and comes back a moment later."""
            marks.append(n)
            if n == 1:
                proxy.cut()
                threading.Timer(1.0, proxy.restore).start()
            return f"marked {n}"

        model = ScriptedProvider([act("for n in range(3):\n    mark(n)"), finish("Through.")])
        address = direct.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        with Runtime(tmp_path / "agent.yaml", "db", "user", db_url=address, provider=model) as runtime:
            runtime.hooks.clear()
            runtime.register_tool("mark", mark)
            assert runtime.run("Mark them") == "Through."
        assert marks == [0, 1, 2]
        with Runtime(tmp_path / "agent.yaml", "db", "user", db_url=address, provider=model) as again:
            assert [message["kind"] for message in again.messages] == ["task", "reply", "result", "reply"]
    finally:
        proxy.close()
