"""Files that run code or widen rights when they are changed: never written without a person's word, or not at all."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_FOLDERS = {
    ".git": "git runs what is written there",
    ".hg": "version control runs what is written there",
    ".vscode": "the editor runs what is written there",
    ".idea": "the editor runs what is written there",
    ".devcontainer": "the editor runs what is written there",
    ".husky": "git runs what is written there",
    ".ssh": "it decides who may log in",
    ".gnupg": "it holds keys",
    ".autopilot": "it belongs to the runtime",
}
_SHELL = "a shell runs it when it starts"
_NAMES = {
    **dict.fromkeys((".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases", ".profile"), _SHELL),
    **dict.fromkeys((".zshrc", ".zshenv", ".zprofile", ".zlogin", ".zlogout", ".kshrc", ".mkshrc"), _SHELL),
    **dict.fromkeys((".cshrc", ".tcshrc", ".login", ".logout", "config.fish", ".inputrc", ".envrc"), _SHELL),
    **dict.fromkeys((".xinitrc", ".xprofile", ".xsession", ".pam_environment"), "a login runs it"),
    **dict.fromkeys((".gitconfig", ".gitmodules"), "it can make git run programs"),
    ".pre-commit-config.yaml": "git runs what it names",
    ".netrc": "it holds passwords",
    ".npmrc": "it decides where packages come from",
    ".pypirc": "it holds passwords",
    ".mcp.json": "it names programs to start",
    "sitecustomize.py": "every Python runs it when it starts",
    "usercustomize.py": "every Python runs it when it starts",
}


def protection(parts: Iterable[str]) -> str:
    """Why a person must be asked before the file with this path (as its parts) is written; "" when nobody must."""
    plain = [_simple(part) for part in parts]
    for part in plain:
        if part in _FOLDERS:
            return f"{part} is protected: {_FOLDERS[part]}"
    last = plain[-1] if plain else ""
    if last in _NAMES:
        return f"{last} is protected: {_NAMES[last]}"
    if last.endswith(".pth"):
        return f"{last} is protected: Python can run it when it starts"
    return ""


def _simple(part: str) -> str:
    """Without case, invisible letters and the short names of Windows, which some file systems ignore."""
    text = "".join(c for c in unicodedata.normalize("NFKC", part) if unicodedata.category(c) != "Cf").casefold()
    return ".git" if text.startswith("git~") else text.rstrip(". ")
