"""`autopilot run` and `chat` on a real terminal: prompts, keys, the live line, Ctrl+C."""

from __future__ import annotations

import re
import sys
import time

import pexpect
from cli_project import Project, control, done, finish, write

RUN = ("run", "agent.yaml", "do it")
ASK = r"Allow\? \[y\]es  \[n\]o  \[a\]lways"
EDIT = ASK + r"  \[e\]dit: "


def test_a_diff_is_shown_word_by_word_and_y_lets_it_happen(project: Project) -> None:
    (project.work / "a.py").write_text("def add(a, b):\n    return a - b\n")
    project.agent([write("a.py", "def add(a, b):\n    return a + b\n"), done("ok")])
    child = project.tty(*RUN)
    child.expect(ASK)
    seen = child.before
    assert "\x1b[31;7m-\x1b[0m" in seen and "\x1b[32;7m+\x1b[0m" in seen
    assert (project.work / "a.py").read_text().endswith("a - b\n")
    child.sendline("y")
    assert finish(child) == 0
    assert (project.work / "a.py").read_text().endswith("a + b\n")
    assert "@@" not in child.before  # what was shown for approval is not shown again


def test_n_refuses_with_a_reason_the_model_reads(project: Project) -> None:
    project.agent([write("a.txt", "x\n"), done("ok")])
    child = project.tty(*RUN)
    child.expect(ASK)
    child.sendline("n")
    child.expect("Why")
    child.sendline("use b.txt instead")
    assert finish(child) == 0
    assert "use b.txt instead" in child.before
    assert not (project.work / "a.txt").exists()


def test_a_reason_may_follow_the_n(project: Project) -> None:
    project.agent([write("a.txt", "x\n"), done("ok")])
    child = project.tty(*RUN)
    child.expect(ASK)
    child.sendline("n not now")
    assert finish(child) == 0
    assert "Why" not in child.before
    assert "not now" in child.before


def test_always_asks_once_for_the_same_call(project: Project) -> None:
    project.agent([control("execute('main', 'echo one')")] * 2 + [done("ok")])
    child = project.tty(*RUN)
    child.expect(EDIT)
    child.sendline("a")
    assert finish(child) == 0
    assert "Allow?" not in child.before


def test_an_edited_command_is_what_runs(project: Project) -> None:
    project.agent([control("execute('main', 'touch wrong')"), done("ok")])
    child = project.tty(*RUN)
    child.expect(EDIT)
    child.sendline("e")
    child.expect("Command: touch wrong")
    child.send("\x15touch right\r")
    assert finish(child) == 0
    assert [file.name for file in project.work.iterdir()] == ["right"]


def test_anything_else_is_no_answer_and_end_of_input_is_a_no(project: Project) -> None:
    project.agent([write("a.txt", "x\n"), done("ok")])
    child = project.tty(*RUN)
    child.expect(ASK)
    child.sendline("maybe")
    child.expect("refuse it")
    child.expect(ASK)
    child.sendline("")
    child.expect(ASK)
    child.sendeof()
    assert finish(child) == 0
    assert not (project.work / "a.txt").exists()


def test_a_command_of_several_lines_shows_every_line(project: Project) -> None:
    project.agent([control(r"execute('main', 'echo a\n\x1b[2Krm -rf b')"), done("ok")])
    child = project.tty(*RUN)
    child.expect(EDIT)
    assert re.search(r"│\S* echo a\r\n", child.before)
    assert re.search(r"│\S* \\x1b\[2Krm -rf b\r\n", child.before)
    child.sendline("n no")
    assert finish(child) == 0


def test_keys_pressed_before_the_prompt_do_not_answer_it(project: Project) -> None:
    project.agent([control("execute('main', 'sleep 1')", "Wait."), write("a.txt", "x\n"), done("ok")], asks=True)
    child = project.tty(*RUN)
    child.expect(EDIT)
    child.sendline("y")
    child.send("y")  # while the command runs
    child.expect("› y")
    child.expect(ASK)
    child.sendline("n no")
    assert finish(child) == 0
    assert not (project.work / "a.txt").exists()


def test_ctrl_c_at_the_prompt_stops_the_run(project: Project) -> None:
    project.agent([write("a.txt", "x\n"), done("ok")])
    child = project.tty(*RUN)
    child.expect(ASK)
    child.sendintr()
    assert finish(child) == 130
    assert "stopped" in child.before
    assert not (project.work / "a.txt").exists()


def test_ctrl_c_stops_a_running_command_at_once(project: Project) -> None:
    project.agent([control("execute('main', 'sleep 1000', timeout=900)"), done("ok")], asks=False)
    child = project.tty(*RUN)
    child.expect("Running `sleep 1000`")
    begun = time.monotonic()
    child.sendintr()
    assert finish(child) == 130
    assert time.monotonic() - begun < 2


