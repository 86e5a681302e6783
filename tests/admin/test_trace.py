"""`/v1/trace` and `/v1/sources` of the running daemon; and that the API's document names all that they take."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.admin.test_server import request
from tests.rig.net import QUICKSTART
from tests.rig.traffic import ask
from tools.lab.net import VIP4
from tools.lab.stand import Stand, wait_for
from xdplb.admin.trace import ASKED, PATHS, ROUTES, parse_count, parse_for
from xdplb.errors import ConfigError


@pytest.fixture(scope="module")
def daemon(stand_session: Stand) -> Iterator[Stand]:
    """One daemon for all tests here."""
    stand_session.start_daemon(QUICKSTART)
    for host in stand_session.lab.backends:
        stand_session.wait_state(host, "up")
    yield stand_session
    stand_session.kill_daemon()
    stand_session.forget_balancer()


def compiled(stand: Stand) -> bool:
    return "trace" in stand.client.status()["interface"]["compiled"]


def test_packets_are_told_until_the_count_and_a_killed_daemon_leaves_nothing(daemon: Stand) -> None:
    told = daemon.client.trace({"service": "web", "for_s": "20", "count": "3"})
    assert next(told) == ("start", {"for_s": 20, "count": 3})
    assert compiled(daemon)
    status, answer = request(daemon, "GET", "/v1/sources?sauce=1")
    assert (status, answer["error"][:33]) == (400, "sauce: unknown parameter; known h")
    who, _ = ask(daemon.lab, VIP4, 80)
    packets = [next(told)[1] for _ in range(3)]
    assert next(told) == ("end", {"why": "count", "packets": 3, "lost": 0})
    assert [(p["service"], p["backend"], p["action"], p["flags"]) for p in packets[:2]] == [
        ("web", who, "tx", "S"),
        ("web", who, "tx", "A"),
    ]

    next(daemon.client.trace({"for_s": "600"}))
    daemon.kill_daemon()
    daemon.start_daemon(QUICKSTART)

    assert daemon.client.status()["start"]["adopted"]
    assert not compiled(daemon)


def test_who_sends_most_is_told_and_who_goes_away_is_noticed(daemon: Stand) -> None:
    found: list[dict[str, object]] = []
    told = daemon.client.trace({"for_s": "600"})
    next(told)
    daemon.client.drain_backend("b2", None)
    assert compiled(daemon)  # also after a reconcile
    daemon.client.undrain_backend("b2", None)
    asked = {"for_s": "0.6", "reason": "forwarded", "dst": ":80"}
    looking = threading.Thread(target=lambda: found.extend(daemon.client.sources(asked)))
    looking.start()
    while looking.is_alive():
        ask(daemon.lab, VIP4, 80)
    assert [(row["service"], row["reason"], row["forwarded"]) for row in found] == [("web", None, True)]
    assert isinstance(found[0]["packets"], int)
    assert found[0]["packets"] > 5

    told.close()  # type: ignore[attr-defined]
    wait_for(lambda: not compiled(daemon), "the program without")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"for_s": "0.01"}, r"for_s: 0\.01 is out of range; give 0\.1 to 600"),
        ({"for_s": "1h"}, r"for_s: 3600\.0 is out of range; give 0\.1 to 600"),
        ({"count": "0"}, "count: 0 is out of range; give 1 to 100"),
        ({"count": "x"}, "count: 'x' is no number; give 1 to 100"),
    ],
)
def test_how_long_and_how_many_have_their_limits(query: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        (parse_for if "for_s" in query else parse_count)(query, 10, 600 if "for_s" in query else 100)


def test_the_document_names_all_that_is_taken() -> None:
    assert {route.path for route in ROUTES} == set(PATHS)
    for path in PATHS.values():
        assert {p["name"] for p in path["get"]["parameters"]} == {*ASKED, "for_s", "count"}
