"""Every block of the first manual runs as it stands there, with both kinds of Runtime, against a local model."""

from __future__ import annotations

import ast
import asyncio
import io
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import autopilot_runtime
from autopilot_runtime import AgentFile, EventType, Runtime
from tests.fake_provider import FakeModel
from tests.flows.stage import Gate, act, finish

_PARTS = re.split(
    r"^#### (.+)\n", Path(__file__).with_name("seed_blocks.txt").read_text(encoding="utf-8"), flags=re.M
)
BLOCKS = dict(zip(_PARTS[1::2], (part.strip("\n") + "\n" for part in _PARTS[2::2]), strict=True))
both = pytest.mark.parametrize("kind", ["sync", "async"])


class Desk:
    """A user's folder with an agent.yaml, and the model server behind it."""

    def __init__(self, folder: Path, fake: FakeModel) -> None:
        self.folder, self.fake = folder, fake
        self.work = folder / "workspace"
        self.names: dict[str, Any] = {"__name__": "__main__"}

    @property
    def runtime(self) -> Any:
        """What the block called `runtime`."""
        return self.names["runtime"]

    def write(self, name: str, text: str) -> None:
        """A file of the workspace."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def play(self, *names: str, kind: str = "sync", change: tuple[str, str] = ("", "")) -> None:
        """Run blocks one after the other, as one script; `async` puts AsyncRuntime in the place of Runtime."""
        code = "\n\n".join(BLOCKS[name] for name in names).replace(*change, 1)
        if kind == "async":
            code = re.sub(r"\bRuntime\b", "AsyncRuntime", code).replace("runtime._async.", "runtime.")
            code = code.replace("runtime.run(", "await runtime.run(")
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if "await runtime.run(" in code or "\nawait " in code else 0
        waiting = eval(compile(code, "+".join(names), "exec", flags=flags), self.names)
        if waiting is not None:
            asyncio.run(waiting)

    def close(self) -> None:
        """End the runtime a block has made."""
        if isinstance(self.names.get("runtime"), Runtime):
            self.runtime.close()
        elif "runtime" in self.names:
            asyncio.run(self.runtime.close())


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    with FakeModel([]) as fake:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "seed-key-0123456789")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", fake.url)
        Path("agent.yaml").write_text(BLOCKS["start.yaml"], encoding="utf-8")
        one = Desk(tmp_path, fake)
        one.work.mkdir()
        yield one
        one.close()


def asking(desk: Desk, *tools: str) -> None:
    """The agent file of the manual, with permission required for these tools."""
    text = BLOCKS["start.yaml"]
    for name in tools:
        entry = f'    - name: "{name}"\n      enabled: true\n'
        text = text.replace(entry, entry + "      config:\n        require_permission: true\n")
    Path("agent.yaml").write_text(text, encoding="utf-8")


# ---------------------------------------------------------------- getting started, 1: how it works


@pytest.mark.parametrize("block", ["start_sync.py", "start_async.py", "s03_sync.py", "s03_async.py"])
def test_a_first_run_prints_the_summary(desk: Desk, block: str, capsys: pytest.CaptureFixture[str]) -> None:
    desk.fake.add(act("write_file('nginx.conf')", "worker_processes 2;"), finish("The config is fixed."))
    desk.play(block)
    assert capsys.readouterr().out.endswith("The config is fixed.\n")
    assert (desk.work / "nginx.conf").read_text() == "worker_processes 2;\n"


@both
def test_the_action_step_reads_what_it_asked_for(desk: Desk, kind: str) -> None:
    desk.write("routes/profile.py", "".join(f"line {n}\n" for n in range(1, 81)))
    desk.fake.add(BLOCKS["s01_action.reply"], finish())
    desk.play("start_sync.py", kind=kind)
    shown = desk.fake.requests[1].text
    assert "35 | line 35" in shown
    assert "65 | line 65" in shown
    assert "line 34\n" not in shown
    assert "line 66" not in shown


@both
@pytest.mark.parametrize("reply", ["s01_single_step.reply", "s15_same_step.reply"])
def test_edit_and_completion_come_in_one_step(desk: Desk, kind: str, reply: str) -> None:
    desk.write("config.py", "".join(f"L{n} = {n}\n" for n in range(1, 15)))
    desk.fake.add(BLOCKS[reply])
    desk.play("start_sync.py", kind=kind)
    lines = (desk.work / "config.py").read_text().splitlines()
    assert (lines[10], lines[11], lines[12], len(lines)) == ("L11 = 11", "TIMEOUT = 30", "L13 = 13", 14)
    assert desk.names["summary"].startswith("Done")
    assert desk.runtime.last.steps == len(desk.fake.requests) == 1


@both
def test_a_chat_reply_streams_whole_and_runs_nothing(
    desk: Desk, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.fake.add(BLOCKS["s01_chat.reply"])
    desk.play("s04_stream.py", kind=kind)
    assert BLOCKS["s01_chat.reply"].rstrip() in capsys.readouterr().out
    assert desk.runtime.last.status == "answered"


# ---------------------------------------------------------------- 2: the agent file


def test_the_full_agent_file_is_read_as_written(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "dash-key-0123456789")
    monkeypatch.setenv("DASHSCOPE_BASE_URL", desk.fake.openai_url)
    monkeypatch.setenv("VOYAGE_API_KEY", "voyage-key-0123456789")
    Path("prompts").mkdir()
    Path("prompts/instructions.md").write_text("Prefer plain SQL.\n")
    Path("agent.yaml").write_text(BLOCKS["s02_agent.yaml"], encoding="utf-8")
    agent = AgentFile.load("agent.yaml")
    assert (agent.model.name, agent.runtime.max_steps, agent.work_dir) == ("qwen-max", 30, desk.work)
    desk.fake.add(act("execute('main', 'echo hi')"), finish("Through the compatible door."))
    desk.play("start_sync.py")
    assert desk.names["summary"] == "Through the compatible door."
    assert "was not allowed" in desk.fake.requests[1].text or "did not allow" in desk.fake.requests[1].text
    first = desk.fake.requests[0]
    assert first.headers["authorization"] == "Bearer dash-key-0123456789"
    assert (first.json["model"], first.json["temperature"], first.json["max_tokens"]) == ("qwen-max", 0.2, 8096)
    assert "Prefer plain SQL." in str(first.json["messages"][0])


# ---------------------------------------------------------------- 4: streaming, 5: turns


@both
def test_streaming_shows_reasoning_and_completion_and_never_the_code(
    desk: Desk, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.fake.add(act("print('secret code')", "payload text", say="Looking at the log."), finish("It was the cache."))
    desk.play("s04_stream.py", kind=kind)
    out = capsys.readouterr().out
    assert "Looking at the log." in out
    assert out.endswith("It was the cache.")
    assert "secret code" not in out
    assert "payload text" not in out


@both
def test_without_streaming_the_text_comes_at_once(desk: Desk, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    desk.names |= {name: getattr(autopilot_runtime, name) for name in ("Runtime", "AsyncRuntime", "on_stream")}
    desk.fake.add("All of it at once.")
    desk.play("s04_whole.py", kind=kind)
    _run(desk, "Hello")
    assert capsys.readouterr().out == "\nAll of it at once.\n\n"


@both
def test_three_turns_share_one_history(desk: Desk, kind: str) -> None:
    desk.fake.add(finish("one"), finish("two"), finish("three"))
    desk.play("s05_turns.py", kind=kind)
    sent = str(desk.fake.requests[2].json["messages"])
    for said in ("GET endpoint", "POST /items", "Add pytest tests", "one", "two"):
        assert said in sent


# ---------------------------------------------------------------- 10: hooks


@both
def test_all_hooks_of_the_manual_print_what_they_get(
    desk: Desk, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "write_file('db.py')\ntry:\n    ask_user('Which driver?')\nexcept Exception as e:\n    print(e)"
    desk.fake.add(act(code, "x = 1", say="I begin."), finish("Refactored."))
    begin = 'runtime.run("Refactor'
    desk.play("s10_hooks.py", kind=kind, change=(begin, f"runtime.send_message('Use asyncpg')\n{begin}"))
    out = capsys.readouterr().out
    for shown in (
        "I begin.",
        "[tool:write_file] Writing db.py",
        "wrote db.py",
        "Which driver?",
        "[Queued] Use asyncpg",
        "[Injected] Use asyncpg",
        "\nRefactored.\n",
    ):
        assert shown in out
    assert "Use asyncpg" in desk.fake.requests[0].text


@both
def test_hooks_can_be_registered_by_hand(desk: Desk, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    saved: list[str] = []
    desk.names["save_to_db"] = saved.append
    desk.fake.add(finish("Kept."))
    desk.names["runtime"] = _make(kind)
    desk.play("s10_manual.py", kind=kind)
    _run(desk, "Do it")
    assert saved == ["Kept."]
    assert capsys.readouterr().out == "Kept."


# ---------------------------------------------------------------- 11: permission, 12: messages


@both
@pytest.mark.parametrize(("typed", "written"), [("y\n", True), ("n\n", False), ("", False)])
def test_the_gate_asks_and_only_yes_lets_through(
    desk: Desk, kind: str, typed: str, written: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking(desk, "write_file", "execute")
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    desk.fake.add(act("write_file('deploy.sh')", "echo deploy"), finish())
    desk.play("s11_gate.py", kind=kind)
    assert (desk.work / "deploy.sh").exists() is written
    assert written or "did not allow" in desk.fake.requests[1].text


@both
def test_programmatic_approval_decides_by_description(desk: Desk, kind: str) -> None:
    asking(desk, "write_file", "execute")
    desk.names |= {"on_permission_request": autopilot_runtime.on_permission_request}
    desk.names["runtime"] = _make(kind)
    desk.play("s11_auto.py", kind=kind)
    blocks = [
        act("write_file('config.py')", "A = 1"),
        act("write_file('other.py')", "B = 1"),
        act("print(execute('main', 'echo pytest')['output'])"),
        act("execute('main', 'rm config.py')"),
    ]
    desk.fake.add(*blocks, finish())
    _run(desk, "Do all")
    asked = [request.text for request in desk.fake.requests[1:]]
    assert ["did not allow" in text for text in asked] == [False, True, False, True]
    assert "\npytest\n" in asked[2]
    assert (desk.work / "config.py").exists()
    assert not (desk.work / "other.py").exists()


def test_a_message_from_another_thread_arrives_while_the_agent_works(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.play("s12_inject.py")
    begun = Gate()
    desk.runtime.hooks.register(EventType.STEP, begun.open)

    def send() -> None:
        begun.wait()
        desk.runtime.send_message("Use UK English")
        sent.open()

    sent = Gate()
    desk.runtime.register_tool("wait_for_user", sent.wait)
    desk.fake.add(act("wait_for_user()"), finish("Five helpers."))
    thread = threading.Thread(target=send)
    thread.start()
    asyncio.run(desk.names["run_agent"]())
    thread.join()
    assert "[Your message is now in context]: Use UK English" in capsys.readouterr().out
    assert "[USER MESSAGE]" in desk.fake.requests[1].text
    assert "Use UK English" in desk.fake.requests[1].text


# ---------------------------------------------------------------- 13: several operations in one step


@both
def test_two_files_are_written_in_one_step(desk: Desk, kind: str) -> None:
    desk.fake.add(BLOCKS["s13_two_files.reply"], finish())
    desk.play("start_sync.py", kind=kind)
    assert (desk.work / "config.py").read_text().startswith("import json, os\n\ndef load(")
    assert (desk.work / "utils.py").read_text().endswith('    return text.lower().replace(" ", "-")\n')
    assert desk.runtime.last.files_changed == ("config.py", "utils.py")


@both
def test_two_ranges_are_edited_without_drift(desk: Desk, kind: str) -> None:
    desk.write("routes/profile.py", "".join(f"line {n}\n" for n in range(1, 61)))
    desk.fake.add(BLOCKS["s13_multi_edit.reply"], finish())
    desk.play("start_sync.py", kind=kind)
    lines = (desk.work / "routes/profile.py").read_text().splitlines()
    assert lines[40:43] == ["line 41", "# ... replacement for L42-48 ...", "line 49"]
    assert lines[47:50] == ["line 54", "# ... replacement for L55 ...", "line 56"]
    assert len(lines) == 54


@both
def test_any_number_of_files_is_read_in_one_step(desk: Desk, kind: str) -> None:
    for name in ("config.py", "utils.py", "tests/test_config.py"):
        desk.write(name, f"# this is {name}\n")
    desk.fake.add(act(BLOCKS["s13_reads.control"]), finish())
    desk.play("start_sync.py", kind=kind)
    for name in ("config.py", "utils.py", "tests/test_config.py"):
        assert f"# this is {name}" in desk.fake.requests[1].text


# ---------------------------------------------------------------- 15: completion, 17: chat


@both
def test_the_completion_block_is_summary_and_finish_hook(desk: Desk, kind: str) -> None:
    saved: list[str] = []
    desk.names |= {"save_to_database": saved.append, "on_finish": autopilot_runtime.on_finish}
    desk.names["runtime"] = _make(kind)
    desk.fake.add(BLOCKS["s15_separate.reply"])
    desk.play("s15_receive.py", kind=kind)
    assert saved == [desk.names["summary"]]
    assert saved[0].startswith("Fixed the 500 on profile email update")
    assert saved[0].endswith("You're good to go.")


@both
def test_chat_and_action_on_one_runtime(desk: Desk, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("Runtime", "AsyncRuntime", "on_stream", "on_finish")
    desk.names |= {name: getattr(autopilot_runtime, name) for name in names}
    desk.fake.add(BLOCKS["s01_chat.reply"], act("write_file('a.py')", "x = {}"), finish("Fallback added."))
    desk.play("s17_chat.py", kind=kind)
    out = capsys.readouterr().out
    assert "The fallback is an empty dict" in out
    assert out.count("Fallback added.") == 2  # streamed, then given to on_finish
    assert (desk.work / "a.py").exists()


# ---------------------------------------------------------------- 18: custom tools, 19: abort


@both
def test_custom_tools_show_what_they_append(desk: Desk, kind: str) -> None:
    posted: list[dict[str, str]] = []
    desk.names["my_search_api"] = lambda query: f"found: {query.upper()}"
    desk.names["slack_client"] = SimpleNamespace(chat_postMessage=lambda **said: posted.append(said))
    desk.fake.add(act("web_search('pools')\nsend_slack('deployments', message='done')"), finish())
    desk.play("s18_tools.py", kind=kind)
    shown = desk.fake.requests[1].text
    assert "[web_search] found: POOLS" in shown
    assert "[send_slack] Message sent to #deployments." in shown
    assert posted == [{"channel": "#deployments", "text": "done"}]
    prompt = str(desk.fake.requests[0].json["system"])
    assert "web_search(query: str)" in prompt
    assert "Search the web for current information" in prompt


@both
def test_a_built_in_tool_is_replaced(desk: Desk, kind: str) -> None:
    desk.names["runtime"] = _make(kind)
    desk.play("s18_override.py", kind=kind)
    desk.fake.add(act("execute('main', 'rm -rf x')\nexecute('main', 'echo still $((40 + 2))')"), finish())
    _run(desk, "Look around")
    shown = desk.fake.requests[1].text
    assert "[execute] Blocked: 'rm -rf x' is not permitted." in shown
    assert "still 42" in shown
    assert "Restricted to read-only operations" in str(desk.fake.requests[0].json["system"])


def test_an_abort_right_after_the_start_stops_the_run(desk: Desk) -> None:
    desk.fake.add(finish("never asked"))
    desk.play("s19_abort.py")
    assert desk.runtime.last.status == "aborted"
    assert desk.names["agent_task"].result() is None


def _make(kind: str) -> Any:
    return (Runtime if kind == "sync" else autopilot_runtime.AsyncRuntime)("agent.yaml")


def _run(desk: Desk, task: str) -> None:
    said = desk.runtime.run(task)
    if asyncio.iscoroutine(said):
        asyncio.run(said)
