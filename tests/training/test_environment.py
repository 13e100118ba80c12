"""A fit works on copies: live files hold what was accepted, what others did to them stays, nothing is left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from autopilot_runtime.store.objects import Store
from autopilot_runtime.training.environment import IsolatedEnvironment, LocalEnvironment
from autopilot_runtime.training.fault import TrainingError
from autopilot_runtime.training.parameter import TextParameter
from autopilot_runtime.training.pathparameter import PathParameter
from tests.store.trees import picture, plant

ROOT = Path(__file__).parents[2]


@dataclass
class Commit:
    """What a copy needs to know of one."""

    id: str
    parameters: dict[str, str]


@dataclass
class Keeper:
    """What a copy needs of a record."""

    store: Store


@pytest.fixture
def work(tmp_path: Path) -> Path:
    plant(tmp_path / "work")
    return tmp_path / "work"


def test_the_live_files_change_only_when_something_is_published(work: Path, tmp_path: Path) -> None:
    parameter, before = PathParameter(work, name="code"), picture(work)
    with IsolatedEnvironment(tmp_path / "scratch") as environment:
        environment.enter([("prompt", TextParameter("x")), ("code", parameter)])
        assert parameter.moved
        assert (parameter.source, picture(parameter.path)) == (work, before)
        parameter.write("a.txt", "candidate\n")
        (parameter.path / "sub" / "big.bin").unlink()
        assert picture(work) == before
        state = parameter.snapshot()
        assert environment.publish([("code", parameter)]) == []
        accepted = picture(work)
        assert accepted == picture(parameter.path)
        assert accepted != before
        parameter.write("a.txt", "worse\n")
        parameter.restore(state)
        assert environment.publish([("code", parameter)]) == []
    assert (parameter.moved, parameter.path, picture(work)) == (False, work, accepted)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_what_somebody_does_to_the_live_files_meanwhile_stays(work: Path, tmp_path: Path) -> None:
    parameter = PathParameter(work)
    with IsolatedEnvironment(tmp_path / "scratch") as environment:
        environment.enter([parameter])
        for name in ("a.txt", "run.sh", "zero"):
            parameter.write(name, "candidate\n")
        parameter.write("sub/new/n.txt", "candidate\n")
        (work / "a.txt").write_text("a person's\n")
        (work / "notes").write_text("a person's\n")
        assert environment.publish([parameter]) == [str(work / "a.txt")]
        assert (work / "a.txt").read_text() == (work / "notes").read_text() == "a person's\n"
        for name in ("run.sh", "zero", "sub/new/n.txt"):
            assert (work / name).read_text() == "candidate\n"
        (work / "sub" / "new" / "n.txt").unlink()
        (work / "sub" / "new").rmdir()
        parameter.write("sub/new/m.txt", "candidate\n")
        assert environment.publish([parameter]) == [str(work / "sub" / "new" / "m.txt")]
        assert not (work / "sub" / "new").exists()


def test_a_store_given_keeps_what_lay_there_at_first(work: Path, tmp_path: Path) -> None:
    parameter = PathParameter(work / "a.txt")
    with Store(tmp_path / "store.db") as store, IsolatedEnvironment(tmp_path / "scratch") as environment:
        environment.enter([parameter], store=store)
        first = parameter.keep(store)
        parameter.write("", "candidate\n")
        environment.publish([parameter])
        environment.leave()
        parameter.bring(store, first)
    assert (work / "a.txt").read_bytes() == b"one\r\ntwo\0three"


@pytest.mark.parametrize("kind", [LocalEnvironment, IsolatedEnvironment])
def test_a_commit_becomes_a_folder_that_nobody_else_writes(
    work: Path, tmp_path: Path, kind: type[LocalEnvironment]
) -> None:
    code, rules = PathParameter(work), PathParameter(work / "a.txt")
    with Store(tmp_path / "store.db") as store, kind(tmp_path / "scratch") as environment:
        environment.enter([("code", code), ("rules", rules), ("prompt", TextParameter("x"))])
        commit = Commit("c1", {"code": code.keep(store).hex(), "rules": rules.keep(store).hex(), "prompt": "00" * 32})
        before = picture(work)
        code.write("zero", "later\n")
        place = environment.materialise(commit, Keeper(store))
        assert sorted(one.name for one in place.iterdir()) == ["code", "rules"]
        assert picture(place / "code") == before
        assert picture(place / "rules") == {"a.txt": before["a.txt"]}
        assert environment.materialise(commit, Keeper(store)) == place
        other = environment.materialise(commit, Keeper(store), copy="worker 2")
        assert other != place
        (place / "code" / "zero").write_text("an evaluation wrote here\n")
        assert picture(other / "code") == before
        assert picture(environment.materialise(commit, Keeper(store)) / "code") == before
        environment.discard(other)
        assert not other.exists()
        assert picture(environment.materialise(commit, Keeper(store), copy="worker 2") / "code") == before
    assert list((tmp_path / "scratch").iterdir()) == []


def test_two_fits_do_not_work_on_one_parameter_at_once(work: Path, tmp_path: Path) -> None:
    parameter = PathParameter(work, name="code")
    with IsolatedEnvironment(tmp_path) as one, IsolatedEnvironment(tmp_path) as two:
        one.enter([parameter])
        with pytest.raises(TrainingError, match="'code' is being worked on by another fit"):
            two.enter([parameter])
        assert parameter.moved


def test_what_a_killed_fit_left_is_swept_by_the_next_and_a_living_ones_is_not(work: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom autopilot_runtime.training import IsolatedEnvironment, PathParameter\n"
        "one = PathParameter(sys.argv[1])\nIsolatedEnvironment(sys.argv[2]).enter([one])\n"
        "one.write('a.txt', 'candidate')\nprint(one.path, flush=True)\ntime.sleep(600)\n"
    )
    before, places, fits = picture(work), [], []
    for _ in range(2):
        child = subprocess.Popen(
            [sys.executable, "-c", code, work, tmp_path / "s"], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        places.append(Path(child.stdout.readline().strip()))
        fits.append(child)
    try:
        os.kill(fits[0].pid, signal.SIGKILL)
        fits[0].wait()
        assert [place.exists() for place in places] == [True, True]
        with IsolatedEnvironment(tmp_path / "s") as environment:
            environment.enter([PathParameter(work)])
            assert [place.exists() for place in places] == [False, True]
        assert picture(work) == before
    finally:
        for child in fits:
            child.kill()
            child.communicate()
