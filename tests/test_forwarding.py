"""Start, refuse, adopt, swap, grow: the program on the lab's balancer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.rig.packets import BACKENDS4, BACKENDS6, config, service, tcp
from tests.rig.xdp import SPEC, desired
from tools.lab.net import Lab
from xdplb import __version__
from xdplb.dataplane import loader, syscall
from xdplb.dataplane.kernel import Kernel
from xdplb.errors import KernelError, RefusedError
from xdplb.forwarding import Forwarding, Totals
from xdplb.guard import Lists
from xdplb.hashing import vip_key
from xdplb.model import Backend, Mode, Vip
from xdplb.net import interface_index
from xdplb.prefixes import Verdict, parse_prefix
from xdplb.tables import Capacity

PASS = bytes.fromhex("b700000002000000 9500000000000000")
TINY = replace(SPEC, capacity=Capacity(rows_bits=4, slots=2048, backends=4))


def play(
    lab: Lab, place: loader.Place, scene: Callable[[Forwarding], Awaitable[None]], mode: Mode = Mode.NATIVE
) -> None:
    """Play a scene with a Forwarding on the balancer's NIC."""
    with lab.inside("lb"):
        asyncio.run(scene(Forwarding(place, {"eth0": interface_index("eth0")}, mode)))  # type: ignore[arg-type]


def run(kernel: Kernel, port: int = 4000, flags: str = "A") -> bytes:
    fd = syscall.get(kernel.pinned.program)
    try:
        return syscall.test_run(fd, bytes(tcp(port, flags=flags)))[1]
    finally:
        os.close(fd)


def test_native_mode_is_what_is_asked_for_and_what_the_kernel_says(lab: Lab, place: loader.Place) -> None:
    async def scene(forwarding: Forwarding) -> None:
        await forwarding.make_way(False)
        assert not await forwarding.load(SPEC)
        (nic,) = await forwarding.attach()
        attached = loader.attached(place, nic.index)
        assert attached is not None
        assert (nic.xdp_mode, nic.program_id) == ("native", attached.program_id)

    play(lab, place, scene)


def test_generic_mode_when_asked_and_back_to_native(lab: Lab, place: loader.Place) -> None:
    async def scene(forwarding: Forwarding) -> None:
        await forwarding.make_way(False)
        await forwarding.load(SPEC)
        assert [nic.xdp_mode for nic in await forwarding.attach()] == [forwarding.mode]

    play(lab, place, scene, Mode.GENERIC)
    play(lab, place, scene)


def test_a_mode_that_the_nic_cannot_do_is_an_error_with_the_fix(lab: Lab, place: loader.Place) -> None:
    async def scene(forwarding: Forwarding) -> None:
        await forwarding.load(SPEC)
        with pytest.raises(KernelError, match=r'refused XDP in offload mode .*set balancer\.mode = "native"'):
            await forwarding.attach()
        assert loader.attached(place, forwarding.interfaces["eth0"]) is None

    play(lab, place, scene, Mode.OFFLOAD)


@pytest.mark.parametrize("by_link", [True, False])
def test_another_program_is_named_and_stays_unless_told(lab: Lab, place: loader.Place, by_link: bool) -> None:
    async def scene(forwarding: Forwarding) -> None:
        other = syscall.load_xdp(PASS)
        number = syscall.program(other).id
        held = [syscall.link_create(other, forwarding.interfaces["eth0"], "native")] if by_link else []
        if not by_link:
            await _attach_by_netlink(forwarding.interfaces["eth0"], other)
        with pytest.raises(RefusedError, match=rf"eth0 has another XDP program: id {number}, name .*--replace"):
            await forwarding.make_way(False)

        await forwarding.make_way(True)
        await forwarding.load(SPEC)
        assert (await forwarding.attach())[0].program_id != number
        for fd in (other, *held):
            os.close(fd)

    play(lab, place, scene)


async def _attach_by_netlink(ifindex: int, fd: int) -> None:
    from pyroute2 import AsyncIPRoute

    async with AsyncIPRoute() as ipr:
        await ipr.link("set", index=ifindex, xdp={"attrs": [("IFLA_XDP_FD", fd), ("IFLA_XDP_FLAGS", 4)]})


