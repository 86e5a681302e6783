"""Look at the box: gather all facts that the judgments need. Nothing is judged here, and nothing is changed.

What cannot be looked at is noted and the rest goes on: who calls the doctor has trouble already.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from xdplb import ethtool, state
from xdplb.admin.client import Client
from xdplb.dataplane import loader
from xdplb.dataplane.probes import first_mark
from xdplb.desired import Overrides, services_of
from xdplb.doctor import asking, contact, devices, netlink, reading
from xdplb.doctor.facts import Box, Hop, Link, Sample
from xdplb.doctor.finding import Unchecked
from xdplb.doctor.vips import probed
from xdplb.doctor.ways import good_ways
from xdplb.errors import ConfigError, XdplbError
from xdplb.guard import Lists, prefix_is_6, read_lists
from xdplb.health.kinds import Through
from xdplb.model import Address, Guard, Service
from xdplb.net import Filter, Nic, filters_before, find_egress, find_vip_routes, read_addresses, read_links
from xdplb.prefixes import parse_prefix, prefix_text

_TUNNEL = (Through.TUNNEL, Through.AUTO)
_WIDE4, _WIDE6 = parse_prefix("0.0.0.0/8").bit_length(), parse_prefix("::/16").bit_length()

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Times:
    """How long to wait: for counters to grow, for others to answer, for a daemon before it counts as hanging."""

    sample_s: float = 0.5
    others_s: float = 0.3
    answer_s: float = 5.0  # ten thousand backends take a second


USUAL = Times()


class Look:
    """One look. `box` grows from step to step."""

    def __init__(self, name: str | None, config: Path | None, times: Times = USUAL, sys: Path = reading.SYS) -> None:
        """`name`: of the balancer, None: the file says; `config` None: the file that the daemon runs with."""
        self._given, self._path, self._times, self._sys = name, config, times, sys
        self._unchecked: list[Unchecked] = []
        self._nics: dict[int, Nic] = {}
        self._client = Client(Path())
        self._overrides = Overrides()
        self.box = Box()

    def run(self) -> Box:
        """Return all that is known."""
        self._find_daemon()
        began = time.monotonic()
        before = self._sample(self.box.running.status if self.box.running else {})
        steps = (self._look_at_host, self._look_at_interfaces, self._look_at_ways, self._look_at_vips)
        for step in (*steps, self._look_at_guard, self._look_at_daemon):
            self._try(step.__name__.removeprefix("_look_at_"), step, None)
        time.sleep(max(0.0, began + self._times.sample_s - time.monotonic()))
        took_s, after = time.monotonic() - began, self._sample(self._status())
        return replace(self.box, before=before, after=after, took_s=took_s, unchecked=tuple(self._unchecked))

    def _know(self, **facts: Any) -> None:
        self.box = replace(self.box, **facts)

    def _try(self, what: str, step: Callable[[], _Found], otherwise: _Found) -> _Found:
        try:
            return step()
        except (OSError, XdplbError) as error:
            self._unchecked.append(Unchecked(what, str(error)))
            return otherwise

    # --- the file and the daemon ----------------------------------------------------------------------------

    def _find_daemon(self) -> None:
        """Find out which file and which balancer this is about. Raises ConfigError when a file was named in vain."""
        if self._path and not self._path.exists():
            raise ConfigError(str(self._path), "cannot be read (No such file or directory)", "name a TOML file")
        config, problem = contact.read_file(self._path) if self._path else (None, "")
        name = self._given or (config.balancer.name if config else "main")
        place = loader.Place(name)
        self._client = Client(place.run / "admin.sock")
        running = contact.find_daemon(self._client, self._times.answer_s)
        path = self._path or contact.path_of(running)
        if not self._path and path.exists():
            config, problem = contact.read_file(path)
        self._overrides = self._try("changes of operators", lambda: state.load(name).overrides, Overrides())
        services: tuple[Service, ...] = tuple(services_of(config, self._overrides)) if config else ()
        self._know(name=name, path=str(path), config=config, problem=problem, services=services, running=running)
        if not config:
            why = "the configuration cannot be used" if problem else "no file is known: `xdplb doctor CONFIG` names one"
            self._unchecked.append(Unchecked("ways to backends, VIPs", why))

    def _sample(self, status: Mapping[str, Any]) -> Sample:
        drivers = {
            name: {**ethtool.read_counters(name), **reading.lost_on_the_way_in(name, self._sys)}
            for name in self._names()
        }
        return Sample(status.get("verdicts", {}), drivers)

    def _names(self) -> Sequence[str]:
        """Return the balancer's interfaces: as the file has them, or else the daemon."""
        if self.box.config:
            return self.box.config.balancer.interfaces
        status = self.box.running.status if self.box.running else {}
        return [nic["name"] for nic in status.get("interfaces", ())]

    def _status(self) -> Mapping[str, Any]:
        """Return the daemon's status as it is now."""
        nothing: dict[str, Any] = {}
        answers = self.box.running is not None and self.box.running.answers
        return self._try("counters", lambda: self._client.status(self._times.answer_s), nothing) if answers else nothing

    # --- the box --------------------------------------------------------------------------------------------

    def _look_at_host(self) -> None:
        system = reading.read_system()
        for value, what in (
            (system.jit, "net.core.bpf_jit_enable"),
            (system.harden, "net.core.bpf_jit_harden"),
            (system.synchronised, "whether the clock is synchronised"),
        ):
            if value is None:
                self._unchecked.append(Unchecked(what, "it is not in sight from this network namespace"))
        alive = {place for place, link in devices.pinned_links() if link.ifindex}
        left = tuple(devices.leftovers(self.box.name))
        starting = self.box.running is None and devices.locked(self.box.name)
        self._know(system=system, attached=self.box.name in alive, starting=starting, leftovers=left)

    def _look_at_interfaces(self) -> None:
        self._nics = {nic.index: nic for nic in asyncio.run(read_links())}
        by_name = {nic.name: nic for nic in self._nics.values()}
        wanted = self._names()
        there = [by_name[name] for name in wanted if name in by_name]
        can = netlink.read_xdp_features(nic.index for nic in there)
        if there and not can:
            self._unchecked.append(Unchecked("what drivers can do for XDP", "this kernel does not tell (Linux 6.3)"))
        found = [devices.read_interface(nic, can.get(nic.index), self._sys) for nic in there]
        for interface, why in found:
            if why:
                self._unchecked.append(Unchecked(f"the other end of the veth {interface.name}", why))
        self._know(
            interfaces=tuple(interface for interface, _ in found),
            missing=tuple(name for name in wanted if name not in by_name),
            links={index: _link(nic) for index, nic in self._nics.items()},
            addresses=asyncio.run(read_addresses()),
        )

    def _look_at_ways(self) -> None:
        indexes = [nic.index for nic in self.box.interfaces]
        ways = netlink.find_ways(list(self.box.backends_by_address))
        for address, way in ways.items():
            if not way.error and not way.local and find_egress(way.oif, indexes, self._nics) is None:
                ways[address] = replace(way, ours=False)
        self._know(ways=ways, neighbours=netlink.read_neighbours())
        self._ask_neighbours()

    def _ask_neighbours(self) -> None:
        sources: dict[Hop, Address] = {}
        for address, way in good_ways(self.box).items():
            hop = (way.oif, way.gateway or address)
            if hop[1].version == 4 and way.source:
                sources.setdefault(hop, way.source)
        asked = list(sources)[: asking.MOST]
        if len(sources) > len(asked):
            rest = f"{len(sources) - len(asked):,} of {len(sources):,} next hops were not asked"
            self._unchecked.append(Unchecked("whether two hosts claim a next hop", rest))
        macs = {index: link.mac for index, link in self.box.links.items()}
        self._know(claims=asking.who_has(asked, sources, macs, self._times.others_s))

    def _look_at_vips(self) -> None:
        vips = dict.fromkeys(vip.address for service in self.box.services for vip in service.vips)
        self._know(vip_ways=netlink.find_ways(list(vips)))
        asked = list(dict.fromkeys(vip for service in self.box.services for vip in probed(service, *_TUNNEL)))
        if not asked:
            return
        mark = first_mark(self.box.name)
        routes = asyncio.run(find_vip_routes(asked, mark))
        ports = {port.base or port.index: port.name for route in routes for port in route.leaves}
        ours = Filter("", 0).priority
        filters = [
            (self.box.name_of(index), what) for index in ports for what in asyncio.run(filters_before(index, ours))
        ]
        self._know(probe_routes=tuple(routes), filters=tuple(filters))

    def _look_at_guard(self) -> None:
        if self.box.config is None:
            return
        try:
            lists = read_lists(self.box.config.guard, self._overrides.prefixes, Path(self.box.path).parent)
        except ConfigError as error:
            self._know(problem=str(error))
            return
        if not lists.blocked:
            return
        hops = {way.gateway for way in good_ways(self.box).values() if way.gateway}
        known = [*self.box.backends_by_address, *hops, *self.box.addresses]
        found = {address: lists.longest(address) for address in known if not address.is_loopback}
        blocked = {address: entry[0] for address, entry in found.items() if entry and entry[1] == "block"}
        self._know(blocked=blocked, wide_blocks=_wide(lists))

    # --- what the daemon knows ------------------------------------------------------------------------------

    def _look_at_daemon(self) -> None:
        running = self.box.running
        if running is None or not running.answers:
            self._unchecked.append(Unchecked("services, checks and counters", "no daemon answers"))
            return
        status, guard = running.status, self.box.config.guard if self.box.config else Guard()
        nothing: list[str] = []
        differences = self._try("differences from the file", lambda: self._differences(status), nothing)
        failed = list(contact.doubtful(status))
        if len(failed) > asking.MOST:
            rest = f"{len(failed) - asking.MOST:,} of {len(failed):,} that are down were not asked"
            self._unchecked.append(Unchecked("whether backends answer directly", rest))
        direct = asking.connect(failed[: asking.MOST], self._times.others_s)
        running = replace(
            running, differences=tuple(differences), direct=direct, open_files=reading.open_files(status["pid"])
        )
        self._know(running=running, tables=tuple(contact.tables(status, guard)))

    def _differences(self, status: Mapping[str, Any]) -> list[str]:
        """Return what a restart with the file would change.

        The daemon is not asked about its own file as it read it: with 10,000 backends, a plan takes seconds.
        """
        if self.box.config is None or contact.read_since(status, Path(self.box.path)):
            return []
        plan = self._client.plan(Path(self.box.path).read_text("utf-8"))
        services = [f"service {s['name']} {s['change']}" for s in plan["services"] if s["change"] != "kept"]
        settings = [text for text in plan["settings"] if not text.startswith("balancer.name:")]  # `run --name` says it
        return [*services, *settings]


def _link(nic: Nic) -> Link:
    return Link(
        nic.name,
        nic.mac if nic.ethernet else b"",
        nic.master,
        nic.parent,
        nic.vlan,
        nic.driver,
        reading.rp_filter(nic.name),
        bool(reading.setting("ipv4", nic.name, "forwarding")),
        bool(reading.setting("ipv6", nic.name, "forwarding")),
    )


def _wide(lists: Lists) -> tuple[str, ...]:
    """Return blocked prefixes so short that they mean nearly everybody."""
    return tuple(
        prefix_text(prefix)
        for prefix in lists.blocked
        if prefix.bit_length() < (_WIDE6 if prefix_is_6(prefix) else _WIDE4)
    )
