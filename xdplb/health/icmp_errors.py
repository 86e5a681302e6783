"""ICMP errors about our own outer packets: a router or a backend says that they do not arrive.

A raw socket gets them; a filter in the kernel (classic BPF) lets nothing else wake us: destination unreachable, for
IPv6 also an unknown next header, but not "fragmentation needed" and what else is about size; about a packet from one
of our outer sources that is IP in IP or UDP to a GUE port. It may be forged, so the same is asked again here.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from xdplb.model import Address, Network

_UNREACHABLE4, _TOO_BIG4 = 3, 4  # type and code, RFC 792
_UNREACHABLE6, _PARAMETER6, _NEXT_HEADER6 = 1, 4, 1  # RFC 4443, 3.1 and 3.4
_IPIP, _UDP, _IPV6 = 4, 17, 41
_MOST = 8  # networks and ports that the filter asks for: a classic one cannot jump over more than 255 steps

_PROTOCOL, _PORT, _FIREWALL = "protocol unreachable", "port unreachable", "administratively prohibited"
_WORDS4 = {  # RFC 792, RFC 1122, 3.2.2.1, RFC 1812, 5.2.7.1
    0: "network unreachable",
    1: "host unreachable",
    2: _PROTOCOL,
    3: _PORT,
    5: "source route failed",
    6: "network unknown",
    7: "host unknown",
    8: "source host isolated",
    9: f"network {_FIREWALL}",
    10: f"host {_FIREWALL}",
    11: "network unreachable for this type of service",
    12: "host unreachable for this type of service",
    13: _FIREWALL,
    14: "host precedence violation",
    15: "precedence cutoff in effect",
}
_WORDS6 = {  # RFC 4443, 3.1
    0: "network unreachable",
    1: _FIREWALL,
    2: "beyond the scope of the source address",
    3: "host unreachable",
    4: _PORT,
    5: "source address failed a policy",
    6: "route rejected",
}


@dataclass(frozen=True, slots=True)
class Error:
    """One error: in words, and what it says of the packet that did not arrive. `port` 0: it was IP in IP."""

    words: str
    source: Address
    destination: Address
    port: int = 0

    def cause(self, said_by: str) -> str:
        """One phrase for people."""
        told = f"{said_by} says: {self.words}"
        if self.words in (_PROTOCOL, _PORT):
            return f"{told} (is the decap agent running on {self.destination}?)"
        if _FIREWALL in self.words:
            return f"{told} (a firewall before {self.destination}?)"
        return told


def read_error(packet: bytes, version: int) -> Error | None:
    """Return what a packet of a raw socket says: from its IP header on (IPv4), or from its ICMPv6 header on."""
    return _read4(packet) if version == 4 else _read6(packet)


def _read4(packet: bytes) -> Error | None:
    at = (packet[0] & 15) * 4 if packet else 0
    inside = packet[at + 8 :]
    if len(inside) < 20 or packet[at] != _UNREACHABLE4 or inside[0] != 0x45:
        return None
    words = _WORDS4.get(packet[at + 1])
    return _about(words, inside[9], inside[12:16], inside[16:20], inside[20:])


def _read6(packet: bytes) -> Error | None:
    inside = packet[8:]
    if len(inside) < 40 or inside[0] >> 4 != 6:
        return None
    words = _WORDS6.get(packet[1]) if packet[0] == _UNREACHABLE6 else None
    if (packet[0], packet[1]) == (_PARAMETER6, _NEXT_HEADER6):
        words = _PROTOCOL
    return _about(words, inside[6], inside[8:24], inside[24:40], inside[40:])


def _about(words: str | None, protocol: int, source: bytes, destination: bytes, behind: bytes) -> Error | None:
    if words is None or (protocol == _UDP and len(behind) < 4) or protocol not in (_IPIP, _UDP, _IPV6):
        return None
    port = int.from_bytes(behind[2:4], "big") if protocol == _UDP else 0
    return Error(words, ip_address(source), ip_address(destination), port)


# --- the socket ---------------------------------------------------------------------------------------------

_SOL_RAW, _ICMP_FILTER, _ICMP6_FILTER, _SO_ATTACH_FILTER = 255, 1, 1, 26  # include/uapi/linux/icmp.h, icmpv6.h


def open_raw(family: socket.AddressFamily) -> socket.socket:
    """Open a raw socket to which only types of these errors come. Raises OSError."""
    if family == socket.AF_INET:
        opened = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        blocked = 0xFFFFFFFF & ~(1 << _UNREACHABLE4)
        opened.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("I", blocked))
        return opened
    opened = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    blocked = 0xFFFFFFFF & ~(1 << _UNREACHABLE6 | 1 << _PARAMETER6)
    opened.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("8I", blocked, *[0xFFFFFFFF] * 7))
    return opened


def attach_filter(
    opened: socket.socket, family: socket.AddressFamily, sources: Iterable[Network], gue_ports: Collection[int]
) -> None:
    """Let only errors about packets from these sources through; it replaces what was attached before."""
    version = 4 if family == socket.AF_INET else 6
    code = assemble(version, [n for n in sources if n.version == version], gue_ports)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HP", len(code) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


# Classic BPF (Documentation/networking/filter.rst). In IPv4, X is the length of the error's own IP header, and what
# is loaded lies behind it; in IPv6 the error's ICMP header is first, and X is 0.
_LOAD_X, _LOAD_BYTE, _LOAD_HALF, _LOAD_WORD = 0xB1, 0x50, 0x48, 0x40
_AND, _EQUAL, _GOTO, _RETURN = 0x54, 0x15, 0x05, 0x06
_CLEAR_X = 0x01  # ldx #0
_Step = tuple[int, int, str, str]  # operation, value, label if equal, label if not; "": the next one


def assemble(version: int, sources: Collection[Network], gue_ports: Collection[int]) -> bytes:
    """Return the filter, of so many instructions of 8 bytes. More than can be asked for is not asked for."""
    steps: list[_Step | str] = _of_type4() if version == 4 else _of_type6()
    protocol, port, at = (17, 30, 20) if version == 4 else (14, 50, 16)  # inside of the ICMP message
    steps += [(_LOAD_BYTE, protocol, "", ""), (_EQUAL, _IPIP, "source", ""), (_EQUAL, _IPV6, "source", "")]
    steps += [(_EQUAL, _UDP, "", "no"), (_LOAD_HALF, port, "", "")]
    if len(gue_ports) <= _MOST:
        steps += [(_EQUAL, number, "source", "") for number in sorted(gue_ports)]
        steps += [(_GOTO, 0, "no", "")]
    steps += ["source"]
    networks = sorted(sources, key=str)
    for number, network in enumerate(networks if len(networks) <= _MOST else []):
        steps += [*_of_source(network, at, f"not {number}"), (_GOTO, 0, "yes", ""), f"not {number}"]
    if len(networks) <= _MOST:
        steps += [(_GOTO, 0, "no", "")]
    return _resolve([*steps, "yes", (_RETURN, 0xFFFF, "", ""), "no", (_RETURN, 0, "", "")])


def _of_type4() -> list[_Step | str]:
    return [
        (_LOAD_X, 0, "", ""),
        (_LOAD_BYTE, 0, "", ""),
        (_EQUAL, _UNREACHABLE4, "", "no"),
        (_LOAD_BYTE, 1, "", ""),
        (_EQUAL, _TOO_BIG4, "no", ""),
        (_LOAD_BYTE, 8, "", ""),
        (_EQUAL, 0x45, "", "no"),  # our outer headers have no options
    ]


def _of_type6() -> list[_Step | str]:
    return [
        (_CLEAR_X, 0, "", ""),
        (_LOAD_BYTE, 0, "", ""),
        (_EQUAL, _UNREACHABLE6, "inside", ""),
        (_EQUAL, _PARAMETER6, "", "no"),
        (_LOAD_BYTE, 1, "", ""),
        (_EQUAL, _NEXT_HEADER6, "", "no"),
        "inside",
    ]


def _of_source(network: Network, at: int, otherwise: str) -> list[_Step | str]:
    """Compare an address word by word."""
    steps: list[_Step | str] = []
    address, mask = network.network_address.packed, network.netmask.packed
    for word in range(0, len(mask), 4):
        wanted, bits = (int.from_bytes(part[word : word + 4], "big") for part in (address, mask))
        if bits:
            steps += [(_LOAD_WORD, at + word, "", ""), (_AND, bits, "", ""), (_EQUAL, wanted, "", otherwise)]
    return steps


def _resolve(steps: list[_Step | str]) -> bytes:
    """Return the instructions, with distances for labels."""
    places: dict[str, int] = {}
    code: list[_Step] = []
    for step in steps:
        if isinstance(step, str):
            places[step] = len(code)
        else:
            code.append(step)
    packed = b""
    for number, (operation, value, yes, no) in enumerate(code):
        then, otherwise = (places[label] - number - 1 if label else 0 for label in (yes, no))
        if operation == _GOTO:
            then, otherwise, value = 0, 0, then
        packed += struct.pack("HBBI", operation, then, otherwise, value)
    return packed
