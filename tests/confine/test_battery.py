"""One battery of probes against every wall, against the worker of control blocks, and against no wall at all."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from autopilot_runtime.confine.choice import open_wall
from autopilot_runtime.confine.policy import Policy
from autopilot_runtime.confine.wall import Kind, Wall
from autopilot_runtime.core.errors import SandboxUnavailable
from autopilot_runtime.core.protocols import Limits
from tests.confine import probes
from tests.confine.walls import ENV, KINDS, PYTHON, opener, run

if sys.platform != "linux":
    pytest.skip("probes of Linux", allow_module_level=True)

from autopilot_runtime.confine.kernel import arch

ROOT = Path(__file__).parents[2]
SYSTEM_PYTHON = "/usr/bin/python3"
# Where no mounts can be made, it takes nothing out of a folder it allows, and has no say on modes; the wall says so.
OF_LANDLOCK = {
    "change a protected file": "can be changed: work_dir holds them",
    "change the modes of a file outside": "/tmp is not writable",
}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs to run as root")


@dataclass
class Host:
    """This machine's treasures: files, sockets, a process, a secret variable."""

    work: Path
    outside: Path
    home: Path
    shown: Path
    secret: str
    tcp: socket.socket
    tcp6: socket.socket | None
    udp: socket.socket
    abstract: str
    bearer: int
    memory: int

    def fill(self, text: str) -> str:
        """A probe with this host's addresses in it."""
        table = arch()
        assert table is not None
        values = {
            "SECRET": self.secret,
            "OUTSIDE": self.outside,
            "WORK": self.work,
            "HOME": self.home,
            "SHOWN": self.shown,
            "PORT": self.tcp.getsockname()[1],
            "PORT6": self.tcp6.getsockname()[1] if self.tcp6 else 0,
            "UDP": self.udp.getsockname()[1],
            "ABSTRACT": self.abstract,
            "PID": os.getpid(),
            "BEARER": self.bearer,
            "MEMORY": self.memory,
            **{f"NR_{name}": number for name, number in table.calls.items()},
        }
        for name, value in values.items():
            text = text.replace("{" + name + "}", str(value))
        return probes.PREAMBLE + text

    def got_datagram(self) -> bool:
        """Whether one has arrived since the last look."""
        try:
            return bool(self.udp.recv(100))
        except BlockingIOError:
            return False


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    outside, work, home, shown = (tmp_path / name for name in ("outside", "work", "home", "shown"))
    for folder in (outside, work, home / ".ssh", shown):
        folder.mkdir(parents=True)
    secret, abstract = f"planted-{secrets.token_hex(8)}", f"autopilot-test-{secrets.token_hex(8)}"
    for file in (outside / "secret.txt", home / ".ssh" / "id_test", home / ".netrc"):
        file.write_text(secret)
    for file in (outside / "victim", outside / "victim2", work / "agent.yaml"):
        file.touch()
    (shown / "book").write_text("to be read")
    monkeypatch.setenv("PLANTED_SECRET", secret)
    with (
        subprocess.Popen(["sleep", "1000"], env={"PLANTED_SECRET": secret}) as bearer,
        socket.create_server(("127.0.0.1", 0)) as tcp,
        _six() as tcp6,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as named,
        socket.socket(socket.AF_UNIX) as nameless,
    ):
        udp.bind(("127.0.0.1", 0))
        udp.setblocking(False)
        named.bind(str(outside / "socket"))
        nameless.bind(f"\0{abstract}")
        named.listen()
        nameless.listen()
        libc = ctypes.CDLL(None)
        memory = libc.shmget(0, 4_096, 0o600 | 0o1000)
        yield Host(work, outside, home, shown, secret, tcp, tcp6, udp, abstract, bearer.pid, memory)
        libc.shmctl(memory, 0, None)
        bearer.kill()


def _six() -> socket.socket:
    return socket.create_server(("::1", 0), family=socket.AF_INET6)


def attempt(wall: Wall, host: Host, probe: str, env: dict[str, str]) -> bool:
    """Whether a probe got through."""
    _, output = run(wall, [PYTHON, "-c", host.fill(probes.PROBES[probe])], host.work, env=env)
    return "REACHED" in output or host.got_datagram()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def test_nothing_is_reached_behind_a_wall(kind: Kind, host: Host) -> None:
    env = {**ENV, "HOME": str(host.home)}
    wall = opener(kind, host.work, env=env, protected=[host.work / "agent.yaml"], readable=[host.shown])([])
    try:
        reached = {probe for probe in probes.PROBES if attempt(wall, host, probe, env)}
    finally:
        wall.close()
    assert reached == {probe for probe, gap in OF_LANDLOCK.items() if gap in " ".join(wall.told.gaps)}
    assert (host.outside / "secret.txt").read_text() == host.secret
    assert sorted(path.name for path in host.outside.iterdir()) == ["secret.txt", "socket", "victim", "victim2"]


@as_root
def test_without_a_wall_every_probe_gets_through(host: Host) -> None:
    env = {**os.environ, "HOME": str(host.home)}
    missed = {probe for probe in probes.PROBES if not attempt(Wall(), host, probe, env)}
    assert missed <= {
        # What this kernel or this container does not offer to anybody proves nothing either way.
        "set the clock", "type into a terminal", "load a program into the kernel", "set up io_uring",
        "open a socket of the machine below", "open a socket of the kernel's cryptography", "make a user namespace",
        "make a network namespace", "use the kernel's key ring", "press the kernel's panic keys",
        "write to the kernel's settings",
    }  # fmt: skip
    subprocess.run(["umount", "-q", str(host.work)], check=False)


