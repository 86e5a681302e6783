"""Who serves, and if nobody does, why? From the daemon's status, and a direct connection to who failed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from xdplb.doctor.facts import Box
from xdplb.doctor.finding import Finding, few
from xdplb.model import Address, Forward, Service

_Backend = Mapping[str, Any]


def judge(box: Box) -> Iterator[Finding]:
    """Yield what is wrong with services and their backends."""
    if box.running is None or not box.running.answers:
        return
    configured = {service.name: service for service in box.services}
    for service in box.running.status["services"]:
        yield from _service(service)
    blind = [s["name"] for s in box.running.status["services"] if _blind(configured.get(s["name"]), s)]
    if blind:
        fix = 'set check = { through = "tunnel" }'
        yield Finding("tunnel-unchecked", f"no check goes through the tunnel of {few(blind)}", (fix,))
    yield from _doubts(box.running.status["services"])
    yield from _backends(box, box.running.status["services"], box.running.direct)


def _service(service: Mapping[str, Any]) -> Iterator[Finding]:
    name, backends = service["name"], [b for b in service["backends"] if not b["fallback"]]
    lent = [b for b in service["backends"] if b["fallback"] and b["serving"]]
    serving = [b for b in backends if b["serving"]]
    if lent:
        seen = f"{name} is served by {few(b['name'] for b in lent)}"
        yield Finding("service-fallback", seen, ("xdplb status",))
    elif backends and not serving:
        yield _unserved(name, backends)
    if believed := [b for b in serving if b["state"] == "down"]:
        seen = f"{name}: {len(believed)} backends that are down get flows ({few(b['name'] for b in believed)})"
        yield Finding("service-panic", seen, ("xdplb events",))


def _unserved(name: str, backends: list[_Backend]) -> Finding:
    """Nobody gets new flows: by what operators want, or by what was found."""
    idle = [b for b in backends if b["state"] in ("idle", "draining")]
    if len(idle) < len(backends):
        states = few(f"{b['name']} {b['state']}" for b in backends)
        return Finding(
            "service-down",
            f"no backend of {name} is up: {states}",
            (f"xdplb check {backends[0]['name']} --service {name} --verbose",),
        )
    fixes = [
        f"xdplb backend weight {b['name']} 100 --service {name}"
        if not b["weight"]
        else f"xdplb backend undrain {b['name']} --service {name}"
        for b in idle[:3]
    ]
    return Finding("service-idle", f"all {len(idle)} backends of {name} are idle or draining", tuple(fixes))


def _blind(service: Service | None, seen: Mapping[str, Any]) -> bool:
    """Whether nothing would tell that a backend does not take the outer header off."""
    ways = {check["through"] for b in seen["backends"] for check in b["checks"]}
    wrapped = service is not None and service.forward in (Forward.IPIP, Forward.GUE)
    return wrapped and bool(seen["backends"]) and "tunnel" not in ways


def _doubts(services: list[Mapping[str, Any]]) -> Iterator[Finding]:
    """Tell what checks that pass have to say, a certificate's end for one; the same words together."""
    alike: dict[str, list[str]] = {}
    for service in services:
        for backend in service["backends"]:
            for warning in {c["warning"] for c in backend["checks"] if c["warning"]}:
                alike.setdefault(warning, []).append(f"{service['name']}/{backend['name']}")
    for warning, names in alike.items():
        first, _, name = names[0].partition("/")
        yield Finding("check-warns", f"{few(names)}: {warning}", (f"xdplb check {name} --service {first} --verbose",))


def _backends(box: Box, services: list[Mapping[str, Any]], direct: Mapping[Address, str]) -> Iterator[Finding]:
    """Tell failed checks by their cause; many of one kind together."""
    alike: dict[tuple[str, str], list[tuple[Mapping[str, Any], _Backend]]] = {}
    for service in services:
        for backend in service["backends"]:
            if backend["state"] == "down" and not backend["fallback"]:
                kind = _kind(backend, direct)
                alike.setdefault((kind, service["name"]), []).append((service, backend))
    for (check, name), found in alike.items():
        backends = [backend for _, backend in found]
        first = backends[0]
        cause = next((c["cause"] for c in first["checks"] if c["up"] is False), first["reason"])
        whose = few(f"{b['name']} ({b['address']})" for b in backends)
        fixes = _mend(box, check, found[0][0], first)
        where = first["name"] if check in ("backend-tunnel", "backend-refuses") else ""
        number = f"{len(backends)} backends of {name}" if len(backends) > 1 else f"a backend of {name}"
        yield Finding(check, f"{number}: {whose}: {cause}", fixes, where)


def _kind(backend: _Backend, direct: Mapping[Address, str]) -> str:
    """A refusal comes from the backend itself, so the way there is good; who is silent is asked directly."""
    failed = [c for c in backend["checks"] if c["up"] is False]
    if any("refused" in c["cause"] for c in failed):
        return "backend-refuses"
    tunnel = [c for c in failed if c["through"] == "tunnel" and "not come within" in c["cause"]]
    others = [c for c in backend["checks"] if c["through"] == "direct" and c["up"]]
    answer = direct.get(ip_address(backend["address"]))
    if tunnel and (others or answer in ("", "refused")):
        return "backend-tunnel"
    if answer not in (None, "", "refused"):
        return "backend-silent"
    return "backend-down"


def _mend(box: Box, check: str, service: Mapping[str, Any], backend: _Backend) -> tuple[str, ...]:
    look = f"xdplb check {backend['name']} --service {service['name']} --verbose"
    if check == "backend-silent":
        return (f"ping -c 3 {backend['address']}", look)
    if check == "backend-refuses":
        return ("ss -ltnup",)
    if check != "backend-tunnel":
        return (look,)
    way = box.ways.get(ip_address(backend["address"]))
    source = way.source if way and way.source else "ADDRESS-OF-THE-BALANCER"
    vips = dict.fromkeys(vip.rsplit(":", 1)[0].strip("[]") for vip in service["vips"])
    adds = [f"ip addr add {vip}/{128 if ':' in vip else 32} dev lo" for vip in vips if "/" not in vip]
    return ("xdplb decap status", *adds[:3], f"xdplb decap run --interface eth0 --from {source}")
