"""Threads beside the screen: a daemon that hangs must not stop the keys. What they learn waits in one queue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from typing import Any, Protocol

from xdplb.tui.display import Question
from xdplb.tui.order import Order, Verb
from xdplb.tui.rates import Status
from xdplb.tui.scene import Look

RETRY_S = 1.0


class Balancer(Protocol):
    """The daemon, as the screen sees it: `admin.client.Client`, or `fake_daemon.FakeDaemon`."""

    def status(self) -> Status: ...

    def events(self, follow: bool = False, after: int = 0) -> Iterator[dict[str, Any]]: ...

    def drain_backend(
        self, backend: str, service: str | None, for_s: float | None = None, plan: bool = False
    ) -> dict[str, Any]: ...

    def undrain_backend(self, backend: str, service: str | None, plan: bool = False) -> dict[str, Any]: ...

    def weigh_backend(self, backend: str, service: str | None, weight: int, plan: bool = False) -> dict[str, Any]: ...

    def sources(self, asked: Mapping[str, str]) -> list[dict[str, Any]]: ...


Heard = tuple[str, Any, Any]  # "status", "event" or "answer"; the question, if it was one; what was said


class Workers:
    """Asks for the status once per interval, follows the events, and asks what the reader wants to know."""

    def __init__(self, balancer: Balancer, interval_s: float, wake: Callable[[], None]) -> None:
        self.heard: SimpleQueue[Heard] = SimpleQueue()
        self._balancer, self._interval_s, self._wake = balancer, interval_s, wake
        self._questions: SimpleQueue[Question] = SimpleQueue()
        self._stopped, self._waking = threading.Event(), threading.Lock()
        for work in (self._watch, self._follow, self._serve):
            threading.Thread(target=work, name=f"xdplb-top-{work.__name__}", daemon=True).start()

    def ask(self, question: Question) -> None:
        """Have a question asked; the answer will be heard."""
        self._questions.put(question)

    def stop(self) -> None:
        """Ask no more; once this returns, `wake` is not called again."""
        with self._waking:
            self._stopped.set()

    def _watch(self) -> None:
        due = time.monotonic() + self._interval_s
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._interval_s, time.monotonic())
            self._hear("status", None, _try(self._balancer.status))

    def _follow(self) -> None:
        """Follow the events; begin again after those that are known when the daemon comes back."""
        number = 0
        while not self._stopped.is_set():
            try:
                for event in self._balancer.events(follow=True, after=number):
                    number = event["number"]
                    self._hear("event", None, event)
            except Exception as error:
                self._hear("event", None, error)
            self._stopped.wait(RETRY_S)

    def _serve(self) -> None:
        while not self._stopped.is_set():
            question = self._questions.get()
            self._hear("answer", question, _try(lambda question=question: ask(self._balancer, question)))  # type: ignore[misc]

    def _hear(self, kind: str, question: Question | None, said: Any) -> None:
        self.heard.put((kind, question, said))
        with self._waking:
            if not self._stopped.is_set():
                self._wake()


def _try(call: Callable[[], Any]) -> Any:
    """Return what a call returns, or its error."""
    try:
        return call()
    except Exception as error:
        return error


def ask(balancer: Balancer, question: Question) -> Any:
    """Ask the daemon. Raises XdplbError."""
    if isinstance(question, Look):
        return balancer.sources({"for_s": f"{question.for_s:g}"})
    return _carry_out(balancer, question.order, question.plan)


def _carry_out(balancer: Balancer, order: Order, plan: bool) -> dict[str, Any]:
    match order.verb:
        case Verb.DRAIN:
            return balancer.drain_backend(order.backend, order.service, plan=plan)
        case Verb.UNDRAIN:
            return balancer.undrain_backend(order.backend, order.service, plan=plan)
    return balancer.weigh_backend(order.backend, order.service, order.weight, plan=plan)
