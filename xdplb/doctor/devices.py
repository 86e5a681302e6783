"""Gather what there is to know of the balancer's interfaces, of the programs on them, and of veths' other ends."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from xdplb import ethtool
from xdplb.dataplane import loader, syscall
from xdplb.doctor import reading
from xdplb.doctor.facts import Channels, Interface, Peer
from xdplb.doctor.netlink import namespace_number
from xdplb.errors import KernelError
from xdplb.net import Nic, read_nic, read_peer

NAMESPACES = Path("/run/netns")
_CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h


def read_interface(nic: Nic, xdp_features: int | None, sys: Path = reading.SYS) -> tuple[Interface, str]:
    """Return an interface, and why the other end of a veth is not known, if so."""
    peer = find_peer(nic.index) if nic.driver == "veth" else None
    name, by_link = ("", False) if nic.program_id is None else program_of(nic.program_id, nic.index)
    made = Interface(
        nic.name,
        nic.index,
        nic.mtu,
        nic.driver,
        nic.up,
        nic.carrier,
        nic.master,
        nic.parent,
        nic.xdp_mode,
        nic.program_id,
        name,
        owner_of(nic.program_id, nic.index),
        by_link,
        ethtool.read_features(nic.name),
        xdp_features,
        _channels(nic.name),
        ethtool.read_ring(nic.name),
        reading.read_interrupts(nic.name, sys),
        reading.rps_queues(nic.name, sys),
        peer if isinstance(peer, Peer) else None,
    )
    return made, peer if isinstance(peer, str) else ""


def _channels(name: str) -> Channels | None:
    found = ethtool.read_channels(name)
    if found is None:
        return None
    keys = ("rx_count", "tx_count", "combined_count", "max_rx", "max_tx", "max_combined")
    return Channels(*(found[key] for key in keys))


# --- programs -----------------------------------------------------------------------------------------------


def program_of(number: int, index: int) -> tuple[str, bool]:
    """Return a program's name, and whether a bpf_link holds it on this interface."""
    name = "unknown"
    with contextlib.suppress(OSError):
        name = syscall.program_by_id(number).name
    with contextlib.suppress(OSError):
        return name, any((link.program_id, link.ifindex) == (number, index) for _, link in syscall.xdp_links())
    return name, False


def owner_of(number: int | None, index: int) -> str:
    """Return the balancer or agent whose pinned link holds this program on this interface, "": nobody's."""
    for place, link in pinned_links():
        if number is not None and (link.program_id, link.ifindex) == (number, index):
            return place
    return ""


def pinned_links() -> Iterator[tuple[str, syscall.Link]]:
    """Yield the name of a balancer or agent and a link that it has pinned, of all there are; nothing is changed."""
    for path in sorted((loader.BPFFS / "xdplb").glob("*/link_*")):
        with contextlib.suppress(OSError):  # it has gone meanwhile
            fd = syscall.get(path)
            try:
                link = syscall.link(fd)
            finally:
                os.close(fd)
            yield path.parent.name, link


def leftovers(own: str) -> list[str]:
    """Return whose pins are still there although no interface has their program and no process is at work on them."""
    alive = {place for place, link in pinned_links() if link.ifindex}
    there = {path.name for path in (loader.BPFFS / "xdplb").glob("*") if path.is_dir() and any(path.iterdir())}
    return sorted(place for place in there - alive - {own} if not locked(place))


def locked(place: str) -> bool:
    """Whether a daemon holds its lock: looked up, since to try it would be in a starting daemon's way."""
    with contextlib.suppress(OSError):
        inode = f":{(loader.RUN / place / 'lock').stat().st_ino} "
        return any(inode in line for line in reading.read_text(reading.PROC / "locks").splitlines())
    return False


# --- the other end of a veth --------------------------------------------------------------------------------


def find_peer(index: int) -> Peer | str:
    """Return the other end of a veth; or why it cannot be looked at."""
    try:
        number, namespace = asyncio.run(read_peer(index))
        if namespace is None:
            return _read_peer(number, "")
    except (KernelError, OSError) as error:
        return str(error)
    for path in [*sorted(NAMESPACES.glob("*")), reading.PROC / "1/ns/net"]:
        with contextlib.suppress(OSError), open(path) as there:
            if namespace_number(there.fileno()) == namespace:
                return _read_there(number, path, there.fileno())
    return "it is in a namespace that has no name in /run/netns"


def _read_there(number: int, path: Path, namespace: int) -> Peer | str:
    """Read it from inside its namespace, in a thread that ends there."""
    found: list[Peer | str] = []

    def read() -> None:
        if ctypes.CDLL(None, use_errno=True).setns(namespace, _CLONE_NEWNET):
            found.append(f"its namespace {path} cannot be entered ({os.strerror(ctypes.get_errno()).lower()})")
            return
        try:
            found.append(_read_peer(number, str(path)))
        except (KernelError, OSError) as error:
            found.append(str(error))

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    return found[0]


def _read_peer(number: int, namespace: str) -> Peer:
    name = socket.if_indextoname(number)
    on = ethtool.read_features(name) or frozenset()
    program = asyncio.run(read_nic(number)).program_id
    return Peer(name, namespace, program is not None, "tx-checksum-ip-generic" in on, "tx-vlan-hw-insert" in on)
