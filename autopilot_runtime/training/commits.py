"""States of parameters as commits: kept so that nothing throws them away, and brought back whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from autopilot_runtime.core.errors import ObjectDamaged
from autopilot_runtime.store.objects import Store
from autopilot_runtime.store.refs import Pointed, pin
from autopilot_runtime.store.tree import MAGIC, State, entries, walk
from autopilot_runtime.training.fault import TrainingError, meant
from autopilot_runtime.training.parameter import Parameter
from autopilot_runtime.training.recordform import body_of, key_text, seal, unsealed
from autopilot_runtime.training.recordrows import Commit, commit_id

_ROW = "SELECT commit_id, experiment, epoch, body, seal FROM train_commits"


def keep(store: Store, parameters: Iterable[tuple[str, Parameter]], **about: Any) -> Commit:
    """Keep the state that the parameters are in now; the same state in the same experiment keeps its first row."""
    with store.transaction() as link:
        states: dict[str, str] = {}
        kinds: dict[str, Pointed | None] = {}
        for name, parameter in parameters:
            if name in states:
                raise TrainingError(
                    f"Two parameters are named {name!r}; a commit would lose one. Rename one of them."
                )
            states[name] = parameter.keep(store).hex()
            kinds[name] = parameter.kept_as
        made = Commit(commit_id(states), dict(sorted(states.items())), at=store.clock(), **about)
        experiment = key_text(made.experiment)
        row = (made.id, experiment, made.epoch, _body(made))
        new = link.execute(
            "INSERT OR IGNORE INTO train_commits (commit_id, experiment, epoch, body, seal) VALUES (?, ?, ?, ?, ?)",
            (*row, seal(*row)),
        ).rowcount
        if not new:
            return read(store.rows(f"{_ROW} WHERE commit_id = ? AND experiment = ?", (made.id, experiment))[0])
        digests = {name: bytes.fromhex(digest) for name, digest in states.items()}
        pinned = [(digest, kinds[name] or pointed(store, digest)) for name, digest in digests.items()]
        pin(store, owner_of(made.id), pinned)
    return made


def owner_of(commit: str) -> str:
    """In whose name the contents of a commit are pinned."""
    return f"commit {commit}"


def pointed(store: Store, digest: bytes) -> Pointed:
    """Whether a state is a tree with all it holds, or one content. A text that looks like a tree is none."""
    if not store.get(digest).startswith(MAGIC):
        return "blob"
    try:
        leaves = {state.digest for _, state in walk(store, digest) if state.kind != "left"}
    except ObjectDamaged:
        return "blob"
    return "tree" if store.known(leaves) == leaves else "blob"


def below(store: Store, state: bytes) -> list[State]:
    """What a state holds when it is the tree of a folder; nothing when it is one content."""
    return list(entries(store, state).values()) if store.get(state).startswith(MAGIC) else []


def read(row: Sequence[Any]) -> Commit:
    """The commit of a row; `ObjectDamaged` when its id does not name what it holds."""
    wanted, experiment, epoch, body, mark = row
    what = f"Commit {wanted[:12]} (experiment {experiment!r}, epoch {epoch})"
    held = unsealed(what, mark, wanted, experiment, epoch, body)
    if commit_id(held["parameters"]) != wanted:
        raise ObjectDamaged(f"{what} is damaged: it is not the state that its id names. Nothing is restored from it.")
    return Commit(wanted, held.pop("parameters"), tuple(held.pop("parents")), experiment, epoch, **held)


def _body(commit: Commit) -> str:
    about = {"step": commit.step, "why": commit.why, "source": commit.source, "at": commit.at}
    return body_of({"parameters": commit.parameters, "parents": commit.parents, **about}, "a commit")


def find(store: Store, wanted: str, experiment: str | None) -> Commit | None:
    """The commit with this id, or the only one whose id begins so; this experiment's or the first."""
    if len(wanted) < 4 or not all(letter in "0123456789abcdef" for letter in wanted):
        return None
    rows = store.rows(
        f"{_ROW} WHERE commit_id >= ? AND commit_id < ? ORDER BY experiment != ?, id",
        (wanted, wanted + "g", key_text(experiment or "")),
    )
    ids = sorted({row[0] for row in rows})
    if len(ids) > 1:
        shown = ", ".join(one[:12] for one in ids[:5])
        raise TrainingError(f"{wanted!r} begins {len(ids)} commit ids ({shown}…); give more of it.")
    return read(rows[0]) if rows else None


