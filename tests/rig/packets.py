"""The cast: who sends what to whom. Packets are scapy's, compared whole."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from xdplb.desired import Hop
from xdplb.model import Backend, Balancer, Check, Config, Protocol, Service, Vip

ROUTER_MAC, LB_MAC, NEXT_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"
CLIENT4, CLIENT6 = "198.51.100.7", "2001:db8:c::7"
VIP4, VIP6 = "192.0.2.10", "2001:db8::10"
LB4, LB6 = "10.0.2.2", "fd00:2::2"
BACKENDS4 = [Backend(f"four{n}", ip_address(f"10.0.{n}.2")) for n in (11, 12, 13)]
BACKENDS6 = [Backend(f"six{n}", ip_address(f"fd00:{n}::2")) for n in (11, 12, 13)]


def tcp(port: int = 4000, vip: str = VIP4, flags: str = "S", dport: int = 80, **ip: Any) -> Any:
    """A client's TCP packet to a VIP, of the VIP's family."""
    return frame(TCP(sport=port, dport=dport, flags=flags), vip, **ip)


def udp(port: int = 4000, vip: str = VIP4, dport: int = 53, **ip: Any) -> Any:
    """A client's UDP packet to a VIP."""
    return frame(UDP(sport=port, dport=dport), vip, **ip)


def frame(transport: Any, vip: str, **ip: Any) -> Any:
    """A frame from the router with this transport header, built so that all lengths and checksums are there."""
    network = IPv6(**{"src": CLIENT6, **ip}, dst=vip) if ":" in vip else IP(**{"src": CLIENT4, **ip}, dst=vip)
    return Ether(bytes(Ether(src=ROUTER_MAC, dst=LB_MAC) / network / transport))


def one_hop_on(sent: Any) -> bytes:
    """The IP packet of a frame with a TTL or hop limit one less, and the checksum that goes with it."""
    packet = sent.copy()
    if sent.type == 0x86DD:
        packet[IPv6].hlim -= 1
    else:
        packet[IP].ttl -= 1
        del packet[IP].chksum
    return bytes(packet)[14:]


def hop(version: int) -> Hop:
    """The first step towards every backend of a family."""
    mac = {name: bytes.fromhex(text.replace(":", "")) for name, text in (("own", LB_MAC), ("next", NEXT_MAC))}
    return Hop(ifindex=7, own_mac=mac["own"], next_mac=mac["next"], source=ip_address(LB4 if version == 4 else LB6))


def service(name: str = "web", backends: list[Backend] | None = None, **fields: Any) -> Service:
    """A TCP service on port 80 of both VIPs."""
    vips = fields.pop("vips", (Vip(ip_address(VIP4), 80), Vip(ip_address(VIP6), 80)))
    fields.setdefault("checks", (Check(80),))
    return Service(name, vips, tuple(BACKENDS4 if backends is None else backends), **fields)


def dns(backends: list[Backend] | None = None) -> Service:
    """A UDP service on port 53 of both VIPs."""
    vips = tuple(Vip(ip_address(vip), 53, Protocol.UDP) for vip in (VIP4, VIP6))
    return Service("dns", vips, tuple(BACKENDS4 if backends is None else backends), (Check(53),))


def config(*services: Service) -> Config:
    """A configuration with these services."""
    return Config(Balancer(("eth0",)), services or (service(),))
