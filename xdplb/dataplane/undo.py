"""The guardian of `run --confirm`: it takes back what was attached, unless it is told in time that all is well.

A process of its own, in a session of its own: it must act when the daemon is killed, stopped or hangs. It notes what
there is before anything is attached and keeps the programs loaded that are; then it only waits. It holds the daemon's
lock too, so no other daemon starts before it is done.

Standard input: an order as one line of JSON, then `attaching`, from when on the time runs, and `confirmed`. Its end
means that the daemon has ended. Standard output: `ready`, and at last `kept` or `undone` with what was done.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xdplb.dataplane import syscall
from xdplb.dataplane.loader import Place


@dataclass(frozen=True, slots=True)
class Held:
    """A program that is attached by a link, held by a descriptor, and the XDP mode."""

    link_id: int
    program_id: int
    fd: int
    mode: str


@dataclass(frozen=True, slots=True)
class Before:
    """What there was: programs by interface number, pins, and files with their contents."""

    links: Mapping[int, Held]
    pins: frozenset[Path]
    files: Mapping[Path, bytes]


def linked(place: Place) -> dict[int, syscall.Link]:
    """Return our links that hold an interface, by its number."""
    found = {}
    for path in place.pins.glob("link_*"):
        fd = syscall.get(path)
        link = syscall.link(fd)
        os.close(fd)
        if link.ifindex:
            found[link.ifindex] = link
    return found


def note(place: Place, modes: Mapping[int, str]) -> Before:
    """Note what there is. `modes`: the XDP mode of each interface that has one of our links."""
    held = {
        index: Held(link.id, link.program_id, syscall.open_program(link.program_id), modes.get(index, "native"))
        for index, link in linked(place).items()
    }
    files = {path: path.read_bytes() for path in place.run.glob("*.json")}
    return Before(held, frozenset(place.pins.rglob("*")), files)


def put_back(place: Place, before: Before, mode: str) -> list[str]:
    """Make links, pins and files as they were; return what was done to whom. `mode`: of what was attached since.

    Doing it again does nothing.
    """
    missing, done = dict(before.links), []
    for path in sorted(place.pins.glob("link_*")):
        done += _put_back_link(path, missing, mode)
    for index, held in missing.items():
        done += _attach_again(place, index, held)
    _put_back_files(place, before)
    return done


def _put_back_link(path: Path, missing: dict[int, Held], mode: str) -> list[str]:
    """Give a link its program back, or remove it; what is as it was is not missing any more."""
    fd = syscall.get(path)
    try:
        link = syscall.link(fd)
        name, held = _name_of(link.ifindex), missing.get(link.ifindex)
        if held and held.mode == mode:
            with contextlib.suppress(OSError):  # then it is better off
                if link.program_id != held.program_id:
                    syscall.link_update(fd, held.fd)
                del missing[link.ifindex]
                return [f"{name}: the program before is back"] if link.program_id != held.program_id else []
        path.unlink()
        if not link.ifindex:  # its interface has vanished, or somebody was faster
            return []
        syscall.link_detach(fd)
        return [] if held else [f"{name}: the program is off"]
    finally:
        os.close(fd)


def _attach_again(place: Place, index: int, held: Held) -> list[str]:
    try:
        fd = syscall.link_create(held.fd, index, held.mode)
    except OSError as error:
        why = "it has vanished" if _name_of(index) == _unnamed(index) else error.strerror
        return [f"{_name_of(index)}: the program before could not be attached again ({why})"]
    syscall.pin(fd, place.link(index))
    os.close(fd)
    return [f"{_name_of(index)}: the program before is back"]


def _put_back_files(place: Place, before: Before) -> None:
    """Remove pins and files that were not there, and write what was."""
    for path in sorted(place.pins.rglob("*"), reverse=True):  # what is in a folder before the folder
        if path not in before.pins and path.is_dir():
            path.rmdir()
        elif path not in before.pins and path.parent != place.pins:
            path.unlink(missing_ok=True)
    for path in place.run.glob("*.json"):
        if path not in before.files:
            path.unlink()
    for path, content in before.files.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def _name_of(index: int) -> str:
    with contextlib.suppress(OSError):
        return socket.if_indextoname(index)
    return _unnamed(index)


def _unnamed(index: int) -> str:
    return f"interface number {index}"


# --- the process --------------------------------------------------------------------------------------------


class Words:
    """Lines from a descriptor, each awaited for a bounded time."""

    def __init__(self, fd: int) -> None:
        self._fd, self._read = fd, b""

    def next(self, timeout_s: float | None) -> str | None:
        """Return the next line; "" at the end; None when it did not come in time."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while b"\n" not in self._read:
            left = None if until is None else max(0.0, until - time.monotonic())
            if not select.select([self._fd], [], [], left)[0]:
                return None
            part = os.read(self._fd, 65536)
            if not part:
                return ""
            self._read += part
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()


def wait(words: Words, seconds: float) -> str | None:
    """Return "confirmed", "" when the daemon has ended, None when the time is over."""
    heard = words.next(None)
    until = time.monotonic() + seconds
    while heard == "attaching":
        heard = words.next(max(0.0, until - time.monotonic()))
    return heard


def guard(words: Words) -> int:
    """Do what the order says; return the exit status."""
    order = json.loads(words.next(None) or "")
    place, mode = Place(order["name"]), order["mode"]
    before = note(place, {int(index): text for index, text in order["modes"].items()})
    _say("ready")
    heard = wait(words, order["seconds"])
    if heard == "confirmed":
        _say("kept")
        return 0
    done = put_back(place, before, mode)
    _say("undone " + ("; ".join(done) or "nothing had been attached"))
    while heard is None or heard:  # a daemon that only slept may attach once more before it hears of this
        heard = words.next(None)
    put_back(place, before, mode)
    return 1


def _say(text: str) -> None:
    """Tell the daemon; when there is none any more, whoever reads its log."""
    try:
        os.write(1, f"{text}\n".encode())
    except OSError:
        with contextlib.suppress(OSError):
            os.write(2, f"xdplb: the daemon has ended before `xdplb confirm`: {text}\n".encode())


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # a service manager means the daemon, not its undo
        signal.signal(number, signal.SIG_IGN)
    sys.exit(guard(Words(0)))
