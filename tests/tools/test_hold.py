"""The tool that proves that nothing breaks sees what breaks: servers on loopback that do each thing wrong."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.lab.client import parse_url
from tools.lab.hold import Hold
from tools.lab.outcome import Answer, Outcome, next_due, percentile
from tools.lab.stand import ROOT, wait_for

EVERY_S = 0.1
Behaviour = Callable[[socket.socket, int], None]  # what to do at the so manieth request of a connection


def say(connection: socket.socket, name: str = "b1") -> None:
    """Answer as the lab's server does."""
    connection.sendall(f"HTTP/1.1 200 OK\r\nX-Backend: {name}\r\nContent-Length: 0\r\n\r\n".encode())


def reset(connection: socket.socket) -> None:
    """End a connection with RST (SO_LINGER of 0 s: socket(7))."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextlib.contextmanager
def server(behave: Behaviour) -> Iterator[str]:
    """Serve on loopback; yields the URL."""

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            for number in itertools.count(1):
                request = b""
                while not request.endswith(b"\r\n\r\n"):
                    part = connection.recv(4096)
                    if not part:
                        return
                    request += part
                behave(connection, number)
                if b"Connection: close" in request:
                    return

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        listener.shutdown(socket.SHUT_RDWR)


def run(url: str, held: int = 1, new_per_s: float = 0.0, seconds: float = 0.6, timeout_s: float = 5.0) -> list[Any]:
    """Hold flows to an URL for a while; returns the report."""
    report = io.StringIO()
    hold = Hold([parse_url(url)], held=held, every_s=EVERY_S, new_per_s=new_per_s, timeout_s=timeout_s, seed=1)
    hold.run(report, seconds)
    return [json.loads(line) for line in report.getvalue().splitlines()]


def events(lines: list[Any], kind: str) -> list[Any]:
    return [event for line in lines[:-1] for event in line["events"] if event["event"] == kind]


def syns_sent_again(port: int) -> int:
    """Return how often SYNs to a port were sent again: proc_net_tcp(5), state 2, field retrnsmt."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[6], 16) for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "02")


def test_flows_that_live_are_reported_without_events() -> None:
    with server(lambda connection, _: say(connection)) as url:
        *seconds, total = run(url, held=5, new_per_s=50, seconds=1.3)

    assert not [event for second in seconds for event in second["events"]]
    assert seconds[-1]["standing"] == {"b1": 5}
    held, new = total["held"]["backends"]["b1"], total["new"]["backends"]["b1"]
    assert (held["opened"], held["failures"], held["changes"]) == (5, {}, 0)
    assert held["answers"] > 5
    assert new["opened"] == new["answers"] > 10


def test_a_reset_is_a_failure_of_the_backend_that_served_and_the_flow_is_opened_again() -> None:
    with server(lambda connection, number: say(connection) if number < 3 else reset(connection)) as url:
        lines = run(url, seconds=1.5)

    failures = events(lines, "failure")
    assert {(f["kind"], f["flow"], f["backend"]) for f in failures} == {("reset", "held", "b1")}
    counts = lines[-1]["held"]["backends"]["b1"]
    assert counts["failures"] == {"reset": len(failures)}
    assert counts["opened"] in (len(failures), len(failures) + 1)
    assert len(failures) > 1


def test_an_end_between_requests_is_a_failure_too() -> None:
    def answer_and_close(connection: socket.socket, _: int) -> None:
        say(connection)
        connection.shutdown(socket.SHUT_RDWR)

    with server(answer_and_close) as url:
        assert {f["kind"] for f in events(run(url), "failure")} == {"closed"}


def test_a_new_flow_without_an_answer_fails_and_nobody_knows_whose_it_was() -> None:
    with server(lambda connection, _: reset(connection)) as url:
        failures = events(run(url, held=0, new_per_s=20), "failure")

    assert {(f["kind"], f["flow"], f["backend"]) for f in failures} == {("reset", "new", "?")}


def test_another_name_on_one_connection_is_a_change() -> None:
    with server(lambda connection, number: say(connection, f"b{1 + number // 3 % 2}")) as url:
        lines = run(url, seconds=1.0)

    changes = events(lines, "change")
    assert {(c["before"], c["backend"]) for c in changes} <= {("b1", "b2"), ("b2", "b1")}
    assert sum(counts["changes"] for counts in lines[-1]["held"]["backends"].values()) == len(changes) > 0
    assert not events(lines, "failure")


