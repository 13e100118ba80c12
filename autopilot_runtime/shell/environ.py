"""Which variables a shell inherits: an allow-list, and never a secret unless it was asked for by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from autopilot_runtime.core.secret import NAMES, Redactor

_NAMES = frozenset(
    re.findall(
        r"\S+",
        "PATH HOME USER LOGNAME SHELL TMPDIR TMP TEMP TZ LANG LANGUAGE HOSTNAME HOSTTYPE DISPLAY "
        "MANPATH INFOPATH PKG_CONFIG_PATH LD_LIBRARY_PATH DYLD_LIBRARY_PATH LIBRARY_PATH CPATH CC CXX CFLAGS "
        "CXXFLAGS LDFLAGS MAKEFLAGS VIRTUAL_ENV PYTHONPATH PYTHONHOME PYTHONUTF8 PYTHONIOENCODING "
        "PYTHONDONTWRITEBYTECODE JAVA_HOME GOPATH GOROOT GOBIN GOFLAGS GOPROXY "
        "CARGO_HOME RUSTUP_HOME NODE_PATH NODE_ENV NODE_OPTIONS DENO_DIR GEM_HOME "
        "GEM_PATH BUNDLE_PATH ANDROID_HOME DOTNET_ROOT SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE "
        "NODE_EXTRA_CA_CERTS HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY FTP_PROXY CI CONTAINER EDITOR VISUAL "
        "SOURCE_DATE_EPOCH OMP_NUM_THREADS CUDA_VISIBLE_DEVICES CUDA_HOME "
        "SYSTEMROOT SYSTEMDRIVE WINDIR COMSPEC PATHEXT "
        "USERPROFILE USERNAME USERDOMAIN HOMEDRIVE HOMEPATH APPDATA LOCALAPPDATA PROGRAMDATA PROGRAMFILES "
        "PROGRAMFILES(X86) PROGRAMW6432 COMMONPROGRAMFILES PUBLIC ALLUSERSPROFILE OS PROCESSOR_ARCHITECTURE "
        "NUMBER_OF_PROCESSORS PSMODULEPATH",
    )
)
_PREFIXES = (
    "LC_",
    "XDG_",
    "CONDA_",
    "MAMBA_",
    "PYENV_",
    "NVM_",
    "VOLTA_",
    "FNM_",
    "RBENV_",
    "ASDF_",
    "SDKMAN_",
    "NIX_",
    "UV_",
    "PIP_",
    "WSL_",
)
_SECRET_NAMES = re.compile(
    NAMES.pattern + r"|CREDENTIAL|PASSPHRASE|PRIVATE|AUTH|COOKIE|BEARER|_PAT$|_PWD$", re.IGNORECASE
)
_URL_WITH_PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@]+@")
# No program may stop and wait in a pager: nobody would turn the page.
_PAGERS = (
    "PAGER",
    "GIT_PAGER",
    "MANPAGER",
    "SYSTEMD_PAGER",
    "BAT_PAGER",
    "AWS_PAGER",
    "GH_PAGER",
    "DELTA_PAGER",
    "PSQL_PAGER",
)


def child_environment(
    host: Mapping[str, str], *, allow: Iterable[str] = (), extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The variables of a new shell: the harmless ones of `host`, those named in `allow`, and `extra` over them."""
    allowed = set(allow)
    redactor = Redactor()
    child = {
        name: value
        for name, value in host.items()
        if name in allowed or (_is_harmless(name) and not _looks_secret(name, value, redactor))
    }
    child.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    _speak_utf8(child)
    child["TERM"] = "xterm-256color"
    child |= dict.fromkeys(_PAGERS, "cat")
    child["LESS"] = "-FRX"
    child |= dict(extra or {})
    return child


def _is_harmless(name: str) -> bool:
    upper = name.upper()
    return upper in _NAMES or upper.startswith(_PREFIXES)


def _looks_secret(name: str, value: str, redactor: Redactor) -> bool:
    if _SECRET_NAMES.search(name) or _URL_WITH_PASSWORD.search(value):
        return True
    return redactor.mask(value) != value


def _speak_utf8(child: dict[str, str]) -> None:
    effective = child.get("LC_ALL") or child.get("LC_CTYPE") or child.get("LANG") or ""
    if "utf" not in effective.lower():
        child.pop("LC_ALL", None)
        child |= {"LANG": "C.UTF-8", "LC_CTYPE": "C.UTF-8"}
