"""Orders to the daemon from the keyboard: keys and answers in, questions out. Nothing is sent that was not confirmed.

d, u, w -> (a weight is typed) -> the daemon says what it would do -> y -> it does it -> what came of it
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import Any

from xdplb.errors import DaemonError, XdplbError

FORBIDDEN = 403  # the HTTP status of what one's role may not do
_LONGEST_WEIGHT = 5


class Verb(StrEnum):
    """What can be done to a backend here."""

    DRAIN = "drain"
    UNDRAIN = "undrain"
    WEIGHT = "weight"


VERBS = {"d": Verb.DRAIN, "u": Verb.UNDRAIN, "w": Verb.WEIGHT}


@dataclass(frozen=True, slots=True)
class Order:
    """Something to be done to one backend of one service."""

    verb: Verb
    service: str
    backend: str
    weight: int = 0

    def __str__(self) -> str:
        name = f"{self.service}/{self.backend}"
        return f"give {name} weight {self.weight}" if self.verb is Verb.WEIGHT else f"{self.verb} {name}"


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to the daemon: do this; or with `plan`, what would it do?"""

    order: Order
    plan: bool


class Step(Enum):
    """How far an order is."""

    NONE = 0
    TYPING = 1
    ASKING = 2  # what would it do?
    CONFIRM = 3
    SENT = 4
    TOLD = 5  # what came of it


@dataclass(frozen=True, slots=True)
class Dialog:
    """What is said between the reader and the daemon. `handle` and `take` return the next one."""

    step: Step = Step.NONE
    order: Order | None = None
    text: str = ""  # the weight as typed; what the daemon said
    wrong: bool = False  # `text` is an error
    alone: bool = False  # nobody else of the service serves
    read_only: bool = False  # the daemon refused a change: this user may only look

    @property
    def grabs(self) -> bool:
        """Return whether keys are for the dialog."""
        return self.step in (Step.TYPING, Step.CONFIRM)

    def begin(self, order: Order, alone: bool) -> tuple[Dialog, list[Ask]]:
        """Start with an order; whatever was going on before is not waited for any more."""
        begun = replace(self, order=order, alone=alone, text="", wrong=False)
        if order.verb is Verb.WEIGHT:
            return replace(begun, step=Step.TYPING), []
        return replace(begun, step=Step.ASKING), [Ask(order, plan=True)]

    def tell(self, text: str) -> Dialog:
        """Say why there is nothing to order."""
        return replace(self, step=Step.TOLD, order=None, text=text, wrong=True)

    def handle(self, key: str) -> tuple[Dialog, list[Ask]]:
        """Take a key while `grabs`."""
        if key == "escape" or (self.step is Step.CONFIRM and key in ("n", "q")):
            return self.closed(), []
        return self._confirm(key) if self.step is Step.CONFIRM else self._type(key)

    def _confirm(self, key: str) -> tuple[Dialog, list[Ask]]:
        if key != "y" or self.order is None:
            return self, []
        return replace(self, step=Step.SENT), [Ask(self.order, plan=False)]

    def _type(self, key: str) -> tuple[Dialog, list[Ask]]:
        """Take a key of a weight."""
        if key == "backspace":
            return replace(self, text=self.text[:-1]), []
        if key == "enter" and self.text and self.order:
            order = replace(self.order, weight=int(self.text))
            return replace(self, step=Step.ASKING, order=order), [Ask(order, plan=True)]
        if key.isascii() and key.isdecimal() and len(self.text) < _LONGEST_WEIGHT:
            return replace(self, text=self.text + key), []
        return self, []

    def closed(self) -> Dialog:
        """Return the dialog when it is over, or given up. An order that was sent is not taken back by that."""
        return Dialog(read_only=self.read_only)

    def take(self, ask: Ask, answer: Any) -> Dialog:
        """Take what the daemon said; what nobody waits for any more is not shown."""
        refused = isinstance(answer, DaemonError) and answer.http == FORBIDDEN
        known = self.read_only if isinstance(answer, XdplbError) and not refused else refused
        if ask.order != self.order or self.step is not (Step.ASKING if ask.plan else Step.SENT):
            return replace(self, read_only=known)
        if isinstance(answer, XdplbError):
            return replace(self, step=Step.TOLD, text=str(answer), wrong=True, read_only=known)
        step, text = (Step.CONFIRM, foresee(ask.order, answer)) if ask.plan else (Step.TOLD, outcome(answer))
        return replace(self, step=step, text=text, wrong=False, read_only=known)


def foresee(order: Order, plan: dict[str, Any]) -> str:
    """Say what a plan means for the order's service."""
    found = [service for service in plan["services"] if service["name"] == order.service]
    if not found or found[0]["change"] == "kept":
        return "nothing would change"
    moved, size, flows = found[0]["slots_moved"], found[0]["ring_size"], found[0]["flows"]["remembered"]
    counted = "not counted yet" if flows is None else f"{flows:,} remembered"
    return f"{moved:,} of {size:,} slots move; flows stay ({counted})"


def outcome(answer: dict[str, Any]) -> str:
    """Say what came of an order."""
    states = ", ".join(f"{b['service']}/{b['name']} is {b['state']} ({b['reason']})" for b in answer["backends"])
    return f"{states}; {answer['writes']:,} map entries written in {answer['took_ms']} ms"