def test_other_code_swaps_the_program_and_keeps_the_tables(lab: Lab, place: loader.Place) -> None:
    async def scene(forwarding: Forwarding) -> None:
        four, both = desired(config()), desired(config(service(backends=[*BACKENDS4, *BACKENDS6])))
        small = replace(SPEC, ipip6=False)
        await forwarding.load(small)
        await forwarding.write(four, small)
        (first,) = await forwarding.attach()
        run(forwarding.kernel)

        changes = await forwarding.write(both, SPEC)

        attached = loader.attached(place, forwarding.interfaces["eth0"])
        assert attached is not None
        assert attached.program_id != first.program_id
        assert len(changes) == 6  # three backends, the ring, and both VIPs, whose MTU is less now
        assert sum(t.packets for t in forwarding.kernel.traffic().values()) == 1
        assert len(list(forwarding.kernel.pinned.folder.glob("program_*"))) == 1

    play(lab, place, scene)


def test_tables_grow_when_full_and_counters_are_carried_on(lab: Lab, place: loader.Place) -> None:
    async def scene(forwarding: Forwarding) -> None:
        carried: list[Totals] = []
        forwarding.carry = carried.append
        await forwarding.load(TINY)
        await forwarding.write(desired(config()), TINY)
        await forwarding.attach()
        before = run(forwarding.kernel)
        many = [*BACKENDS4, *(Backend(f"b{n}", ip_address(0x0A010000 + n)) for n in range(1, 60))]

        await forwarding.write(desired(config(service(backends=many, ring_size=1024))), TINY)

        assert forwarding.kernel.spec.capacity.backends > 64
        assert len(forwarding.kernel.tables().backends) == len(many)
        assert [sum(t.packets for t in traffic.values()) for traffic, _ in carried] == [1]
        assert before[14:20] == run(forwarding.kernel)[14:20]
        assert len([p for p in place.pins.iterdir() if p.is_dir()]) == 1
        known = forwarding.known_spec()
        assert known == forwarding.kernel.spec

    play(lab, place, scene)


def test_a_ring_that_does_not_fit_beside_the_old_one_gets_larger_tables(lab: Lab, place: loader.Place) -> None:
    """Those that the new services alone would fit in are there already."""
    full = replace(SPEC, capacity=replace(SPEC.capacity, slots=1 << 18))

    async def scene(forwarding: Forwarding) -> None:
        await forwarding.load(full)
        await forwarding.write(desired(config(service(ring_size=1 << 18))), full)
        await forwarding.attach()
        before = run(forwarding.kernel)[30:34]

        await forwarding.write(desired(config(service(ring_size=1 << 17))), full)

        assert forwarding.kernel.spec.capacity.slots == 1 << 19
        assert run(forwarding.kernel)[30:34] == before
        assert forwarding.attached()

    play(lab, place, scene)


def changing(forwarding: Forwarding) -> dict[int, bytes]:
    """Older and younger flows of slots that are moving, and where they go."""
    older = {port: run(forwarding.kernel, port)[30:34] for port in range(1000, 1100)}
    younger = {port: run(forwarding.kernel, port, "S")[30:34] for port in range(2000, 2100)}
    assert len(set(older.values())) == 1
    assert len(set(younger.values())) == 2
    return older | younger


@pytest.mark.parametrize("lines", [1 << 14, 1 << 16])
def test_tables_of_another_layout_carry_on_what_is_in_the_middle_of_a_change(
    lab: Lab, place: loader.Place, lines: int
) -> None:
    one, two = (desired(config(service(backends=BACKENDS4[:n], ring_size=64))) for n in (1, 2))
    grown = replace(SPEC, capacity=replace(SPEC.capacity, backends=512, flows=lines), seed=SPEC.seed + 1)

    async def scene(forwarding: Forwarding) -> None:
        await forwarding.load(SPEC)
        await forwarding.write(one, SPEC)
        await forwarding.attach()
        await forwarding.write(two, SPEC)
        went, folder = changing(forwarding), forwarding.kernel.pinned.folder

        await forwarding.become(grown, two)

        assert forwarding.kernel.pinned.folder != folder
        assert {port: run(forwarding.kernel, port)[30:34] for port in went} == went
        assert run(forwarding.kernel, 3000)[30:34] == went[1000]  # its slot is learning still
        assert await forwarding.write(two, grown) == []
        assert not folder.exists()

    play(lab, place, scene)


