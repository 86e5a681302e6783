"""Each fault is made in a network, seen, and taken away again; the same box without it does not show it.

client ── router ── lb eth0           web: b1, b2        (no daemon: that is tests/doctor/test_daemon.py)
             └───── lb eth1 (no route)
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import TypeAlias

import pytest
from pyroute2 import IPRoute

from tests.rig.traffic import unique
from tools.lab.net import VIP4, VIP6, Lab, address
from xdplb.dataplane import loader, syscall
from xdplb.doctor import contact, devices
from xdplb.doctor.finding import Finding
from xdplb.doctor.judge import judge
from xdplb.doctor.look import Look, Times
from xdplb.errors import ConfigError

pytestmark = pytest.mark.root

NAME = f"doctor-{os.getpid()}"
QUICK = Times(sample_s=0.0, others_s=0.04, answer_s=0.2)
PASS = bytes.fromhex("b700000002000000 9500000000000000")  # mov r0, XDP_PASS or TC_ACT_SHOT; exit
B2 = address("b2")
VIA = "via 10.0.2.1 dev eth0"

Fault: TypeAlias = "Callable[[Bench], AbstractContextManager[object]]"


class Bench:
    """A lab, and a doctor in its balancer."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder, self.sys = lab, folder, folder / "sys"

    def config(self, balancer: str = "", service: str = "", rest: str = "", interface: str = '"eth0"') -> Path:
        """Write a configuration with these keys besides the usual ones."""
        path = self.folder / "xdplb.toml"
        keys = f'vips = ["{VIP4}:80", "[{VIP6}]:80"]'
        backends = f'backends = [{{ name = "b1", address = "{address("b1")}" }}, {{ name = "b2", address = "{B2}" }}]'
        if "local" in service:
            backends = ""
        head = f'[balancer]\nname = "{NAME}"\ninterface = {interface}\n{balancer}\n'
        path.write_text(f'{head}[[service]]\nname = "web"\n{keys}\n{backends}\n{service}\n{rest}')
        return path

    def look(self, config: Path | None = None) -> dict[str, Finding]:
        """Return what is found, by id."""
        with self.lab.inside("lb"):
            found = judge(Look(None, config or self.config(), QUICK, self.sys).run())
        return {finding.check: finding for finding in reversed(found)}  # the first one of each

    def run(self, host: str, *argv: str) -> None:
        done = self.lab.run(host, argv)
        assert done.returncode == 0, f"{argv}: {done.stderr}"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("doctor")
    (folder / "sys").mkdir()
    with Lab(unique("doctor"), backends=2) as lab:
        lab.add_second_wire()
        lab.run("lb", ["ethtool", "-K", "eth0", "rxvlan", "off"])
        lab.run("router", ["ethtool", "-K", "lb", "txvlan", "off"])
        with lab.inside("lb"):  # /sys/class/net shows the namespace of who mounted it
            subprocess.run(["mount", "-t", "sysfs", "sysfs", folder / "sys"], check=True)
        try:
            yield Bench(lab, folder)
        finally:
            subprocess.run(["umount", folder / "sys"], check=True)


@pytest.fixture(scope="module")
def healthy(bench: Bench) -> dict[str, Finding]:
    return bench.look()


# --- faults, and how they are made --------------------------------------------------------------------------


def by(host: str, *commands: str, undo: str | tuple[str, ...] = ()) -> Fault:
    """A fault that commands make; `undo` takes it away."""

    @contextmanager
    def fault(bench: Bench) -> Iterator[None]:
        with ExitStack() as stack:
            for command in (undo,) if isinstance(undo, str) else undo:
                stack.callback(bench.run, host, *command.split())
            for command in commands:
                bench.run(host, *command.split())
            yield

    return fault


def route(to: str, host: str = "lb") -> Fault:
    """A fault by another route to b2."""
    kind, rest = (to.split()[0], "") if not to.startswith(("via", "dev")) else ("", to)
    return by(host, f"ip route add {kind} {B2}/32 {rest}".replace("  ", " "), undo=f"ip route del {kind} {B2}/32")


def sysctl(key: str, value: int, before: int = 0) -> Fault:
    return by("lb", f"sysctl -qw {key}={value}", undo=f"sysctl -qw {key}={before}")


