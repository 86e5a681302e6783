"""A healthy box as the doctor's facts have it; tests change what they are about."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from xdplb.config import parse_config
from xdplb.doctor.facts import Box, Interface, Link, Neighbour, Running, Way
from xdplb.doctor.finding import Finding
from xdplb.tui.fake_daemon import make_backend, make_service

B1, B2, ROUTER, OWN, VIP = (ip_address(a) for a in ("10.0.11.2", "10.0.12.2", "10.0.2.1", "10.0.2.2", "192.0.2.10"))
TEXT = """[balancer]
interface = "eth0"
{balancer}
[[service]]
name = "web"
vips = ["192.0.2.10:80"]
backends = [{{ name = "b1", address = "10.0.11.2" }}, {{ name = "b2", address = "10.0.12.2" }}]
{service}
"""
NIC = Interface("eth0", 2, driver="ice", xdp_features=127)
CHECK = {"kind": "tcp", "through": "tunnel", "to": "192.0.2.10:80", "up": True, "cause": "connected", "warning": ""}
BACKENDS = [{**make_backend(f"b{n}", f"10.0.1{n}.2"), "checks": [CHECK]} for n in (1, 2)]


def box(balancer: str = "", service: str = "", **facts: Any) -> Box:
    """Return a healthy box with these keys in its configuration, and these facts."""
    config = parse_config(TEXT.format(balancer=balancer, service=service))
    way = Way(oif=2, gateway=ROUTER, source=OWN)
    usual: dict[str, Any] = {
        "config": config,
        "services": config.services,
        "interfaces": (NIC,),
        "links": {1: Link("lo"), 2: Link("eth0", bytes.fromhex("020000000001")), 3: Link("eth1")},
        "addresses": {OWN: (2, 24)},
        "ways": {B1: way, B2: way},
        "vip_ways": {VIP: way},
        "neighbours": {(2, ROUTER): Neighbour(2, bytes.fromhex("020000000002"))},
        "running": running(),
    }
    return Box(**{**usual, **facts})


def running(*backends: dict[str, Any], **facts: Any) -> Running:
    """Return a daemon with one service, of these backends."""
    members = [dict(b) for b in backends or BACKENDS]
    service = make_service("web", ["192.0.2.10:80/tcp"], members)
    status = {"services": [service], "reconcile": {"error": None}, "warnings": []}
    return replace(Running("/run/xdplb/main/admin.sock", True, status), **facts)


def only(found: Any) -> Finding:
    """Return the one finding."""
    findings: list[Finding] = list(found)
    assert len(findings) == 1, findings
    return findings[0]