def test_a_late_answer_is_slow_but_no_stall() -> None:
    """TCP had nothing to send again: it was the server that took its time."""

    def answer_late(connection: socket.socket, number: int) -> None:
        time.sleep(0.5 if number == 3 else 0)
        say(connection)

    with server(answer_late) as url:
        lines = run(url, seconds=1.5)

    (slow,) = events(lines, "slow")
    assert slow["retransmits"] == 0
    assert 500 <= slow["took_ms"] < 1000
    assert slow["rto_ms"] >= 200
    counts = lines[-1]["held"]["backends"]["b1"]
    assert (counts["over_rto"], counts["over_2rto"], counts["stalls"]) == (1, 1, 0)
    assert lines[-1]["held"]["slowest_ms"] == slow["took_ms"]


def test_a_packet_that_is_lost_makes_a_stall() -> None:
    """A full backlog drops the SYN, which TCP sends again until there is room."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        listener.settimeout(5)
        where = listener.getsockname()
        stack.enter_context(socket.create_connection(where))

        def serve() -> None:
            wait_for(lambda: syns_sent_again(where[1]), "a SYN that was dropped", 5)
            listener.accept()[0].close()
            connection = listener.accept()[0]
            connection.recv(4096)
            say(connection)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        lines = run(f"http://127.0.0.1:{where[1]}/", held=0, new_per_s=1, seconds=0.1)
        thread.join()

    (slow,) = events(lines, "slow")
    assert slow["retransmits"] >= 1
    assert slow["took_ms"] > 900
    counts = lines[-1]["new"]["backends"]["b1"]
    assert (counts["stalls"], counts["retransmits"], counts["failures"]) == (1, slow["retransmits"], {})


def test_no_answer_at_all_is_a_timeout() -> None:
    with server(lambda connection, number: say(connection) if number < 2 else None) as url:
        lines = run(url, seconds=1.0, timeout_s=0.3)

    failures = events(lines, "failure")
    assert {(f["kind"], f["backend"]) for f in failures} == {("timeout", "b1")}
    assert all(300 <= f["took_ms"] < 600 for f in failures)


def test_command_renews_at_sigusr1_and_ends_with_the_total_at_sigterm() -> None:
    with server(lambda connection, _: say(connection)) as url:
        argv = [sys.executable, "-m", "tools.lab.hold", "--url", url, "--held", "3", "--every", "0.2", "--new", "0"]
        with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout
            assert json.loads(child.stdout.readline())["standing"] == {"b1": 3}
            os.kill(child.pid, signal.SIGUSR1)
            assert json.loads(child.stdout.readline())["events"] == []
            child.terminate()
            total = json.loads(child.stdout.read().splitlines()[-1])

    assert child.returncode == 0
    assert total["held"]["backends"]["b1"]["opened"] == 6
    assert total["held"]["backends"]["b1"]["failures"] == {}


@pytest.mark.parametrize(("option", "value"), [("--every", "0"), ("--held", "-1"), ("--new", "inf"), ("--url", "x")])
def test_command_refuses_what_makes_no_sense(option: str, value: str) -> None:
    argv = [sys.executable, "-m", "tools.lab.hold", "--url", "http://127.0.0.1:1/", option, value]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 2
    assert option in done.stderr
    assert "Traceback" not in done.stderr


# --- without sockets ----------------------------------------------------------------------------------------


def test_outcome_tells_slow_from_stalled_and_counts_by_backend() -> None:
    outcome = Outcome()
    outcome.take(Answer("b1", 0.1, 0.2, 0), "")
    outcome.take(Answer("b1", 0.1, 0.2, 1), "b1")  # sent again, and answered in time all the same
    outcome.take(Answer("b1", 0.3, 0.2, 0), "b1")
    outcome.take(Answer("b2", 0.5, 0.2, 2), "b1")
    outcome.fail("reset", "b2", 1)

    found = outcome.document()
    one, two = found["backends"]["b1"], found["backends"]["b2"]
    assert [one[key] for key in ("opened", "answers", "over_rto", "stalls", "retransmits")] == [1, 3, 1, 0, 1]
    assert [two[key] for key in ("answers", "over_2rto", "stalls", "changes", "retransmits")] == [1, 1, 1, 1, 3]
    assert two["failures"] == {"reset": 1}
    assert (found["p50_ms"], found["slowest_ms"]) == (100, 500)


def test_percentile_is_the_nearest_rank() -> None:
    times = dict.fromkeys(range(1, 101), 1)
    assert [percentile(times, share) for share in (0.01, 0.5, 0.99, 1)] == [1, 50, 99, 100]
    assert percentile({}, 0.5) == 0


def test_next_due_is_in_the_next_period() -> None:
    assert next_due(12.0, 5.0, 0.0) == 15.0
    assert next_due(14.9, 5.0, 0.5) == 17.5
    assert next_due(15.0, 5.0, 0.99) < 25.0
