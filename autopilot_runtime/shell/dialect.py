"""What differs between shells: how each is started, set up, and told to run a command."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import dataclass

from autopilot_runtime.core.errors import ToolError

# {n} nonce, {b} how a builtin is called safely.
#
# The function tells number, exit code and folder; it is called with its output on the private pipe.
# It gives back the command's own code so that `$?` is right for the next one; `set -e` would end the shell.
_REPORT = (
    "__autopilot_report() {{ "
    "{b} printf '%s;%s;%s;' {n} \"$1\" \"$2\"; {b} pwd; {b} printf '\\0'; "
    'case $- in *e*) return 0;; esac; return "$2"; }}\n'
)
# On the way out the pipe may be closed to us (we are inside the command): the folder goes through the terminal.
_GOODBYE = (
    'trap \'case "$PWD" in *[[:cntrl:]]*) ;; *) {b} printf "\\033]633;X;{n};%s\\007" "$PWD" >/dev/tty;; esac\' EXIT\n'
)


# Words, plain variables, closed quotes and what joins commands. Left out is all that a shell searches the end of: one
# that meets the end of its text there may lose the line after it, too. `exec` and `return` want a file around them.
_PLAIN = re.compile(
    r"""(?!-|.*<<|.*\b(?:exec|return)\b)(?:[\w @%+=:,./~*?&|;<>{}#^!-]|'[^']*'|"[^"$`\\!]*"|\$\w|\$[?$#@*-])++""",
    re.ASCII,
)
_LONGEST_LINE = 500


def fits_a_line(command: str) -> bool:
    """Whether a shell does the same with it when it is quoted on a line: then no file need be written for it."""
    return len(command) <= _LONGEST_LINE and command.isprintable() and _PLAIN.fullmatch(command) is not None


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
    hide: str = "0<&{t} {t}>&- {r}>&-"
    # Ctrl+C and some faults of a command empty the input of a shell that reads ahead: the report stands on the line
    # of the command, and is asked for again when it does not come.
    reads_ahead: bool = False
    # One that must be able to give the terminal back to who had it before.
    leads: bool = False

    def setup(self, nonce: str) -> str:
        """What a new shell is told first. The last line is its first report, number 0."""
        names = {"n": nonce, "b": self.builtin}
        steps = (
            f"PS1= PS2= PS4='+ '; unset HISTFILE; {self.before}\n",
            _REPORT.format(**names),
            self.after,
            _GOODBYE.format(**names),
            self.report(0, code="0"),
        )
        return "".join(steps)

    def inline(self, command: str, number: int) -> str:
        """Run a command that fits on the line that says so."""
        # The backslash: whatever `builtin` may be an alias of.
        return self._line(f"\\{self.builtin} eval {shlex.quote(command)}", number)

    def from_file(self, path: str, number: int) -> str:
        """Run the command in the file at `path`."""
        return self._line(f"{self.source} {shlex.quote(path)}", number)

    def _line(self, run: str, number: int) -> str:
        # The command's input is the terminal, and our two descriptors are closed to it.
        hidden = self.hide.format(t=self.tty_fd, r=self.report_fd)
        return f"{run} {hidden}{'; ' if self.reads_ahead else chr(10)}{self.report(number)}"

    def report(self, number: int, *, code: str = '"$?"') -> str:
        """Tell how command `number` ended. Safe to repeat: a second report about it is ignored."""
        return f"{{ __autopilot_report {number} {code}; }} >&{self.report_fd} 2>/dev/null\n"


_BASH = Dialect(
    "bash",
    "bash",
    ("--noprofile", "--norc", "--noediting", "-i"),
    "builtin",
    report_fd=87,
    tty_fd=86,
    before="set +o history; set +H; PROMPT_COMMAND=",
    hide="0<&{t}- {r}>&-",
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
    # Without the trap, an interrupted loop of builtins leaves the code of the last one.
    before="unsetopt BANG_HIST; SAVEHIST=0; HISTSIZE=0; TRAPINT() { return 130; }",
)
_SH = Dialect("sh", "sh", ("-i",), "command", report_fd=8, tty_fd=7, source="command .", reads_ahead=True, leads=True)
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
