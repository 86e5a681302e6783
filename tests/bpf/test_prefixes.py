"""The prefix table in the kernel: the program finds what Python finds, for both families, alone and together."""

from __future__ import annotations

import mmap
import os
import random
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from tests.rig.xdp import Action
from xdplb.dataplane import syscall
from xdplb.dataplane.loader import Place, Request, obtain
from xdplb.model import Address
from xdplb.prefixes import ROOTS, Prefix, Prefixes, Verdict

pytestmark = pytest.mark.root

SOURCE = Path(__file__).resolve().parent / "prefixes.c"
SPANS = 1 << 18
SIZES = {"prefix_roots": ROOTS, "prefix_spans": SPANS}
ACTIONS = {Verdict.NONE: Action.PASS, Verdict.BLOCKED: Action.DROP, Verdict.ALLOWED: Action.TX}


class Program:
    """The program and its table."""

    def __init__(self, place: Place, families: str) -> None:
        defines = {"USE_VIP4": int("4" in families), "USE_VIP6": int("6" in families), "SPANS": SPANS}
        pinned = obtain(place, Request(str(SOURCE), "prefixes", ("prefix_maps.h",), {"SPANS": SPANS}, defines))
        self.families = families
        self.fd = syscall.get(pinned.program)
        roots, spans = (self._map(pinned.folder / name, size) for name, size in SIZES.items())
        self.table = Prefixes(roots, spans)

    @staticmethod
    def _map(pin: Path, words: int) -> memoryview:
        fd = syscall.get(pin)
        memory = mmap.mmap(fd, 8 * words)
        os.close(fd)
        return memoryview(memory).cast("Q")

    def judge(self, source: Address) -> Action:
        """What the program does with a frame from this source."""
        if source.version == 4:
            frame = bytes(12) + b"\x08\x00\x45" + bytes(11) + source.packed + bytes(4)
        else:
            frame = bytes(12) + b"\x86\xdd\x60" + bytes(7) + source.packed + bytes(16)
        return Action(syscall.test_run(self.fd, frame)[0])


@pytest.fixture(scope="module", params=["46", "4", "6"])
def program(request: pytest.FixtureRequest) -> Iterator[Program]:
    place = Place(f"test-prefixes-{os.getpid()}")
    place.make()
    try:
        program = Program(place, request.param)
        yield program
        os.close(program.fd)
    finally:
        place.remove()


def draw(source: random.Random, families: str, roots: int) -> Address:
    """An address that shares its first digits with others more often, the fewer `roots` there are."""
    if source.choice(families) == "4":
        return IPv4Address(source.randrange(roots) * 0x01010000 % 2**32 + source.getrandbits(16))
    digits = [source.randrange(roots) * 257 % 65536 for _ in range(4)] + [source.getrandbits(16) for _ in range(4)]
    return IPv6Address(sum(digit << 112 - 16 * n for n, digit in enumerate(digits)))


def around(address: Address, length: int) -> list[Address]:
    """The ends of the prefix of this length around an address, and what lies next to it."""
    most = address.max_prefixlen
    first = int(address) >> most - length << most - length
    ends = (first - 1, first, first + (1 << most - length) - 1, first + (1 << most - length))
    return [type(address)(value) for value in ends if 0 <= value < 1 << most]


@pytest.mark.parametrize("roots", [1, 3, 40])
def test_program_finds_what_python_finds(program: Program, roots: int) -> None:
    source = random.Random(roots)
    lists: dict[Verdict, list[Prefix]] = {Verdict.BLOCKED: [], Verdict.ALLOWED: []}
    asked: list[Address] = [IPv4Address(0), IPv4Address(2**32 - 1), IPv6Address(0), IPv6Address(2**128 - 1)]
    for number in range(3000):
        address = draw(source, program.families, roots)
        most = address.max_prefixlen
        length = source.choice([most, most, most - 1, most // 2, source.randrange(most + 1)]) if number > 5 else 0
        verdict = source.choice(list(lists))
        lists[verdict].append(Prefix((address.version << most | int(address)) >> most - length))
        asked += [address, *around(address, length)]
    program.table.load(lists[Verdict.BLOCKED], lists[Verdict.ALLOWED])

    asked = [a for a in asked if str(a.version) in program.families]
    wrong = [str(a) for a in asked if program.judge(a) is not ACTIONS[program.table.find(a)]]

    assert not wrong
    assert {program.table.find(a) for a in asked} >= {Verdict.BLOCKED, Verdict.ALLOWED}
    program.table.load([], [])
    assert {program.judge(a) for a in asked[:50]} == {Action.PASS}
    for now in (0, 1):
        program.table.release(now)


@pytest.mark.parametrize("place", ["low", "high", "everywhere"])
def test_program_finds_every_digit_of_a_very_long_run(program: Program, place: str) -> None:
    digits = {"low": range(0, 20000, 2), "high": range(45000, 65536, 2), "everywhere": range(0, 65536, 2)}[place]
    six = program.families != "4"
    path = (6 << 32 | 0x20010DB8) if six else (4 << 16 | 0x0A01)
    # Of IPv6, two digits: with nodes below, the long run is not packed.
    blocked = [Prefix((path << 16 | digit) << 16 | 7 if six else path << 16 | digit) for digit in digits]
    program.table.load(blocked, [])

    source = random.Random(1)
    tried = [0, 1, 2, 19999, 20000, 45000, 44999, 65534, 65535, *(source.randrange(65536) for _ in range(3000))]
    wrong = []
    for digit in tried:
        address = IPv6Address(0x20010DB8 << 96 | digit << 80 | 7 << 64) if six else IPv4Address(0x0A010000 | digit)
        if program.judge(address) is not (Action.DROP if digit in digits else Action.PASS):
            wrong.append(digit)

    assert not wrong
    program.table.load([], [])
    for now in (10, 11):
        program.table.release(now)


def test_change_is_seen_by_the_next_packet(program: Program) -> None:
    address: Address = IPv4Address("192.0.2.1") if "4" in program.families else IPv6Address("2001:db8::1")
    most = address.max_prefixlen
    some = Prefix(address.version << most | int(address))
    program.table.put(some, Verdict.BLOCKED)
    assert program.judge(address) is Action.DROP
    program.table.put(some, Verdict.ALLOWED)
    assert program.judge(address) is Action.TX
    program.table.remove(some, Verdict.ALLOWED)
    program.table.remove(some, Verdict.BLOCKED)
    assert program.judge(address) is Action.PASS
