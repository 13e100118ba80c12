"""A shell inherits what it needs and nothing that opens doors."""

from __future__ import annotations

from autopilot_runtime.shell.environ import child_environment

HOST = {
    "PATH": "/bin",
    "HOME": "/home/x",
    "VIRTUAL_ENV": "/v",
    "LANG": "C",
    "LC_ALL": "POSIX",
    "ANTHROPIC_API_KEY": "k" * 20,
    "AWS_SECRET_ACCESS_KEY": "s" * 20,
    "AWS_SESSION_TOKEN": "t" * 20,
    "GITHUB_TOKEN": "g" * 20,
    "DB_PASSWORD": "p" * 20,
    "DATABASE_URL": "postgres://u:p@h/db",
    "PIP_INDEX_URL": "https://user:pass@index.test/simple",
    "HTTPS_PROXY": "http://proxy.test:3128",
    "SSH_AUTH_SOCK": "/tmp/agent",
    "UV_PUBLISH_TOKEN": "x",
    "NODE_OPTIONS": "sk-" + "a" * 30,
    "SOMETHING_ELSE": "1",
    "BASH_ENV": "/evil",
    "BASH_FUNC_ls%%": "() { evil; }",
    "PROMPT_COMMAND": "evil",
    "PS4": "$(evil)",
}


def test_secrets_stay_with_the_host() -> None:
    child = child_environment(HOST)
    assert {"PATH", "HOME", "VIRTUAL_ENV", "HTTPS_PROXY"} <= child.keys()
    kept = HOST.keys() & child.keys()
    assert kept == {"PATH", "HOME", "VIRTUAL_ENV", "HTTPS_PROXY", "LANG"}


def test_a_variable_can_be_allowed_by_name() -> None:
    child = child_environment(HOST, allow=["GITHUB_TOKEN", "SOMETHING_ELSE"], extra={"MORE": "2"})
    assert child["GITHUB_TOKEN"] == "g" * 20
    assert child["SOMETHING_ELSE"] == "1"
    assert child["MORE"] == "2"


def test_text_is_utf8_and_nothing_pages() -> None:
    child = child_environment(HOST)
    assert child["LANG"] == child["LC_CTYPE"] == "C.UTF-8"
    assert "LC_ALL" not in child
    assert child["PAGER"] == child["GIT_PAGER"] == child["MANPAGER"] == "cat"
    assert child_environment({"LANG": "de_DE.UTF-8"})["LANG"] == "de_DE.UTF-8"
    assert child_environment({})["PATH"]
