"""Who commits: the harmless part of a person's git settings, for a sandbox that does not see the file itself."""

from __future__ import annotations

from pathlib import Path

from autopilot_runtime.confine.plainfile import read_small

# Sections that neither hold passwords nor need programs from outside.
_SECTIONS = {
    "user", "author", "committer", "init", "core", "color", "pull", "push", "merge", "diff", "branch", "fetch",
    "rebase", "advice", "column", "status", "log", "i18n", "rerere", "safe", "alias",
}  # fmt: skip
_KEYS = ("signingkey", "pager", "editor", "hookspath", "fsmonitor", "sshcommand", "askpass", "excludesfile")


def harmless(text: str) -> str:
    """The lines of a git configuration that may be shown to a confined program."""
    kept: list[str] = []
    section, going_on = "", False
    for line in text.splitlines():
        plain = line.strip()
        if going_on:  # the rest of a line that was continued with a backslash belongs to it
            going_on = plain.endswith("\\")
            continue
        going_on = plain.endswith("\\")
        if plain.startswith("["):
            section = plain[1:].split("]")[0].split()[0].split(".")[0].strip('"').lower() if len(plain) > 2 else ""
        key = plain.split("=")[0].strip().lower()
        if section in _SECTIONS and key not in _KEYS and not going_on:
            kept.append(line)
    return "\n".join([*kept, ""])


def settings(home: str) -> str:
    """The harmless part of the git settings of a home folder; "" when there are none."""
    places = [Path(home, ".config", "git", "config"), Path(home, ".gitconfig")]
    texts = [harmless(read_small(str(place))) for place in places if place.is_file()]
    return "".join(texts)
