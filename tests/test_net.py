"""Routes and neighbours as the kernel tells them, in the lab's balancer; what changes is noticed by events."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from tools.lab.net import Lab, address
from xdplb.desired import Hop
from xdplb.errors import RefusedError
from xdplb.net import Egress, Network, Nic, find_egress, interface_index, read_nic, tx_errors

B1, B3, GHOST = ip_address(address("b1")), ip_address(address("b3", 6)), ip_address("10.0.2.98")


def look(lab: Lab, scene: Callable[[Network], Awaitable[None]]) -> int:
    """Play a scene with a Network on the balancer's NIC; returns how often it told of a change."""
    told: list[None] = []

    async def play() -> None:
        async with Network(["eth0"], None, None, lambda: told.append(None)) as network:
            await scene(network)

    with lab.inside("lb"):
        asyncio.run(play())
    return len(told)


async def until(condition: Callable[[], bool], timeout_s: float = 8.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


def shell(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


def test_hop_has_both_macs_and_the_routes_source(lab: Lab) -> None:
    with lab.inside("router"):
        router = subprocess.run(["ip", "-br", "link", "show", "lb"], capture_output=True, text=True).stdout.split()[2]

    async def scene(network: Network) -> None:
        await network.find([B1, B3])
        await network.wait_resolved(3)
        for backend, source in ((B1, address("lb")), (B3, address("lb", 6))):
            hop = network.hops[backend]
            assert isinstance(hop, Hop)
            assert (hop.own_mac, hop.mtu) == (network.nics[0].mac, network.nics[0].mtu)
            assert hop.next_mac.hex(":") == router
            assert str(hop.source) == source

    assert look(lab, scene) >= 1


def test_what_cannot_be_reached_says_why(lab: Lab) -> None:
    async def scene(network: Network) -> None:
        own, nowhere = ip_address(address("lb")), ip_address("203.0.113.1")
        shell("ip", "route", "add", "blackhole", "203.0.113.0/24")
        try:
            await network.find([GHOST, own, nowhere])
            assert network.hops[GHOST] == f"neighbour {GHOST} on eth0 does not answer"
            assert network.hops[own] == f"{own} is an address of this box, or its route drops"
            assert str(network.hops[nowhere]).startswith(f"no route to {nowhere} (")
        finally:
            shell("ip", "route", "del", "blackhole", "203.0.113.0/24")

    look(lab, scene)


def test_a_neighbour_that_begins_to_answer_is_noticed(lab: Lab) -> None:
    async def scene(network: Network) -> None:
        await network.find([GHOST])
        with lab.inside("router"):
            shell("ip", "addr", "add", f"{GHOST}/24", "dev", "lb")
        try:
            await until(lambda: isinstance(network.hops[GHOST], Hop))
        finally:
            with lab.inside("router"):
                shell("ip", "addr", "del", f"{GHOST}/24", "dev", "lb")

    look(lab, scene)


def test_a_route_that_goes_and_comes_back_is_noticed(lab: Lab) -> None:
    async def scene(network: Network) -> None:
        await network.find([B1])
        await network.wait_resolved(3)
        shell("ip", "route", "add", "unreachable", f"{B1}/32")
        await until(lambda: "no route" in str(network.hops[B1]))
        shell("ip", "route", "del", "unreachable", f"{B1}/32")
        await until(lambda: isinstance(network.hops[B1], Hop))

    look(lab, scene)


def test_an_interface_that_goes_down_takes_its_hops_with_it(lab: Lab) -> None:
    async def scene(network: Network) -> None:
        await network.find([B1])
        await network.wait_resolved(3)
        with lab.inside("lb"):
            shell("ip", "link", "set", "eth0", "down")
        try:
            await until(lambda: isinstance(network.hops[B1], str))
        finally:
            with lab.inside("lb"):
                shell("ip", "link", "set", "eth0", "up")
                shell("ip", "addr", "replace", f"{address('lb', 6)}/64", "dev", "eth0")
                shell("ip", "route", "replace", "default", "via", address("lb", 4, 1))
                shell("ip", "route", "replace", "default", "via", address("lb", 6, 1))

    look(lab, scene)


def test_next_hops_are_kept_by_the_kernel_while_wanted(lab: Lab) -> None:
    def managed() -> str:
        return subprocess.run(["ip", "neigh", "show", "dev", "eth0"], capture_output=True, text=True).stdout

    async def scene(network: Network) -> None:
        await network.find([B1])
        await network.wait_resolved(3)
        assert f"{address('lb', 4, 1)} lladdr" in managed()
        assert "managed" in managed()
        await network.find([])
        assert network.hops == {}

    look(lab, scene)


def test_nic_is_described_and_a_missing_one_is_an_error_with_names(lab: Lab) -> None:
    async def describe() -> None:
        nic = await read_nic(interface_index("eth0"))
        assert (nic.name, nic.driver, nic.mtu, nic.up, nic.xdp_mode) == ("eth0", "veth", 1600, True, None)

    with lab.inside("lb"):
        asyncio.run(describe())
        assert tx_errors("eth0") == 0
        assert tx_errors("lo") is None
        with pytest.raises(RefusedError, match="interface 'eth9' does not exist; there are: lo, eth0"):
            interface_index("eth9")


def nic(index: int, **fields: Any) -> Nic:
    named: dict[str, Any] = {"name": f"if{index}", "mac": bytes(6), "mtu": 1500, "driver": "x", "up": True}
    return Nic(index=index, xdp_mode=None, program_id=None, rx_packets=0, **named, **fields)


def test_frames_leave_by_an_interface_a_tag_on_it_or_a_bond_that_it_is_part_of() -> None:
    links = {n.index: n for n in (nic(2, master=9), nic(3, master=9), nic(4), nic(9), nic(20, parent=4, vlan=100))}
    links |= {n.index: n for n in (nic(21, parent=9, vlan=7), nic(22, parent=20, vlan=8), nic(5))}
    ours = [2, 3, 4]
    found = {index: find_egress(index, ours, links) for index in links}
    assert found == {
        2: Egress(2, 0),
        3: Egress(3, 1),
        4: Egress(4, 2),
        9: Egress(0),  # by the slave that they came in
        20: Egress(4, 2, 100),
        21: Egress(0, 0, 7),
        22: None,  # a tag on a tag of its own
        5: None,
    }


def test_a_way_with_a_tag_of_its_own_is_noticed_however_it_is_found() -> None:
    network = Network(["lo"], None, None, lambda: None)
    plain = Hop(1, bytes(6), bytes(6), B1)
    network._take({B1: plain}, [plain])
    assert not network.tagged
    network._take({B1: plain, B3: replace(plain, vlan=7)}, [replace(plain, vlan=7)])
    assert network.tagged
