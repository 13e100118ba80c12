"""Which places of this machine a confined program needs to see, and which it must never see. Only looks."""

from __future__ import annotations

import fnmatch
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from autopilot_runtime.confine.plainfile import read_small


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
# Of /etc only what programs look up: the rest of it is full of other programs' passwords.
_ETC = _words("""
alternatives bash.bashrc bash_completion* ca-certificates* crypto-policies debian_version fonts gai.conf group
host.conf hostname hosts inputrc issue java* ld.so.cache ld.so.conf* locale* localtime login.defs lsb-release magic*
mailcap* man_db.conf manpath.config maven mime.types nanorc netconfig networks nsswitch.conf openssl os-release
papersize passwd perl profile profile.d protocols python* resolv.conf rpc services shells skel terminfo timezone vim
wgetrc xattr.conf xdg xml zsh* *-release
""")
# Beside these stand private keys.
_ETC_PARTS = ("ssl/certs", "ssl/openssl.cnf", "pki/tls/certs", "pki/tls/openssl.cnf", "pki/ca-trust", "pki/java")
# Settings that may hold a password: shown only when they do not.
_ETC_PLAIN = ("gitconfig", "gitattributes", "pip.conf", "npmrc")
# Large, or changing while somebody works: shown as they are, where the others may be copied.
ETC_LIVE = (
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust",
    "/etc/resolv.conf",
    "/etc/hosts",
)
_SECRET_HINTS = ("://", "_auth", "password", "token", "secret", "authorization")

# Where people keep keys, below a home folder.
CREDENTIALS = _words("""
.ssh .gnupg .aws .azure .kube .docker .netrc .git-credentials .npmrc .yarnrc .yarnrc.yml .pypirc .pip .pgpass .my.cnf
.vault-token .password-store .s3cfg .boto .terraform.d .terraformrc .cargo/credentials .cargo/credentials.toml
.gem/credentials .bundle/config .m2/settings.xml .m2/settings-security.xml .gradle/gradle.properties .autopilot
.claude .codex .gemini .config/gcloud .config/gh .config/hub .config/glab-cli .config/git/credentials .config/pip
.config/op .config/rclone .config/sops .config/age .config/autopilot .config/containers/auth.json .config/doctl
.config/heroku .config/google-chrome .config/chromium .local/share/keyrings .mozilla .thunderbird .Xauthority
.ICEauthority .bash_history .zsh_history .python_history .node_repl_history .psql_history .mysql_history
.sqlite_history .lesshst .viminfo
""")

# Variables whose value is a place that the tools they belong to cannot do without.
_NAMED = _words("""
VIRTUAL_ENV CONDA_PREFIX PYENV_ROOT NVM_DIR RUSTUP_HOME JAVA_HOME GOROOT DOTNET_ROOT ANDROID_HOME PYTHONHOME
PYTHONPATH NODE_PATH LD_LIBRARY_PATH SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS
PIP_CERT GIT_SSL_CAINFO PIP_FIND_LINKS CUDA_HOME
""")
_LOCAL = ("bin", "lib", "share/uv", "share/pipx", "share/virtualenvs", "pipx")
_MOST_LINKS = 2_000


def etc() -> list[str]:
    """The parts of /etc to show."""
    try:
        names = sorted(os.listdir("/etc"))
    except OSError:
        return []
    shown = [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in _ETC)]
    plain = [name for name in _ETC_PLAIN if name in names and not _may_hold_secret(Path("/etc", name))]
    parts = [part for part in _ETC_PARTS if os.path.exists(f"/etc/{part}")]
    return [f"/etc/{name}" for name in (*shown, *plain, *parts)]


def _may_hold_secret(path: Path) -> bool:
    text = read_small(str(path)).lower()
    if not text:
        return True
    # An address is a secret only when a name and a password stand in it.
    hints = [hint for hint in _SECRET_HINTS if hint in text]
    return "@" in text if hints == ["://"] else bool(hints)


def credentials(home: str) -> list[str]:
    """The places below `home` that are there and may hold keys."""
    return [path for name in CREDENTIALS if os.path.lexists(path := os.path.join(home, name))]


