"""Sockets of probes: marked, small enough, and gone without a trace."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest

from xdplb.health.probe import Target
from xdplb.health.sockets import open_socket


@pytest.mark.root
def test_a_tunnels_socket_has_its_mark_and_keeps_to_the_packets_length() -> None:
    with open_socket(Target(ip_address("127.0.0.1"), 80, mark=77, packet_bytes=1500), socket.SOCK_STREAM) as opened:
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == 77
        assert not opened.getblocking()
    assert opened.fileno() == -1


def test_the_other_side_hears_of_the_longest_segment() -> None:
    target = Target(ip_address("127.0.0.1"), 0, packet_bytes=1000)
    with socket.create_server(("127.0.0.1", 0)) as server, open_socket(target, socket.SOCK_STREAM) as opened:
        opened.setblocking(True)
        opened.connect(server.getsockname())
        accepted, _ = server.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 960
