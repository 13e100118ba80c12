"""What differs between shells: how each is started, set up, and told to run a command."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass

from autopilot_runtime.core.errors import ToolError

# {n} nonce, {r} the descriptor for reports, {t} the descriptor of the terminal, {b} how a builtin is called safely.
#
# The function tells number, exit code and folder on the private pipe, then marks the place in the output.
# It gives back the command's own code so that `$?` is right for the next one; `set -e` would end the shell.
_REPORT = (
    "__autopilot_report() {{ "
    "{{ {b} printf '%s;%s;%s;' {n} \"$1\" \"$2\"; {b} pwd; {b} printf '\\0'; }} >&{r}; "
    "{b} printf '\\033]633;D;{n};%s\\007' \"$1\" >&{t}; "
    'case $- in *e*) return 0;; esac; return "$2"; }}\n'
)
# On the way out the pipe may be closed to us (we are inside the command): the folder goes through the terminal.
_GOODBYE = (
    'trap \'case "$PWD" in *[[:cntrl:]]*) ;; *) {b} printf "\\033]633;X;{n};%s\\007" "$PWD" >/dev/tty;; esac\' EXIT\n'
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of shell. Its commands arrive on a private pipe, so nothing typed into the terminal is ever run."""

    name: str
    program: str
    arguments: tuple[str, ...]
    builtin: str
    report_fd: int
    tty_fd: int
    before: str = ""
    after: str = ""
    source: str = "."
    # A shell that reads ahead would lose a second line when Ctrl+C empties its input.
    one_line: bool = False
    # One that must be able to give the terminal back to who had it before.
    leads: bool = False

    def setup(self, nonce: str) -> str:
        """What a new shell is told first. The last line is its first report, number 0."""
        names = {"n": nonce, "r": self.report_fd, "t": self.tty_fd, "b": self.builtin}
        steps = (
            f"PS1= PS2= PS4='+ '; unset HISTFILE; {self.before}\n",
            _REPORT.format(**names),
            self.after,
            _GOODBYE.format(**names),
            self.report(0, code="0"),
        )
        return "".join(steps)

    def command(self, path: str, number: int) -> str:
        """Run the file at `path`: its input is the terminal, and our two descriptors are closed to it."""
        closed = f"0<&{self.tty_fd} {self.tty_fd}>&- {self.report_fd}>&-"
        source = f"{self.source} {shlex.quote(path)} {closed}"
        return source + ("; " if self.one_line else "\n") + self.report(number)

    def report(self, number: int, *, code: str = '"$?"') -> str:
        """Tell how command `number` ended. Safe to repeat: a second report about it is ignored."""
        return f"{{ __autopilot_report {number} {code}; }} >/dev/null 2>&1\n"


_BASH = Dialect(
    "bash",
    "bash",
    ("--noprofile", "--norc", "--noediting", "-i"),
    "builtin",
    report_fd=87,
    tty_fd=86,
    before="set +o history; set +H; PROMPT_COMMAND=",
    after="readonly -f __autopilot_report\n",
)
# Neither reads descriptors of two digits.
_ZSH = Dialect(
    "zsh",
    "zsh",
    ("-f", "-i", "-o", "NO_ZLE", "-o", "NO_PROMPT_SP", "-o", "NO_PROMPT_CR", "-o", "INTERACTIVE_COMMENTS"),
    "builtin",
    report_fd=8,
    tty_fd=7,
    before="unsetopt BANG_HIST; SAVEHIST=0; HISTSIZE=0",
)
_SH = Dialect("sh", "sh", ("-i",), "command", report_fd=8, tty_fd=7, source="command .", one_line=True, leads=True)
DIALECTS = {dialect.name: dialect for dialect in (_BASH, _ZSH, _SH)}


def choose(name: str | None, search_path: str | None) -> tuple[Dialect, str]:
    """The shell called `name` (None: the best there is) and the path of its program."""
    if name is not None and name not in DIALECTS:
        raise ToolError(f"There is no shell {name!r} on this system. Use one of: {', '.join(DIALECTS)}.")
    for candidate in [name] if name else ["bash", "sh"]:
        program = shutil.which(DIALECTS[candidate].program, path=search_path)
        if program:
            return DIALECTS[candidate], program
    have = [one for one, dialect in DIALECTS.items() if shutil.which(dialect.program, path=search_path)]
    raise ToolError(f"The shell {name or 'sh'!r} is not installed. Installed: {', '.join(have) or 'none'}.")
