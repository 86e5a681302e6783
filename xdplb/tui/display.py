"""What is on the screen: answers of the daemon and keys go in, frames come out. No clock, no terminal."""

from __future__ import annotations

from dataclasses import dataclass, field

from xdplb.tui.rates import Meter, Rates, Status
from xdplb.tui.render import Frame, render
from xdplb.tui.view import View


@dataclass(slots=True)
class Display:
    """The screen's memory. Times are seconds of any clock that only goes forward."""

    status: Status  # the last answer
    answered_at: float
    patience_s: float  # after so much silence the daemon counts as gone, even if no error says so
    view: View = field(default_factory=View)
    refused: bool = False  # the last question got an error
    meter: Meter = field(default_factory=Meter)
    rates: Rates = field(init=False)
    frozen: tuple[Status, Rates] | None = None  # what a paused screen shows

    def __post_init__(self) -> None:
        self.rates = self.meter.take(self.status)

    def answer(self, status: Status, at: float) -> None:
        """Take an answer of the daemon; a paused screen goes on measuring."""
        self.status, self.answered_at, self.refused = status, at, False
        self.rates = self.meter.take(status)

    def refuse(self) -> None:
        """Take note that the daemon did not answer."""
        self.refused = True

    def press(self, keys: list[str]) -> None:
        """Take keys, named as in `keys`."""
        for key in keys:
            self.view = self.view.handle(key)
        if not self.view.paused:
            self.frozen = None
        elif self.frozen is None:
            self.frozen = self.status, self.rates

    def frame(self, width: int, height: int, at: float) -> Frame:
        """Return what to show now."""
        status, rates = self.frozen or (self.status, self.rates)
        age_s = at - self.answered_at
        gone = self.refused or age_s > self.patience_s
        frame = render(status, rates, self.view, width, height, age_s, gone)
        self.view = frame.view
        return frame
