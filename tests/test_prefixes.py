"""Block and allow lists: what a line means, which prefix decides, and that the table says so after every change."""

from __future__ import annotations

import random
import re
from array import array
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xdplb.model import Address
from xdplb.prefixes import (
    GRACE_S,
    ROOTS,
    NoRoom,
    Prefix,
    Prefixes,
    Verdict,
    parse_list,
    parse_prefix,
    prefix_text,
    words_needed,
)

NONE, BLOCKED, ALLOWED = Verdict

Lists = set[tuple[Prefix, Verdict]]


def memory(words: int) -> memoryview:
    return memoryview(array("Q", bytes(8 * words)))


def empty(words: int = 4096) -> Prefixes:
    return Prefixes(memory(ROOTS), memory(words))


def contents(table: Prefixes) -> tuple[bytes, bytes]:
    return bytes(table._roots), bytes(table._spans)


def load(table: Prefixes, lists: Lists) -> None:
    table.load([p for p, v in lists if v == BLOCKED], [p for p, v in lists if v == ALLOWED])


def prefix(address: Address, length: int) -> Prefix:
    most = address.max_prefixlen
    return Prefix((address.version << most | int(address)) >> most - length)


def decide(lists: Lists, address: Address) -> Verdict:
    """The rule by itself: the longest prefix, and the same on both lists is allowed."""
    for length in range(address.max_prefixlen, -1, -1):
        for verdict in (ALLOWED, BLOCKED):
            if (prefix(address, length), verdict) in lists:
                return verdict
    return NONE


def edges(prefix: Prefix) -> Iterator[Address]:
    """The first and last address of a prefix, and their neighbours outside."""
    length = prefix.bit_length() - 3
    six = prefix >> length == 6
    most = 128 if six else 32
    first = (prefix << most - length) & (1 << most) - 1
    for value in (first - 1, first, first + (1 << most - length) - 1, first + (1 << most - length)):
        if 0 <= value < 1 << most:
            yield IPv6Address(value) if six else IPv4Address(value)


# --- text ---


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("2001:DB8:0:0::7", "2001:db8::7/128"),
        ("::/0", "::/0"),
        ("64:ff9b::192.0.2.1", "64:ff9b::c000:201/128"),
    ],
)
def test_line_means_a_prefix(text: str, meant: str) -> None:
    assert prefix_text(parse_prefix(text)) == meant