def tools(env: Mapping[str, str], *, home: str, work_dir: str, own: Sequence[str] = ()) -> list[str]:
    """Where the programs on PATH live, as far as that is not the system: virtual environments, pyenv, nvm, cargo.

    What lies in one of the `own` places is left out: the agent sees it anyway, and may have put links there.
    """
    own = (work_dir, *own)
    found: dict[str, None] = {}
    for entry in _foreign(_paths(env.get("PATH", "")), own):
        found |= dict.fromkeys(_installation(entry, home))
        if not _within(entry, SYSTEM) or entry.startswith("/usr/local"):
            found |= dict.fromkeys(_link_targets(entry, home))
        if entry == os.path.join(home, ".cargo", "bin") and "RUSTUP_HOME" not in env:
            found[os.path.join(home, ".rustup")] = None
    for name in _NAMED:
        found |= dict.fromkeys(_foreign(_paths(env.get(name, "")), own))
    # The Python we run on: a program that embeds us names it as `sys.executable`.
    found |= dict.fromkeys(_foreign((sys.prefix, sys.base_prefix), own))
    for venv in [*found, sys.prefix, os.path.join(work_dir, ".venv"), os.path.join(work_dir, "venv")]:
        found |= dict.fromkeys(_base_of(venv, home))
    # A place and where it really is: a link shows nothing when its target is hidden.
    real = {one: None for place in found for one in (place, os.path.realpath(place))}
    return [place for place in real if _is_installation_like(place, home)]


def _foreign(paths: Iterable[str], own: Sequence[str]) -> Iterator[str]:
    for path in paths:
        if not _within(path, own) and not _within(os.path.realpath(path), own):
            yield path


def _is_installation_like(place: str, home: str) -> bool:
    """Whether a place may be shown: it is there, is not the system's anyway, and is no heap of everything."""
    real = os.path.realpath(place)
    deep = real.count("/") > 1 and place.count("/") > 1
    return deep and os.path.exists(place) and not _holds(real, home) and not _within(place, SYSTEM)


def _paths(value: str) -> Iterator[str]:
    for part in value.split(os.pathsep):
        if os.path.isabs(part) and "\0" not in part:
            yield "/" + os.path.normpath(part).lstrip("/")


def _installation(folder: str, home: str) -> list[str]:
    """The installation a `bin` folder belongs to; the folder alone when its parent is not just an installation."""
    if _holds(folder, home):
        return []
    parent, name = os.path.split(folder)
    if parent == os.path.join(home, ".local"):
        return [os.path.join(parent, part) for part in _LOCAL]
    signs = ("pyvenv.cfg", "conda-meta", "lib", "libexec", "lib64")
    if name in ("bin", "sbin", "shims", "condabin") and not _holds(parent, home):
        root = os.path.dirname(parent) if os.path.basename(parent) == "pyenv-virtualenv" else parent
        if any(os.path.exists(os.path.join(root, sign)) for sign in signs):
            return [root]
    return [folder]


def _link_targets(folder: str, home: str) -> Iterator[str]:
    """The installations that links in a folder of programs lead to."""
    try:
        entries = list(os.scandir(folder))[:_MOST_LINKS]
    except OSError:
        return
    for entry in entries:
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            program = os.path.isfile(target) and os.access(target, os.X_OK)
            if program and not _within(target, (*SYSTEM, folder)):
                # Only a whole installation: a lone file may be anything.
                where = os.path.dirname(target)
                yield from (place for place in _installation(where, home) if place != where)


def _base_of(venv: str, home: str) -> list[str]:
    """The Python a virtual environment was made from, when what its file names really is one."""
    text = read_small(os.path.join(venv, "pyvenv.cfg"))
    values = dict(line.split("=", 1) for line in text.replace(" ", "").splitlines() if "=" in line)
    folder = os.path.realpath(values.get("home", ""))
    root = os.path.dirname(folder)
    # A file in a workspace may name anything: only what looks like a Python is shown for it.
    is_python = any(Path(folder).glob("python3*")) and any(Path(root, "lib").glob("python3*"))
    return _installation(folder, home) if is_python else []


def _holds(place: str, home: str) -> bool:
    """Whether a place is a home folder, or above it."""
    return place == "/" or _within(home, (place,))


def _within(path: str, roots: Iterable[str]) -> bool:
    return any(within(path, root) for root in roots)


def within(path: str, root: str) -> bool:
    """Whether `path` is `root` or lies below it, by name."""
    return path == root or path.startswith(f"{root.rstrip('/')}/")
