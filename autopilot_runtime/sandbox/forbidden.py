"""What a control block has no use for, with one line of advice each. A friendly lint; confinement is the boundary."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

_SHELL = "shell"
_NET = "net"
_FILES = "files"
_ENV = "env"
_NATIVE = "native"

_TOOLS = {
    _SHELL: ("execute",),
    _NET: ("fetch", "web_fetch", "web_search"),
    _FILES: ("read_file", "write_file", "edit_file", "find"),
    _ENV: (),
    _NATIVE: (),
}
_MODULES = {
    _SHELL: "subprocess pty pexpect multiprocessing sh _posixsubprocess",
    _NET: "socket ssl http.client http.server urllib.request ftplib smtplib telnetlib poplib imaplib nntplib "
    "xmlrpc socketserver requests httpx httpx2 aiohttp urllib3 paramiko webbrowser _socket",
    _FILES: "shutil tempfile glob fileinput dbm shelve mmap zipfile tarfile",
    _NATIVE: "ctypes cffi _ctypes",
}
_OS = {
    _SHELL: "system popen fork forkpty kill killpg execl execle execlp execv execve execvp execvpe spawnl spawnle "
    "spawnlp spawnv spawnve spawnvp posix_spawn posix_spawnp startfile",
    _FILES: "open listdir scandir walk fwalk stat lstat access remove unlink rename renames replace mkdir makedirs "
    "rmdir removedirs chmod chown link symlink readlink utime truncate chdir getcwd mkfifo",
    _ENV: "environ environb getenv putenv unsetenv",
}
_OS_PATH = "exists lexists isfile isdir islink ismount getsize getmtime getctime getatime realpath samefile"
_PATH_METHODS = (
    "read_text read_bytes write_text write_bytes iterdir rglob mkdir rmdir unlink touch rename exists is_file is_dir "
    "stat lstat chmod symlink_to hardlink_to resolve glob open"
)
_WORDS = {
    _SHELL: "no subprocess",
    _NET: "no network",
    _FILES: "no file system",
    _ENV: "no environment variables",
    _NATIVE: "no native code",
}


def _table(source: dict[str, str]) -> dict[str, str]:
    return {name: kind for kind, names in source.items() for name in names.split()}


_MODULE_KIND = _table(_MODULES)
_OS_KIND = _table(_OS)
_IN_OS_PATH = frozenset(_OS_PATH.split())
_IN_PATH = frozenset(_PATH_METHODS.split())


def forbidden(tree: ast.Module, tools: Collection[str], bound: Collection[str]) -> Iterator[tuple[ast.AST, str]]:
    """Each use of something that is not there, with the advice. `bound`: names the block binds itself."""
    modules = dict(_imported(tree))
    for node in ast.walk(tree):
        found = _at(node, modules, bound)
        if found is not None:
            what, kind = found
            yield node, f"{what}: {advice(kind, tools)}"


def advice(kind: str, tools: Collection[str]) -> str:
    """`no subprocess here: call execute()`, naming only tools this agent has."""
    have = [f"{name}()" for name in _TOOLS[kind] if name in tools]
    if not have:
        return f"{_WORDS[kind]} here, and no tool of this agent gives it"
    return f"{_WORDS[kind]} here: call {'/'.join(have)}"


def _imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Local name -> module (or module.attribute) it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], alias.name if alias.asname else _top(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _top(name: str) -> str:
    return name.partition(".")[0]


def _at(node: ast.AST, modules: dict[str, str], bound: Collection[str]) -> tuple[str, str] | None:
    if isinstance(node, ast.Import):
        return next((hit for alias in node.names if (hit := _module(alias.name))), None)
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return _imported_from(node.module, [alias.name for alias in node.names])
    if isinstance(node, ast.Attribute):
        return _attribute_at(node, modules)
    return _call_at(node, modules, bound) if isinstance(node, ast.Call) else None


def _imported_from(module: str, names: list[str]) -> tuple[str, str] | None:
    hits = (_module(module) or _module(f"{module}.{name}") or _attribute(module, name) for name in names)
    return next((hit for hit in hits if hit), None)


def _attribute_at(node: ast.Attribute, modules: dict[str, str]) -> tuple[str, str] | None:
    match node.value:
        case ast.Name(id=name) if name in modules:
            return _attribute(modules[name], node.attr)
        case ast.Attribute(value=ast.Name(id=name), attr="path") if modules.get(name) == "os":
            return _attribute("os.path", node.attr)
    return None


def _call_at(node: ast.Call, modules: dict[str, str], bound: Collection[str]) -> tuple[str, str] | None:
    match node:
        case ast.Call(func=ast.Name(id="open")) if "open" not in bound:
            return "open()", _FILES
        case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]) if _is_import(func):
            return _module(name)
        case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in _IN_PATH and _is_path(value, modules):
            return f"Path.{attr}()", _FILES
    return None


def _module(name: str) -> tuple[str, str] | None:
    parts = name.split(".")
    for size in range(len(parts), 0, -1):
        kind = _MODULE_KIND.get(".".join(parts[:size]))
        if kind is not None:
            return name, kind
    return None


def _attribute(module: str, attr: str) -> tuple[str, str] | None:
    if module == "os" and attr in _OS_KIND:
        return f"os.{attr}", _OS_KIND[attr]
    if module in ("os.path", "posixpath", "ntpath") and attr in _IN_OS_PATH:
        return f"os.path.{attr}", _FILES
    if module == "io" and attr == "open":
        return "io.open", _FILES
    if module == "asyncio" and attr.startswith("create_subprocess"):
        return f"asyncio.{attr}", _SHELL
    if module == "asyncio" and attr in ("open_connection", "start_server"):
        return f"asyncio.{attr}", _NET
    return None


def _is_import(func: ast.expr) -> bool:
    match func:
        case ast.Name(id="__import__" | "import_module"):
            return True
        case ast.Attribute(value=ast.Name(id="importlib"), attr="import_module"):
            return True
    return False


def _is_path(value: ast.expr, modules: dict[str, str]) -> bool:
    """`Path(...)`, `pathlib.Path(...)`, and `Path(...) / "x"`: what can be known without running."""
    match value:
        case ast.Call(func=ast.Name(id=name)):
            return modules.get(name) in ("pathlib.Path", "pathlib.PosixPath")
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="Path" | "PosixPath")):
            return modules.get(name) == "pathlib"
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="cwd" | "home")):
            return modules.get(name) == "pathlib.Path"
        case ast.BinOp(left=left, op=ast.Div()):
            return _is_path(left, modules)
    return False
