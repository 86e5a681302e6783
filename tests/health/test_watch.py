"""The driver of the checks, with real servers on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from xdplb.desired import Health
from xdplb.health.kinds import Exec, Initial, Kind, Talk
from xdplb.health.probe import Target
from xdplb.health.subjects import Subject, Wanted
from xdplb.health.watch import Watch
from xdplb.model import Address, Check

LOOPBACK, KEY, OTHER = ip_address("127.0.0.1"), ("web", "b1"), ("api", "b1")


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        yield listener


def check(server: socket.socket) -> Check:
    return Check(server.getsockname()[1], interval_s=0.02, timeout_s=0.5, rise=2, fall=2)


def wanted(*checks: Check, address: Address = LOOPBACK, needed: int | None = None) -> Wanted:
    groups = tuple((Subject(check, address),) for check in checks)
    return Wanted(address, groups, needed if needed is not None else len(groups))


def test_a_backend_goes_up_down_and_up_with_its_server() -> None:
    async def scene() -> list[bool | None]:
        seen: list[bool | None] = []
        watch = Watch(lambda: seen.append(watch.health[KEY].up))
        server = socket.create_server(("127.0.0.1", 0))
        address = server.getsockname()
        watch.follow({KEY: wanted(check(server))})
        assert await watch.wait_first(2)
        server.close()
        await until(lambda: watch.health[KEY].up is False)
        assert "refused" in watch.health[KEY].cause
        with socket.create_server(address):
            await until(lambda: watch.health[KEY].up is True)
        await watch.close()
        return seen

    assert asyncio.run(scene()) == [True, False, True]


def test_what_was_known_holds_until_results_speak_against_it(server: socket.socket) -> None:
    async def scene() -> None:
        watch = Watch(lambda: None)
        watch.follow({KEY: wanted(check(server))}, {KEY: Health(False, "of yesterday")})
        assert watch.health[KEY] == Health(False, "of yesterday")
        assert not await watch.wait_first(1)
        await until(lambda: watch.health[KEY].up is True)
        watch.follow({})
        assert watch.health == {}
        await watch.close()

    asyncio.run(scene())


def test_a_changed_check_starts_from_what_is_believed(server: socket.socket) -> None:
    async def scene() -> None:
        watch = Watch(lambda: None)
        with socket.create_server(("127.0.0.1", 0)) as two:
            watch.follow({KEY: wanted(check(server))})
            await watch.wait_first(2)
            watch.follow({KEY: wanted(check(two))})
            assert watch.health[KEY].up is True
            await until(lambda: watch.document(KEY)[0]["last"] is not None)
            assert str(two.getsockname()[1]) in watch.document(KEY)[0]["last"]
            await watch.close()

    asyncio.run(scene())


def test_another_address_is_another_backend(server: socket.socket) -> None:
    async def scene() -> None:
        watch = Watch(lambda: None)
        watch.follow({KEY: wanted(check(server))})
        await watch.wait_first(2)
        watch.follow({KEY: wanted(check(server), address=ip_address("127.0.0.2"))})
        assert watch.health[KEY].up is None
        await until(lambda: watch.health[KEY].up is False)  # nobody listens there
        await watch.close()

    asyncio.run(scene())


def test_services_that_ask_the_same_are_answered_by_one_probe(server: socket.socket) -> None:
    async def scene() -> int:
        watch = Watch(lambda: None)
        once = replace(check(server), interval_s=100.0, ask=Talk(b"x"))
        watch.follow({KEY: wanted(once), OTHER: wanted(once)})
        await watch.wait_first(2)
        assert [watch.health[key].up for key in (KEY, OTHER)] == [True, True]
        watch.follow({OTHER: wanted(once)})  # the other one goes on with it
        assert watch.health == {OTHER: watch.health[OTHER]}
        await watch.close()
        server.settimeout(0)
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                server.accept()[0].close()
                count += 1
        return count

    assert asyncio.run(scene()) == 1


def test_of_several_checks_as_many_must_pass_as_are_needed(server: socket.socket) -> None:
    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            nobody = check(closed)
        watch = Watch(lambda: None)
        watch.follow({KEY: wanted(check(server), nobody), OTHER: wanted(check(server), nobody, needed=1)})
        await until(lambda: watch.health[KEY].up is not None and watch.health[OTHER].up is not None)
        assert (watch.health[KEY].up, watch.health[OTHER].up) == (False, True)
        await watch.close()

    asyncio.run(scene())


def test_evidence_makes_probes_come_at_once_and_one_after_the_other() -> None:
    async def scene() -> float:
        watch = Watch(lambda: None)
        server = socket.create_server(("127.0.0.1", 0))
        slow = replace(check(server), interval_s=60.0, fall=3)
        watch.follow({KEY: wanted(slow)})
        await watch.wait_first(2)
        assert watch.suspect(KEY, "clients get no answer")  # wrongly: it is up, and stays so
        await asyncio.sleep(0.05)
        assert watch.health[KEY].up
        server.close()
        await asyncio.sleep(1.0)  # evidence counts once in a second
        began = time.monotonic()
        assert watch.suspect(KEY, "clients get no answer")
        await until(lambda: watch.health[KEY].up is False)
        took_s = time.monotonic() - began
        assert "clients get no answer" in watch.health[KEY].cause
        assert not watch.suspect(("web", "nobody"), "?")
        await watch.close()
        return took_s

    assert asyncio.run(scene()) < 1.0  # and not after three intervals of a minute


def test_without_a_way_there_nothing_is_probed_and_nothing_believed(server: socket.socket) -> None:
    async def scene() -> None:
        ways: list[Target] = []
        watch = Watch(lambda: None, lambda _: ways[0] if ways else "no way is known")
        watch.follow({KEY: wanted(check(server))})
        await asyncio.sleep(0.1)
        assert watch.health[KEY].up is None
        ways.append(Target(LOOPBACK, server.getsockname()[1]))
        await until(lambda: watch.health[KEY].up is True)
        await watch.close()

    asyncio.run(scene())


def test_what_is_remembered_goes_on_in_another_life(server: socket.socket) -> None:
    async def scene() -> None:
        first = Watch(lambda: None)
        slow = replace(check(server), interval_s=60.0)
        first.follow({KEY: wanted(slow)})
        await first.wait_first(2)
        first.remember_all()
        memories = dict(first.memories)
        await first.close()

        reports: list[str] = []
        second = Watch(lambda: reports.append("changed"))
        second.follow({KEY: wanted(slow)}, None, memories)
        reports.clear()
        assert second.health[KEY] == first.health[KEY]
        await asyncio.sleep(0.1)
        assert second.document(KEY)[0]["at"] is None  # its turn comes within the interval, not at once
        assert reports == []
        await second.close()

    asyncio.run(scene())


@pytest.mark.root
def test_at_the_end_nothing_is_left_of_probes_under_way(tmp_path: Path) -> None:
    async def scene() -> None:
        watch = Watch(lambda: None)
        marker = tmp_path / "ran"
        sleeps = Exec(("/bin/sh", "-c", f"touch {marker}; sleep 60"), "root")
        watch.follow({KEY: wanted(Check(kind=Kind.EXEC, ask=sleeps, timeout_s=30.0))})
        await until(marker.exists)
        await watch.close()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scene())


def test_probes_are_counted_from_begin_to_begin_so_that_silence_is_found_as_soon_as_a_refusal(
    server: socket.socket,
) -> None:
    async def scene() -> float:
        silent = replace(check(server), ask=Talk(expect="hello"), interval_s=0.4, timeout_s=0.2, fall=3)
        watch = Watch(lambda: None)
        began = time.monotonic()
        watch.follow({KEY: wanted(replace(silent, initial=Initial.UP))})
        await until(lambda: watch.health[KEY].up is False)
        await watch.close()
        return time.monotonic() - began

    assert 0.6 <= asyncio.run(scene()) < 0.85  # three timeouts; with a fast interval between them it were 1.0


def test_whoever_joins_a_check_that_has_its_result_is_told_of_at_once(server: socket.socket) -> None:
    async def scene() -> None:
        told: list[bool | None] = []
        watch = Watch(lambda: told.append(watch.health[OTHER].up if OTHER in watch.health else None))
        slow = replace(check(server), interval_s=60.0)
        watch.follow({KEY: wanted(slow)})
        await watch.wait_first(2)
        told.clear()
        watch.follow({KEY: wanted(slow), OTHER: wanted(slow)})
        assert told == [True]
        await watch.close()

    asyncio.run(scene())


def test_what_an_agent_says_is_remembered_when_it_says_so(server: socket.socket) -> None:
    async def scene() -> None:
        watch = Watch(lambda: None)
        agent = Check(server.getsockname()[1], kind=Kind.AGENT, interval_s=60.0, rise=1)
        watch.follow({KEY: wanted(agent)})
        loop = asyncio.get_running_loop()
        server.setblocking(False)
        accepted, _ = await loop.sock_accept(server)
        await loop.sock_sendall(accepted, b"up drain\n")
        await until(lambda: watch.health[KEY].drain)
        (memory,) = watch.memories.values()
        assert memory.said
        assert memory.said.drain
        accepted.close()
        await watch.close()

    asyncio.run(scene())


def test_a_way_that_is_found_is_tried_at_once_and_nobody_waits_for_one_that_is_not(server: socket.socket) -> None:
    async def scene() -> None:
        ways: list[Target] = []
        watch = Watch(lambda: None, lambda _: ways[0] if ways else "no way is known")
        watch.follow({KEY: wanted(replace(check(server), interval_s=600.0))})
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await watch.wait_first(5)
        assert time.monotonic() - began < 1
        ways.append(Target(LOOPBACK, server.getsockname()[1]))
        watch.aim_anew()
        await until(lambda: watch.health[KEY].up is True)
        await watch.close()

    asyncio.run(scene())


def test_a_bug_in_one_probe_does_not_end_its_check(server: socket.socket) -> None:
    async def scene() -> None:
        times: list[int] = []

        def aim(_: Subject) -> Target:
            times.append(1)
            if len(times) == 1:
                raise ValueError("a bug")
            return Target(LOOPBACK, server.getsockname()[1])

        watch = Watch(lambda: None, aim)
        watch.follow({KEY: wanted(check(server))})
        await until(lambda: watch.health[KEY].up is True)
        await watch.close()

    asyncio.run(scene())
