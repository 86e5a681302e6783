"""The document of an explanation: what it holds for a packet that is forwarded, and for one that is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.rig.explaining import ETH0, explained, outcome, world
from tests.rig.packets import BACKENDS4, LB4, NEXT_MAC, VIP4, config, service, tcp
from tests.rig.xdp import SPEC, Xdp, desired
from xdplb.dataplane import loader
from xdplb.dataplane.instructions import read_code
from xdplb.dataplane.shadow import Shadow
from xdplb.explain.places import Places
from xdplb.explain.story import Arrival, tell
from xdplb.explain.world import World, names_of


def forwarded(xdp: Xdp) -> dict[str, Any]:
    """What is told of a packet by the real program."""
    services = xdp.serve(config(service(backends=BACKENDS4[:1])))
    shadow = Shadow(xdp.kernel.pinned, read_code(loader.code_file(xdp.place, xdp.kernel.pinned.program)))
    shadow.follow()
    names = names_of(services, lambda address: None)
    of = World(xdp.kernel.spec, xdp.kernel.tables(), xdp.kernel.flows, {}, names)
    told = tell(of, Places(of.spec, of.tables), bytes(tcp()), Arrival(1, "lo"), shadow.run(bytes(tcp()), 1))
    shadow.close()
    return told


def test_a_forwarded_packet_is_told_from_wire_to_wire(xdp: Xdp) -> None:
    told = forwarded(xdp)

    assert told["summary"] == "forwarded: web to four11 (10.0.11.2), IP in IPv4"
    assert (told["action"], told["reason"], told["fix"]) == ("tx", None, None)
    assert told["service"]["vip"] == f"{VIP4}:80/tcp"
    assert (told["slot"]["state"], told["slot"]["ring_size"]) == ("settled", 1024)
    assert (told["backend"]["name"], told["backend"]["state"], told["backend"]["notes"]) == ("four11", "up", [])
    out = told["out"]
    assert (out["interface"], out["next_hop"], out["bytes"]) == ("lo", NEXT_MAC, 74)
    assert [layer["name"] for layer in out["layers"]] == ["Ethernet", "IPv4", "IPv4", "TCP"]
    assert out["layers"][1]["text"] == f"{LB4} > 10.0.11.2 ttl 64, DF, 60 bytes"
    assert (told["traces"], told["disagreements"], told["warnings"]) == ([], [], [])


def test_what_is_dropped_goes_nowhere() -> None:
    told = explained(world(down={"four11", "four12", "four13"}), tcp(), outcome("dropped_no_backend"))

    assert (told["out"], told["backend"]) == (None, None)


def test_a_frame_for_another_mac_would_not_come() -> None:
    of = world()
    arrival = replace(ETH0, mac=bytes.fromhex("02aabbccddee"), warnings=("eth0 is down",))
    sent = bytes.fromhex("02aabbccdd00") + bytes(tcp())[6:]

    told = tell(of, Places(of.spec, of.tables), sent, arrival, outcome("passed_not_ip", sent))

    assert told["warnings"][0] == "eth0 is down"
    assert told["warnings"][1].startswith("it is for 02:aa:bb:cc:dd:00, and eth0 is 02:aa:bb:cc:dd:ee: a NIC drops it")


def test_a_backend_that_serves_although_it_is_down_is_explained() -> None:
    wanted = config(service(panic_percent=80.0))
    down = {"four11", "four12"}
    of = world(wanted, down=down)
    by_name = {b.backend.name: b for s in desired(wanted, down=down) for b in s.backends}
    assert by_name["four11"].serves
    ports = range(4000, 4100)

    notes = {
        told["backend"]["name"]: told["backend"]["notes"]
        for told in (explained(of, tcp(port), outcome(None, bytes(tcp()))) for port in ports)
    }

    assert notes["four11"] == ["it is down and gets new flows all the same: too few are up, so checks are not believed"]
    assert notes["four13"] == []


def test_a_redirected_packet_names_the_other_interface() -> None:
    of = world(spec=replace(SPEC, redirect=True))
    sent = replace(outcome(None, bytes(tcp())), action="redirect")

    assert explained(of, tcp(), sent)["out"]["interface"] == "eth1"