def listed(store: Store, experiment: str | None) -> list[Commit]:
    """All commits, oldest first."""
    if experiment is None:
        return [read(row) for row in store.rows(f"{_ROW} ORDER BY id")]
    return [read(row) for row in store.rows(f"{_ROW} WHERE experiment = ? ORDER BY id", (key_text(experiment),))]


def bring(store: Store, commit: Commit, parameters: Iterable[tuple[str, Parameter]]) -> None:
    """Let the parameters be what the commit says. All of it is read and checked first; if putting it in place fails
    half-way, they are put back as they were."""
    bound = dict(parameters)
    _same_names(commit, bound)
    changed = {name: one for name, one in bound.items() if one.digest != commit.parameters[name]}
    for name, parameter in changed.items():
        check(store, commit, name, parameter)
    done: list[tuple[Parameter, bytes]] = []
    for name, parameter in changed.items():
        done.append((parameter, parameter.keep(store)))
        try:
            parameter.bring(store, bytes.fromhex(commit.parameters[name]))
        except BaseException as error:
            _put_back(store, done, error)
            if not isinstance(error, Exception):
                raise
            raise TrainingError(
                f"Parameter {name!r} cannot be brought to {named(commit)}: {error} The parameters are as they were."
            ) from error


def check(store: Store, commit: Commit, name: str, parameter: Parameter) -> None:
    """Read all that one parameter's state is made of; `ObjectDamaged` names the parameter, the commit, the epoch."""
    state = bytes.fromhex(commit.parameters[name])
    place = f"of parameter {name!r}"
    try:
        for path, one in walk(store, state) if _is_tree(store, commit.id, state) else ():
            if one.kind in ("file", "link"):
                place = f"of {path.decode('utf-8', 'backslashreplace')!r} in parameter {name!r}"
                store.get(one.digest)
        parameter.verify(store, state)
    except ObjectDamaged as error:
        raise ObjectDamaged(
            f"The state {place} in {named(commit)} is damaged, so nothing was restored: {error}"
        ) from error


def _is_tree(store: Store, commit: str, state: bytes) -> bool:
    question = "SELECT kind FROM pins WHERE owner = ? AND digest = ?"
    rows = store.rows(question, (owner_of(commit), state))
    return bool(rows) and rows[0][0] == "tree"


def named(commit: Commit) -> str:
    """The commit in words."""
    where = f"epoch {commit.epoch}" + (f" of experiment {commit.experiment!r}" if commit.experiment else "")
    return f"commit {commit.id[:12]} ({where})"


def _same_names(commit: Commit, bound: dict[str, Parameter]) -> None:
    for name in bound:
        if name not in commit.parameters:
            hint = meant(name, commit.parameters)
            raise TrainingError(f"{named(commit)} has no state for parameter {name!r}; nothing was changed.{hint}")
    if missing := sorted(commit.parameters.keys() - bound.keys()):
        hint = meant(missing[0], bound)
        raise TrainingError(
            f"{named(commit)} also holds parameter {missing[0]!r}, which is not among those given; "
            f"nothing was changed.{hint}"
        )


def _put_back(store: Store, done: list[tuple[Parameter, bytes]], error: BaseException) -> None:
    for parameter, state in reversed(done):
        try:
            parameter.bring(store, state)
        except Exception as second:
            error.add_note(f"Parameter {parameter.name!r} could not be put back either ({second}).")
