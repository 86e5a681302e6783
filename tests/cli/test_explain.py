"""`xdplb explain`: a packet's way from the daemon, from a file, and from the pins alone when no daemon answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import ARP, Ether
from scapy.utils import PcapNgWriter, wrpcap

from tests.rig.packets import LB_MAC, tcp
from tools.lab.stand import Stand
from xdplb.cli.explain import read_frames
from xdplb.cli.main import cli
from xdplb.errors import ConfigError

VIP = "10.9.9.9"
TO_VIP = ("--src", "10.0.1.2:4000", "--dst", f"{VIP}:80")


def test_a_packet_is_explained_with_the_daemon_and_without(running: Stand, tmp_path: Path) -> None:
    done = running.run("explain", *TO_VIP)
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first.startswith("forwarded: web to b")
    text = "\n".join(rest)
    for words in (
        "came in   by eth0, 54 bytes",
        "parsed    tcp 10.0.1.2:4000 > 10.9.9.9:80, a new connection",
        "service   web, by VIP 10.9.9.9:80/tcp: this very port",
        "guard     its sender is on no list",
        ", settled, of b",
        "up: the ring's choice for this slot",
        "goes      to eth0, next hop ",
        "IPv4 10.0.1.2 > 10.9.9.9 ttl 64",
        "verdict   XDP_TX",
    ):
        assert words in text, text
    assert "DISAGREEMENT" not in text
    assert "would not come here" not in text
    assert running.client.status()["forwarded"]["packets"] == 0

    document = json.loads(running.run("explain", *TO_VIP, "--json").stdout)
    assert document["summary"] == first
    told = running.client.explain(
        {"frames": [bytes(Ether(src=LB_MAC, dst=LB_MAC) / ARP(psrc="10.0.0.1")).hex()], "in": "lo"}
    )
    assert [one["reason"] for one in told] == ["passed_not_ip"]
    assert told[0]["warnings"] == ["the program is not attached to lo; it is on eth0"]
    wrong = running.run("explain", "--src", "10.0.1.2", "--dst", f"{VIP}:81")
    assert wrong.stdout.startswith("passed_no_service: no VIP 10.9.9.9:81/tcp; this address has 80/tcp\n")
    refused = running.run("explain", *TO_VIP, "--in", "eth7")
    assert refused.returncode == 2
    assert refused.stderr == "xdplb: in: there is no interface 'eth7'; the program is attached to eth0\n"

    path = tmp_path / "two.pcap"
    wrpcap(str(path), [tcp(vip=VIP), Ether(src=LB_MAC, dst=LB_MAC) / ARP(psrc="10.0.0.1")])
    both = running.run("explain", "--pcap", str(path), "--json")
    assert [json.loads(line)["reason"] for line in both.stdout.splitlines()] == [None, "passed_not_ip"]

    running.kill_daemon()
    alone = running.run("explain", *TO_VIP, "--json")
    assert "no daemon answers" in alone.stderr
    same = json.loads(alone.stdout)
    assert (same["out"]["hex"], same["backend"]["address"]) == (document["out"]["hex"], document["backend"]["address"])
    assert same["backend"]["name"] is None


def test_frames_are_read_from_both_kinds_of_files(tmp_path: Path) -> None:
    frames = [bytes(tcp()), bytes(Ether(src=LB_MAC, dst=LB_MAC) / ARP(psrc="10.0.0.1"))]
    wrpcap(str(tmp_path / "old"), [Ether(frame) for frame in frames])
    with PcapNgWriter(str(tmp_path / "new")) as writer:
        writer.write([Ether(frame) for frame in frames])

    assert list(read_frames(tmp_path / "old")) == list(read_frames(tmp_path / "new")) == frames


def test_frames_that_were_cut_off_have_their_length_again(tmp_path: Path) -> None:
    cut = Ether(bytes(tcp())[:40])
    cut.wirelen = 54
    wrpcap(str(tmp_path / "cut"), [cut])

    assert list(read_frames(tmp_path / "cut")) == [bytes(tcp())[:40] + bytes(14)]


def test_what_is_no_file_of_frames_is_told(tmp_path: Path) -> None:
    text, other = tmp_path / "text", tmp_path / "other"
    text.write_text("no packets in here, and that is told")
    wrpcap(str(other), [IP() / TCP()])

    for path, words in ((text, "is no file of packets"), (other, "link type 228"), (tmp_path / "no", "cannot be read")):
        with pytest.raises(ConfigError, match=words):
            list(read_frames(path))


def test_questions_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    for arguments, words in (
        ([], "--src: is missing"),
        (["--pcap", "x", "--src", "10.0.0.1"], "--pcap: makes no sense with another packet"),
    ):
        result = CliRunner().invoke(cli, ["--name", "nobody", "explain", *arguments])
        assert isinstance(result.exception, ConfigError)
        assert words in str(result.exception)
