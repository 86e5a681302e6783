"""The agent on a backend: attach `bpf/decap.c`, so that packets reach the stack as the client sent them."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TypeAlias

from xdplb.dataplane import counters, layout, loader, syscall
from xdplb.errors import ConfigError, KernelError, RefusedError
from xdplb.hashing import mapped
from xdplb.net import interface_index, read_nic
from xdplb.values import parse_address, within

Network: TypeAlias = IPv4Network | IPv6Network

GUE_PORT = 6080  # IANA's for GUE
_MAPPED = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the agent takes off: from whom (nobody named: from anybody), for whom (likewise), and GUE to which port.

    `second_chance`: what has no socket here goes to the second backend that it names. `report`: openings of connections
    that no socket here answers are noted, for `xdplb.reporter`.
    """

    sources: tuple[Network, ...] = ()
    vips: tuple[Network, ...] = ()
    gue_port: int = GUE_PORT
    second_chance: bool = False
    report: bool = False

    def __post_init__(self) -> None:
        """Raise ConfigError: a second backend is named by a balancer, and is no VIP, so both must be known."""
        wanted = {"--from BALANCER": self.sources, "--vip VIP": self.vips}
        missing = [option for option, networks in wanted.items() if not networks]
        if self.second_chance and missing:
            options = " and ".join(missing)
            raise ConfigError("--second-chance", f"is given without {options}", f"give {options} besides")


def parse_network(key: str, text: str) -> Network:
    """Return an address or a prefix as a network. Raises ConfigError."""
    address, _, length = text.partition("/")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        network = None
    if network is None or "%" in text or not re.fullmatch("[0-9]*", length):
        fix = "give one such as 10.0.2.2, 10.0.2.0/24 or fd00:2::/64"
        raise ConfigError(key, f"{text!r} is no IP address or prefix", fix)
    if network.num_addresses == 1:
        parse_address(key, address)
    elif network.network_address != ip_address(address):
        raise ConfigError(key, f"{text!r} has bits behind its prefix", f"give {network}, or the address alone")
    elif isinstance(network, IPv6Network) and network.overlaps(_MAPPED):
        raise ConfigError(key, f"{text!r} holds the IPv4-mapped addresses", "give a narrower one, such as 2000::/3")
    return network


def parse_port(key: str, text: str) -> int:
    """Return a UDP port. Raises ConfigError."""
    if not re.fullmatch("[0-9]{1,5}", text):
        raise ConfigError(key, f"{text!r} is no port", "give 1 to 65535")
    return int(within(key, int(text), 1, 65535))


def place_for(name: str) -> loader.Place:
    """Return where the agent of this name keeps its pins."""
    return loader.Place(f"decap-{name}")


def request_for(settings: Settings) -> loader.Request:
    """Return the order for the program."""
    defines = {
        "USE_SOURCES": int(bool(settings.sources)),
        "USE_VIPS": int(bool(settings.vips)),
        "USE_SECOND_CHANCE": int(settings.second_chance),
        "USE_REPORT": int(settings.report),
        "GUE_PORT": settings.gue_port,
    }
    return loader.Request("decap.c", "decap", ("decap_maps.h",), {}, defines)


async def attach(place: loader.Place, interface: str, settings: Settings, mode: str) -> loader.Attached:
    """Attach the program, or replace our own. Raises ConfigError, KernelError and RefusedError."""
    index = interface_index(interface)
    place.make()
    nic = await read_nic(index)
    if nic.program_id is not None and loader.attached(place, index) is None:
        name = "unknown"
        with contextlib.suppress(PermissionError):  # only CAP_SYS_ADMIN may ask
            name = syscall.program_by_id(nic.program_id).name
        raise RefusedError(
            f"{interface} has another XDP program: id {nic.program_id}, name {name!r}; take it off first "
            f"(`ip link set {interface} xdp off`)"
        )
    pinned = loader.obtain(place, request_for(settings))
    put_networks(pinned, settings)
    attached = loader.attach(place, pinned, interface, index, mode)
    got = (await read_nic(index)).xdp_mode
    if got != mode:
        loader.detach(place)
        raise KernelError(f"{interface}: asked for XDP in {mode} mode and got {got}; nothing is attached")
    loader.detach_others(place, [index])
    loader.forget_others(place, pinned)
    return attached


def put_networks(pinned: loader.Pinned, settings: Settings) -> None:
    """Make `sources` and `vips` exactly what is set; an unset one is not read by the program and stays as it is.

    Raises ConfigError when there are too many.
    """
    for name, option, networks in (("sources", "--from", settings.sources), ("vips", "--vip", settings.vips)):
        most = pinned.maps[name]["entries"] // 2  # old and new ones are there together for a moment
        if len(networks) > most:
            raise ConfigError(option, f"{len(networks)} are too many", f"give at most {most}, or prefixes")
        if networks:
            _put_exactly(pinned.folder / name, {_key(network) for network in networks})


def _key(network: Network) -> bytes:
    """Return `struct network`: IPv4 has the 96 bits of its IPv4-mapped form more."""
    bits = network.prefixlen + (96 if network.version == 4 else 0)
    return bits.to_bytes(4, "little") + mapped(network.network_address)


def _put_exactly(path: Path, wanted: set[bytes]) -> None:
    """Add first and delete then: who stays believed is believed all the time."""
    fd = syscall.get(path)
    try:
        for key in wanted:
            syscall.update(fd, key, (1).to_bytes(4, "little"))
        for key in syscall.keys(fd, 20):
            if key not in wanted:
                syscall.delete(fd, key)
    finally:
        os.close(fd)


def read_counters(place: loader.Place) -> dict[str, int]:
    """Return the counters of `struct decapped`, summed over the CPUs. Raises KernelError when it is not attached."""
    request = request_for(Settings())
    if not (place.pins / request.layout).is_dir():
        raise KernelError(f"no decap agent has been started here under {place.name.removeprefix('decap-')!r}")
    pinned = loader.find(place, request.layout)
    if pinned is None:
        raise KernelError(f"{place.pins / request.layout} is of another version; run `xdplb decap run` again")
    leaf = layout.build(pinned.maps["decapped"]["value"])
    fd = syscall.get(place.pins / request.layout / "decapped")
    try:
        return counters.read_counters(fd, leaf)
    finally:
        os.close(fd)
