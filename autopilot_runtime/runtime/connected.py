"""The model of an agent file, connected; a recorded one is compared without what always differs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from autopilot_runtime.core.errors import MissingKey
from autopilot_runtime.core.ids import slug
from autopilot_runtime.core.protocols import Provider
from autopilot_runtime.model.connect import REPLAY, connect
from autopilot_runtime.runtime.agentfile import AgentFile

# A recorded run is often played in the workspace it was recorded in: the files it makes are there already.
_WROTE = re.compile(r"^(?:wrote (.+) \(new, |(.+) already had this content \()(\d+ lines?\))$", re.MULTILINE)
_STATUS = re.compile(r"^\[STATUS\] #\w+(?:\n.+)*", re.MULTILINE)


def connected(agent: AgentFile, *, mask: Callable[[str], str], tag: Callable[[], str]) -> Provider:
    """The model, or `MissingKey`."""
    missing = [] if os.environ.get(REPLAY, "").strip() else agent.missing_keys(os.environ)
    if missing:
        raise MissingKey("\n".join(missing))

    def volatile(text: str) -> str:
        """The text without what differs from run to run: for comparing with a recorded conversation."""
        text = _WROTE.sub(r"wrote \1\2 (\3", _STATUS.sub("[STATUS]", text))
        return text.replace(tag(), "#tag").replace(str(agent.work_dir), "<work_dir>")

    return connect(agent.model_settings(), mask, agent=slug(agent.name), volatile=volatile)
