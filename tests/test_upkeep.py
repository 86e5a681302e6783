"""A daemon at work while its interfaces flap, change names, vanish and come again: told at once, mended by itself.

client ── router ── lb eth0 ⟲  web: b1
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from tests.rig.traffic import ask, backend, ip, service, start, unique, wait_up
from tools.lab.net import VIP4, Lab, address
from tools.lab.stand import Stand, wait_for
from xdplb.dataplane import loader, syscall

pytestmark = pytest.mark.root

PASS = bytes.fromhex("b700000002000000 9500000000000000")  # mov r0, XDP_PASS; exit
SOON_S = 1.0  # in which a change has to be told


@pytest.fixture(scope="module")
def wired(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("upkeep")
    with Lab(unique("upkeep"), backends=1) as lab:
        stand = Stand(lab, folder / "daemon.log")
        stand.start_backends(lab.backends)
        start(stand, folder / "xdplb.toml", '[balancer]\ninterface = "eth0"\n' + service("web", 80, backend("b1")))
        yield stand


def nic(stand: Stand) -> dict[str, Any]:
    found: dict[str, Any] = stand.client.status()["interface"]
    return found


def warned(stand: Stand, words: str) -> Callable[[], bool]:
    return lambda: any(words in warning for warning in stand.client.status()["warnings"])


def logged(stand: Stand, words: str) -> None:
    wait_for(lambda: f" W {words}" in stand.log.read_text(), f"log: {words}", SOON_S)


def serves(stand: Stand) -> None:
    wait_up(stand)
    assert ask(stand.lab, VIP4, 80)[0] == "b1"


def test_carrier_that_goes_and_comes_is_told_at_once_and_the_program_stays(wired: Stand) -> None:
    before = nic(wired)
    assert (before["up"], before["carrier"]) == (True, True)

    ip(wired.lab, "router", "link set lb down")

    wait_for(warned(wired, "eth0 has no carrier; look at"), "the warning", SOON_S)
    after = nic(wired)
    assert (after["up"], after["carrier"], after["link_id"]) == (True, False, before["link_id"])
    ip(wired.lab, "router", "link set lb up")
    ip(wired.lab, "router", f"route replace {VIP4}/32 via {address('lb')}")  # the kernel took it away
    logged(wired, "eth0 has its carrier again")
    assert nic(wired)["carrier"]
    serves(wired)
    assert nic(wired)["link_id"] == before["link_id"]


def test_an_interface_that_is_switched_off_and_on_is_told_and_keeps_its_program(wired: Stand) -> None:
    before = nic(wired)

    ip(wired.lab, "lb", "link set eth0 down")

    wait_for(warned(wired, "eth0 is down; run `ip link set eth0 up`"), "the warning", SOON_S)
    assert (nic(wired)["up"], nic(wired)["carrier"]) == (False, False)
    ip(wired.lab, "lb", "link set eth0 up")
    logged(wired, "eth0 is up again")
    ip(wired.lab, "lb", f"route replace default via {address('lb', 4, 1)}")
    serves(wired)
    assert nic(wired)["link_id"] == before["link_id"]


def test_a_renamed_interface_goes_on_until_another_has_its_name(wired: Stand) -> None:
    before = nic(wired)

    ip(wired.lab, "lb", "link set eth0 name eth7")

    wait_for(warned(wired, "eth0 is called eth7 now and goes on forwarding"), "the warning", SOON_S)
    logged(wired, "eth0 is called eth7 now")
    assert (nic(wired)["name"], nic(wired)["link_id"]) == ("eth7", before["link_id"])
    serves(wired)

    ip(wired.lab, "lb", "link add eth0 type veth peer name peer0")

    wait_for(lambda: nic(wired)["name"] == "eth0" and nic(wired)["link_id"], "the program on the new one", SOON_S)
    logged(wired, f"eth0 is another interface now, number {nic(wired)['index']}; number {before['index']} is left")
    assert loader.attached(loader.Place(wired.name), before["index"]) is None
    assert "xdp" not in ip(wired.lab, "lb", "link show eth7")
    ip(wired.lab, "lb", "link del eth0")
    ip(wired.lab, "lb", "link set eth7 name eth0")
    serves(wired)
    assert nic(wired)["index"] == before["index"]


def test_the_only_interface_vanishes_and_traffic_is_back_when_it_is_made_anew(wired: Stand) -> None:
    before = nic(wired)

    ip(wired.lab, "lb", "link del eth0")

    wait_for(warned(wired, "eth0 has vanished; as soon as"), "the warning", SOON_S)
    logged(wired, "eth0 has vanished")
    assert (nic(wired)["error"], nic(wired)["carrier"]) == ("eth0 has vanished", False)
    assert wired.run("status").stdout.splitlines()[1] == "eth0: eth0 has vanished"

    wired.lab.renew_wire("lb")

    wait_for(lambda: nic(wired)["program_id"], "the program", SOON_S)
    assert nic(wired)["index"] != before["index"]
    assert nic(wired)["program_id"] == before["program_id"]
    logged(wired, f"eth0 is there again, as number {nic(wired)['index']}")
    logged(wired, "eth0: attached")
    serves(wired)
    assert wired.daemon is not None
    assert wired.daemon.poll() is None
    assert not warned(wired, "eth0")()
    assert [pin.name for pin in loader.Place(wired.name).pins.glob("link_*")] == [f"link_{nic(wired)['index']}"]


def test_an_interface_with_somebody_elses_program_is_told_and_taken_when_that_is_off(wired: Stand) -> None:
    ip(wired.lab, "lb", "link del eth0")
    wait_for(warned(wired, "eth0 has vanished"), "the warning", SOON_S)
    ip(wired.lab, "lb", "link add other type veth peer name peer0")
    with wired.lab.inside("lb"), IPRoute() as ipr:
        program = syscall.load_xdp(PASS)
        ipr.link("set", index=socket.if_nametoindex("other"), xdp={"attrs": [("IFLA_XDP_FD", program)]})
        os.close(program)
    ip(wired.lab, "lb", "link set other name eth0")
    wait_for(warned(wired, "eth0: the kernel refused XDP in native mode"), "the refusal", SOON_S)
    assert wired.log.read_text().count(" E eth0: the kernel refused") == 1

    ip(wired.lab, "lb", "link set eth0 xdp off")

    wait_for(lambda: nic(wired)["program_id"], "the program", SOON_S)
    assert not warned(wired, "refused")()
    ip(wired.lab, "lb", "link del eth0")
    wired.lab.renew_wire("lb")
    serves(wired)


def test_a_program_that_somebody_took_off_is_attached_again_though_the_daemon_is_never_idle(wired: Stand) -> None:
    link = syscall.get(loader.Place(wired.name).link(nic(wired)["index"]))
    syscall.link_detach(link)
    os.close(link)

    again, until = wired.log.read_text().count("it is attached again") + 1, time.monotonic() + 5
    while wired.log.read_text().count("it is attached again") < again:
        assert time.monotonic() < until
        ip(wired.lab, "lb", "link set eth0 txqueuelen 999")  # each is news that keeps the daemon busy
        ip(wired.lab, "lb", "link set eth0 mtu 1599")
        ip(wired.lab, "lb", "link set eth0 mtu 1600")
    serves(wired)


def test_an_interface_made_anew_while_the_daemon_sleeps_is_taken_up(wired: Stand) -> None:
    assert wired.daemon is not None
    wired.daemon.send_signal(signal.SIGSTOP)
    ip(wired.lab, "lb", "link del eth0")
    wired.lab.renew_wire("lb")
    wired.daemon.send_signal(signal.SIGCONT)

    logged(wired, "eth0 is another interface now")
    serves(wired)


def test_frames_leave_by_the_second_interface_again_when_it_is_made_anew(tmp_path: Path) -> None:
    """In by eth0, out by eth1, to which the program is led by a table of interface numbers."""
    text = '[balancer]\ninterface = ["eth0", "eth1"]\n' + service("web", 80, backend("b1"))
    with Lab(unique("second"), backends=1) as lab:
        stand = Stand(lab, tmp_path / "daemon.log")
        lab.add_second_wire()
        stand.start_backends(lab.backends)
        ip(lab, "lb", f"route add 10.0.11.0/24 via {address('lb2', 4, 1)}")
        start(stand, tmp_path / "xdplb.toml", text)
        serves(stand)

        ip(lab, "lb", "link del eth1")
        wait_for(warned(stand, "eth1 has vanished"), "the warning", SOON_S)
        assert nic(stand)["program_id"]
        lab.add_second_wire()
        ip(lab, "lb", f"route add 10.0.11.0/24 via {address('lb2', 4, 1)}")

        wait_for(lambda: not warned(stand, "eth1")(), "no warning", SOON_S)

        def came_by_eth1() -> bool:
            before = lab.counters("router", "lb2").rx_bytes
            assert ask(lab, VIP4, 80, up=100_000)[0] == "b1"  # by eth0, as long as the new route is not known
            return lab.counters("router", "lb2").rx_bytes - before > 100_000

        wait_for(came_by_eth1, "frames by eth1", SOON_S)