def both(*faults: Fault) -> Fault:
    @contextmanager
    def fault(bench: Bench) -> Iterator[None]:
        with ExitStack() as stack:
            for one in faults:
                stack.enter_context(one(bench))
            yield

    return fault


@contextmanager
def no_program_on_peer(bench: Bench) -> Iterator[None]:
    bench.run("router", "ip", "link", "set", "lb", "xdp", "off")
    try:
        yield
    finally:
        bench.lab.take_tx("lb")


@contextmanager
def program(bench: Bench, mode: str, owner: str = "") -> Iterator[None]:
    """An XDP program on eth0, held by a link; `owner`: pinned as a balancer of this name does."""
    with bench.lab.inside("lb"), ExitStack() as stack:
        index, fd = socket.if_nametoindex("eth0"), syscall.load_xdp(PASS, "somebodys")
        stack.callback(os.close, fd)
        link = syscall.link_create(fd, index, mode)
        stack.callback(os.close, link)
        if owner:
            place = loader.Place(owner)
            place.make()
            syscall.pin(link, place.link(index))
            stack.callback(place.remove)
        yield


@contextmanager
def nothing_more(_: Bench) -> Iterator[None]:
    """What another fault does is enough."""
    yield


def with_program(mode: str, owner: str = "") -> Fault:
    return lambda bench: program(bench, mode, owner)


@contextmanager
def by_netlink(bench: Bench) -> Iterator[None]:
    with bench.lab.inside("lb"), IPRoute() as ipr:
        fd, index = syscall.load_xdp(PASS), socket.if_nametoindex("eth0")
        for number in (fd, -1):
            ipr.link("set", index=index, xdp={"attrs": [("IFLA_XDP_FD", number), ("IFLA_XDP_FLAGS", 4)]})
            if number == fd:
                os.close(fd)
                try:
                    yield
                except BaseException:
                    ipr.link("set", index=index, xdp={"attrs": [("IFLA_XDP_FD", -1), ("IFLA_XDP_FLAGS", 4)]})
                    raise


@contextmanager
def filter_in_front(bench: Bench) -> Iterator[None]:
    with bench.lab.inside("lb"), IPRoute() as ipr:
        index, fd = socket.if_nametoindex("eth0"), syscall.load(PASS, "x", "tc")
        ipr.tc("add", "clsact", index)
        try:
            ipr.tc("add-filter", "bpf", index, fd=fd, name="greedy", parent=0xFFFFFFF3, prio=3, direct_action=True)
            yield
        finally:
            os.close(fd)
            ipr.tc("del", "clsact", index)


@contextmanager
def two_claim_the_router(bench: Bench) -> Iterator[None]:
    """A second host on the wire that answers for 10.0.2.1, too."""
    bench.run("router", *["ip", "link", "add", "link", "lb", "name", "twin", "type", "macvlan", "mode", "bridge"])
    try:
        bench.run("router", *["ip", "link", "set", "twin", "up"])
        yield
    finally:
        bench.run("router", *["ip", "link", "del", "twin"])


@contextmanager
def own_mac(bench: Bench) -> Iterator[None]:
    with bench.lab.inside("lb"):
        mac = Path(bench.sys / "class/net/eth0/address").read_text().strip()
    entry = f"ip neigh replace 10.0.2.97 lladdr {mac} dev eth0 nud permanent"
    gone = "ip neigh del 10.0.2.97 dev eth0"
    with both(by("lb", entry, undo=gone), route("via 10.0.2.97 dev eth0"))(bench):
        yield


@contextmanager
def rps(bench: Bench) -> Iterator[None]:
    setting = bench.sys / "class/net/eth0/queues/rx-0/rps_cpus"
    setting.write_text("1")
    try:
        yield
    finally:
        setting.write_text("0")


@contextmanager
def silent_socket(bench: Bench) -> Iterator[None]:
    place = loader.Place(NAME)
    place.make()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place.run / "admin.sock"))
        listener.listen()
        try:
            yield
        finally:
            place.remove()


