"""TCP connections that live long, others that come and go, and a report of what broke or stalled. One process.

    python -m tools.lab.hold --url http://10.9.9.9/ --url 'http://[fd00:9::9]/' --held 500 --every 5 --new 200 \\
        --source 10.0.1.2 --source fd00:1::2 --report FILE

A held flow asks at a random point of every period and expects the answer; one that broke is opened again then. A new
flow asks once, and the server closes it. Of each request it is known how long TCP would have waited before it sent it
again (the RTO: on Linux 200 ms and more), and how many packets it did send again. An answer that took longer than the
RTO is slow; with a packet sent again it is a stall, without one this machine had no time for client or server. The
report is one JSON line a second:

    {"at": 1700000000.1, "standing": {"b1": 250, "b2": 250}, "answers": {"held": 100, "new": 200}, "slowest_ms": 1.9,
     "events": [{"event": "failure", "kind": "reset", "at": ..., "flow": "held", "backend": "b1", "url": ...,
                 "source": ..., "took_ms": 12.1, "rto_ms": 201.0, "retransmits": 0},
                {"event": "slow", ...}, {"event": "change", "before": "b1", "backend": "b2", ...}]}

`standing`: held flows by the backend that answers them. A flow that got no answer yet has the backend "?". The last
line has `"total": true`, and of "held" and "new" flows the times, and counts by backend (outcome.py); `cpu_s` is what
this process took. SIGTERM or Ctrl-C end it, after what is under way. At SIGUSR1 every held flow is closed and opened
anew instead of its next request.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import IO, Any

from tools.lab.client import TIMEOUT, State, Target, parse_url, ways
from tools.lab.flow import Flow
from tools.lab.outcome import UNKNOWN, Outcome, next_due

POLL_S = 0.02
LOOK_S = 0.1  # how late a timeout may be seen
OPEN_S = 1.0  # the held flows are opened within this time
CATCH_UP_S = 0.05  # after a stall, this much of the rate is made up for, not more


class Hold:
    """All flows on one epoll."""

    def __init__(
        self,
        targets: Sequence[Target],
        sources: Iterable[str] = (),
        held: int = 500,
        every_s: float = 5.0,
        new_per_s: float = 200.0,
        rto_s: float = 0.2,
        timeout_s: float = 5.0,
        seed: int | None = None,
    ) -> None:
        self.epoll = select.epoll()
        self.by_fd: dict[int, Flow] = {}
        self.under_way: set[Flow] = set()
        self.held = [Flow(held=True) for _ in range(held)]
        self.ways = ways(targets, list(sources))
        self.every_s, self.rto_s, self.timeout_s = every_s, rto_s, timeout_s
        self.random = random.Random(seed)
        self.began = now = time.monotonic()
        self.due = [(now + OPEN_S * number / held, number) for number in range(held)]  # a heap
        self.pause_s = 1 / new_per_s if new_per_s else float("inf")
        self.new_due = now if new_per_s else float("inf")
        self.outcomes = {"held": Outcome(), "new": Outcome()}
        self.second = _Second()
        self.stopped = False

    def run(self, report: IO[str], seconds: float = 0.0) -> None:
        """Hold until `stop`, or for so many seconds (0: no end); write the report as it comes."""
        end = self.began + seconds if seconds else float("inf")
        self.line_at, self.look_at = self.began + 1, self.began
        while not self.stopped and (now := time.monotonic()) < end:
            self._begin(now)
            self._turn(report, self._next_due())
        end = time.monotonic() + self.timeout_s
        while self.under_way and time.monotonic() < end:
            self._turn(report, end)
        self._write_second(report)
        self._write_total(report)

    def stop(self) -> None:
        """End soon, when what is under way has ended."""
        self.stopped = True

    def renew(self) -> None:
        """Open every held flow anew, each at its next turn."""
        for flow in self.held:
            flow.renew = True

    # --- what to do when ------------------------------------------------------------------------------------

    def _begin(self, now: float) -> None:
        """Do what is due."""
        while self.due and self.due[0][0] <= now:
            number = self.due[0][1]
            heapq.heapreplace(self.due, (next_due(now, self.every_s, self.random.random()), number))
            self._ask(self.held[number], now)
        self.new_due = max(self.new_due, now - CATCH_UP_S)
        while self.new_due <= now:
            self.new_due += self.pause_s
            self._open(Flow(held=False), now)

    def _ask(self, flow: Flow, now: float) -> None:
        if flow.busy:
            return  # the answer before is late
        if flow.state is State.FREE or flow.renew:
            self._open(flow, now)
        else:
            flow.ask_again(now, self.rto_s)
            self._settle(flow, now)

    def _open(self, flow: Flow, now: float) -> None:
        flow.open(*next(self.ways), self.epoll, now, self.rto_s)
        if flow.state is not State.FREE:
            self.by_fd[flow.socket.fileno()] = flow
        self._settle(flow, now)

    def _next_due(self) -> float:
        return min(self.new_due, self.due[0][0]) if self.due else self.new_due

    def _turn(self, report: IO[str], until: float) -> None:
        """Take what comes, at least until a moment later."""
        wait_s = max(min(until - time.monotonic(), POLL_S), 0)
        for fd, _ in self.epoll.poll(wait_s):
            flow = self.by_fd[fd]
            if flow.state is not State.FREE:
                flow.step()
                self._settle(flow, time.monotonic())
        now = time.monotonic()
        if now >= self.look_at:
            self.look_at = now + LOOK_S
            self._time_out(now)
        if now >= self.line_at:
            self.line_at = max(self.line_at + 1, now)
            self._write_second(report)

    def _time_out(self, now: float) -> None:
        for flow in [flow for flow in self.under_way if now - flow.asked_at > self.timeout_s]:
            flow.fail(TIMEOUT)
            self._settle(flow, now)

    # --- what became of it ----------------------------------------------------------------------------------

    def _settle(self, flow: Flow, now: float) -> None:
        """Count what has ended."""
        if flow.failure:
            self._count_failure(flow, now)
        elif flow.busy and flow.state in (State.ANSWERED, State.FREE):
            self._count_answer(flow, now)
        if flow.under_way:
            self.under_way.add(flow)
        else:
            self.under_way.discard(flow)

    def _count_answer(self, flow: Flow, now: float) -> None:
        answer, before = flow.answer(now), flow.served
        self.outcomes[flow.kind].take(answer, before)
        self.second.answers[flow.kind] += 1
        self.second.slowest_s = max(self.second.slowest_s, answer.took_s)
        flow.busy, flow.served = False, answer.backend
        if answer.slow:
            self._note(flow, now, event="slow")
        if before not in ("", answer.backend):
            self._note(flow, now, event="change", before=before)

    def _count_failure(self, flow: Flow, now: float) -> None:
        self.outcomes[flow.kind].fail(flow.failure, flow.served, flow.retransmits)
        self._note(flow, now, event="failure", kind=flow.failure, backend=flow.served or UNKNOWN)
        flow.failure, flow.busy = "", False

    def _note(self, flow: Flow, now: float, **what: str) -> None:
        answer = flow.answer(now)
        where = {"flow": flow.kind, "backend": answer.backend, "url": flow.target.url, "source": flow.source}
        times = {"took_ms": round(answer.took_s * 1e3, 1), "rto_ms": round(answer.rto_s * 1e3, 1)}
        event = {"at": round(time.time(), 4), **where, **times, "retransmits": answer.retransmits, **what}
        self.second.events.append(event)

    def _write_second(self, report: IO[str]) -> None:
        standing = Counter(flow.served for flow in self.held if flow.served and flow.state is not State.FREE)
        print(json.dumps({**self.second.line(), "standing": dict(sorted(standing.items()))}), file=report, flush=True)
        self.second = _Second()

    def _write_total(self, report: IO[str]) -> None:
        took, cpu = round(time.monotonic() - self.began, 3), round(time.process_time(), 3)
        outcomes = {kind: outcome.document() for kind, outcome in self.outcomes.items()}
        print(json.dumps({"total": True, "seconds": took, "cpu_s": cpu, **outcomes}), file=report, flush=True)


class _Second:
    """What was met since it was made."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.events: list[dict[str, Any]] = []
        self.slowest_s = 0.0

    def line(self) -> dict[str, Any]:
        """Return its part of the report's line."""
        times = {"slowest_ms": round(self.slowest_s * 1e3, 1)}
        return {"at": round(time.time(), 3), "answers": dict(self.answers), **times, "events": self.events}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.lab.hold", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", action="append", required=True, type=parse_url, help="repeatable: used in turn")
    parser.add_argument("--source", action="append", default=[], help="own address, repeatable: used in turn")
    parser.add_argument("--held", type=_at_least(0, int), default=500, help="connections that live long (%(default)s)")
    parser.add_argument("--every", type=_at_least(0.1), default=5.0, help="each asks once in so many s (%(default)s)")
    parser.add_argument("--new", type=_at_least(0), default=200.0, help="new connections a second (%(default)s)")
    parser.add_argument("--rto", type=_at_least(0), default=0.2, help="least RTO that is believed, s (%(default)s)")
    parser.add_argument("--timeout", type=_at_least(0.1), default=5.0, help="seconds for one request (%(default)s)")
    parser.add_argument("--seconds", type=_at_least(0), default=0.0, help="end after so long (0: at SIGTERM or Ctrl-C)")
    parser.add_argument("--seed", type=int, help="of the times at which held flows ask")
    parser.add_argument("--report", default="-", help="file to append to (-: standard output)")
    return parser.parse_args()


def _at_least(least: float, kind: Callable[[str], float] = float) -> Callable[[str], float]:
    """Return a reader of numbers for argparse."""

    def read(text: str) -> float:
        number = kind(text)
        if not least <= number < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is out of range; give at least {least:g}")
        return number

    return read


def main() -> None:
    """Read the arguments, hold, report."""
    given = _arguments()
    hold = Hold(given.url, given.source, given.held, given.every, given.new, given.rto, given.timeout, given.seed)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: hold.stop())
    signal.signal(signal.SIGUSR1, lambda *_: hold.renew())
    try:
        report = sys.stdout if given.report == "-" else open(given.report, "a")  # noqa: SIM115 - open until the end
    except OSError as error:
        sys.exit(f"hold: {error}")
    hold.run(report, given.seconds)


if __name__ == "__main__":
    main()
