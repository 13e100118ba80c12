"""An agent whose shells are confined: what a run says of it, what the model is told, and what commands can reach."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from autopilot_runtime import EventType
from autopilot_runtime.confine.choice import best
from tests.confine.walls import PYTHON
from tests.flows.stage import Stage, act, finish

KIND, _WHY = best()
pytestmark = pytest.mark.skipif(KIND == "none", reason="shells cannot be confined here")


async def test_a_secret_a_folder_and_a_port_of_the_host_stay_out_of_reach(stage: Stage) -> None:
    (stage.folder / "secret.txt").write_text("planted")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = (
            f"for command in ['cat {stage.folder}/secret.txt', 'echo x > {stage.folder}/made',\n"
            f"                'exec 3<>/dev/tcp/127.0.0.1/{port}']:\n"
            "    print('ended', execute('main', command)['return_code'])\n"
            "execute('main', 'echo mine > mine && cat mine')"
        )
        stage.open(act(code), finish("ok"), tools=["execute"])
        assert await stage.run() == "ok"
    assert "planted" not in stage.conversation
    assert stage.heard().count("ended 0") == 0
    assert stage.heard().count("ended 1") == 3
    assert (stage.work / "mine").read_text() == "mine\n"
    assert not (stage.folder / "made").exists()


async def test_what_is_in_force_is_an_event_and_known_to_the_model(stage: Stage) -> None:
    stage.open(finish("ok"), tools=["execute"])
    await stage.run()
    told = {event.what: event for event in stage.of(EventType.CONFINEMENT)}
    assert told["shell"].level == KIND
    assert told["shell"].network == "off"
    system = stage.rt.system_prompt
    assert "Commands run in a sandbox" in system
    assert "There is no network" in system


@pytest.mark.parametrize("sandbox", [{"shell": "off"}, {"network": "on"}, {"network": ["pypi.org"]}])
async def test_the_model_is_told_only_what_holds(stage: Stage, sandbox: dict[str, object]) -> None:
    stage.open(finish("ok"), tools=["execute"], runtime={"sandbox": sandbox})
    await stage.run()
    told = {event.what: event for event in stage.of(EventType.CONFINEMENT)}["shell"]
    system = stage.rt.system_prompt
    if sandbox.get("shell") == "off":
        assert (told.level, "sandbox" in system) == ("none", False)
    elif sandbox["network"] == "on":
        assert (told.network, "network" in system.split("# Shells")[1].split("#")[0]) == ("on", False)
    else:
        assert (told.network, "reaches only pypi.org" in system) == (["pypi.org"], True)


async def test_the_agents_own_file_cannot_be_changed_by_its_shell(stage: Stage) -> None:
    if KIND != "bwrap":
        pytest.skip("nothing can be taken out of a writable folder here")
    code = "print('code', execute('main', 'echo x >> agent.yaml')['return_code'])"
    stage.open(act(code), finish("ok"), tools=["execute"], runtime={"work_dir": "."})
    before = (stage.folder / "agent.yaml").read_text()
    assert await stage.run() == "ok"
    assert "code 1" in stage.heard()
    assert (stage.folder / "agent.yaml").read_text() == before


async def test_required_holds_before_the_model_is_asked(stage: Stage) -> None:
    required = {"sandbox": {"shell": "required"}}
    stage.open(act("execute('main', 'echo confined')"), finish("ok"), tools=["execute"], runtime=required)
    assert await stage.run() == "ok"
    assert "confined" in stage.heard()


async def test_a_failure_that_comes_from_the_sandbox_says_so(stage: Stage) -> None:
    code = f"""execute('main', '{PYTHON} -c "import socket; socket.getaddrinfo(chr(97), 443)"')"""
    stage.open(act(code), finish("ok"), tools=["execute"])
    await stage.run()
    assert "runtime.sandbox.network in the agent file decides" in stage.heard()


async def test_a_folder_named_writable_or_readable_is(stage: Stage) -> None:
    for name in ("out", "notes"):
        (stage.folder / name).mkdir()
    (stage.folder / "notes" / "n").write_text("a note")
    sandbox = {"writable": ["out"], "readable": ["./notes"]}
    code = (
        f"execute('main', 'cat {stage.folder}/notes/n && echo made > {stage.folder}/out/made')\n"
        f"print('code', execute('main', 'echo x > {stage.folder}/notes/x')['return_code'])"
    )
    stage.open(act(code), finish("ok"), tools=["execute"], runtime={"sandbox": sandbox})
    await stage.run()
    assert "a note" in stage.heard()
    assert "code 1" in stage.heard()
    assert Path(stage.folder, "out", "made").read_text() == "made\n"
