"""Tell on a terminal what the daemon is at while an answer takes long."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import click

from xdplb.admin.client import Client
from xdplb.errors import XdplbError

PATIENCE_S = 0.5  # nobody wants to read what is over before
LOOK_S = 0.25

T = TypeVar("T")


def wait(client: Client, work: Callable[[], T]) -> T:
    """Do the work, and tell meanwhile what the daemon is doing."""
    with _telling(client) if sys.stderr.isatty() else contextlib.nullcontext():
        return work()


@contextlib.contextmanager
def _telling(client: Client) -> Iterator[None]:
    over = threading.Event()
    teller = threading.Thread(target=_tell, args=(client, over), daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
        click.echo("\r\x1b[K", nl=False, err=True)


def _tell(client: Client, over: threading.Event) -> None:
    began = time.monotonic()
    over.wait(PATIENCE_S)
    while not over.is_set():
        with contextlib.suppress(XdplbError):
            doing = client.config()["doing"] or "thinking"
            click.echo(f"\r\x1b[K{doing} ... {time.monotonic() - began:.0f} s", nl=False, err=True)
        over.wait(LOOK_S)