@given(st.ip_addresses(), st.integers(0, 128))
def test_text_of_a_prefix_means_that_prefix(address: Address, length: int) -> None:
    some = prefix(address, min(length, address.max_prefixlen))
    if not (isinstance(address, IPv6Address) and address.ipv4_mapped):
        assert parse_prefix(prefix_text(some)) == some


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10.0.0.1/8", "10.0.0.1/8 has host bits set; give 10.0.0.0/8"),
        ("2001:db8::1/32", "2001:db8::1/32 has host bits set; give 2001:db8::/32"),
        ("10.0.0.0/33", "10.0.0.0/33: the length of an IPv4 prefix is a number from 0 to 32"),
        ("10.0.0.0/", "10.0.0.0/: the length of an IPv4 prefix is a number from 0 to 32"),
        ("10.0.0.0/255.0.0.0", "10.0.0.0/255.0.0.0: the length of an IPv4 prefix is a number from 0 to 32"),
        ("::/129", "::/129: the length of an IPv6 prefix is a number from 0 to 128"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1 is IPv4-mapped; give 192.0.2.1"),
        ("::ffff:192.0.2.0/120", "::ffff:192.0.2.0/120 is IPv4-mapped; give 192.0.2.0/24"),
        ("fe80::1%eth0", "fe80::1%eth0: a prefix has no zone; leave out %eth0"),
        ("10.0.0", "'10.0.0' is no address and no prefix, such as 192.0.2.0/24 or 2001:db8::/32"),
        ("010.0.0.0/8", "'010.0.0.0/8' is no address and no prefix, such as 192.0.2.0/24 or 2001:db8::/32"),
        ("example.com", "'example.com' is no address and no prefix, such as 192.0.2.0/24 or 2001:db8::/32"),
    ],
)
def test_line_that_means_no_prefix_is_told_why(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        parse_prefix(text)


def test_list_may_have_comments_and_blank_lines() -> None:
    lines = ["# drop", "", "10.0.0.0/8 ; SBL1", "  2001:db8::/32  # theirs\n", ";"]
    assert [prefix_text(p) for p in parse_list(lines)] == ["10.0.0.0/8", "2001:db8::/32"]


def test_error_in_a_list_names_the_line() -> None:
    with pytest.raises(ValueError, match=r"^line 3: 10\.0\.0\.1/8 has host bits set"):
        parse_list(["10.0.0.0/8", "#", "10.0.0.1/8"])


# --- which prefix decides ---


def test_longest_prefix_of_both_lists_decides() -> None:
    table = empty()
    for text, verdict in (("10.0.0.0/8", BLOCKED), ("10.1.0.0/16", ALLOWED), ("10.1.2.3", BLOCKED)):
        table.put(parse_prefix(text), verdict)

    found = {a: table.find(ip_address(a)) for a in ("10.0.0.1", "10.1.0.1", "10.1.2.3", "11.0.0.1", "::10.1.2.3")}

    assert list(found.values()) == [BLOCKED, ALLOWED, BLOCKED, NONE, NONE]


def test_prefix_on_both_lists_is_allowed_until_it_is_off_that_list() -> None:
    table, some, address = empty(), parse_prefix("2001:db8::/48"), ip_address("2001:db8::1")
    table.put(some, ALLOWED)
    table.put(some, BLOCKED)
    assert (len(table), table.find(address)) == (2, ALLOWED)
    table.remove(some, ALLOWED)
    assert (len(table), table.find(address)) == (1, BLOCKED)


@pytest.mark.parametrize(("around", "inside"), [("10.0.0.0/8", "10.1.0.0/16"), ("2001:d00::/24", "2001:db0::/30")])
def test_what_lies_around_a_changed_prefix_still_decides(around: str, inside: str) -> None:
    table = empty()
    table.put(parse_prefix("2001:db8::/48"), BLOCKED)  # below: its node is not packed
    some = parse_prefix(inside)
    for verdict in (BLOCKED, ALLOWED):
        table.put(parse_prefix(around), verdict)
    table.put(some, BLOCKED)
    table.remove(some, BLOCKED)
    assert {table.find(address) for address in edges(some)} == {ALLOWED}


LENGTHS = (0, 1, 8, 15, 16, 17, 24, 31, 32, 33, 47, 48, 49, 64, 65, 96, 127, 128)
near = st.one_of(
    st.integers(0, 3).map(lambda n: IPv4Address(0x0A01FFFE + n)),
    st.integers(0, 31).map(lambda n: IPv6Address((0x20010DB8 << 96) + (n >> 3 << 95) + (n >> 1 & 3 << 63) + (n & 1))),
    st.ip_addresses(),
)
prefixes = st.builds(lambda a, length: prefix(a, min(length, a.max_prefixlen)), near, st.sampled_from(LENGTHS))
verdicts = st.sampled_from([BLOCKED, ALLOWED])
lists = st.sets(st.tuples(prefixes, verdicts), max_size=12)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.tuples(prefixes, verdicts), lists, st.integers(0, 99)), max_size=25), st.booleans())
def test_table_follows_the_rule_after_every_change(
    changes: list[tuple[Prefix, Verdict] | Lists | int], again: bool
) -> None:
    table, now = empty(), set[tuple[Prefix, Verdict]]()
    for turn, change in enumerate(changes):
        if isinstance(change, set):
            now = set(change)
            load(table, now)
        elif isinstance(change, int):
            if now:
                gone = sorted(now)[change % len(now)]
                table.remove(*gone)
                now.discard(gone)
        else:
            table.put(*change)
            now.add(change)
        table.release(turn)
        for some, _ in now | ({change} if isinstance(change, tuple) else set()):
            for address in edges(some):
                assert table.find(address) == decide(now, address)
    assert len(table) == len(now)

    settled = contents(table)
    table = Prefixes(table._roots, table._spans) if again else table  # as after a restart of the daemon
    load(table, now)
    assert contents(table) == settled  # what is right is not written again

    fresh = empty()
    load(fresh, now)
    table.release(1000)
    table.release(1000 + GRACE_S)
    assert table.words_used == fresh.words_used
    for some, verdict in now:
        table.remove(some, verdict)
    table.release(2000)
    table.release(2000 + GRACE_S)
    assert (len(table), table.words_used, any(table._roots)) == (0, 0, False)


