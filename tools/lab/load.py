"""HTTP clients without pause, and a report of what they met, second by second. One process, one core.

    python -m tools.lab.load --url http://10.9.9.9/ --url 'http://[fd00:9::9]/' --workers 8 --rate 1500 \\
        --source 10.0.1.2 --source fd00:1::2 --report FILE

Each worker asks, waits for the answer, asks again; by default on a new TCP connection each time. The server closes
first (`Connection: close`), so TIME_WAIT stays with it and the client's ports are free at once. The report is one JSON
line a second:

    {"at": 1700000000.1, "requests": 1500, "failures": [{"at": ..., "kind": "reset", "url": ..., "source": ...}],
     "backends": {"b1": 1499}, "connections": {"b1": 1499}, "slowest_ms": 1.9}

`at` is CLOCK_REALTIME at the end of the second (of a failure: when it was seen), `requests` those that ended in it,
failed ones too, `backends` the answered ones by backend, `connections` the TCP connections that these were the first
on. A kept connection that ends between two requests counts as a failed one. The last line has `"total": true`, and
failures counted by kind.
"""

from __future__ import annotations

import argparse
import json
import select
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import IO, Any

from tools.lab.client import TIMEOUT, Client, State, Target, parse_url, ways

POLL_S = 0.02  # how late a timeout may be seen
CATCH_UP_S = 0.05  # after a stall, this much of the rate is made up for, not more


class Tally:
    """What was met since it was made."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.requests = 0
        self.failures: list[dict[str, Any]] = []
        self.kinds: Counter[str] = Counter()
        self.backends: Counter[str] = Counter()
        self.connections: Counter[str] = Counter()
        self.slowest_s = 0.0

    def add(self, second: Tally) -> None:
        """Take in a second's tally, without its list of failures."""
        self.requests += second.requests
        self.kinds += second.kinds
        self.backends += second.backends
        self.connections += second.connections
        self.slowest_s = max(self.slowest_s, second.slowest_s)

    def line(self) -> dict[str, Any]:
        """Return the parts that a second and the total have alike."""
        by_name = {"backends": self.backends, "connections": self.connections}
        counts = {key: dict(sorted(counter.items())) for key, counter in by_name.items()}
        return {"at": round(time.time(), 3), "requests": self.requests, **counts, "slowest_ms": self._slowest_ms()}

    def _slowest_ms(self) -> float:
        return round(self.slowest_s * 1e3, 1)


class Worker(Client):
    """A client and its request's time."""

    __slots__ = ("began", "busy")

    def __init__(self, keep: int) -> None:
        super().__init__(keep)
        self.began = 0.0
        self.busy = False  # a request is under way