TOGETHER: dict[str, list[tuple[str, Fault, str, str]]] = {  # id, fault, words of what is seen, words of a fix
    "the host's side": [
        ("daemon-dead", nothing_more, f"program of '{NAME}' is attached", "xdplb run"),
        ("mode-generic", with_program("generic", NAME), "eth0 (driver veth) runs in generic mode", "ethtool -i eth0"),
        (
            "peer-checksum",
            by("router", "ethtool -K lb tx on", undo="ethtool -K lb tx off"),
            "lb, the other end of eth0, leaves",
            "router ethtool -K lb tx off",
        ),
        (
            "queues-few",
            by("lb", "ethtool -L eth0 rx 1 tx 1", undo="ethtool -L eth0 rx 2 tx 2"),
            "eth0 has 1 of 2 receive queues",
            "ethtool -L eth0 rx 2 tx 2",
        ),
        ("rps", rps, "RPS is on for 1 queues of eth0", "rps_cpus"),
        (
            "vip-here",
            by("lb", f"ip addr add {VIP4}/32 dev lo", undo=f"ip addr del {VIP4}/32 dev lo"),
            f"the VIP {VIP4} is an address of this box",
            f"ip addr del {VIP4}/32 dev lo",
        ),
        (
            "mtu-interface",
            by("lb", "ip link set eth0 mtu 1500", undo="ip link set eth0 mtu 1600"),
            "eth0 has MTU 1500, full-sized packets with their outer header need 1520",
            "ip link set eth0 mtu 1520",
        ),
    ],
    "a program by a link, a blackhole": [
        ("program-foreign", with_program("native"), "'somebodys', held by a bpf_link", "--replace"),
        ("route-missing", route("blackhole"), "blackhole, to web/b2", f"ip route replace {B2}/32 {VIA}"),
    ],
    "another balancer's program, a route elsewhere": [
        ("program-foreign", with_program("native", f"{NAME}-o"), f"of '{NAME}-o'", f"xdplb --name {NAME}-o detach"),
        ("route-elsewhere", route("via 10.0.3.1 dev eth1"), "web/b2 leaves by eth1", f"ip route replace {B2}/32 {VIA}"),
    ],
    "a program by netlink, a small MTU": [
        ("program-foreign", by_netlink, "eth0 has another XDP program", "ip link set dev eth0 xdpdrv off"),
        (
            "mtu-route",
            route(f"{VIA} mtu 1400"),
            "web/b2 has MTU 1400",
            f"ip route replace {B2}/32 via 10.0.2.1 dev eth0 mtu 1520",
        ),
    ],
    "no program at the peer, an unreachable route": [
        ("peer-program", no_program_on_peer, "lb, the other end of eth0, has no", "ip link set dev lb xdp obj"),
        ("route-missing", route("unreachable"), "says unreachable, to web/b2", f"ip route replace {B2}/32 {VIA}"),
    ],
    "a daemon that hangs, no route at all": [
        ("daemon-hangs", silent_socket, "does not answer", "systemctl restart xdplb"),
        (
            "route-missing",
            by("lb", "ip route del default", undo="ip route add default via 10.0.2.1"),
            "no route to 2 backends (web/b1, web/b2)",
            f"ip route replace {B2}/32 via GATEWAY dev eth0",
        ),
    ],
    "a prohibited route, a box that routes": [
        (
            "forwarding-loop",
            sysctl("net.ipv4.ip_forward", 1),
            f"eth0; to {VIP4} that is by eth0",
            f"to {VIP4}/32 blackhole",
        ),
        ("route-missing", route("prohibit"), "says prohibit, to web/b2", f"ip route get {B2}"),
    ],
    "a backend's address": [
        (
            "backend-here",
            by("lb", f"ip addr add {B2}/32 dev lo", undo=f"ip addr del {B2}/32 dev lo"),
            f"{B2} (web/b2) is an address of this box",
            f"ip addr del {B2}/32 dev lo",
        ),
    ],
    "nobody answers, a wrong entry": [
        (
            "neighbour-silent",
            route("via 10.0.2.99 dev eth0"),
            "10.0.2.99 on eth0 does not answer: next hop of web/b2",
            "ping",
        ),
    ],
    "an own MAC address": [
        (
            "neighbour-ours",
            own_mac,
            "10.0.2.97 on eth0 (next hop of web/b2) has the MAC",
            "ip neigh del 10.0.2.97 dev eth0",
        ),
    ],
    "a wrong entry": [
        (
            "neighbour-wrong",
            by(
                "lb",
                "ip neigh replace 10.0.2.1 lladdr 02:00:00:00:00:77 dev eth0 nud permanent",
                undo="ip neigh del 10.0.2.1 dev eth0",
            ),
            "is 02:00:00:00:00:77 here, and",
            "ip neigh del 10.0.2.1 dev eth0",
        ),
    ],
    "two routers": [
        (
            "neighbour-twice",
            two_claim_the_router,
            "10.0.2.1 on eth0 (next hop of 2 backends",
            "arping -D -I eth0 10.0.2.1",
        ),
    ],
    "answers that are dropped": [
        (
            "answers-dropped",
            both(
                route(f"{VIA} src {address('lb2')}".replace(address("lb2"), "10.0.3.2")),
                sysctl("net.ipv4.conf.eth1.rp_filter", 1),
            ),
            "leave by eth0 with an address of eth1, where rp_filter is strict",
            "sysctl -w net.ipv4.conf.eth1.rp_filter=2",
        ),
    ],
    "answers by another way": [
        ("way-back", route(f"{VIA} src 10.0.3.2"), "web/b2 leave by eth0 with an address of eth1", "ip route get"),
    ],
}


