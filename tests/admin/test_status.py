"""`GET /v1/status` and its ETag; that the document is as described: test_openapi."""

from __future__ import annotations

from tests.admin.test_backends import ask
from tools.lab.stand import Stand


def test_the_revision_stays_until_something_else_is_wanted(running: Stand) -> None:
    _, first, _ = ask(running, "GET", "/v1/status")
    _, again, _ = ask(running, "GET", "/v1/backends/b1")
    assert first == again != ""
    running.client.drain_backend("b1", None)
    _, other, _ = ask(running, "GET", "/v1/status")
    running.client.undrain_backend("b1", None)
    _, back, _ = ask(running, "GET", "/v1/status")
    assert (other != first, back) == (True, first)
    assert ask(running, "POST", "/v1/confirm")[2] == {"confirmed": False}
