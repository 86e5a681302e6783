"""Waiting for flows: what is told, when it ends, and that it changes nothing. A daemon of a few lines answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

import click
import pytest

from tests.rig.terminal import Terminal
from xdplb.admin.client import Client
from xdplb.cli.wait import flows_text, wait_counted, wait_gone

LEAVING = {
    "service": "web",
    "name": "b2",
    "state": "draining",
    "reason": "drained by an operator",
    "flows_left": None,
    "learning": False,
    "gone": False,
    "leaving": True,
    "removing": False,
    "deadline": None,
    "passed": False,
}
NOBODY = {"error": "backend: there is no backend 'b2' in any service", "key": "backend", "problem": "there is none"}


@contextmanager
def answering(path: Path, answers: list[dict[str, Any]], after: Callable[[], None] = lambda: None) -> Iterator[Client]:
    """Answer these, one a request, and the last one for ever; `after` is called with each answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            body = answer if "error" in answer else {"backends": [{**LEAVING, **answer}]}
            self.send_response(404 if "error" in answer else 200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())
            after()

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    class Server(UnixStreamServer):
        def get_request(self) -> tuple[socket.socket, Any]:
            return super().get_request()[0], ("", 0)

    with Server(str(path), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield Client(path)
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({}, "its flows are not counted yet"),
        ({"flows_left": 1200}, "1,200 flows left"),
        ({"flows_left": 3, "learning": True}, "3 flows left of those seen so far"),
        ({"flows_left": 0, "gone": True}, "no flow left"),
    ],
)
def test_flows_left_are_told_with_what_is_not_known_of_them(entry: dict[str, Any], text: str) -> None:
    assert flows_text({**LEAVING, **entry}) == text


def test_the_first_count_is_waited_for(tmp_path: Path) -> None:
    with answering(tmp_path / "s", [{}, {"flows_left": 7}]) as client:
        assert [entry["flows_left"] for entry in wait_counted(client, [LEAVING])] == [7]


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (
            [{"flows_left": 9, "learning": True}, {"flows_left": 0, "gone": True}],
            ["web/b2: 9 flows left of those seen so far", "web/b2: its last flow is gone"],
        ),
        (
            [{"flows_left": 9}, {"flows_left": 9, "passed": True}],
            ["web/b2: 9 flows left", "web/b2: its deadline has passed; what was left of its flows breaks"],
        ),
        (
            [{"flows_left": 9, "removing": True}, {"flows_left": 0, "gone": True, "removing": True}, NOBODY],
            ["web/b2: 9 flows left", "web/b2 is removed"],
        ),
        (
            [{"flows_left": 9}, {"flows_left": 9, "state": "down", "reason": "refused", "passed": True}],
            [
                "web/b2: 9 flows left",
                "web/b2 is down (refused)",
                "web/b2: its deadline has passed; what was left of its flows breaks",
            ],
        ),
    ],
    ids=["gone", "deadline", "removed", "down"],
)
def test_it_ends_when_the_last_flow_or_the_backend_is_gone_or_the_time_is_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answers: list[dict[str, Any]], told: list[str]
) -> None:
    with answering(tmp_path / "s", answers) as client:
        wait_gone(client, [LEAVING])
    assert capsys.readouterr().out.splitlines() == told


def test_what_is_told_keeps_out_of_the_way_of_a_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(tmp_path / "s", [{"flows_left": 9}, {"flows_left": 0, "gone": True}]) as client:
        wait_gone(client, [LEAVING], aside=True)
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == ("", ["web/b2: 9 flows left", "web/b2: its last flow is gone"])


def test_on_a_terminal_a_bar_says_how_far_it_is(tmp_path: Path) -> None:
    program = (
        "import json, sys; from pathlib import Path; from xdplb.admin.client import Client\n"
        "from xdplb.cli.wait import wait_gone; wait_gone(Client(Path(sys.argv[1])), [json.loads(sys.argv[2])])"
    )
    answers: list[dict[str, Any]] = [{"flows_left": 8}, {"flows_left": 2}, {"flows_left": 0, "gone": True}]
    argv = [sys.executable, "-c", program, str(tmp_path / "s"), json.dumps(LEAVING)]
    with answering(tmp_path / "s", answers), Terminal() as terminal, terminal.spawn(argv):
        text = terminal.read(lambda text: "gone" in text)
    told = [part for part in text.replace("\r\n", "").split("\r\x1b[K") if part]
    assert told == [
        f"[{'-' * 24}] web/b2: 8 flows left",
        f"[{'#' * 18}{'-' * 6}] web/b2: 2 flows left",
        "web/b2: its last flow is gone",
    ]


def test_a_drain_that_somebody_takes_back_ends_it_with_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(tmp_path / "s", [{"leaving": False}]) as client, pytest.raises(click.exceptions.Exit) as caught:
        wait_gone(client, [LEAVING])
    assert caught.value.exit_code == 1
    assert capsys.readouterr().err == "web/b2 does not drain any more: somebody took it back\n"


def test_ctrl_c_leaves_the_drain_as_it_is_and_says_how_to_end_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    with (
        answering(tmp_path / "s", [{"flows_left": 3}], interrupt) as client,
        pytest.raises(click.exceptions.Exit) as caught,
    ):
        wait_gone(client, [LEAVING])
    signal.signal(signal.SIGINT, before)
    assert caught.value.exit_code == 130
    told = "web/b2 goes on (drained by an operator); `xdplb backend undrain b2` takes it back\n"
    assert capsys.readouterr().err == told