async def test_nothing_is_reached_from_a_control_block(host: Host) -> None:
    from autopilot_runtime.sandbox.python import PythonSandbox

    sandbox = PythonSandbox()
    await sandbox.start()
    try:
        for probe, text in probes.PROBES.items():
            result = await sandbox.run(host.fill(text), tools={}, call=_no_tools, limits=Limits(seconds=5.0))
            assert not any("REACHED" in item.text for item in result.items), probe
            assert not host.got_datagram(), probe
    finally:
        await sandbox.close()


async def _no_tools(_: object) -> object:
    raise AssertionError("no tools were granted")


@as_root
@pytest.mark.parametrize("kind", KINDS)
def test_an_ordinary_user_gets_the_same_wall(kind: Kind) -> None:
    """The battery once more, run by a user without any rights, from a copy of the package that this user can read."""
    if not Path(SYSTEM_PYTHON).exists():
        pytest.skip("no Python that every user can run")
    opener(kind, Path("/tmp"))
    folder = Path(tempfile.mkdtemp(prefix="battery-"))
    try:
        for name in ("__init__.py", "core", "confine"):
            source = ROOT / "autopilot_runtime" / name
            target = folder / "autopilot_runtime" / name
            target.parent.mkdir(exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        subprocess.run(["chmod", "-R", "a+rwX", str(folder)], check=True)
        ran = subprocess.run(
            [SYSTEM_PYTHON, "-S", "-c", AS_USER, str(folder), kind],
            user=65534, group=65534, extra_groups=[], cwd=folder, capture_output=True, text=True, check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert ran.stdout.splitlines() == ["work", "none", "sockets of its own"]
    finally:
        shutil.rmtree(folder)


AS_USER = """
import os, socket, subprocess, sys
folder, kind = sys.argv[1:]
sys.path.insert(0, folder)
from autopilot_runtime.confine.policy import Policy
from autopilot_runtime.confine.choice import open_wall

env = {"PATH": "/usr/bin:/bin", "HOME": folder}
os.mkdir(f"{folder}/work")
open(f"{folder}/secret", "w").write("planted")
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
wall = open_wall("auto", Policy(f"{folder}/work"), env, kind=kind)
assert wall.kind == kind, wall.told
script = f'''
echo work > {folder}/work/made && cat {folder}/work/made
cat {folder}/secret 2>/dev/null
echo x 2>/dev/null > {folder}/stray
kill -0 {os.getpid()} 2>/dev/null && echo signalled
python3 -c "import socket; socket.create_connection(('127.0.0.1', {port}), 2); print('connected')" 2>/dev/null
echo none
python3 -c "
import socket
s = socket.create_server(('127.0.0.1', 0))
socket.create_connection(s.getsockname())
print('sockets of its own')"
'''
with wall.launch(["/bin/sh", "-c", script], cwd=f"{folder}/work") as launch:
    how = dict(cwd=launch.cwd, env=wall.env(env), pass_fds=launch.pass_fds, preexec_fn=launch.in_child)
    subprocess.run(launch.argv, **how)
assert not os.path.exists(f"{folder}/stray")
wall.close()
assert not any(os.path.exists(place) for place in wall.leftovers)
"""


def test_a_wall_leaves_nothing_behind(kind: Kind, tmp_path: Path) -> None:
    before = {fd.name for fd in Path("/proc/self/fd").iterdir()}
    wall = opener(kind, tmp_path, memory_mb=200)([])
    left = [Path(place) for place in wall.leftovers]
    assert left
    assert all(place.exists() for place in left)
    run(
        wall,
        ["/bin/sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & mkdir -p $HOME/a/b; chmod 0 $HOME/a; echo x"],
        tmp_path,
    )
    wall.close()
    assert not any(place.exists() for place in left)
    assert {fd.name for fd in Path("/proc/self/fd").iterdir()} == before


def test_a_wall_that_fails_to_go_up_lets_nothing_run(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    opening = opener(kind, work)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(SandboxUnavailable, match=r"cannot be confined: .*No such file"):
        opening([])


NO_NETWORKS = """
import os, socket, subprocess, sys
from autopilot_runtime.confine.policy import Policy
from autopilot_runtime.confine.choice import open_wall

env = {"PATH": "/usr/bin:/bin", "HOME": sys.argv[1]}
with socket.create_server(("127.0.0.1", 0)) as server:
    port = server.getsockname()[1]
    wall = open_wall("auto", Policy(sys.argv[1]), env, kind=sys.argv[2])
    script = f"exec 3<>/dev/tcp/127.0.0.1/{port} && echo CONNECTED"
    with wall.launch(["/bin/bash", "-c", script], cwd=sys.argv[1]) as launch:
        how = dict(cwd=launch.cwd, env=wall.env(env), pass_fds=launch.pass_fds, preexec_fn=launch.in_child)
        subprocess.run(launch.argv, **how)
    wall.close()
print("done")
"""


@as_root
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
def test_where_no_network_can_be_made_there_is_none_and_never_that_of_the_host(kind: Kind, tmp_path: Path) -> None:
    opener(kind, tmp_path)
    script = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$0" -c "$1" "$2" "$3"'
    ran = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", script, sys.executable, NO_NETWORKS, str(tmp_path), kind],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "done" in ran.stdout, ran.stderr
    assert "CONNECTED" not in ran.stdout


def test_switched_off_is_no_wall(tmp_path: Path) -> None:
    assert open_wall("off", Policy(str(tmp_path)), ENV).kind == "none"
