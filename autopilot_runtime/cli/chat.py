"""`autopilot chat`: task after task with one agent, in one conversation."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from autopilot_runtime.cli import figures, keep, report, safe
from autopilot_runtime.cli.drive import Driver
from autopilot_runtime.cli.exitcode import ExitCode, reason
from autopilot_runtime.cli.front import TextFront
from autopilot_runtime.cli.origin import remember
from autopilot_runtime.cli.request import Request, load_agent
from autopilot_runtime.cli.run import code_of, headline, with_keys
from autopilot_runtime.cli.screen import Screen
from autopilot_runtime.cli.tty import look
from autopilot_runtime.core.errors import AutopilotError, SetupError
from autopilot_runtime.runtime.runtime import AsyncRuntime

_HELP = """/help   these commands
/reset  forget the conversation
/cost   what it cost so far
/tools  what the agent can do
/quit   leave (so does Ctrl+D)
While it works: type a message and press Enter, Esc or Ctrl+C stops it."""


def chat_command(request: Request) -> ExitCode:
    """Talk until the person leaves."""
    facts = look()
    if not facts.person:
        raise SetupError("chat needs a terminal. In a script: autopilot run AGENT TASK")
    if not request.save and request.session:
        raise SetupError("--no-save keeps nothing, and a session is what is kept: leave one of them out.")
    agent = load_agent(request, person=True)
    screen = Screen(facts)
    with keep.opened(request, agent, stream=True, tell=lambda text: screen.line(safe.prose(text))) as runtime:
        screen.line(screen.paint(headline(runtime), "dim"))
        if runtime.messages:
            screen.line(screen.paint(f"Going on with {figures.count(len(runtime.messages), 'message')}.", "dim"))
        with _history():
            Chat(runtime, screen, anew=lambda: remember(runtime.session, request, agent)).loop()
        if keep.is_kept(runtime) and runtime.messages:
            again = f"autopilot chat {shlex.quote(request.agent)} --session {runtime.session.session_id}"
            screen.line(screen.paint(f"Go on: {again}{request.place.flags}", "dim"))
    return ExitCode.DONE


class Chat:
    """One conversation at a prompt."""

    def __init__(
        self,
        runtime: AsyncRuntime,
        screen: Screen,
        read: Callable[[str], str] = input,
        *,
        anew: Callable[[], None] = lambda: None,
    ) -> None:
        self._runtime = runtime
        self._screen = screen
        self._read = read
        self._anew = anew
        self._cost: float | None = 0.0
        self._tokens = 0
        self._commands: dict[str, Callable[[], None]] = {
            "/help": lambda: screen.line(_HELP),
            "/reset": self._reset,
            "/cost": self._tell_cost,
            "/tools": self._tools,
        }

    def loop(self) -> None:
        """Read and work, until the end of input or /quit."""
        while True:
            try:
                text = self._read("\n› ").strip()
            except EOFError:
                self._screen.line()
                return
            except KeyboardInterrupt:
                self._screen.line("\n(Ctrl+D or /quit leaves)")
                continue
            if text in ("/quit", "/exit"):
                return
            if text.startswith("/"):
                self._commands.get(text, self._unknown)()
            elif text:
                self._work(text)

    def _work(self, task: str) -> None:
        front = TextFront(self._screen, flow=True)
        driver = Driver(self._runtime, front)
        try:
            result = with_keys(driver, front, self._runtime, task=task)
        except AutopilotError as error:
            self._screen.line(f"{self._screen.paint('error:', 'red', 'bold')} {safe.prose(reason(error))}")
            return
        self._tokens += (result.usage.input_total or 0) + (result.usage.output or 0)
        known = self._cost is not None and result.cost_usd is not None
        self._cost = (self._cost or 0.0) + (result.cost_usd or 0.0) if known else None
        code = code_of(result, front, driver)
        for line in report.last_lines(result, front.tally, code, self._screen.paint):
            self._screen.line(line)

    def _reset(self) -> None:
        self._runtime.reset()
        self._anew()
        self._screen.line("The conversation is forgotten.")

    def _tell_cost(self) -> None:
        self._screen.line(f"{figures.tokens(self._tokens)} · {figures.dollars(self._cost)} since this chat began")

    def _tools(self) -> None:
        for spec in self._runtime.registry.specs().values():
            first = spec.doc.splitlines()[0] if spec.doc else ""
            self._screen.line(f"{safe.one_line(spec.signature)}  {self._screen.paint(safe.one_line(first), 'dim')}")

    def _unknown(self) -> None:
        self._screen.line("There is no such command; /help lists them.")


@contextlib.contextmanager
def _history() -> Iterator[None]:
    """Lines typed in earlier chats come back with the arrow keys; the file is its owner's alone."""
    try:
        import readline  # not on Windows
    except ImportError:
        yield
        return
    file = Path.home() / ".autopilot" / "chat_history"
    with contextlib.suppress(OSError):
        readline.read_history_file(file)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.touch(mode=0o600)
            readline.set_history_length(1_000)
            readline.write_history_file(file)