@pytest.mark.parametrize("together", TOGETHER)
def test_faults_are_found_with_what_mends_them(bench: Bench, healthy: dict[str, Finding], together: str) -> None:
    with ExitStack() as stack:
        for _, fault, _, _ in TOGETHER[together]:
            stack.enter_context(fault(bench))
        found = bench.look()

    for check, _, seen, fix in TOGETHER[together]:
        assert check not in healthy
        assert seen in found[check].seen
        assert any(fix in command for command in found[check].fixes), found[check].fixes


TUNNEL = 'check = { through = "tunnel" }'
CONFIGURED: list[tuple[str, dict[str, str], Fault | None, str, str]] = [  # id, keys, fault, words seen, of a fix
    ("interface-missing", {"interface": '"eth9"'}, None, "no interface 'eth9'; there are: eth0", "ip -br link"),
    ("mode-unsupported", {"interface": '"lo"'}, None, "of lo has no native XDP", 'balancer.mode = "generic"'),
    ("link-needed", {"service": 'forward = "l2"'}, None, "web/b1, web/b2) with forward", 'set forward = "ipip"'),
    ("vip-not-here", {"service": 'forward = "local"'}, None, VIP4, f"ip addr add {VIP4}/32 dev lo"),
    (
        "block-own",
        {"rest": '[guard]\nblock = ["10.0.12.0/30"]'},
        None,
        f"10.0.12.0/30 on the block list covers {B2}",
        f"xdplb guard allow {B2}/32",
    ),
    ("block-everything", {"rest": '[guard]\nblock = ["0.0.0.0/0"]'}, None, "0.0.0.0/0", "guard forget 0.0.0.0/0"),
    ("config-invalid", {"balancer": "vlam = true"}, None, "balancer.vlam: unknown key", "xdplb check-config"),
    ("config-invalid", {"rest": '[guard]\nblock = ["10.0.12.2/30"]'}, None, "guard.block", "xdplb check-config"),
    (
        "interface-down",
        {"interface": '"eth1"'},
        by("router", "ip link set lb2 down", undo="ip link set lb2 up"),
        "eth1 has no carrier",
        "ethtool eth1",
    ),
    (
        "interface-down",
        {"interface": '"eth1"'},
        by("lb", "ip link set eth1 down", undo="ip link set eth1 up"),
        "eth1 is down",
        "ip link set eth1 up",
    ),
    (
        "tags-hidden",
        {"balancer": "vlan = true"},
        by("lb", "ethtool -K eth0 rxvlan on", undo="ethtool -K eth0 rxvlan off"),
        "eth0 takes tags off",
        "ethtool -K eth0 rxvlan off",
    ),
    (
        "probe-way",
        {"service": TUNNEL},
        by("lb", f"ip route add unreachable {VIP4}/32", undo=f"ip route del unreachable {VIP4}/32"),
        f"probes to {VIP4} through the tunnel cannot leave",
        f"ip route add {VIP4}/32 via GATEWAY",
    ),
    ("filter-in-front", {"service": TUNNEL}, filter_in_front, "bpf filter greedy (pref 3)", "tc filter show dev eth0"),
]


