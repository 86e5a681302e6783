"""What colours mean. Only names of the terminal's own 16, so that they are readable on light and dark ones alike.

Nothing is told by colour alone: a word always says it, too.
"""

from __future__ import annotations

from xdplb.model import State

GOOD = "green"
BAD = "bold red"
WARN = "yellow"
NOTE = "cyan"
FAINT = "dim"
STRONG = "bold"
TITLES = "underline"
ALERT = "bold reverse"
CURSOR = "reverse"  # the terminal's own two colours, the other way round

STATES: dict[str, str] = {
    State.UP: GOOD,
    State.DOWN: BAD,
    State.UNREACHABLE: BAD,
    State.CHECKING: WARN,
    State.DRAINING: NOTE,
    State.IDLE: FAINT,
}


def of_state(state: str | None) -> str:
    """Return a state's colour; none for one that we do not know."""
    return STATES.get(state or "", "")
