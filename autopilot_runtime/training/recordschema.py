"""The tables of a training record, in the file of its content store, and their version."""

from __future__ import annotations

from autopilot_runtime.core.errors import StoreError
from autopilot_runtime.store.objects import Store

VERSION = 1
_TABLES = """
CREATE TABLE train_experiments (
    id INTEGER PRIMARY KEY, slug TEXT NOT NULL UNIQUE, status TEXT NOT NULL, parent TEXT, reason TEXT NOT NULL,
    created REAL NOT NULL, changed REAL NOT NULL, body TEXT NOT NULL, seal INTEGER NOT NULL
);
CREATE TABLE train_commits (
    id INTEGER PRIMARY KEY, commit_id TEXT NOT NULL, experiment TEXT NOT NULL, epoch INTEGER NOT NULL,
    body TEXT NOT NULL, seal INTEGER NOT NULL, UNIQUE (commit_id, experiment)
);
CREATE INDEX train_commits_by_experiment ON train_commits (experiment, id);
CREATE TABLE train_refs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, experiment TEXT NOT NULL, name TEXT NOT NULL, commit_id TEXT NOT NULL,
    why TEXT NOT NULL, at REAL NOT NULL
);
CREATE INDEX train_refs_by_name ON train_refs (experiment, name, id);
CREATE TABLE train_evaluations (
    id INTEGER PRIMARY KEY, commit_id TEXT NOT NULL, split TEXT NOT NULL, item TEXT NOT NULL, version TEXT NOT NULL,
    replicate INTEGER NOT NULL, body TEXT NOT NULL, seal INTEGER NOT NULL,
    UNIQUE (commit_id, split, item, version, replicate)
);
CREATE TABLE train_epochs (
    id INTEGER PRIMARY KEY, experiment TEXT NOT NULL, epoch INTEGER NOT NULL, commit_id TEXT NOT NULL,
    verdict TEXT NOT NULL, body TEXT NOT NULL, seal INTEGER NOT NULL
);
CREATE INDEX train_epochs_by_number ON train_epochs (experiment, epoch, id);
CREATE TABLE train_events (
    experiment TEXT NOT NULL, number INTEGER NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL, link BLOB NOT NULL,
    PRIMARY KEY (experiment, number)
) WITHOUT ROWID;
CREATE TABLE train_context (
    experiment TEXT NOT NULL, number INTEGER NOT NULL, type TEXT NOT NULL, body TEXT NOT NULL, link BLOB NOT NULL,
    PRIMARY KEY (experiment, number)
) WITHOUT ROWID;
CREATE TABLE train_heads (
    chain TEXT NOT NULL, experiment TEXT NOT NULL, number INTEGER NOT NULL, link BLOB NOT NULL,
    PRIMARY KEY (chain, experiment)
) WITHOUT ROWID;
CREATE TABLE train_state (
    experiment TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, seal INTEGER NOT NULL,
    PRIMARY KEY (experiment, name)
);
CREATE TABLE train_holds (
    experiment TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, born TEXT NOT NULL, token TEXT NOT NULL,
    at REAL NOT NULL
) WITHOUT ROWID;
"""


def prepare(store: Store) -> None:
    """Make the tables where they are not there yet; those of a newer release are refused and left alone."""
    if _version(store) == VERSION:
        return
    with store.transaction() as link:
        version = _version(store)
        if version > VERSION:
            raise StoreError(
                f"The record {store.path} was written by a newer release (version {version}; this one knows "
                f"{VERSION}). Nothing was changed. Upgrade autopilot-runtime, or give another path."
            )
        if version == 0:
            for statement in filter(str.strip, _TABLES.split(";\n")):
                link.execute(statement)
            link.execute("INSERT OR REPLACE INTO meta VALUES ('training', ?)", (VERSION,))


def _version(store: Store) -> int:
    found = store.rows("SELECT value FROM meta WHERE name = 'training'")
    return int(found[0][0]) if found else 0