@pytest.mark.parametrize(
    ("check", "keys", "fault", "seen", "fix"), CONFIGURED, ids=[f"{c[0]}-{n}" for n, c in enumerate(CONFIGURED)]
)
def test_what_does_not_fit_the_configuration_is_found(
    bench: Bench,
    healthy: dict[str, Finding],
    check: str,
    keys: dict[str, str],
    fault: Fault | None,
    seen: str,
    fix: str,
) -> None:
    with fault(bench) if fault else ExitStack():
        found = bench.look(bench.config(**keys))

    assert check not in healthy
    assert seen in found[check].seen
    assert any(fix in command for command in found[check].fixes), found[check].fixes


def test_the_same_configurations_without_a_fault_are_fine(bench: Bench) -> None:
    keys = {"balancer": "vlan = true", "service": TUNNEL, "rest": '[guard]\nblock = ["203.0.113.0/24"]'}
    found = bench.look(bench.config(interface='["eth0", "eth1"]', **keys))
    assert not found.keys() & {check for check, *_ in CONFIGURED} - {"tags-hidden"}
    assert "eth1" in found["tags-hidden"].seen  # of eth0 the offload is off


def test_a_healthy_box_shows_nothing_but_what_is_so(healthy: dict[str, Finding]) -> None:
    host = {"clock-unsynchronised", "jit-hardened", "leftover"}  # of the machine that runs this
    assert healthy.keys() - host == {"daemon-absent"}


def test_pins_that_nobody_uses_are_found(bench: Bench) -> None:
    place = loader.Place(f"{NAME}-left")  # others of this machine come and go: it is looked for alone

    def left() -> bool:
        return place.name in devices.leftovers("main")

    place.make()
    try:
        assert not left()  # no pins
        fd = syscall.load_xdp(PASS)
        syscall.pin(fd, place.pins / "program_x")
        os.close(fd)
        assert left()
        with open(place.run / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert not left()  # a daemon is starting
            with bench.lab.inside("lb"):
                assert Look(place.name, bench.config(), QUICK).run().starting
    finally:
        place.remove()


def test_a_file_that_is_named_in_vain_is_a_mistake(bench: Bench) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Look(None, Path("/nonexistent.toml"), QUICK).run()


def test_without_any_file_the_host_alone_is_looked_at(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact, "DEFAULT", bench.folder / "nothing.toml")
    with bench.lab.inside("lb"):
        box = Look(NAME, None, QUICK, bench.sys).run()
    assert (box.problem, box.interfaces) == ("", ())
    assert "`xdplb doctor CONFIG` names one" in box.unchecked[0].why


def test_what_cannot_be_looked_at_is_said(bench: Bench) -> None:
    with bench.lab.inside("lb"):
        box = Look(NAME, bench.config(balancer="vlam = 1"), QUICK, bench.sys).run()
    whats = [item.what for item in box.unchecked]
    assert "ways to backends, VIPs" in whats
    assert "services, checks and counters" in whats
    assert ip_address(address("lb")) in box.addresses


def test_ten_thousand_backends_are_looked_at_in_a_moment_and_told_together(bench: Bench) -> None:
    path = bench.folder / "many.toml"
    backends = ", ".join(f'{{ name = "b{n}", address = "{ip_address(0x0A640000 + n)}" }}' for n in range(1, 10001))
    path.write_text(
        f'[balancer]\nname = "{NAME}"\ninterface = "eth0"\n[[service]]\nname = "web"\nvips = ["{VIP4}:80"]\n'
        f"backends = [{backends}]"
    )
    with by("lb", "ip route add blackhole 10.100.0.0/16", undo="ip route del blackhole 10.100.0.0/16")(bench):
        found = bench.look(path)

    assert found["route-missing"].seen.endswith("10000 backends (web/b1, web/b2, web/b3 and 9997 more)")
    assert len(found["route-missing"].fixes) < 10
