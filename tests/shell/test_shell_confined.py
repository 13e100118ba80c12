"""Terminals behind walls: what must fail fails, ordinary work succeeds, bombs stay inside. Real shells and tools."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from autopilot_runtime.confine.wall import Kind
from autopilot_runtime.shell.pool import TerminalPool
from autopilot_runtime.shell.terminal import CommandResult
from tests.confine.walls import ENV, KINDS, opener
from tests.running import running

if sys.platform == "win32":
    pytest.skip("POSIX shells", allow_module_level=True)

LONG = 60.0
Opening = Callable[..., TerminalPool]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
async def opened(kind: Kind, tmp_path: Path) -> AsyncIterator[Opening]:
    """Opens pools in `tmp_path/work`; closes them all."""
    work = tmp_path / "work"
    work.mkdir()
    pools: list[TerminalPool] = []

    def make(**policy: object) -> TerminalPool:
        pool = TerminalPool(work, ENV, open_wall=opener(kind, work, **policy))  # type: ignore[arg-type]
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        await pool.close()


async def until(happened: Callable[[], bool], *, seconds: float = LONG) -> None:
    """Wait for something that nobody tells."""
    async with asyncio.timeout(seconds):
        while not happened():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def ok(pool: TerminalPool, command: str, name: str = "main", **how: bool) -> CommandResult:
    """Run a command that has to succeed."""
    result = await pool.execute(name, command, LONG, **how)
    assert (result.status, result.return_code) == ("completed", 0), result.output
    return result


async def test_writes_secrets_and_ports_outside_are_out_of_reach(opened: Opening, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("planted")
    pool = opened()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for command in (
            f"echo x > {tmp_path}/made",
            "echo x > ../made",
            f"cat {tmp_path}/secret.txt",
            f"exec 3<>/dev/tcp/127.0.0.1/{port}",
        ):
            result = await pool.execute("main", command, LONG)
            assert result.return_code not in (0, None), command
            assert "planted" not in result.output
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret.txt", "work"]


async def test_git_works(opened: Opening) -> None:
    pool = opened()
    await ok(pool, "git init -q . && git config user.email a@b.c && git config user.name a")
    await ok(pool, "echo one > f && git add f && git commit -qm one && git switch -qc side && echo two >> f")
    await ok(pool, "git commit -qam two && git switch -q - && git merge -q side && git gc -q")
    assert (await ok(pool, "git log --oneline | wc -l")).output.strip() == "2"
    await ok(pool, "git clone -q . copy && git -C copy status --short")


async def test_a_virtual_environment_pip_and_pytest_work(opened: Opening, tmp_path: Path) -> None:
    package = tmp_path / "work" / "package"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "confined-sample"\nversion = "1.0"\n'
    )
    # A build needs setuptools from an index; a wheel made by hand needs nobody.
    (package / "wheel.py").write_text(
        textwrap.dedent(
            """
            import zipfile
            with zipfile.ZipFile("confined_sample-1.0-py3-none-any.whl", "w") as wheel:
                wheel.writestr("confined_sample.py", "def answer():\\n    return 42\\n")
                info = "confined_sample-1.0.dist-info/"
                wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: confined-sample\\nVersion: 1.0\\n")
                kind = "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
                wheel.writestr(info + "WHEEL", kind)
                wheel.writestr(info + "RECORD", "")
            """
        )
    )
    (tmp_path / "work" / "test_it.py").write_text(
        "import confined_sample, tempfile, unittest\n"
        "class Test(unittest.TestCase):\n"
        "    def test_answer(self):\n"
        "        with tempfile.TemporaryDirectory():\n"
        "            self.assertEqual(confined_sample.answer(), 42)\n"
    )
    pool = opened()
    await ok(pool, "cd package && python3 wheel.py && cd ..")
    await ok(pool, "python3 -m venv env && . env/bin/activate")
    await ok(pool, "pip install -q --no-index package/*.whl")
    await ok(pool, "python -m unittest -q test_it")


async def test_pytest_runs_from_an_environment_outside(kind: Kind, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "test_it.py").write_text("def test_it(tmp_path, capfd):\n    (tmp_path / 'x').write_text('x')\n")
    env = {**ENV, "PATH": f"{Path(sys.executable).parent}:{ENV['PATH']}"}
    pool = TerminalPool(work, env, open_wall=opener(kind, work, env=env))
    try:
        assert "1 passed" in (await ok(pool, "pytest -q -p no:cacheprovider -p no:autopilot test_it.py")).output
    finally:
        await pool.close()


async def test_a_pool_of_processes_works(opened: Opening) -> None:
    pool = opened()
    script = "import multiprocessing as m; p = m.Pool(2); print(p.map(abs, [-1, -2])); p.close(); p.join()"
    if any("TMPDIR" in gap for gap in pool.wall.told.gaps):
        pytest.skip("no mounts can be made here")
    assert (await ok(pool, f'python3 -c "{script}"')).output == "[1, 2]"


async def test_a_dev_server_and_a_client_meet(opened: Opening, tmp_path: Path) -> None:
    (tmp_path / "work" / "page.txt").write_text("served")
    pool = opened()
    await pool.execute("server", "python3 -u -m http.server 8123 --bind 127.0.0.1", 0, new_terminal=True)
    (tmp_path / "work" / "client.py").write_text(
        "import time, urllib.request\n"
        "for _ in range(100):\n"
        "    try:\n"
        "        print(urllib.request.urlopen('http://127.0.0.1:8123/page.txt', timeout=5).read().decode())\n"
        "        break\n"
        "    except OSError:\n"
        "        time.sleep(0.1)\n"
    )
    assert (await ok(pool, "python3 client.py")).output == "served"
    stopped = await pool.send_input("server", "\x03", LONG)
    assert stopped.status == "completed"


async def test_terminals_share_what_is_theirs(opened: Opening) -> None:
    pool = opened()
    await ok(pool, "echo shared > ${TMPDIR:-/tmp}/note; echo home > ~/note")
    result = await ok(pool, "cat ${TMPDIR:-/tmp}/note ~/note", "other", new_terminal=True)
    assert result.output == "shared\nhome"


async def test_what_is_protected_cannot_be_moved_out_of_the_way(kind: Kind, tmp_path: Path) -> None:
    work = tmp_path / "work"
    subprocess.run(["git", "init", "-q", "--template=", str(work)], check=True)  # noqa: ASYNC221
    (work / "conf").mkdir()
    (work / "conf" / "agent.yaml").write_text("agent: {}\n")
    pool = TerminalPool(work, ENV, open_wall=opener(kind, work, protected=[work / "conf" / "agent.yaml"]))
    try:
        if any("can be changed: work_dir" in gap for gap in pool.wall.told.gaps):
            pytest.skip("nothing can be taken out of a writable folder here")
        for command in (
            "mv .git .g2",
            "echo evil > .git/hooks/pre-commit",
            "mv conf c2",
            "rm -rf conf",
            "echo x > conf/agent.yaml",
        ):
            assert (await pool.execute("main", command, LONG)).return_code != 0, command
        assert (work / "conf" / "agent.yaml").read_text() == "agent: {}\n"
        assert not list((work / ".git" / "hooks").iterdir())
        await ok(pool, "echo f > f && git add f && git -c user.name=a -c user.email=b@c commit -qm x")
    finally:
        await pool.close()


async def test_no_program_of_the_agents_runs_outside(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = tmp_path / "work" / ".venv" / "bin"
    planted.mkdir(parents=True)
    for name in ("sh", "bwrap", "true", "setsid", "rg"):
        (planted / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/escaped\n")
        (planted / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{planted}:{os.environ['PATH']}")
    pool = TerminalPool(tmp_path / "work", open_wall=opener(kind, tmp_path / "work"))
    await ok(pool, "echo x")
    await pool.close()
    assert not (tmp_path / "escaped").exists()


async def test_a_forged_control_group_ends_nobody(opened: Opening, tmp_path: Path) -> None:
    pool = opened()
    with subprocess.Popen(["sleep", "1000"]) as bystander:  # noqa: ASYNC220
        for folder in ("$(dirname $HOME)", "/dev/shm", "~", "${TMPDIR:-/tmp}"):
            await pool.execute("main", f"echo {bystander.pid} > {folder}/cgroup.procs", LONG)
        await pool.close()
        assert bystander.poll() is None
        bystander.kill()


async def test_the_temporary_folder_is_theirs_alone(opened: Opening, tmp_path: Path) -> None:
    pool = opened()
    if any("TMPDIR" in gap for gap in pool.wall.told.gaps):
        pytest.skip("no mounts can be made here")
    name = f"autopilot-test-{os.getpid()}"
    await ok(pool, f"mkdir -p /tmp/{name} && cd /tmp/{name} && echo x > f && echo y > /var/tmp/{name}-2")
    assert not Path("/tmp", name).exists()
    assert not Path("/var/tmp", f"{name}-2").exists()
    # A fresh shell begins where the last one ended, although nobody else sees that folder.
    await pool.execute("main", "exit", LONG)
    assert (await ok(pool, "pwd; cat f")).output == f"/tmp/{name}\nx"


async def test_a_fork_bomb_stays_inside(opened: Opening) -> None:
    pool = opened(max_processes=40)
    if os.geteuid() == 0 and not pool.wall.leftovers[-1].startswith("/sys/"):
        pytest.skip("root without control groups: nothing counts processes here")
    result = await pool.execute("main", "b() { b | b & }; b; sleep 0.2; echo over", LONG)
    assert result.status in ("completed", "exited", "running")
    assert len(pool.wall.members()) <= 40
    await pool.terminate("main")
    assert (await ok(pool, "echo again")).output == "again"


async def test_a_memory_bomb_stays_inside(opened: Opening) -> None:
    pool = opened(memory_mb=200)
    script = "python3 -c \"x = b'x' * (1 << 30); print(len(x))\""
    result = await pool.execute("main", script, LONG)
    assert result.return_code not in (0, None)
    assert str(1 << 30) not in result.output
    small = "python3 -c \"x = b'x' * (1 << 24); print(len(x))\""
    assert (await ok(pool, small)).output == str(1 << 24)


async def test_what_leaves_its_shell_ends_with_the_pool(opened: Opening) -> None:
    pool = opened()
    naps = f"sleep {2000 + os.getpid() / 1e7:.7f}"
    await ok(pool, f"setsid env -i {naps} >/dev/null 2>&1 </dev/null & disown")
    await until(lambda: running(naps) == 1)
    await pool.close()
    assert running(naps) == 0


async def test_a_killed_host_leaves_nothing(kind: Kind, tmp_path: Path) -> None:
    opener(kind, tmp_path)
    naps = f"sleep {3000 + os.getpid() / 1e7:.7f}"
    code = textwrap.dedent(
        f"""
        import asyncio, sys
        from pathlib import Path
        from autopilot_runtime.shell.pool import TerminalPool
        from tests.confine.walls import ENV, opener

        async def main():
            work = Path({str(tmp_path)!r})
            pool = TerminalPool(work, ENV, open_wall=opener({kind!r}, work))
            await pool.execute("main", "{naps} & setsid env -i {naps} & nohup {naps} >/dev/null & echo", 10)
            await pool.execute("other", "{naps}", 0, True)
            print(*pool.wall.leftovers, flush=True)
            await asyncio.sleep(1000)

        asyncio.run(main())
        """
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root
    ) as child:
        assert child.stdout is not None
        left = [Path(place) for place in child.stdout.readline().split()]
        assert left
        await until(lambda: running(naps) == 4)
        child.send_signal(signal.SIGKILL)
        await until(lambda: not running(naps), seconds=2.0)
    await until(lambda: not any(place.exists() for place in left))


async def test_a_killed_shell_is_told_by_its_signal_and_replaced(opened: Opening) -> None:
    pool = opened()
    result = await pool.execute("main", "kill -9 $$", LONG)
    assert (result.status, result.return_code) == ("exited", 137)
    assert "SIGKILL" in " ".join(result.notes)
    assert (await ok(pool, "echo back")).output == "back"


async def test_the_folder_of_an_ended_shell_is_kept_where_only_it_could_see(opened: Opening) -> None:
    pool = opened()
    result = await pool.execute("main", "mkdir -p ~/deep && cd ~/deep && exit 3", LONG)
    assert result.return_code == 3
    assert (await ok(pool, "pwd")).output == result.cwd


async def test_a_wall_is_opened_once_and_by_the_first_shell(opened: Opening) -> None:
    pool = opened()
    assert not list_scratch(pool)
    await asyncio.gather(*(ok(pool, f"echo {n}", f"t{n}", new_terminal=True) for n in range(6)))
    assert all(Path(place).exists() for place in list_scratch(pool))


def list_scratch(pool: TerminalPool) -> tuple[str, ...]:
    """The folders a pool would leave."""
    return pool._wall.leftovers if pool._wall is not None else ()


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_only_the_hosts_on_the_list_are_reached(opened: Opening, tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    (served / "page").write_text("from the host")
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "-d", str(served)]
    with subprocess.Popen(  # noqa: ASYNC220
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().split("port ")[1].split()[0])
        pool = opened(network=(f"127.0.0.1:{port}", "allowed.invalid"))
        plain = await ok(pool, f"curl -sS -m 10 http://127.0.0.1:{port}/page")  # as anybody would write it
        assert plain.output == "from the host"
        curl = "curl -sS -m 10 --noproxy ''"
        try:
            assert (await ok(pool, f"{curl} http://127.0.0.1:{port}/page")).output == "from the host"
            assert (await ok(pool, f"{curl} -p http://127.0.0.1:{port}/page")).output == "from the host"
            refused = await pool.execute("main", f"{curl} http://example.com/", LONG)
            assert "not among the hosts" in refused.output
            refused = await pool.execute("main", f"{curl} -p http://example.com/", LONG)
            assert "403" in refused.output
            unknown = await pool.execute("main", f"{curl} http://allowed.invalid/", LONG)
            assert "could not be reached" in unknown.output
            direct = await pool.execute("main", f"curl -sS -m 10 --noproxy '*' http://127.0.0.1:{port}/page", LONG)
            assert direct.return_code != 0
        finally:
            server.kill()


async def test_a_linked_worktree_commits_into_its_repository(opened: Opening, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    git = ["git", "-C", str(whole), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "init", "-q", str(whole)], check=True)  # noqa: ASYNC221
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)  # noqa: ASYNC221
    subprocess.run([*git, "worktree", "add", "-q", str(tmp_path / "work")], check=True)  # noqa: ASYNC221
    pool = opened()
    await ok(pool, "echo x > f && git add f && git -c user.name=a -c user.email=a@b.c commit -qm second")
    assert (await ok(pool, "git log --format=%s")).output == "second\nfirst"
    refused = await pool.execute("main", f"echo x > {whole}/.git/hooks/post-commit", LONG)
    assert (refused.return_code == 0) == ("can be changed: work_dir" in " ".join(pool.wall.told.gaps))
    assert (await pool.execute("main", f"echo x > {whole}/file", LONG)).return_code != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to run as root")
async def test_root_works_in_the_files_of_another_user(opened: Opening, tmp_path: Path) -> None:
    for place in (tmp_path / "work", tmp_path / "work" / "theirs"):
        place.mkdir(exist_ok=True)
        os.chown(place, 65534, 65534)
    (tmp_path / "secret").write_text("planted")
    pool = opened()
    await ok(pool, "echo x > theirs/f && chown 65534 theirs/f && chmod 600 theirs/f && cat theirs/f")
    assert "planted" not in (await pool.execute("main", f"cat {tmp_path}/secret", LONG)).output
