"""Connections to this host; questions by ARP: test_look has a network for them."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from xdplb.doctor import asking

HERE, THERE = ip_address("127.0.0.1"), ip_address("127.0.0.2")


def test_who_listens_and_who_does_not_is_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert asking.connect([(HERE, port), (THERE, port)], 1.0) == {HERE: "", THERE: "refused"}


def test_who_says_nothing_is_not_waited_for() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), socket.socket() as second:
            second.setblocking(False)
            second.connect_ex(("127.0.0.1", port))  # the queue is full: the next SYN is dropped
            assert asking.connect([(HERE, port)], 0.05) == {HERE: "nobody answers"}


def test_what_cannot_be_asked_is_left_out() -> None:
    hop = (1, ip_address("fd00::1"))
    assert asking.who_has([hop], {hop: ip_address("fd00::2")}, {1: b"\1" * 6}, 0.0) == {}
    assert asking.who_has([(1, HERE)], {}, {}, 0.0) == {}
