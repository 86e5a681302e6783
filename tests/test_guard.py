"""The lists of a configuration, with their files and what operators changed."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from xdplb.errors import ConfigError
from xdplb.guard import Lists, change_table, parse_change, read_lists
from xdplb.model import Guard
from xdplb.prefixes import Prefixes, Verdict, parse_prefix


def table() -> Prefixes:
    roots, spans = (memoryview(bytearray(8 * size)).cast("Q") for size in (2 << 16, 1 << 12))
    return Prefixes(roots, spans)


def test_lists_come_from_file_configuration_and_operators(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("203.0.113.0/24  # a neighbour\n\n2001:db8:bad::/48\n; nothing\n198.51.100.9\n")

    lists = read_lists(
        Guard(block=("192.0.2.0/24",), block_file="bad.txt", allow=("192.0.2.7",)),
        {"198.51.100.9/32": None, "203.0.113.5/32": "allow", "10.0.0.0/8": "block"},
        tmp_path,
    )

    assert {text: lists.longest(ip_address(text)) for text in ("192.0.2.9", "192.0.2.7", "198.51.100.9")} == {
        "192.0.2.9": ("192.0.2.0/24", "block"),
        "192.0.2.7": ("192.0.2.7/32", "allow"),
        "198.51.100.9": None,
    }
    assert lists.longest(ip_address("203.0.113.5")) == ("203.0.113.5/32", "allow")
    assert lists.longest(ip_address("2001:db8:bad::1")) == ("2001:db8:bad::/48", "block")


@pytest.mark.parametrize(
    ("guard", "error"),
    [
        (Guard(block=("10.0.0.1/8",)), "guard.block: entry 1: 10.0.0.1/8 has host bits set; give 10.0.0.0/8"),
        (Guard(allow=("x",)), "guard.allow: entry 1: 'x' is no address and no prefix"),
        (Guard(block_file="none.txt"), "none.txt cannot be read (No such file or directory); give a text file"),
        (Guard(block_file="bad.txt"), "bad.txt: line 2: 10.0.0.0/33: the length of an IPv4 prefix is a number from 0"),
        (
            Guard(block=("10.0.0.0/8", "11.0.0.0/8"), max_prefixes=1),
            "max_prefixes: 1 is less than the lists hold",
        ),
    ],
)
def test_error_names_key_value_and_fix(tmp_path: Path, guard: Guard, error: str) -> None:
    (tmp_path / "bad.txt").write_text("10.0.0.0/8\n10.0.0.0/33\n")
    with pytest.raises(ConfigError) as caught:
        read_lists(guard, {}, tmp_path)
    assert error in str(caught.value)


def test_a_change_is_on_one_list_alone() -> None:
    kernel = table()
    for verdict, found in (("block", Verdict.BLOCKED), ("allow", Verdict.ALLOWED), ("block", Verdict.BLOCKED)):
        change_table(kernel, "10.0.0.0/8", verdict)
        assert kernel.find(ip_address("10.1.2.3")) is found
    change_table(kernel, "10.0.0.0/8", None)
    assert kernel.find(ip_address("10.1.2.3")) is Verdict.NONE
    assert len(kernel) == 0


def test_room_is_asked_for_what_the_lists_hold_and_may_hold() -> None:
    assert Lists().words() == 0
    few = Lists({parse_prefix("10.0.0.0/8"), parse_prefix("2001:db8::/32")})
    assert 0 < few.words() < few.words(1_000_000)


def test_a_change_is_kept_in_one_form() -> None:
    assert (parse_change("k", "10.0.0.1"), parse_change("k", "2001:DB8::/32")) == ("10.0.0.1/32", "2001:db8::/32")
    with pytest.raises(ConfigError, match=r"k: 10\.0\.0\.1/8 has host bits set"):
        parse_change("k", "10.0.0.1/8")
