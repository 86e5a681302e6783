"""`python -m tools.bench_cli [--runs N]`: how long commands take from a prompt to the next, and what they import.

`status` is asked of a fake daemon in this process, so it takes no root; the daemon itself takes some milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

from xdplb.tui.fake_daemon import large

# The limits that users notice: a pause below them is none.
LIMITS_MS = {"--help": 150.0, "status": 200.0, "services": 200.0}
HEAVIEST = 8

PROGRAM = """
import sys
from pathlib import Path
from xdplb.cli import main
main.Target.socket = property(lambda self: Path({socket!r}))
sys.argv = ["xdplb", {command!r}]
main.main()
"""


def serve(path: Path) -> ThreadingUnixStreamServer:
    """Answer with the status of a hundred backends, until the process ends."""
    document = large(100).status()
    for service in document["services"]:
        service |= {"forward": "ipip", "moving_slots": 0, "moved_slots": 0}
        for backend in service["backends"]:
            backend["flows_left"] = 0
    document |= {"interfaces": [{**document["interface"], "layout": "a", "code": "b"}], "spared": {}, "warnings": []}
    document |= {"guard": {"blocked": 0, "allowed": 0}, "flows": {"remembered": 0}, "unconfirmed": None}
    document["start"] = document["reconcile"]
    body = json.dumps(document).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingUnixStreamServer(str(path), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def measure(argv: list[str], runs: int) -> tuple[list[float], float]:
    """Return the milliseconds of each run, sorted, and those of processor time that one took on average."""
    times = []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
        times.append((time.perf_counter() - began) * 1e3)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return sorted(times), cpu_s * 1e3 / runs


def imports(argv: list[str]) -> list[tuple[float, str]]:
    """Return the modules that took longest to import, without what they import, in milliseconds."""
    done = subprocess.run([argv[0], "-X", "importtime", *argv[1:]], capture_output=True, text=True, check=True)
    found = []
    for line in done.stderr.splitlines():
        own, _, name = line.removeprefix("import time:").split("|")
        if own.strip().isdigit():
            found.append((int(own) / 1e3, name.strip()))
    return sorted(found, reverse=True)[:HEAVIEST]


def main(runs: int) -> int:
    """Print both; return 1 when a command takes longer than its limit."""
    with tempfile.TemporaryDirectory() as folder:
        socket = os.path.join(folder, "admin.sock")
        serve(Path(socket))
        commands = {name: [sys.executable, "-c", PROGRAM.format(socket=socket, command=name)] for name in LIMITS_MS}
        bare = statistics.median(measure([sys.executable, "-c", ""], runs)[0])
        print(f"{'ms':10} {'best':>8} {'median':>8} {'cpu':>8} {'limit':>8}   (Python's own start: {bare:.0f})")
        late = False
        for name, argv in commands.items():
            times, cpu = measure(argv, runs)
            median, limit = statistics.median(times), LIMITS_MS[name]
            late |= median > limit
            slow = "   too slow" if median > limit else ""
            print(f"{name:10} {times[0]:8.1f} {median:8.1f} {cpu:8.1f} {limit:8.0f}{slow}")
        for name, argv in commands.items():
            print(f"\n{name}: " + ", ".join(f"{module} {ms:.1f}" for ms, module in imports(argv)))
    return int(late)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    sys.exit(main(parser.parse_args().runs))
