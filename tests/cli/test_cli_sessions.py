"""Conversations that `autopilot run` keeps: finding them, reading them, going on with them, deleting them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest
from cli_project import Project, control, done, finish, write

from tests.running import wait_for

NAP = f"sleep 7301{os.getpid()}"  # of this test run alone: another one may be going on beside it

ID = re.compile(r"tester-\d{8}-\d{6}-[0-9a-f]{4}")


def kept(project: Project) -> list[dict[str, Any]]:
    """What `sessions list` says, for a program."""
    listed = project.cli("sessions", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    found: list[dict[str, Any]] = json.loads(listed.stdout)
    return found


def folder(project: Project) -> Path:
    return project.home / ".autopilot" / "sessions"


def test_every_run_is_kept_under_a_readable_id_of_its_own(project: Project) -> None:
    project.agent([done("ok")])
    ran = [json.loads(project.run("--output", "json").stdout)["session_id"] for _ in range(2)]
    assert all(ID.fullmatch(one) for one in ran) and ran[0] != ran[1]
    found = kept(project)
    assert {one["session_id"] for one in found} == set(ran)
    assert found[0]["task"] == "do it" and found[0]["status"] == "completed" and found[0]["cost_usd"] == 0
    assert found[0]["origin"]["agent_file"] == str(project.folder / "agent.yaml")
    assert found[0]["origin"]["work_dir"] == str(project.work)


def test_no_save_keeps_neither_conversation_nor_log(project: Project) -> None:
    project.agent([done("ok")])
    assert project.run("--no-save").returncode == 0
    assert not (project.home / ".autopilot").exists()
    wrong = project.run("--no-save", "--session", "shop")
    assert wrong.returncode == 2 and "--no-save keeps nothing" in wrong.stderr


def test_a_run_that_could_not_begin_leaves_no_session(project: Project) -> None:
    project.agent([done("ok")], model={"provider": "anthropic", "name": "claude-sonnet-4-5"})
    assert project.run().returncode == 7
    assert kept(project) == []


def test_where_sessions_cannot_be_kept_the_run_says_so_once_and_works(project: Project) -> None:
    project.agent([done("ok")])
    (project.home / ".autopilot").write_text("a file where the folder should be")
    ran = project.run(AUTOPILOT_NO_LOG="1")
    assert (ran.returncode, ran.stdout) == (0, "ok\n")
    assert ran.stderr.count("This conversation is not kept") == 1
    named = project.run("--session", "shop", AUTOPILOT_NO_LOG="1")
    assert named.returncode == 1  # a session that was asked for by name is not given up silently
    assert "not kept" not in named.stderr


def test_a_disk_that_is_full_from_the_start_costs_the_session_and_not_the_run(project: Project) -> None:
    project.agent([done("ok")])
    folder(project).mkdir(parents=True)
    limited = f"ulimit -f 0; exec {sys.executable} -m autopilot_runtime run agent.yaml 'do it'"
    env = project.env(AUTOPILOT_NO_LOG="1", PYTHONDONTWRITEBYTECODE="1")
    ran = subprocess.run(
        ["bash", "-c", limited],
        cwd=project.folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "ok\n"), ran.stderr
    assert ran.stderr.count("This conversation is not kept") == 1


def test_a_run_that_did_not_complete_says_how_to_go_on(project: Project) -> None:
    project.agent([write("a.txt", "x\n"), done("ok")], asks=False)
    ran = project.run("--max-steps", "1")
    assert ran.returncode == 4
    found = re.search(r"^Go on: autopilot run --resume (\S+)$", ran.stderr, re.MULTILINE)
    assert found is not None and ID.fullmatch(found[1])
    again = project.cli("run", "--resume", found[1])
    assert again.returncode == 0, again.stderr
    assert f"Going on with {found[1]}" in again.stderr
    assert "Go on:" not in again.stderr


def test_the_way_on_names_the_folder_of_sessions(project: Project) -> None:
    project.agent([control("1"), done("ok")])
    ran = project.run("--max-steps", "1", "--session-dir", "my sessions")
    flags = "--session-dir 'my sessions'"
    assert ran.stderr.rstrip().endswith(flags)
    assert len(list((project.folder / "my sessions").glob("*.json"))) == 1
    listed = project.cli("sessions", "list", "--session-dir", "my sessions")
    assert "do it" in listed.stdout and kept(project) == []


def test_continue_takes_the_newest_session_of_the_agent_in_its_folder(project: Project) -> None:
    project.agent([done("one")])
    project.run()
    first = kept(project)[0]["session_id"]
    (project.folder / "other").mkdir()
    project.run("--work-dir", "other")
    ran = project.cli("run", "--continue", "agent.yaml", "the next task")
    assert ran.returncode == 0 and f"Going on with {first}" in ran.stderr
    shown = project.cli("sessions", "show", first).stdout
    assert "Task 1\ndo it" in shown and "Task 2\nthe next task" in shown


def test_continue_without_an_agent_takes_the_newest_of_this_folder(project: Project) -> None:
    project.agent([done("one")])
    assert "There is no session begun in" in project.cli("run", "--continue", "next").stderr
    project.run()
    ran = project.cli("run", "--continue", "what is next")
    assert ran.returncode == 0, ran.stderr
    assert kept(project)[0]["messages"] == 4


def test_resume_takes_the_beginning_of_an_id_and_a_task(project: Project) -> None:
    project.agent([done("one")])
    project.run()
    ran = project.cli("run", "--resume", "tester", "--output", "json", "next")
    assert json.loads(ran.stdout)["session_id"] == kept(project)[0]["session_id"]
    assert kept(project)[0]["messages"] == 4


def test_resume_works_from_another_folder(project: Project, tmp_path: Path) -> None:
    project.agent([write("a.txt", "x\n"), done("ok")], asks=False)
    project.run("--max-steps", "1")
    project.folder = tmp_path
    assert project.cli("run", "--resume", "tester").returncode == 0
    assert (project.work / "a.txt").read_text() == "x\n"


def test_resume_with_nothing_to_resume_says_so(project: Project) -> None:
    project.agent([done("ok")])
    project.run()
    ran = project.cli("run", "--resume", "tester")
    assert ran.returncode == 2
    assert "There is no run to resume: the last one is completed." in ran.stderr


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--resume", "tster-2026"), "Did you mean tester-"),
        (("--resume",), "`autopilot sessions list`"),
        (("--resume", "tester", "--continue"), "give one of them"),
        (("--resume", "tester", "--session", "x"), "give one of them"),
        (("--continue", "agent.yaml", "x", "--work-dir", "elsewhere"), "There is no session of Tester in"),
    ],
)
def test_faults_of_going_on_name_the_way_out(project: Project, args: tuple[str, ...], told: str) -> None:
    project.agent([done("ok")])
    project.run()
    ran = project.cli("run", *args)
    assert ran.returncode == 2
    assert told in ran.stderr


def test_a_program_gets_its_object_for_an_unknown_session_too(project: Project) -> None:
    ran = project.cli("run", "--resume", "nobody", "--output", "json")
    assert ran.returncode == 2
    assert "There is no session 'nobody'" in json.loads(ran.stdout)["error"]


def test_a_session_without_origin_needs_its_agent_named(project: Project) -> None:
    project.agent([done("ok")])
    script = (
        "from autopilot_runtime import Runtime\nwith Runtime('agent.yaml', 'file', 'shop') as r: r.run('first')\n"
    )
    (project.folder / "embed.py").write_text(script)
    subprocess.run(
        [__import__("sys").executable, "embed.py"], cwd=project.folder, env=project.env(), check=True, timeout=60
    )
    ran = project.cli("run", "--resume", "shop", "next")
    assert ran.returncode == 2 and "autopilot run --resume shop AGENT" in ran.stderr
    assert project.cli("run", "--resume", "shop", "agent.yaml", "next").returncode == 0


def test_a_folder_or_agent_file_that_is_gone_is_said(project: Project) -> None:
    project.agent([done("ok")])
    project.run()
    project.work.rmdir()
    assert "The folder of session" in project.cli("run", "--resume", "tester", "x").stderr
    (project.folder / "agent.yaml").unlink()
    ran = project.cli("run", "--resume", "tester", "x")
    assert ran.returncode == 2 and "The agent file of session" in ran.stderr


def test_the_list_fits_80_columns_and_shows_damage_in_red(project: Project) -> None:
    project.agent([done("ok")])
    project.cli("run", "agent.yaml", "a task of many words " * 20)
    (folder(project) / "broken-one.json").write_text("{not json")
    ran = project.cli("sessions", "list", FORCE_COLOR="1")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout)
    assert max(map(len, plain.splitlines())) <= 80
    assert "\x1b[31mbroken-one" in ran.stdout and "damaged at byte" in plain
    assert "completed" in plain and "a task of many words" in plain
    for command in (("sessions", "show", "broken-one"), ("run", "--resume", "broken-one", "x")):
        assert "damaged at byte" in project.cli(*command).stderr


def test_a_session_of_the_seeds_release_reads_like_any_other(project: Project) -> None:
    messages = [{"role": "user", "content": "[Task 1][USER INPUT] Sell"}, {"role": "assistant", "content": "Sold."}]
    old = {"session_id": "shop", "agent_name": "Clerk", "messages": messages, "extra": {}}
    folder(project).mkdir(parents=True)
    (folder(project) / "shop.json").write_text(json.dumps(old))
    assert project.cli("sessions", "list").stdout == "shop  2 messages\n  Sell\n"
    assert "\nTask 1\nSell\n\nSold.\n" in project.cli("sessions", "show", "shop").stdout
    assert project.cli("sessions", "fork", "shop", "--id", "other").returncode == 0
    assert "other · Clerk · 2 messages" in project.cli("sessions", "show", "other").stdout


def test_the_list_shows_twenty_and_filters(project: Project) -> None:
    project.agent([done("ok")])
    project.run()
    one = kept(project)[0]["session_id"]
    text = (folder(project) / f"{one}.json").read_text()
    for number in range(22):
        (folder(project) / f"copy-{number}.json").write_text(text.replace(one, f"copy-{number}"))
    assert project.cli("sessions", "list").stdout.endswith("… and 3 more (--all)\n")
    assert project.cli("sessions", "list", "--all").stdout.count("do it") == 23
    assert project.cli("sessions", "list", "--agent", "other").stdout == "No sessions fit.\n"
    project.folder = project.home
    assert project.cli("sessions", "list", "--here").stdout == "No sessions fit.\n"


def test_show_reads_like_a_conversation_and_shortens_results(project: Project) -> None:
    project.agent([control("for i in range(40): print('line', i)", "I count."), done("Counted.")])
    project.run()
    short, full = (project.cli("sessions", "show", "tester", *more).stdout for more in ((), ("--full",)))
    assert "I count." in short and "  │ line 7\n  │ … 32 more lines (--full)" in short
    assert "line 39" not in short and "line 39" in full
    assert "[STATUS]" not in short + full and "Agentic step" not in short
    value = json.loads(project.cli("sessions", "show", "tester", "--json").stdout)
    assert value["messages"][0]["kind"] == "task" and value["origin"]["model"] == "scripted/script.json"


def test_an_export_is_complete_and_holds_no_secret(project: Project) -> None:
    project.agent([control("print('x' * 9000)\nprint('`' * 4)"), done("ok")])
    task = ("run", "agent.yaml", "use key-0123456789abcdef")
    project.cli(*task, ANTHROPIC_API_KEY="key-0123456789abcdef")
    for form in ("md", "json", "jsonl"):
        text = project.cli("sessions", "export", "tester", "--format", form).stdout
        assert "x" * 9000 in text
        assert "key-0123456789abcdef" not in text
    lines = text.splitlines()
    assert [json.loads(line).get("kind") for line in lines] == [None, "task", "reply", "result", "reply"]


def test_an_export_goes_into_a_file_of_its_owner_and_replaces_nothing(project: Project) -> None:
    project.agent([done("ok")])
    project.run()
    to = project.folder / "talk.md"
    assert project.cli("sessions", "export", "tester", "-o", "talk.md").returncode == 0
    assert to.read_text().startswith("# tester-") and to.stat().st_mode & 0o777 == 0o600
    again = project.cli("sessions", "export", "tester", "-o", "talk.md")
    assert again.returncode == 2 and "is there already" in again.stderr
    assert project.cli("sessions", "export", "tester", "-o", "talk.md", "--force").returncode == 0
    assert project.cli("sessions", "export", "tester", "-o", "no/talk.md").returncode == 2


def test_deleting_needs_a_yes(project: Project) -> None:
    project.agent([done("ok")])
    project.run()
    refused = project.cli("sessions", "delete", "tester")
    assert refused.returncode == 2 and "needs --yes" in refused.stderr
    child = project.tty("sessions", "delete", "tester")
    child.expect(r"for good\? \[y/N\]: ")
    child.sendline("n")
    assert finish(child) == 2
    assert len(kept(project)) == 1
    child = project.tty("sessions", "delete", "tester")
    child.expect(r"for good\? \[y/N\]: ")
    child.sendline("y")
    assert finish(child) == 0
    assert kept(project) == [] and list(folder(project).iterdir()) == []


def test_one_wrong_id_deletes_none(project: Project) -> None:
    project.agent([done("ok")])
    project.run()
    assert project.cli("sessions", "delete", "--yes", "tester", "nobody").returncode == 2
    assert len(kept(project)) == 1


def test_a_session_at_work_is_shown_as_such_and_not_deleted(project: Project) -> None:
    project.agent([control(f"execute('main', '{NAP}')"), done("ok")], asks=False)
    running = project.popen("run", "agent.yaml", "do it", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_for(NAP)
        assert kept(project)[0]["status"] == "at work"
        refused = project.cli("sessions", "delete", "--yes", "tester")
        assert refused.returncode == 1 and "Somebody else is writing" in refused.stderr
        second = project.cli("run", "--resume", "tester", "x")
        assert second.returncode == 1 and "Somebody else is writing" in second.stderr
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=20)
    assert kept(project)[0]["status"] == "aborted"


def test_ids_are_completed_by_the_shell(project: Project) -> None:
    project.agent([done("ok")])
    project.run()
    for words in ("autopilot sessions show tes", "autopilot run --resume tes", "autopilot answer tes"):
        typed = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        ran = project.cli(_AUTOPILOT_COMPLETE="complete_bash", **typed)
        assert ran.stdout.strip() == kept(project)[0]["session_id"]


def test_chat_is_kept_too_and_says_how_to_go_on(project: Project) -> None:
    project.agent(["Hello there.\n", "Again.\n"])
    child = project.tty("chat", "agent.yaml")
    child.expect("› ")
    child.sendline("hi")
    child.expect("Hello there.")
    child.expect("› ")
    child.sendline("/quit")
    child.expect(r"Go on: autopilot chat agent.yaml --session (\S+?)\x1b?[\[\r]")
    session = child.match[1]
    assert finish(child) == 0
    child = project.tty("chat", "agent.yaml", "--session", session)
    child.expect("Going on with 2 messages")
    child.expect("› ")
    child.sendline("/quit")
    assert finish(child) == 0


def picker(project: Project, **options: Any) -> pexpect.spawn:
    child = project.tty("run", "--resume", **options)
    child.expect("Go on with which session")
    return child


def three(project: Project) -> None:
    project.agent([done("ok")])
    for task in ("paint the door", "mend the roof", "paint the fence"):
        project.cli("run", "agent.yaml", task)


def shown(project: Project, child: pexpect.spawn) -> str:
    """The session that the picker went on with; it has nothing to resume, which names it all the same."""
    child.expect(r"Going on with (\S+) ")
    chosen = child.match[1]
    child.expect("There is no run to resume")
    assert finish(child) == 2
    return str(next(one["task"] for one in kept(project) if one["session_id"] == chosen))


def test_the_picker_moves_with_keys(project: Project) -> None:
    three(project)
    child = picker(project)
    child.expect("paint the fence.*mend the roof.*paint the door.*Esc leaves")
    child.send("jj")
    child.send("\x1b[C\x1b[3~\x1bOH")  # keys that mean nothing here do nothing
    child.send("\x1b[A\r")
    assert shown(project, child) == "mend the roof"


def test_the_picker_takes_a_number(project: Project) -> None:
    three(project)
    child = picker(project)
    child.send("3")
    assert shown(project, child) == "paint the door"


def test_the_picker_filters_by_what_is_typed(project: Project) -> None:
    three(project)
    child = picker(project)
    child.send("paint door")
    child.expect("1 of 3")
    child.send("\r")
    assert shown(project, child) == "paint the door"


def test_escape_clears_the_filter_then_leaves_and_gives_the_terminal_back(project: Project) -> None:
    three(project)
    child = picker(project, then="stty -a")
    child.send("zzz")
    child.expect("nothing has all of these words")
    child.send("\x1b")
    child.expect("mend the roof")
    child.send("\x1b")
    finish(child)
    assert " icanon" in child.before and " echo " in child.before
    assert not any(one["messages"] > 2 for one in kept(project))


def test_ctrl_c_leaves_the_picker(project: Project) -> None:
    three(project)
    child = picker(project)
    child.expect("Esc leaves")
    child.sendintr()
    assert finish(child) == 130


def test_the_picker_is_drawn_anew_for_another_size_and_says_what_it_leaves_out(project: Project) -> None:
    three(project)
    text = next(folder(project).glob("*.json")).read_text()
    name = json.loads(text)["session_id"]
    for number in range(198):
        (folder(project) / f"copy-{number}.json").write_text(text.replace(name, f"copy-{number}"))
    child = picker(project)
    child.expect("200 of 200 · 1 older: --resume ID")
    child.setwinsize(12, 60)
    child.expect("Go on with which session(.*)Esc leaves|Go on with which session(.*)…")
    assert len(re.findall("❯|\\n  [0-9] ", (child.match[1] or child.match[2]).replace("\r", ""))) <= 3
    child.send("\x1b")
    finish(child)


def test_a_plain_terminal_gets_numbers_and_a_line(project: Project) -> None:
    three(project)
    child = project.tty("run", "--resume", TERM="dumb")
    child.expect(r"1  tester.*2  tester.*3  tester.*Number")
    child.sendline("9")
    child.expect("9 is not one of them")
    child.sendline("2")
    assert shown(project, child) == "mend the roof"
