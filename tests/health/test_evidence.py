"""The datagram in which an agent reports, both ways."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdplb.health.evidence import Sign, Unanswered, pack, unpack

FOUND = [
    Unanswered(ip_address("192.0.2.10"), 80, Sign.NO_SOCKET, 3),
    Unanswered(ip_address("2001:db8::10"), 443, Sign.QUEUE_FULL, 1),
    Unanswered(None, 65535, Sign.QUEUE_FULL, 0xFFFFFFFF),
]


def test_what_is_packed_is_unpacked() -> None:
    (datagram,) = pack(FOUND)
    assert unpack(datagram) == FOUND


def test_much_goes_in_several_datagrams_that_fit_every_link() -> None:
    found = [Unanswered(ip_address("192.0.2.10"), port, Sign.NO_SOCKET, 1) for port in range(1, 121)]
    datagrams = pack(found)
    assert [one for datagram in datagrams for one in unpack(datagram)] == found
    assert max(map(len, datagrams)) <= 1280 - 48  # IPv6 and UDP headers
    assert pack([]) == []


def test_more_entries_than_one_may_have_are_not_read() -> None:
    first, second = pack([FOUND[0]] * 9)
    assert len(unpack(first)) == 8
    assert unpack(first[:5] + b"\x09" + first[6:] + second[8:]) == []


def test_a_count_that_does_not_fit_is_the_largest() -> None:
    (one,) = unpack(pack([Unanswered(None, 80, Sign.NO_SOCKET, 1 << 40)])[0])
    assert one.count == 0xFFFFFFFF


@pytest.mark.parametrize(
    "change",
    [
        lambda datagram: b"",
        lambda datagram: datagram[:-1],
        lambda datagram: datagram + b"x",
        lambda datagram: b"X" + datagram[1:],
        lambda datagram: datagram[:4] + b"\x02" + datagram[5:],  # another version
        lambda datagram: datagram[:5] + b"\xff" + datagram[6:],  # more entries than there are
    ],
)
def test_what_is_no_such_datagram_says_nothing(change: object) -> None:
    assert callable(change)
    assert unpack(change(pack(FOUND)[0])) == []


def test_a_sign_of_a_later_version_is_left_out() -> None:
    (datagram,) = pack(FOUND[:2])
    assert unpack(datagram[: 8 + 19] + b"\x09" + datagram[8 + 20 :]) == FOUND[1:2]


@given(st.binary(max_size=200))
def test_no_datagram_breaks_it(datagram: bytes) -> None:
    assert isinstance(unpack(datagram), list)
    assert isinstance(unpack(b"xdpe\x01" + datagram), list)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (FOUND[0], "no socket listens on 192.0.2.10:80 there (its agent says)"),
        (FOUND[1], "the accept queue of [2001:db8::10]:443 there is full (its agent says)"),
        (FOUND[2], "the accept queue of port 65535 there is full (its agent says)"),
    ],
)
def test_the_cause_says_what_and_who(one: Unanswered, words: str) -> None:
    assert one.cause == words
