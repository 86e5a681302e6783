"""What is on the screen: answers of the daemon and keys go in, frames and questions come out. No clock, no terminal."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from xdplb.errors import DaemonError, XdplbError
from xdplb.tui.journal import Event, Journal
from xdplb.tui.listing import Listed, list_all
from xdplb.tui.order import VERBS, Ask, Dialog, Order, Step
from xdplb.tui.rates import Meter, Rates, Status
from xdplb.tui.render import Frame, render
from xdplb.tui.scene import Look, Scene, Sources
from xdplb.tui.view import Screen, View

Question = Ask | Look
NOT_THERE = 404  # the HTTP status of what a daemon has not


@dataclass(slots=True)
class Display:
    """The screen's memory. Times are seconds of any clock that only goes forward."""

    status: Status  # the last answer
    answered_at: float
    patience_s: float  # after so much silence the daemon counts as gone, even if no error says so
    view: View = field(default_factory=View)
    refused: bool = False  # the last question got an error
    meter: Meter = field(default_factory=Meter)
    journal: Journal = field(default_factory=Journal)
    dialog: Dialog = field(default_factory=Dialog)
    sources: Sources = field(default_factory=Sources)
    recorded: bool = False  # what is shown is a recording: nobody is there to take orders
    playback: str = ""
    rates: Rates = field(init=False)
    frozen: tuple[Status, Rates] | None = None  # what a paused screen shows
    _listed: tuple[Status, tuple[object, ...], Listed] | None = None

    def __post_init__(self) -> None:
        self.rates = self.meter.take(self.status)

    def answer(self, status: Status, at: float) -> None:
        """Take an answer of the daemon; a paused screen goes on measuring."""
        self.status, self.answered_at, self.refused = status, at, False
        self.rates = self.meter.take(status)

    def refuse(self) -> None:
        """Take note that the daemon did not answer."""
        self.refused = True

    def happen(self, event: Event | DaemonError) -> None:
        """Take an event, or why none comes."""
        if isinstance(event, DaemonError):
            self.journal.problem = str(event)
        else:
            self.journal.take(event)

    def press(self, keys: list[str]) -> list[Question]:
        """Take keys, named as in `keys`; return what the daemon is to be asked."""
        questions: list[Question] = []
        for key in keys:
            questions += self._press(key)
        if not self.view.paused:
            self.frozen = None
        elif self.frozen is None:
            self.frozen = self.status, self.rates.still()
        return questions

    def _press(self, key: str) -> list[Question]:
        if self.dialog.grabs:
            self.dialog, asks = self.dialog.handle(key)
            return list(asks)
        if key == "escape" and self.dialog.step is not Step.NONE:
            self.dialog = self.dialog.closed()
            return []
        if self.dialog.step is Step.TOLD:
            self.dialog = self.dialog.closed()
        if not self.view.typing:
            if key in VERBS:
                return self._order(key)
            if key == "t" and self.view.place.screen is Screen.GUARD:
                return self._look()
        self.view = self.view.handle(key)
        return []

    def _order(self, key: str) -> list[Question]:
        """Begin an order about the chosen backend."""
        chosen = self.view.backend if self.view.place.screen in (Screen.SERVICES, Screen.DETAIL) else None
        if self.recorded:
            self.dialog = self.dialog.tell("this is a recording: nobody takes orders")
        elif chosen is None:
            self.dialog = self.dialog.tell("choose a backend first, with the arrows")
        else:
            service, backend = chosen
            alone = VERBS[key] == "drain" and not _others_serve(self.status, service, backend)
            self.dialog, asks = self.dialog.begin(Order(VERBS[key], service, backend), alone)
            return list(asks)
        return []

    def _look(self) -> list[Question]:
        """Ask who sends most, once at a time."""
        if self.recorded:
            self.sources = Sources(problem="a recording does not tell who sent")
        elif not self.sources.asking:
            self.sources = Sources(asking=True)
            return [Look()]
        return []

    def take(self, question: Question, answer: Any) -> None:
        """Take the answer to a question, or the error."""
        if isinstance(question, Ask):
            self.dialog = self.dialog.take(question, answer)
        elif isinstance(answer, XdplbError):
            old = isinstance(answer, DaemonError) and answer.http == NOT_THERE
            self.sources = Sources(problem="this daemon cannot tell who sends" if old else str(answer))
        else:
            self.sources = Sources(found=answer)

    def frame(self, width: int, height: int, at: float) -> Frame:
        """Return what to show now."""
        status, rates = self.frozen or (self.status, self.rates)
        age_s = at - self.answered_at
        gone = self.refused or age_s > self.patience_s
        scene = Scene(
            status, rates, self.view, self._list(status, rates), self.journal, self.dialog, self.sources, age_s, gone,
            self.playback,
        )  # fmt: skip
        frame = render(scene, width, height)
        self.view = frame.view
        return frame

    def _list(self, status: Status, rates: Rates) -> Listed:
        """Return the table's rows, made anew only for another answer or another order."""
        view = self.view
        order = view.sort, view.reverse, view.filter
        if self._listed is None or self._listed[0] is not status or self._listed[1] != order:
            self._listed = status, order, list_all(status, rates, view)
        return self._listed[2]

    def begin_anew(self, status: Status, at: float) -> None:
        """Forget what was seen, but not where the reader is: a recording is seen from another place on."""
        self.meter, self.journal, self.frozen = Meter(), Journal(), None
        self.answer(status, at)
        self.view = replace(self.view, paused=False)


def _others_serve(status: Status, service: str, backend: str) -> bool:
    """Return whether another backend of the service gets new flows."""
    return any(
        other["serving"] and other["name"] != backend
        for one in status["services"]
        if one["name"] == service
        for other in one["backends"]
    )
