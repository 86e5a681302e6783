"""Everything that a frame shows, and nothing else: what the daemon said, what the reader wants, and how it stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.text import Text

from xdplb.tui.journal import Journal
from xdplb.tui.listing import Listed
from xdplb.tui.order import Dialog
from xdplb.tui.rates import Rates, Status
from xdplb.tui.view import Key, View

# Lines of a screen that scrolls: whom each is about, and it, or what makes it when it is seen: there may be 20,000.
Body = list[tuple[Key | None, Text | Callable[[], Text]]]

TALL = 30  # from this height on there is room for more than the first line of each thing


@dataclass(frozen=True, slots=True)
class Look:
    """A question to the daemon: who sends most?"""

    for_s: float = 3.0


@dataclass(frozen=True, slots=True)
class Sources:
    """Who sends most, as last asked."""

    found: list[dict[str, Any]] | None = None
    asking: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """What there is to show."""

    status: Status
    rates: Rates
    view: View
    listed: Listed
    journal: Journal = field(default_factory=Journal)
    dialog: Dialog = field(default_factory=Dialog)
    sources: Sources = Sources()
    age_s: float = 0.0  # the time since the daemon last answered
    gone: bool = False  # it should have answered again by now
    playback: str = ""  # of a recording: where it is, and how fast
