"""What may be asked for, and how it is refused; what is told of a packet."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from tests.rig.packets import BACKENDS4, config, dns, service, tcp
from tests.rig.xdp import desired
from xdplb.contract import CONSTANTS
from xdplb.errors import ConfigError
from xdplb.traced import Filter, Names, Record, comment, describe, names_of, parse_filter

SERVICES = desired(config(service(), dns(BACKENDS4[:1])))
WEB, DNS = SERVICES
REASONS = ["passed_not_ip", "dropped_blocked"]
FRAME = bytes(tcp())
RECORD = Record(5, 1, 3, 54, 74, WEB.identity, WEB.backends[1].identity, 7, 0, 0, 3, 1, FRAME, b"out")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, Filter()),
        ({"src": "198.51.100.7"}, Filter(source=ip_network("198.51.100.7/32"))),
        ({"src": "198.51.100.7/24", "sample": "10"}, Filter(source=ip_network("198.51.100.0/24"), sample=10)),
        ({"dst": "192.0.2.10:80"}, Filter(destination=ip_network("192.0.2.10/32"), port=80)),
        ({"dst": "[2001:db8::10]:443"}, Filter(destination=ip_network("2001:db8::10/128"), port=443)),
        ({"dst": "[2001:db8::10]"}, Filter(destination=ip_network("2001:db8::10/128"))),
        ({"dst": "2001:db8::/32"}, Filter(destination=ip_network("2001:db8::/32"))),
        ({"dst": ":53"}, Filter(port=53)),
        ({"service": "dns"}, Filter(service=DNS.identity)),
        ({"backend": "four12"}, Filter(backend=WEB.backends[1].identity)),
        ({"service": "dns", "backend": "four11"}, Filter(service=DNS.identity, backend=DNS.backends[0].identity)),
        ({"reason": "forwarded"}, Filter(reason=CONSTANTS["TRACE_FORWARDED"])),
        ({"reason": "dropped_blocked"}, Filter(reason=CONSTANTS["TRACE_REASONS"] + 1)),
    ],
)
def test_what_may_be_asked_for(asked: dict[str, str], found: Filter) -> None:
    assert parse_filter(asked, SERVICES, REASONS) == found


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"src": "nobody"}, "src: 'nobody' is no prefix; write"),
        ({"src": "::/0"}, "src: '::/0' holds IPv4 addresses, too; give a longer prefix"),
        ({"dst": "192.0.2.10:http"}, "dst: '192.0.2.10:http' has no port behind the colon; write"),
        ({"dst": "[2001:db8::1]80"}, "dst: .* has no port behind the colon; write"),
        ({"dst": ":70000"}, "dst: ':70000' has no port"),
        ({"service": "mail"}, "service: there is no 'mail'; there are: web, dns"),
        ({"backend": "b9"}, "backend: there is no 'b9'; see `xdplb status`"),
        ({"backend": "four11"}, "backend: 'four11' is in web, dns; name the service, too"),
        ({"reason": "bored"}, "reason: 'bored' is not known; give forwarded or one of passed_not_ip, dropped_blocked"),
        ({"sample": "0"}, "sample: '0' is no number of packets; give 1 to 1000000"),
        ({"sample": "9" * 30}, "sample: .* is no number"),
        ({"sample": "½"}, "sample: '½' is no number"),
    ],
)
def test_what_is_wrong_is_refused_with_its_key_and_the_fix(asked: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_filter(asked, SERVICES, REASONS)


def test_a_packet_is_told_by_names() -> None:
    names = names_of(SERVICES, {"eth0": 3, "eth1": 7}, REASONS)

    told = describe(RECORD, names, 100)

    assert (told["at_ns"], told["interface"], told["interface_out"], told["action"]) == (105, "eth0", "eth0", "tx")
    assert (told["service"], told["backend"], told["address"]) == ("web", "four12", "10.0.12.2")
    assert comment(told) == "sent: web/four12 via slot 7 (settled)"
    moving = describe(replace(RECORD, slot_state=2, chosen=CONSTANTS["CHOSEN_REMEMBERED"], action=4), names, 0)
    assert comment(moving) == "sent: web/four12 via slot 7 (moving, remembered)"
    assert moving["interface_out"] == "eth1"  # the hop's


def test_what_nobody_knows_is_null() -> None:
    dropped = Record(5, 1, 9, 60, 0, 0, 0, 0, 0, 0, 1, CONSTANTS["TRACE_REASONS"] + 1, FRAME, b"")

    told = describe(dropped, Names(REASONS), 0)

    assert (told["interface"], told["reason"], comment(told)) == ("if9", "dropped_blocked", "dropped_blocked")
    empty = ("service", "backend", "address", "slot", "slot_state", "chosen", "bytes_out", "frame_out")
    assert {told[name] for name in empty} == {None}
