"""The testbed's network: every host a network namespace of its own, nothing leaves the machine, nothing stays behind.

                         ┌─────────── lb  10.0.2.2  fd00:2::2    (the balancer's XDP program on eth0)
                         │ MTU 1600
    client ────────── router ──────── b1  10.0.11.2 fd00:11::2   (decap on eth0, the VIPs on lo)
    10.0.1.2-40 MTU 1500 │ ────────── b2  10.0.12.2 fd00:12::2
    fd00:1::2-40         └ ────────── b3  10.0.13.2 fd00:13::2   ... as many as wanted
                           MTU 1600
    VIPs 10.9.9.9 and fd00:9::9: the router sends them to the lb.

    request: client → router → lb ⟲ → router → backend (inside an outer header from the lb on)
    reply:   backend → router → client (direct server return: the lb never sees it)

The router's end of a wire is named after the host, the host's end is eth0; the router is 10.0.N.1, fd00:N::1.
A wire is a veth pair. What veth needs that a NIC does not stands where it is set.

Only when asked for: `add_neighbour` makes the lb's wire a segment with more hosts on it, `add_second_wire` gives the
lb another way to the router.

    router ── bridge "lan" ─┬─ lb  10.0.2.2            router ── lb2 10.0.3.1 ───── lb  eth1 10.0.3.2
      10.0.2.1              └─ n1  10.0.2.11 (the VIPs on lo)        fd00:3::1               fd00:3::2

`add_twin` makes a second balancer; `route_vips` has the router spread flows over both (ECMP by five-tuple), `vanish`
takes one away.

    router ═ VIPs ═╦══ lb    10.0.2.2  fd00:2::2
                   ╚══ twin  10.0.4.2  fd00:4::2
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from pyroute2 import IPRoute
from pyroute2.ethtool.ioctl import IoctlEthtool

from tools.lab import netns
from tools.lab.process import Process, end, undisturbed
from tools.lab.record import LAUNCH, Record, sweep
from xdplb.dataplane.loader import mount_bpffs
from xdplb.dataplane.syscall import XDP_FLAGS, load_xdp
from xdplb.errors import RefusedError

__all__ = ["VIP4", "VIP6", "Counters", "Lab", "address", "sweep"]

VIP4, VIP6 = "10.9.9.9", "fd00:9::9"
CLIENT_LASTS = range(2, 41)  # many addresses, so that many connections never want for ports
MOST_BACKENDS = 200
MTU, WIDE_MTU = 1500, 1600  # a client's packet; that and an outer IPv6 header, rounded up

_NUMBERS = {"client": 1, "lb": 2, "lb2": 3, "twin": 4}  # of wires; lb2 is the lb's second one
_FIXED = ("router", "client", "lb")  # hosts of every lab
_XDP_PASS = bytes.fromhex("b700000002000000 9500000000000000")  # mov r0, XDP_PASS; exit
_SYSCTLS: dict[str, int | str] = {
    "ipv6/conf/all/accept_dad": 0,  # addresses are usable at once
    "ipv6/conf/default/accept_dad": 0,
    "ipv4/conf/all/rp_filter": 0,  # replies come from a VIP whose route points elsewhere
    "ipv4/conf/default/rp_filter": 0,
}
_SYSCTLS_OF: dict[str, dict[str, int | str]] = {
    "router": {
        "ipv4/ip_forward": 1,
        "ipv6/conf/all/forwarding": 1,
        "ipv4/fib_multipath_hash_policy": 1,  # by five-tuple
        "ipv6/fib_multipath_hash_policy": 1,
    },
    "client": {"ipv4/ip_local_port_range": "1024 65535", "ipv4/tcp_tw_reuse": 1},
    "n": {"ipv4/conf/all/arp_ignore": 1, "ipv4/conf/all/arp_announce": 2},  # a VIP is nobody's on a shared segment
}


class Counters(NamedTuple):
    """What an interface has counted since it was made."""

    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_dropped: int
    tx_dropped: int


def address(host: str, version: int = 4, last: int = 2) -> str:
    """Return a host's IPv4 or IPv6 address; `last` tells a client's many apart, and 1 is the router on that wire."""
    if _is_neighbour(host):
        host, last = "lb", 10 + int(host[1:]) if last == 2 else last
    number = _NUMBERS.get(host) or 10 + int(host.removeprefix("b"))
    return f"10.0.{number}.{last}" if version == 4 else f"fd00:{number}::{last}"


def _is_neighbour(host: str) -> bool:
    return host[0] == "n"


class Lab:
    """One such network. Labs of different prefixes stand side by side; the namespaces are called PREFIX-HOST.

    Not for a thread in which an event loop runs: pyroute2 runs one of its own.
    """

    def __init__(self, prefix: str = "xdplb-lab", backends: int = 3, queues: int = 2) -> None:
        """`queues`: of each end of a wire; a veth queue keeps one CPU busy at a time."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", prefix):
            raise RefusedError(f"prefix {prefix!r}: at most 31 of a-z, 0-9 and -")
        if not 0 <= backends <= MOST_BACKENDS:
            raise RefusedError(f"{backends} backends: at most {MOST_BACKENDS}")
        self.prefix, self.queues = prefix, queues
        self.backends = [f"b{n}" for n in range(1, backends + 1)]
        self.neighbours: list[str] = []
        self.twins: list[str] = []  # one at most
        self.client_addresses = [address("client", version, last) for last in CLIENT_LASTS for version in (4, 6)]
        self._record = Record(prefix)
        self._pid: int | None = None  # of the process that has to take it down
        self._children: list[subprocess.Popen[str]] = []
        self._hooks: list[Callable[[], object]] = []

    @classmethod
    def find(cls, prefix: str = "xdplb-lab") -> Lab:
        """Return a lab that stands, whoever made it; `down` of it does nothing. Raises RefusedError."""
        lab = cls(prefix, 0)
        hosts = [name.removeprefix(f"{prefix}-") for name in lab._record.read().namespaces]
        lab.twins = [host for host in hosts if host == "twin"]
        lab.backends = [host for host in hosts if host not in (*_FIXED, "twin") and not _is_neighbour(host)]
        lab.neighbours = [host for host in hosts if _is_neighbour(host)]
        return lab

    @property
    def hosts(self) -> list[str]:
        """Every host."""
        return [*_FIXED, *self.twins, *self.backends, *self.neighbours]

    # --- its life -------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Build it, after removing what a dead process left under this prefix. Raises RefusedError if it exists."""
        _check_machine()
        try:
            with undisturbed():
                self._record.claim()
                self._pid = os.getpid()
                atexit.register(self.down)  # for an exception, or a Ctrl-C, where no `with` would see it
                for host in self.hosts:
                    self._add_host(host)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End what was started in it, then run the hooks, then remove it. Only the process that built it can."""
        if self._pid != os.getpid():
            return  # it is down, or this is a fork of its owner
        with undisturbed(), contextlib.ExitStack() as stack:
            stack.callback(self._let_go)
            stack.callback(self._record.remove)
            for hook in self._hooks:
                stack.callback(hook)  # called even when another fails, the last one first
            stack.callback(self._end_children)

    def _let_go(self) -> None:
        self._pid = None
        atexit.unregister(self.down)

    def _end_children(self) -> None:
        self._record.end_children()
        for child in self._children:
            child.poll()  # no zombies

    def __enter__(self) -> Lab:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def on_down(self, hook: Callable[[], object]) -> None:
        """Have `hook` called by `down`, when the processes have ended and the network still stands."""
        self._hooks.append(hook)

    def remove_at_down(self, path: Path) -> None:
        """Have a file, folder or pin removed at the end, also by a later `sweep` if this process is killed."""
        if not path.is_absolute() or len(path.parts) < 4:
            raise ValueError(f"{path}: not deep enough to be removed without asking")
        self._record.write(path=str(path))

    def keep(self) -> None:
        """Leave it standing, as a person's: neither this process's end nor `sweep` removes it any more."""
        self._record.write(owner=None)
        self._let_go()

    # --- its processes --------------------------------------------------------------------------------------

    def inside(self, host: str) -> contextlib.AbstractContextManager[None]:
        """Return a context in which this thread is in the host's namespace: see `netns.inside`."""
        return netns.inside(self._namespace(host))

    def spawn(self, host: str, argv: Sequence[str | Path], **popen: Any) -> subprocess.Popen[str]:
        """Start a command on a host, in a session of its own, which `down` ends; a missing command exits with 127."""
        options = {"stdin": subprocess.DEVNULL, "text": True, **popen, "start_new_session": True}
        launch = ["/bin/sh", "-c", LAUNCH, self._record.path, *argv]
        with undisturbed(), self.inside(host):
            child: subprocess.Popen[str] = subprocess.Popen(launch, **options)
            self._record.write(child=Process.of(child.pid))
        self._children = [*(one for one in self._children if one.poll() is None), child]
        return child

    def run(
        self, host: str, argv: Sequence[str | Path], timeout: float = 10.0, **popen: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host to its end. Raises subprocess.TimeoutExpired after ending it."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen}
        with self.spawn(host, argv, **pipes) as child:
            process = Process.of(child.pid)
            try:
                out, err = child.communicate(timeout=timeout)
            except BaseException:
                end([process])
                raise
        return subprocess.CompletedProcess(argv, child.returncode, out, err)

    def become(self, host: str, argv: Sequence[str]) -> NoReturn:
        """Turn this process into a command on a host; terminal and exit status are the caller's."""
        netns.enter(self._namespace(host))
        self._record.write(child=Process.of(os.getpid()))
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and that would be inherited
        try:
            os.execvp(argv[0], list(argv))
        except OSError as error:
            raise RefusedError(f"{argv[0]}: {error.strerror}") from None

    # --- its wires ------------------------------------------------------------------------------------------

    def add_backend(self) -> str:
        """Add the next backend, wire and VIPs, to a lab that stands; returns its name."""
        host = f"b{len(self.backends) + 1}"
        if len(self.backends) == MOST_BACKENDS:
            raise RefusedError(f"{host}: at most {MOST_BACKENDS} backends")
        with undisturbed():
            self._add_host(host)
            self.backends.append(host)
        return host

    def add_neighbour(self) -> str:
        """Add a host on the lb's own segment, which a bridge on the router makes of the lb's wire; returns its name."""
        host = f"n{len(self.neighbours) + 1}"
        with undisturbed():
            if not self.neighbours:
                with self.inside("router"), IPRoute() as ipr:
                    _make_segment(ipr)
            self._add_host(host)
            self.neighbours.append(host)
        return host

    def add_second_wire(self) -> None:
        """Give the lb an eth1, whose other end is the router's lb2; no route leads there yet."""
        name = f"{self.prefix}-lb"
        with undisturbed():
            self._lay_wire("lb2", name, "eth1")
            with netns.inside(name), IPRoute() as ipr:
                index = socket.if_nametoindex("eth1")
                _add_addresses(ipr, index, "lb2", 2)
                ipr.link("set", index=index, state="up")

    def add_twin(self) -> str:
        """Add the second balancer; no VIP leads there yet. Returns its name."""
        with undisturbed():
            self._add_host("twin")
            self.twins.append("twin")
        return "twin"

    def route_vips(self, *balancers: str) -> None:
        """Have the router spread the VIPs' flows over these."""
        with self.inside("router"), IPRoute() as ipr:
            _route_vips(ipr, balancers)

    def vanish(self, balancer: str) -> None:
        """Cut a balancer's wire, upon which the router takes its hop out of the VIPs' routes, as BFD would tell it."""
        with self.inside("router"), IPRoute() as ipr:
            ipr.link("set", index=socket.if_nametoindex(balancer), state="down")
            _route_vips(ipr, [host for host in ("lb", *self.twins) if host != balancer])

    def take_tx(self, host: str) -> None:
        """Have the router take what this host sends by XDP_TX; it does so from the lb always."""
        with self.inside("router"), IPRoute() as ipr:
            _take_tx(ipr, socket.if_nametoindex(host))

    def renew_wire(self, host: str) -> None:
        """Lay a host's wire as it was at first, after somebody removed it: the interfaces are others."""
        name = self._namespace(host)
        with undisturbed():
            self._lay_wire(host, name)
            with netns.inside(name), IPRoute() as ipr:
                _set_up_host(ipr, host)

    def counters(self, host: str, ifname: str = "eth0") -> Counters:
        """Return what an interface has counted."""
        with self.inside(host), IPRoute() as ipr:
            stats = ipr.link("get", index=socket.if_nametoindex(ifname))[0].get_attr("IFLA_STATS64")
        return Counters(*(stats[name] for name in Counters._fields))

    def _namespace(self, host: str) -> str:
        if host not in self.hosts:
            raise RefusedError(f"no host {host!r} in the lab {self.prefix}; there are: {', '.join(self.hosts)}")
        return f"{self.prefix}-{host}"

    def _add_host(self, host: str) -> None:
        name = f"{self.prefix}-{host}"
        self._record.write(namespace=name)
        netns.create(name)
        with netns.inside(name), IPRoute() as ipr:
            for key, value in {**_SYSCTLS, **_SYSCTLS_OF.get("n" if _is_neighbour(host) else host, {})}.items():
                Path("/proc/sys/net", key).write_text(str(value))
            ipr.link("set", index=1, state="up")
        if host != "router":
            self._lay_wire(host, name)
            with netns.inside(name), IPRoute() as ipr:
                _set_up_host(ipr, host)

    def _lay_wire(self, host: str, name: str, ifname: str = "eth0") -> None:
        wire = {"num_tx_queues": self.queues, "num_rx_queues": self.queues}
        wire["mtu"] = MTU if host == "client" else WIDE_MTU
        with self.inside("router"), IPRoute() as ipr, open(netns.FOLDER / name) as there:
            peer = {"ifname": ifname, "net_ns_fd": there.fileno(), **wire}
            ipr.link("add", ifname=host, kind="veth", peer=peer, **wire)
            _set_up_router(ipr, host)


def _set_up_router(ipr: Any, host: str) -> None:
    """Set up the router's end of a host's wire."""
    index = socket.if_nametoindex(host)
    if host != "client":
        # The stack leaves checksums to the NIC, and veth leaves them open; XDP sees and forwards the bytes as they are.
        with contextlib.closing(IoctlEthtool(host)) as device:
            features = device.get_features()
            features["tx-checksum-ip-generic"] = False
            device.set_features(features)
    if _is_neighbour(host):
        ipr.link("set", index=index, master=socket.if_nametoindex("lan"))
    else:
        _add_addresses(ipr, index, host, 1)
    ipr.link("set", index=index, state="up")
    if host in ("lb", "lb2", "twin"):
        _take_tx(ipr, index)
    if host == "lb":
        _route_vips(ipr)


def _take_tx(ipr: Any, index: int) -> None:
    """Give a veth a program of its own: without one, it drops what its peer sends by XDP_TX."""
    program = load_xdp(_XDP_PASS)
    flags = ("IFLA_XDP_FLAGS", XDP_FLAGS["native"])
    ipr.link("set", index=index, xdp={"attrs": [("IFLA_XDP_FD", program), flags]})
    os.close(program)


def _route_vips(ipr: Any, balancers: Sequence[str] = ("lb",)) -> None:
    for vip, version, family in ((f"{VIP4}/32", 4, socket.AF_INET), (f"{VIP6}/128", 6, socket.AF_INET6)):
        hops = [{"gateway": address(host, version)} for host in balancers]
        ipr.route("replace", dst=vip, family=family, **({"multipath": hops} if len(hops) > 1 else hops[0]))


def _make_segment(ipr: Any) -> None:
    """Make the router's end of the lb's wire a port of a bridge, which takes over its addresses."""
    port = socket.if_nametoindex("lb")
    ipr.flush_addr(index=port)
    ipr.link("add", ifname="lan", kind="bridge")
    lan = socket.if_nametoindex("lan")
    ipr.link("set", index=port, master=lan)
    _add_addresses(ipr, lan, "lb", 1)
    ipr.link("set", index=lan, state="up")
    _route_vips(ipr)


def _set_up_host(ipr: Any, host: str) -> None:
    index = socket.if_nametoindex("eth0")
    for last in CLIENT_LASTS if host == "client" else (2,):
        _add_addresses(ipr, index, host, last)
    ipr.link("set", index=index, state="up")
    ipr.route("add", dst="default", gateway=address(host, 4, 1))
    ipr.route("add", dst="default", family=socket.AF_INET6, gateway=address(host, 6, 1))
    if host not in (*_FIXED, "twin"):
        ipr.addr("add", index=1, address=VIP4, prefixlen=32)
        ipr.addr("add", index=1, address=VIP6, prefixlen=128)


def _add_addresses(ipr: Any, index: int, host: str, last: int) -> None:
    ipr.addr("add", index=index, address=address(host, 4, last), prefixlen=24)
    ipr.addr("add", index=index, address=address(host, 6, last), prefixlen=64)


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise RefusedError("the lab needs root: it makes network namespaces and loads XDP programs")
    mount_bpffs()
