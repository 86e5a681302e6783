"""Threads ask, and what they hear waits in a queue."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from xdplb.errors import DaemonError
from xdplb.tui import workers as module
from xdplb.tui.fake_daemon import FakeDaemon, small
from xdplb.tui.order import Ask, Order, Verb
from xdplb.tui.scene import Look
from xdplb.tui.workers import Heard, Workers, ask


@pytest.fixture
def daemon() -> FakeDaemon:
    """Three backends."""
    return small()


def hear(workers: Workers, kind: str) -> Heard:
    while True:
        heard = workers.heard.get(timeout=10)
        if heard[0] == kind:
            return heard


def test_answers_events_and_questions_are_heard(daemon: FakeDaemon) -> None:
    woken = threading.Event()
    workers = Workers(daemon, 0.01, woken.set)
    try:
        assert hear(workers, "status")[2]["name"] == "main"
        daemon.set_state("web", "b2", "down", "refused")
        assert hear(workers, "event")[2]["state"] == "down"
        question = Look()
        workers.ask(question)
        heard = hear(workers, "answer")
        assert heard[1] is question
        assert isinstance(heard[2], DaemonError)
        assert heard[2].http == 404
        assert woken.wait(10)
    finally:
        workers.stop()


def test_events_go_on_after_those_that_are_known_when_the_daemon_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)

    class Leaves(FakeDaemon):
        """Tells an event and is gone, each time."""

        def events(self, follow: bool = False, after: int = 0) -> Iterator[dict[str, Any]]:
            self.set_state("web", "b2", "down", "refused")
            yield from FakeDaemon.events(self, follow=False, after=after)
            raise DaemonError("the daemon has ended")

    workers = Workers(Leaves(small().services), 60.0, lambda: None)
    try:
        said = [hear(workers, "event")[2] for _ in range(4)]
    finally:
        workers.stop()
    assert [one["number"] for one in said[::2]] == [1, 2]
    assert all(isinstance(one, DaemonError) for one in said[1::2])


def test_a_daemon_that_hangs_does_not_keep_others_from_being_heard() -> None:
    stays = threading.Event()

    class Hangs(FakeDaemon):
        def status(self) -> dict[str, Any]:
            stays.wait()
            return FakeDaemon.status(self)

    workers = Workers(Hangs(small().services), 0.01, lambda: None)
    try:
        workers.ask(Ask(Order(Verb.DRAIN, "web", "b1"), plan=True))
        assert hear(workers, "answer")[2]["services"][0]["slots_moved"] == 341
    finally:
        workers.stop()
        stays.set()


def test_orders_are_carried_out(daemon: FakeDaemon) -> None:
    backends = daemon.services[0]["backends"]
    planned = ask(daemon, Ask(Order(Verb.DRAIN, "web", "b2"), plan=True))
    assert planned["services"][0]["slots_moved"] == 341
    assert backends[1]["state"] == "up"

    ask(daemon, Ask(Order(Verb.DRAIN, "web", "b2"), plan=False))
    assert backends[1]["state"] == "draining"
    ask(daemon, Ask(Order(Verb.UNDRAIN, "web", "b2"), plan=False))
    assert backends[1]["state"] == "up"
    ask(daemon, Ask(Order(Verb.WEIGHT, "web", "b2", 50), plan=False))
    assert backends[1]["weight"] == 50
