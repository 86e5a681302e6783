"""`xdplb trace`: a line for each packet, or JSON, and a file that Wireshark opens."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapNgReader

from tests.cli.test_main import xdplb
from tests.rig.traffic import ask
from tests.test_traced import FRAME, REASONS, RECORD, SERVICES
from tools.lab.net import VIP4
from tools.lab.stand import ROOT, XDPLB, Stand
from xdplb.cli.trace import line
from xdplb.contract import CONSTANTS
from xdplb.traced import Record, describe, names_of

NAMES = names_of(SERVICES, {"eth0": 3}, REASONS)
DROPPED = Record(5, 1, 3, 60, 0, 0, 0, 0, 0, 0, 1, CONSTANTS["TRACE_REASONS"] + 1, FRAME[:30], b"")


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (RECORD, "198.51.100.7:4000 > 192.0.2.10:80 tcp S 54 -> web/four12 slot 7(settled) sent 74"),
        (
            replace(RECORD, slot_state=2, chosen=CONSTANTS["CHOSEN_PREVIOUS"]),
            "198.51.100.7:4000 > 192.0.2.10:80 tcp S 54 -> web/four12 slot 7(moving,previous) sent 74",
        ),
        (DROPPED, "02:00:00:00:00:01 > 02:00:00:00:00:02 0x0800 - 60 -> -/- slot - dropped_blocked -"),
    ],
)
def test_a_line_has_as_many_words_as_any_other_whatever_is_known(record: Record, words: str) -> None:
    told = line(describe(record, NAMES, 0))

    clock, interface, rest = told.split(" ", 2)
    assert (len(clock), interface) == (15, "eth0")
    assert click.unstyle(rest) == words
    assert len(told.split()) == 14


def test_packets_are_printed_and_written_until_ctrl_c(running: Stand, tmp_path: Path) -> None:
    path = tmp_path / "out.pcapng"
    argv = [*XDPLB, "--name", running.name, "trace", "--dst", f"{VIP4}:80", "--for", "10m", "--write", str(path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(argv, cwd=ROOT, text=True, **pipes) as tracing:  # type: ignore[call-overload]
        assert "tracing for 600 s" in tracing.stderr.readline()
        who, _ = ask(running.lab, VIP4, 80)
        lines = [tracing.stdout.readline() for _ in range(3)]
        tracing.send_signal(signal.SIGINT)
        lines += tracing.stdout.readlines()
        assert tracing.wait(20) == 0
        assert tracing.stderr.read() == f"{len(lines)} packets: interrupted\n"

    assert all(f" > {VIP4}:80 tcp " in text and f" -> web/{who} slot " in text for text in lines)
    assert "\x1b" not in lines[0]
    with RawPcapNgReader(str(path)) as reader:
        packets: list[Any] = list(reader)
    assert len(packets) == 2 * len(lines)
    (came, arrived), (went, left) = packets[:2]
    assert Ether(came)[IP].dst == VIP4
    assert len(went) > len(came)
    assert went.endswith(came[34:])
    assert {arrived.ifname, left.ifname} == {b"eth0"}
    assert (arrived.direction, left.direction) == (1, 2)

    printed = running.run("trace", "--json", "--count", "1", "--for", "20")  # probes come all the time
    assert json.loads(printed.stdout)["interface"] == "eth0"
    assert "1 packets: that many were asked for" in printed.stderr


def test_a_file_that_cannot_be_written_is_told_before_anything_happens() -> None:
    done = xdplb("--name", "nobody", "trace", "--write", "/nonexistent/out.pcapng")
    assert (done.returncode, done.stdout) == (2, "")
    assert "xdplb: --write: /nonexistent/out.pcapng cannot be written (No such file or directory); give" in done.stderr