def test_escape_stops_too_and_arrow_keys_do_not(project: Project) -> None:
    project.agent([control("execute('main', 'sleep 1000', timeout=900)"), done("ok")], asks=False)
    child = project.tty(*RUN)
    child.expect("Running `sleep 1000`")
    child.send("\x1b[A\x1bOP")
    child.send("still here")
    child.expect("› still here")
    child.send("\x1b")
    assert finish(child) == 130


def test_a_second_ctrl_c_leaves_although_the_first_is_not_done(project: Project) -> None:
    (project.folder / "stuck.py").write_text(
        "import asyncio, time\nfrom autopilot_runtime import tool\n\n\n@tool\nasync def stuck() -> None:\n"
        '    """Holds up everything."""\n    print("in the tool", flush=True)\n    time.sleep(60)\n'
    )
    project.agent([control("stuck()"), done("ok")], tools=["./stuck.py"])
    child = project.tty(*RUN)
    child.expect("in the tool")
    child.sendintr()
    child.expect("stopping")
    child.sendintr()
    assert finish(child) == 130


def test_a_message_typed_meanwhile_reaches_the_agent(project: Project) -> None:
    project.agent([control("execute('main', 'sleep 1')"), done("ok")], asks=False)
    child = project.tty(*RUN)
    child.expect("Running `sleep 1`")
    child.send("be quick\r")
    child.expect("queued: be quick")
    child.expect("delivered: be quick")
    assert finish(child) == 0


def test_the_live_line_shows_the_run_and_leaves_no_trace(project: Project) -> None:
    project.agent([control("execute('main', 'sleep 1')", "Text without an end"), done("ok")], asks=False, delay=0.03)
    child = project.tty(*RUN)
    child.expect(r"step 1/6 · \d s · [\d.]+k? tokens · \$0\.00 · Running")
    assert finish(child) == 0
    assert re.search(r"✓.*done · 2 steps · .*\$0\.00", child.before)


def test_no_live_line_in_ci_or_on_a_dumb_terminal(project: Project) -> None:
    for env in ({"CI": "true"}, {"TERM": "dumb"}):
        project.agent([control("execute('main', 'sleep 0.5')"), done("ok")], asks=False)
        child = project.tty(*RUN, **env)
        assert finish(child) == 0
        assert "step 1/6" not in child.before


def test_a_question_is_answered_on_the_terminal(project: Project) -> None:
    project.agent([control("print(ask_user('Which colour?'))"), done("ok")])
    child = project.tty(*RUN)
    child.expect(r"Which colour\?")
    child.expect("> ")
    child.sendline("blue")
    assert finish(child) == 0


def test_the_terminal_is_given_back_as_it_was(project: Project) -> None:
    project.agent([control("execute('main', 'sleep 30')"), done("ok")], asks=False)
    child = project.tty(*RUN, then="stty -a")
    child.expect("Running `sleep 30`")
    child.sendintr()
    child.expect("stopped")
    finish(child)
    assert " icanon" in child.before and " echo " in child.before


def test_a_job_in_the_background_asks_nobody_and_is_not_stopped(project: Project) -> None:
    project.agent([write("a.txt", "x\n"), done("ok")])
    command = f"{sys.executable} -m autopilot_runtime run agent.yaml 'do it' & wait $!; echo code $?"
    child = pexpect.spawn(
        "bash", ["-c", f"set -m; {command}"], cwd=str(project.folder), env=project.env(), timeout=20
    )
    project.terminals.append(child)
    child.expect(b"code 6")
    finish(child)


def test_chat_keeps_the_conversation_and_its_commands_work(project: Project) -> None:
    project.agent(
        ["Hello there.\n", control("execute('main', 'sleep 1000', timeout=900)"), "Back again.\n"], asks=False
    )
    child = project.tty("chat", "agent.yaml")
    child.expect("› ")
    child.sendline("hi")
    child.expect("Hello there.")
    child.expect("answered")
    child.expect("› ")
    child.sendline("/tools")
    child.expect(r"read_file\(path")
    child.sendline("/cost")
    child.expect(r"tokens · \$0.00")
    child.sendline("/what")
    child.expect("no such command")
    child.sendline("work")
    child.expect("Running `sleep 1000`")
    child.sendintr()
    child.expect("stopped")
    child.expect("› ")
    child.sendline("and now?")
    child.expect("Back again.")
    child.expect("› ")
    child.sendline("/reset")
    child.expect("forgotten")
    child.sendline("/quit")
    assert finish(child) == 0
    assert (project.home / ".autopilot" / "chat_history").stat().st_mode & 0o077 == 0


def test_chat_without_a_terminal_says_what_to_do(project: Project) -> None:
    project.agent([done("ok")])
    ran = project.cli("chat", "agent.yaml")
    assert ran.returncode == 2
    assert ran.stderr == "error: chat needs a terminal. In a script: autopilot run AGENT TASK\n"
