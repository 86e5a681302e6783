"""The `agent` check, by HAProxy's agent-check protocol: in one line, a program on the backend says how to treat it.

HAProxy's configuration.txt, "agent-check": words between spaces, tabs and commas, in any order; of those that say the
same kind of thing the last one wins; after `#` comes a text for people. Where HAProxy leaves alone what a line does not
name, each line is the whole truth here: a backend is what its agent says now, also after a restart of either.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from xdplb.health.check import ProbeEnded, Said
from xdplb.health.connection import Connection, open_connection
from xdplb.health.kinds import Talk
from xdplb.health.probe import ProbeFailed, Steps, Target
from xdplb.model import Check

MOST_BYTES = 4096  # of a line
HEALTH = {"up", "down", "fail", "stopped"}
ADMIN = {"ready", "drain", "maint"}
_PERCENT = re.compile(r"(\d{1,5})%", re.ASCII)
_MAXCONN = re.compile(r"maxconn:\d+", re.ASCII)  # ours are packets, not connections: it can mean nothing


@dataclass(frozen=True, slots=True)
class Line:
    """What an agent's line says, by kinds of words; None or "": nothing."""

    health: str | None = None
    admin: str | None = None
    percent: int | None = None
    unknown: str = ""  # the first word that is not known
    description: str = ""

    @property
    def passed(self) -> bool:
        """Whether the backend is to be up."""
        return self.health in (None, "up") and self.admin != "maint"

    @property
    def shown(self) -> str:
        """What it says, for people."""
        percent = None if self.percent is None else f"{self.percent}%"
        words = " ".join(word for word in (self.health, self.admin, percent) if word) or "nothing"
        return f"{words} ({self.description})" if self.description else words


async def ask(check: Check, target: Target, steps: Steps) -> ProbeEnded:
    """Connect, send what the check says, read a line, reset."""
    async with open_connection(check, target, steps) as connection:
        if isinstance(check.ask, Talk) and check.ask.send:
            await connection.send(check.ask.send)
        line = parse_line(await _read_line(connection))
    said = Said(line.percent, drain=line.admin == "drain", maintenance=line.admin == "maint")
    warning = f"the agent says {line.unknown!r}, which is not known" if line.unknown else ""
    return ProbeEnded(line.passed, f"agent {target}: says {line.shown}", warning, said)


async def _read_line(connection: Connection) -> str:
    connection.steps.waiting_for = "a line"
    found = b""
    while not (ended := re.search(rb"[\r\n]", found)):
        if len(found) > MOST_BYTES:
            raise ProbeFailed(f"a line of more than {MOST_BYTES} bytes: {found[:60]!r}")
        more = await connection.receive()
        if not more:
            raise ProbeFailed(f"closed before the end of a line: {found[:60]!r}" if found else "closed without a word")
        found += more
    return found[: ended.start()].decode(errors="replace")


def parse_line(text: str) -> Line:
    """Return what a line says. Raises ProbeFailed when not a word of it is known."""
    words, _, description = text.partition("#")
    health = admin = percent = None
    unknown, known = "", False
    for word in re.findall(r"[^ \t,]+", words):
        lower = word.lower()
        if lower in HEALTH:
            health = lower
        elif lower in ADMIN:
            admin = lower
        elif share := _PERCENT.fullmatch(word):
            percent = int(share[1])
        elif not _MAXCONN.fullmatch(lower):
            unknown = unknown or word
            continue
        known = True
    if not known:
        raise ProbeFailed(f"nothing in the line {text[:60]!r} is known")
    return Line(health, admin, percent, unknown, description.strip())