@pytest.mark.parametrize("length", [28, 32])
def test_node_with_very_many_prefixes_holds_them_all(length: int) -> None:
    chosen = random.Random(length).sample(range(1 << length - 16), 1 << length - 17)
    lists = {(Prefix((4 << 16 | 0x0A01) << length - 16 | n), BLOCKED) for n in chosen}
    table = empty(1 << 17)
    load(table, lists)
    for some, _ in random.Random(1).sample(sorted(lists), 300):
        for address in edges(some):
            assert table.find(address) == decide(lists, address)


# --- room ---


@pytest.mark.slow
def test_change_that_finds_no_room_changes_nothing() -> None:
    table, lists = empty(40), set[tuple[Prefix, Verdict]]()
    source = random.Random(4)
    refused = 0
    for _ in range(300):
        before, count = contents(table), len(table)
        some = (prefix(IPv6Address(source.getrandbits(128)), source.choice([33, 48, 64])), BLOCKED)
        try:
            table.put(*some)
            lists.add(some)
        except NoRoom:
            refused += 1
            assert (contents(table)[0], len(table)) == (before[0], count)
        for kept, _ in lists:
            for address in edges(kept):
                assert table.find(address) == decide(lists, address)
    assert refused
    assert len(lists) > 2

    more = [*(p for p, _ in lists), *(prefix(IPv6Address(source.getrandbits(128)), 64) for _ in range(50))]
    table.load([], [])
    for now in (0, 1):
        table.release(now)
    lists = set(sorted(lists)[:2])
    load(table, lists)
    before, used = contents(table), table.words_used
    with pytest.raises(NoRoom, match="the prefix table is full: "):
        table.load(more, [])
    assert (contents(table)[0], len(table), table.words_used) == (before[0], len(lists), used)
    for kept, _ in lists:
        assert table.find(next(edges(kept))) == decide(lists, next(edges(kept)))


def test_removal_that_finds_no_room_changes_nothing() -> None:
    table = empty(8)
    lists = [parse_prefix(f"10.0.0.{n}") for n in range(0, 20, 2)]  # 21 spans: 7 words of the 8
    table.load(lists, [])
    with pytest.raises(NoRoom):
        table.remove(lists[3], BLOCKED)
    assert (len(table), table.find(IPv4Address("10.0.0.6"))) == (10, BLOCKED)


def test_replaced_run_is_kept_while_a_packet_may_read_it() -> None:
    table = empty()
    lists = [parse_prefix(f"10.0.0.{n}") for n in range(0, 20, 2)]
    table.load(lists, [])
    old = bytes(table._spans[:7])
    table.remove(lists[3], BLOCKED)
    table.put(lists[3], ALLOWED)
    assert bytes(table._spans[:7]) == old
    used = table.words_used
    table.release(100)
    table.release(100 + GRACE_S / 2)
    assert table.words_used == used
    table.release(100 + GRACE_S)
    assert table.words_used == 7


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 300), st.sampled_from([17, 24, 32]), st.integers(1, 16))
def test_ipv4_takes_one_word_a_prefix_at_the_most(seed: int, number: int, length: int, bits: int) -> None:
    source, table = random.Random(seed), empty(words_needed(300, 0))
    spread = (1 << bits) - 1 << 32 - bits | 0xFFFF  # few nodes or many
    lists = {prefix(IPv4Address(source.getrandbits(32) & spread), length) for _ in range(number)}
    table.load(lists, [])
    assert table.words_used <= len(lists)
