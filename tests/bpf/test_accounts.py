"""Accounts of clients: who makes room for whom in a line of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.rig.packets import VIP4, config, service, tcp
from tests.rig.xdp import SPEC, Xdp
from xdplb.dataplane import syscall
from xdplb.model import Limits, Rate

ONE_LINE = replace(SPEC, limits=True, capacity=replace(SPEC.capacity, clients=1))
SLOW = 1 / 60  # packets a second: nothing is paid off while the test runs
COST = 60 * 10**9 // 64


@pytest.fixture
def line() -> Iterator[Xdp]:
    """A program that remembers 8 accounts."""
    xdp = Xdp(ONE_LINE, f"test-accounts-{os.getpid()}")
    yield xdp
    xdp.close()


def debts(xdp: Xdp) -> list[int]:
    """How many packets each account of the line has still to pay for, sorted."""
    with xdp.map("clients") as fd:
        words = memoryview(syscall.lookup_array(fd, 1, 64)).cast("Q")
    owed = sorted(word & (1 << 40) - 1 for word in words)
    return [round((one - owed[0]) / COST) for one in owed]


@pytest.mark.root
def test_where_all_are_in_debt_the_least_one_makes_room(line: Xdp) -> None:
    line.serve(config(service(limits=Limits(packets=Rate(SLOW, 100)))))
    for number, packets in enumerate((5, 9, 3, 2, 8, 7, 6, 4)):
        for _ in range(packets):
            line.run(tcp(vip=VIP4, src=f"198.51.100.{number}"))
    assert debts(line) == [0, 1, 2, 3, 4, 5, 6, 7]  # beyond the least one's two

    for _ in range(20):
        line.run(tcp(vip=VIP4, src="203.0.113.1"))

    assert debts(line) == [0, 1, 2, 3, 4, 5, 6, 17]  # beyond three
