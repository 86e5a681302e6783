"""`xdplb explain`: what would become of a packet, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click

from xdplb.admin.client import Client
from xdplb.cli.main import Target
from xdplb.errors import ConfigError, NoDaemonError

BATCH = 100  # frames of one question: with jumbo frames, what the API takes
ETHERNET = 1  # LINKTYPE_ETHERNET
COLORS = {"forwarded": "green", "answered": "green", "passed": "yellow", "dropped": "red"}


@click.command()
@click.option("--src", metavar="ADDRESS[:PORT]", help="Who sends it; the port is 40000 unless given.")
@click.option("--dst", metavar="ADDRESS[:PORT]", help="To whom.")
@click.option("--proto", help="tcp, udp, sctp, icmp (an echo request), or a number.  [default: tcp]")
@click.option("--flags", metavar="LETTERS", help="Of TCP: of FSRPAUEC.  [default: S]")
@click.option("--length", type=int, help="Bytes of the IP packet.  [default: its headers]")
@click.option("--hex", "hex_", metavar="BYTES", help="A frame, from its Ethernet header on.")
@click.option("--pcap", type=click.Path(path_type=Path), help="A file of frames, pcap or pcapng.")
@click.option("--in", "interface", metavar="NIC", help="By which interface it comes in.")
@click.option("--verbose", is_flag=True, help="Also print the bytes that come and go.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a packet a line.")
@click.pass_obj
def explain(
    target: Target,
    /,
    interface: str | None,
    hex_: str | None,
    pcap: Path | None,
    verbose: bool,
    as_json: bool,
    **of: Any,
) -> None:
    """Say what would become of a packet, and why. Nothing is changed and nothing is sent.

    The program that is loaded runs on it, with its real tables and copies of what it writes.

    \b
    Example:
      xdplb explain --src 198.51.100.7 --dst 192.0.2.10:80
    """
    question = {"hex": hex_, "in": interface, **of}
    if pcap is not None and any(question[name] is not None for name in question.keys() - {"in"}):
        raise ConfigError("--pcap", "makes no sense with another packet", "give one of them")
    if pcap is None and hex_ is None and of["src"] is None:
        raise ConfigError("--src", "is missing", "give --src and --dst, or --pcap or --hex")
    number = 0
    for documents in _answers(target, question, pcap):
        for document in documents:
            if number and not as_json:
                click.echo()
            number += 1
            click.echo(json.dumps(document)) if as_json else _show(document, verbose)


def _answers(target: Target, question: dict[str, Any], pcap: Path | None) -> Iterator[list[dict[str, Any]]]:
    ask = _Asker(target)
    if pcap is None:
        yield ask({name: value for name, value in question.items() if value is not None})
        return
    frames = read_frames(pcap)
    while batch := [frame.hex() for frame in islice(frames, BATCH)]:
        yield ask({"frames": batch} | ({"in": question["in"]} if question["in"] else {}))


class _Asker:
    """The daemon; or where none answers, the pins that outlive it, which know no names."""

    def __init__(self, target: Target) -> None:
        self._target, self._client, self._own = target, Client(target.socket), False

    def __call__(self, question: dict[str, Any]) -> list[dict[str, Any]]:
        if not self._own:
            try:
                return self._client.explain(question)
            except NoDaemonError as error:
                click.echo(f"xdplb: {error}; without it, names and health are not known", err=True)
        return self._explain(question)

    def _explain(self, question: dict[str, Any]) -> list[dict[str, Any]]:
        from xdplb.dataplane.loader import Place
        from xdplb.explain.question import parse_question
        from xdplb.explainer import Explainer

        if not self._own:
            self._own, self._explainer = True, Explainer(Place(self._target.name))
        parsed = parse_question(question)
        return self._explainer.explain(parsed.frames, parsed.interface)


def read_frames(path: Path) -> Iterator[bytes]:
    """Yield the frames of a file, pcap or pcapng. Raises ConfigError.

    One that the capture cut off is filled up with zeros: its headers say how long it was, and nobody looks further.
    """
    from scapy.error import Scapy_Exception
    from scapy.utils import RawPcapReader

    try:
        with RawPcapReader(str(path)) as reader:  # of both kinds: it looks
            for frame, about in reader:
                link = getattr(about, "linktype", None) or getattr(reader, "linktype", ETHERNET)
                if link != ETHERNET:
                    fix = "capture on an Ethernet interface, not on `any`"
                    raise ConfigError("--pcap", f"{path} has link type {link}, not Ethernet", fix)
                yield frame.ljust(getattr(about, "wirelen", None) or 0, b"\0")
    except (Scapy_Exception, EOFError) as error:
        raise ConfigError("--pcap", f"{path} is no file of packets ({error})", "give a pcap or pcapng file") from None
    except OSError as error:
        raise ConfigError("--pcap", f"{path} cannot be read ({error.strerror})", "give a file") from None


def _show(document: dict[str, Any], verbose: bool) -> None:
    from xdplb.explain.words import lines

    for number, line in enumerate(lines(document, verbose)):
        if number == 0:
            color = COLORS.get((document["reason"] or "forwarded").partition("_")[0])
            click.echo(click.style(line, fg=color, bold=True))
        elif not line.startswith(" "):
            click.echo(click.style(line, fg="yellow"))
        else:
            click.echo(line)
