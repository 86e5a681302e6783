"""The checks of one balancer, as far as they need no tunnel; through it: tests/lab/test_health.py."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from ipaddress import ip_address

from tests.rig.packets import service
from xdplb.checks import Checks
from xdplb.dataplane import loader
from xdplb.health.kinds import Through
from xdplb.model import Backend, Check, Service
from xdplb.tunnel import Settings, Tunnel

KEY = ("web", "b1")


def checks() -> Checks:
    return Checks(lambda: None, Tunnel(loader.Place("test-checks"), Settings()))


def web(check: Check) -> Service:
    return service(backends=[Backend("b1", ip_address("127.0.0.1"))], checks=(check,))


def test_an_operators_question_is_answered_with_every_step() -> None:
    async def scene() -> None:
        made = checks()
        with socket.create_server(("127.0.0.1", 0)) as server:
            found = web(Check(server.getsockname()[1]))
            made.follow([(found, found.backends[0])])
            (result,) = await made.run([KEY])
        assert (result["passed"], result["through"], result["kind"]) == (True, "direct", "tcp")
        assert [step["what"] for step in result["steps"]] == ["connected", result["cause"]]
        await made.close()

    asyncio.run(scene())


def test_without_a_way_through_the_tunnel_the_answer_says_so_and_nothing_is_believed() -> None:
    async def scene() -> None:
        made = checks()
        found = web(replace(Check(80), through=Through.TUNNEL))
        made.follow([(found, found.backends[0])])
        results = await made.run([KEY])
        assert {(r["passed"], r["cause"]) for r in results} == {
            (False, "it could not be asked from here: no way through the tunnel to 127.0.0.1 is known")
        }
        assert made.health[KEY].up is None
        await made.close()

    asyncio.run(scene())
