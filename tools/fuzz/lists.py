"""Block and allow lists for a configuration, and what they say of a sender, by asking every prefix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_network
from random import Random

from tests.rig.xdp import Xdp
from tools.fuzz.frames import SOURCES
from xdplb.guard import VERDICTS
from xdplb.prefixes import Prefixes, parse_prefix

Listed = tuple[str, str]  # a prefix, and "block" or "allow"
MAPPED = bytes(10) + b"\xff\xff"


def draw_lists(rng: Random) -> tuple[Listed, ...]:
    """Return prefixes of all lengths around the addresses that frames come from, and some far from them."""
    found = set()
    for _ in range(rng.choice([0, 1, 3, 8, 30, 200])):
        version = rng.choice([4, 6])
        most = 32 if version == 4 else 128
        packed = rng.choice(SOURCES[version]) if rng.random() < 0.8 else rng.randbytes(most // 8)
        address = IPv4Address(packed) if version == 4 else IPv6Address(packed)
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            continue
        network = ip_network((address, rng.choice([most, most, most - 1, *range(0, most, 3)])), strict=False)
        found.add((str(network), rng.choice(["block", "allow"])))
    return tuple(sorted(found))


def fill(xdp: Xdp, lists: Sequence[Listed]) -> None:
    """Make the kernel's table say this."""
    kernel = xdp.kernel
    chosen = {name: [parse_prefix(text) for text, verdict in lists if verdict == name] for name in VERDICTS}
    table = Prefixes(kernel.words("prefix_roots"), kernel.words("prefix_spans"))
    table.load(chosen["block"], chosen["allow"])


def verdict_of(lists: Sequence[Listed]) -> Callable[[bytes, int], int]:
    """Return what the lists of a packet's version say of its sender of 16 bytes: the longest prefix decides."""
    rows = []
    for text, listed in lists:
        network = ip_network(text)
        bits = network.prefixlen + (96 if network.version == 4 else 0)
        packed = network.network_address.packed
        value = int.from_bytes(MAPPED + packed if network.version == 4 else packed, "big") >> 128 - bits
        rows.append((network.version, bits, value, int(VERDICTS[listed])))
    rows.sort(key=lambda row: (row[1], row[3]), reverse=True)  # of the same prefix, "allow" is the greater one
    known: dict[tuple[bytes, int], int] = {}

    def verdict(sender: bytes, version: int) -> int:
        if (found := known.get((sender, version))) is None:
            number = int.from_bytes(sender, "big")
            fitting = (row[3] for row in rows if row[0] == version and number >> 128 - row[1] == row[2])
            found = known[sender, version] = next(fitting, 0)
        return found

    return verdict
