"""`xdplb trace`: live packets, and what becomes of them."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target
from xdplb.errors import ConfigError
from xdplb.headers import Headers
from xdplb.pcapng import Pcapng
from xdplb.traced import comment

Packet = dict[str, Any]
_WHY = {"time": "its time is over", "count": "that many were asked for", "stopped": "the daemon ends"}


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which packets are meant."""
    for option in (
        click.option("--reason", metavar="REASON", help="Not forwarded for this reason; or `forwarded`."),
        click.option("--backend", metavar="BACKEND", help="Steered to this backend."),
        click.option("--service", metavar="SERVICE", help="For this service."),
        click.option("--dst", metavar="PREFIX[:PORT]", help="To this VIP, as 192.0.2.10:80, [2001:db8::1]:80 or :80."),
        click.option("--src", metavar="PREFIX", help="From these clients, as 198.51.100.0/24."),
    ):
        command = option(command)
    return command


@click.command()
@filters
@click.option("--sample", metavar="N", help="One packet of so many, at random.")
@click.option("--for", "for_s", default="10s", show_default=True, metavar="TIME", help="So long, at most 10m.")
@click.option("--count", default="100", show_default=True, metavar="N", help="At most so many packets.")
@click.option("--write", type=click.Path(dir_okay=False, path_type=Path), help="Also write a pcapng file (Wireshark).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one packet a line.")
@click.pass_obj
def trace(target: Target, /, write: Path | None, as_json: bool, **asked: str | None) -> None:
    """Show live packets, each with its verdict and reason.

    A line has the time, the interface, source > destination, protocol, flags and length as it arrived; then service and
    backend, the slot and its state, what became of the packet, and its length as it left. `-` stands for nothing.

    \b
    Example:
      xdplb trace --src 198.51.100.0/24 --for 1s
    """
    packets = Client(target.socket).trace({name: text for name, text in asked.items() if text is not None})
    file = open_capture(write) if write else None
    shown, capture = 0, Pcapng()
    try:
        with file or contextlib.nullcontext():
            for packet in _followed(packets):
                click.echo(json.dumps(packet) if as_json else line(packet))
                shown += 1
                if file:
                    file.write(captured(capture, packet))
    except KeyboardInterrupt:
        click.echo(f"{shown:,} packets: interrupted", err=True)


def _followed(packets: Iterator[tuple[str, Packet]]) -> Iterator[Packet]:
    """Yield packets until the end; tell on standard error how it begins and ended."""
    count = 0
    for kind, document in packets:
        if kind == "start":
            click.echo(f"tracing for {document['for_s']:g} s, or {document['count']:,} packets", err=True)
        elif kind == "packet":
            count += 1
            yield document
        elif kind == "end":
            lost = f", {document['lost']:,} lost (take a --sample or a filter)" if document["lost"] else ""
            click.echo(f"{count:,} packets{lost}: {_WHY[document['why']]}", err=True)


# --- a line -------------------------------------------------------------------------------------------------


def line(packet: Packet) -> str:
    """Return a packet as one line, with as many words as any other."""
    when = datetime.fromtimestamp(packet["at_ns"] // 10**9).strftime("%H:%M:%S")
    micros = packet["at_ns"] // 1000 % 10**6
    headers = Headers(*(packet[name] for name in Headers.__dataclass_fields__))
    source, destination = headers.ends()
    words = [f"{when}.{micros:06}", packet["interface"], source, ">", destination, headers.protocol or "-"]
    words += [headers.flags or "-", str(packet["bytes"]), "->", _to(packet)]
    words += ["slot", _slot(packet), _verdict(packet), str(packet["bytes_out"] or "-")]
    return " ".join(words)


def _to(packet: Packet) -> str:
    where = f"{packet['service'] or '-'}/{packet['backend'] or '-'}"
    return click.style(where, bold=True) if packet["backend"] else where


def _slot(packet: Packet) -> str:
    if packet["slot"] is None:
        return "-"
    how = "" if packet["chosen"] == "ring" else f",{packet['chosen']}"
    return f"{packet['slot']}({packet['slot_state']}{how})"


def _verdict(packet: Packet) -> str:
    reason: str = packet["reason"] or ("passed" if packet["action"] == "pass" else "sent")
    color = {"dropped": "red", "answered": "yellow", "sent": "green"}.get(reason.partition("_")[0])
    return click.style(reason, fg=color)


# --- a file -------------------------------------------------------------------------------------------------


def open_capture(path: Path) -> IO[bytes]:
    """Begin a file. Raises ConfigError."""
    try:
        file = path.open("wb")
    except OSError as error:
        raise ConfigError("--write", f"{path} cannot be written ({error.strerror})", "give another path") from None
    file.write(Pcapng.begin())
    return file


def captured(capture: Pcapng, packet: Packet) -> bytes:
    """Return a packet as it arrived and, if it was sent, as it left."""
    when, told = packet["at_ns"], comment(packet)
    frame = base64.b64decode(packet["frame"])
    found = capture.packet(packet["interface"], when, frame, packet["bytes"], told)
    if packet["frame_out"] is not None:
        out = base64.b64decode(packet["frame_out"])
        found += capture.packet(packet["interface_out"], when, out, packet["bytes_out"], told, outbound=True)
    return found
