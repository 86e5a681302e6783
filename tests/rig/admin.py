"""An admin socket without a daemon behind it: it answers every GET with a document, as tests want it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

from xdplb.cli.main import Target
from xdplb.tui.fake_daemon import FakeDaemon


@dataclass(frozen=True, slots=True)
class At(Target):
    """A daemon whose socket is somewhere else than where daemons have theirs."""

    path: Path = Path()

    @property
    def socket(self) -> Path:
        return self.path


def status_of(fake: FakeDaemon) -> dict[str, Any]:
    """Return the status of a fake daemon, with what the screen does not show."""
    document = fake.status()
    for service in document["services"]:
        service["forward"] = "ipip"
        for backend in service["backends"]:
            backend["flows_left"] = 0
    return document


@contextmanager
def serving(path: Path, document: Callable[[], Any]) -> Iterator[At]:
    """Answer on a socket; yield what commands take for their daemon."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(document()).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    class Server(ThreadingUnixStreamServer):
        daemon_threads = True

    with Server(str(path), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield At(None, path=path)
        finally:
            server.shutdown()
            path.unlink()