@pytest.mark.parametrize("same", [True, False])
def test_a_start_with_another_layout_carries_on_what_a_dead_daemon_left(
    lab: Lab, place: loader.Place, same: bool
) -> None:
    one, two = (desired(config(service(backends=BACKENDS4[:n], ring_size=64))) for n in (1, 2))
    other = SPEC if same else replace(SPEC, capacity=replace(SPEC.capacity, clients=64), seed=SPEC.seed + 1)
    went: dict[int, bytes] = {}

    async def before(forwarding: Forwarding) -> None:
        await forwarding.load(SPEC)
        await forwarding.write(one, SPEC)
        await forwarding.attach()
        await forwarding.write(two, SPEC)
        went.update(changing(forwarding))

    async def after(forwarding: Forwarding) -> None:
        carried: list[Totals] = []
        forwarding.carry = carried.append
        assert await forwarding.load(other) is same
        await forwarding.write(two, other)
        await forwarding.attach()
        assert {port: run(forwarding.kernel, port)[30:34] for port in went} == went
        forwarding.adopt_transitions(two)
        assert not forwarding.transitions.settled
        assert [sum(t.packets for t in totals[0].values()) for totals in carried] == ([] if same else [200])
        assert await forwarding.write(two, other) == []

    play(lab, place, before)
    play(lab, place, after)


def test_tables_that_mean_something_else_are_refused_unless_they_may_be_forgotten(
    lab: Lab, place: loader.Place
) -> None:
    async def before(forwarding: Forwarding) -> None:
        await forwarding.load(SPEC)
        await forwarding.write(desired(config()), SPEC)
        await forwarding.attach()
        (file,) = place.run.glob("layout_*.json")
        file.write_text(file.read_text().replace('"format": 1', '"format": 99'))
        current = place.run / "spec.json"
        current.write_text(current.read_text().replace(f'"version": "{__version__}"', '"version": "9.9.9"'))

    async def after(forwarding: Forwarding) -> None:
        with pytest.raises(RefusedError, match=r"loaded by xdplb 9\.9\.9, and this is .*format 1; .* give --replace"):
            await forwarding.load(SPEC)
        assert forwarding.attached()
        assert not await forwarding.load(replace(SPEC, seed=3), forget=True)
        await forwarding.write(desired(config()), SPEC)
        await forwarding.attach()

    play(lab, place, before)
    play(lab, place, after)


def test_vips_that_find_no_row_get_tables_with_another_seed_or_more_room(lab: Lab, place: loader.Place) -> None:
    async def scene(forwarding: Forwarding) -> None:
        await forwarding.load(TINY)
        vips = tuple(Vip(ip_address(0xC0000200 + n), 80) for n in range(40))  # 16 rows cannot hold them
        await forwarding.write(desired(config(service(vips=vips))), TINY)
        assert {row.key for row in forwarding.kernel.tables().services.values()} >= {vip_key(vip) for vip in vips}

    play(lab, place, scene)


def test_a_backend_that_goes_leaves_its_total_behind(lab: Lab, place: loader.Place) -> None:
    async def scene(forwarding: Forwarding) -> None:
        carried: list[Totals] = []
        forwarding.carry = carried.append
        await forwarding.load(SPEC)
        await forwarding.write(desired(config(service(backends=BACKENDS4[:1]))), SPEC)
        run(forwarding.kernel)
        await forwarding.write(desired(config(service(backends=BACKENDS4[1:]))), SPEC)
        assert [t.packets for traffic, _ in carried for t in traffic.values()] == [1]

    play(lab, place, scene)


def test_lists_get_as_much_room_as_they_need_and_change_one_by_one(lab: Lab, place: loader.Place) -> None:
    blocked = {parse_prefix(f"2001:db8:{n:x}::{n:x}") for n in range(1, 60)}  # far apart: many words each
    little = replace(SPEC, prefixes=True, capacity=replace(SPEC.capacity, spans=64))

    async def scene(forwarding: Forwarding) -> None:
        await forwarding.load(little)
        await forwarding.write(desired(config()), little)
        await forwarding.attach()
        lists = Lists(set(blocked))
        await forwarding.guard(lists, little, desired(config()))
        assert forwarding.kernel.spec.capacity.spans > 64
        table = forwarding.prefixes
        assert table is not None
        assert table.find(ip_address("2001:db8:5::5")) is Verdict.BLOCKED
        assert forwarding.change_lists({"2001:db8:5::5/128": None, "2001:db8:5::/48": "allow"})
        assert table.find(ip_address("2001:db8:5::5")) is Verdict.ALLOWED

        for n in range(400):  # each change takes room that is given back later: some time there is none
            if not forwarding.change_lists({f"2001:db8:{n + 999:x}::1/128": "block"}):
                break
            lists.put(parse_prefix(f"2001:db8:{n + 999:x}::1/128"), "block")
        else:
            pytest.fail("room for everything")
        assert forwarding.prefixes is None
        await forwarding.guard(lists, forwarding.kernel.spec, desired(config()))
        assert forwarding.prefixes is not None
        assert forwarding.prefixes.find(ip_address("2001:db8:3e7::1")) is Verdict.BLOCKED

    play(lab, place, scene)