class Load:
    """All workers on one epoll."""

    def __init__(
        self,
        targets: Sequence[Target],
        sources: Iterable[str] = (),
        workers: int = 8,
        rate: float = 0.0,
        keep: int = 1,
        timeout_s: float = 2.0,
    ) -> None:
        self.epoll = select.epoll()
        self.workers = [Worker(keep) for _ in range(workers)]
        self.idle = deque(self.workers)
        self.by_fd: dict[int, Worker] = {}
        self.ways = ways(targets, list(sources))
        self.pause_s = 1 / rate if rate else 0.0
        self.due = time.monotonic()
        self.timeout_s = timeout_s
        self.second = Tally()
        self.total = Tally()
        self.stopped = False

    def run(self, report: IO[str], seconds: float = 0.0) -> None:
        """Load until `stop`, or for so many seconds (0: no end); write the report as it comes."""
        now = self.total.began
        end = now + seconds if seconds else float("inf")
        line_at, look_at = now + 1, now + POLL_S
        while now < end and not self.stopped:
            self._begin(now)
            self._wait(now)
            now = time.monotonic()
            if now >= look_at:
                self._time_out(now)
                look_at = now + POLL_S
            if now >= line_at:
                self._write_second(report)
                line_at = max(line_at + 1, now)
        if self.second.requests:
            self._write_second(report)
        self._write_total(report)

    def stop(self) -> None:
        """End soon; what is under way is not counted."""
        self.stopped = True

    def _begin(self, now: float) -> None:
        """Give the idle workers what is due."""
        self.due = max(self.due, now - CATCH_UP_S)
        for _ in range(len(self.idle)):
            if self.due > now:
                return
            self.due += self.pause_s
            worker = self.idle.popleft()
            worker.began, worker.busy = now, True
            if worker.state is State.ANSWERED:
                worker.ask()
            else:
                worker.connect(*next(self.ways), self.epoll)
                if worker.state is not State.FREE:
                    self.by_fd[worker.socket.fileno()] = worker
            self._settle(worker)

    def _wait(self, now: float) -> None:
        wait_s = min(self.due - now, POLL_S) if self.idle else POLL_S
        for fd, _ in self.epoll.poll(max(wait_s, 0)):
            worker = self.by_fd[fd]
            if worker.state is not State.FREE:
                worker.step()
                self._settle(worker)

    def _time_out(self, now: float) -> None:
        for worker in self.workers:
            if worker.busy and now - worker.began > self.timeout_s:
                worker.fail(TIMEOUT)
                self._settle(worker)

    def _settle(self, worker: Worker) -> None:
        """Count a request that has ended, and let its worker go."""
        kept = worker.state is State.ANSWERED and worker.sent < worker.keep
        if worker.state is State.FREE or kept:
            if worker.failure:
                self._count_failure(worker)
            elif worker.busy:
                self._count_answer(worker)
            if worker.busy:
                worker.busy = False
                self.idle.append(worker)

    def _count_failure(self, worker: Worker) -> None:
        self.second.requests += 1
        self.second.kinds[worker.failure] += 1
        at, source = round(time.time(), 4), worker.source
        self.second.failures.append({"at": at, "kind": worker.failure, "url": worker.target.url, "source": source})
        worker.failure = ""

    def _count_answer(self, worker: Worker) -> None:
        second = self.second
        second.requests += 1
        second.backends[worker.backend] += 1
        if worker.sent == 1:
            second.connections[worker.backend] += 1
        second.slowest_s = max(second.slowest_s, time.monotonic() - worker.began)

    def _write_second(self, report: IO[str]) -> None:
        self.total.add(self.second)
        print(json.dumps({**self.second.line(), "failures": self.second.failures}), file=report, flush=True)
        self.second = Tally()

    def _write_total(self, report: IO[str]) -> None:
        took, kinds = round(time.monotonic() - self.total.began, 3), dict(sorted(self.total.kinds.items()))
        line = {"total": True, "seconds": took, **self.total.line(), "failures": kinds}
        print(json.dumps(line), file=report, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.lab.load", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", action="append", required=True, type=parse_url, help="repeatable: asked in turn")
    parser.add_argument("--source", action="append", default=[], help="own address, repeatable: used in turn")
    parser.add_argument("--workers", type=int, default=8, help="requests at the same time (%(default)s)")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second (0: as many as they can)")
    parser.add_argument("--keep", type=int, default=1, help="requests per connection (%(default)s)")
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds for one request (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.0, help="end after so long (0: at SIGTERM or Ctrl-C)")
    parser.add_argument("--report", default="-", help="file to append to (-: standard output)")
    return parser.parse_args()


def main() -> None:
    """Read the arguments, load, report."""
    given = _arguments()
    load = Load(given.url, given.source, given.workers, given.rate, given.keep, given.timeout)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: load.stop())
    try:
        report = sys.stdout if given.report == "-" else open(given.report, "a")  # noqa: SIM115 - open until the end
    except OSError as error:
        sys.exit(f"load: {error}")
    load.run(report, given.seconds)


if __name__ == "__main__":
    main()
