"""The self-test's frames are what they say, as scapy reads them, and its judgements are plain."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Ether

from tests.rig.packets import BACKENDS4, VIP4, VIP6, config, dns, service
from tests.rig.xdp import Action, Xdp, desired
from xdplb.model import Address, Protocol, Vip
from xdplb.selftest import ACTIONS, CLIENTS, Case, forwarded, passed
from xdplb.tables import Way

MAC = bytes.fromhex("020000000002")


def client(version: int) -> Address | None:
    return ip_address(CLIENTS[0 if version == 4 else 2])


def frames(cases: list[Case]) -> list[Ether]:
    return [Ether(case.frame) for case in cases]


def rebuilt(frame: Ether) -> bytes:
    """The same with lengths and checksums as scapy computes them."""
    copy = frame.copy()
    for layer in (IP, IPv6, ICMPv6ND_NS):
        if layer in copy:
            for field in ("len", "plen", "chksum", "cksum"):
                if field in copy[layer].fields:
                    del copy[layer].fields[field]
    return bytes(copy)


def test_actions_are_the_kernels() -> None:
    assert tuple(action.name for action in Action) == ACTIONS


def test_each_vip_with_a_backend_that_is_up_gets_a_packet_of_its_kind() -> None:
    services = desired(config(service(), dns()), down={"four11"})
    cases = [*forwarded(services, MAC, client)]

    assert [case.what for case in cases] == [
        f"a packet to {vip} of '{name}'"
        for name, vips in (("web", services[0].vips), ("dns", services[1].vips))
        for vip in vips
    ]
    web4, web6, dns4, dns6 = frames(cases)
    assert (web4[IP].dst, web4[TCP].dport, web4[TCP].flags) == (VIP4, 80, "RA")
    assert (web6[IPv6].dst, web6[TCP].dport) == (VIP6, 80)
    assert (dns4[UDP].dport, dns6[UDP].dport, dns4[UDP].len) == (53, 53, 16)
    for frame, case in zip((web4, web6, dns4, dns6), cases, strict=True):
        assert rebuilt(frame) == case.frame
        assert case.wanted == ("TX", "REDIRECT")
        assert frame.dst == MAC.hex(":")


def test_a_vip_without_a_backend_that_is_up_or_a_client_that_may_come_is_left_out() -> None:
    nobody = desired(config(), down={backend.name for backend in BACKENDS4})
    assert [*forwarded(nobody, MAC, client)] == []
    assert [*forwarded(desired(config()), MAC, lambda version: None)] == []


def test_what_is_for_this_host_is_ssh_and_the_question_who_it_is() -> None:
    cases = [*passed([ip_address("10.0.2.2"), ip_address("fd00:2::2")], MAC)]
    ssh4, arp, ssh6, solicitation = frames(cases)

    assert (ssh4[IP].dst, ssh4[TCP].dport, ssh4[TCP].flags) == ("10.0.2.2", 22, "S")
    assert (arp.dst, arp[ARP].pdst, arp[ARP].op) == ("ff:ff:ff:ff:ff:ff", "10.0.2.2", 1)
    assert (ssh6[IPv6].dst, ssh6[TCP].dport) == ("fd00:2::2", 22)
    assert (solicitation[IPv6].dst, solicitation[IPv6].hlim) == ("ff02::1:ff00:2", 255)
    assert (solicitation.dst, solicitation[ICMPv6ND_NS].tgt) == ("33:33:ff:00:00:02", "fd00:2::2")
    for frame, case in zip((ssh4, arp, ssh6, solicitation), cases, strict=True):
        assert rebuilt(frame) == case.frame
        assert case.wanted == ("PASS",)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (2, None),
        (1, "SSH to 10.0.2.2 came out as XDP_DROP, not XDP_PASS"),
        (9, "SSH to 10.0.2.2 came out as XDP_9, not XDP_PASS"),
    ],
)
def test_judgement(action: int, words: str | None) -> None:
    assert Case("SSH to 10.0.2.2", b"", ("PASS",)).judge(action) == words


def test_the_program_does_what_the_self_test_wants(xdp: Xdp) -> None:
    services = xdp.serve(config(service(), dns()))
    own = [ip_address("10.0.2.2"), ip_address("fd00:2::2")]

    for case in [*forwarded(services, MAC, client), *passed(own, MAC)]:
        assert case.judge(xdp.run_bytes(case.frame)[0]) is None, case.what


def test_every_kind_of_vip_is_forwarded(full: Xdp) -> None:
    kinds = [
        Vip(ip_address(VIP4), 5060, Protocol.SCTP),
        Vip(ip_address("192.0.2.11"), 0, Protocol.ANY),
        Vip(ip_address("192.0.2.12"), 8000, last_port=8999),
        Vip(ip_address("192.0.2.64"), 443, Protocol.UDP, prefix=26),
        Vip(ip_address("2001:db8:1::"), 0, Protocol.ANY, prefix=64),
    ]
    services = full.serve(config(*(service(f"s{n}", vips=(vip,)) for n, vip in enumerate(kinds))))

    cases = [*forwarded(services, MAC, client)]

    assert len(cases) == len(kinds)
    for case in cases:
        assert case.judge(full.run_bytes(case.frame)[0]) is None, case.what


def test_a_vip_that_takes_the_hosts_own_address_fails(full: Xdp) -> None:
    own = ip_address("10.0.2.2")
    full.serve(config(service(vips=(Vip(own, 0, Protocol.ANY),))))
    ssh, arp = passed([own], MAC)
    assert ssh.judge(full.run_bytes(ssh.frame)[0]) == "SSH to 10.0.2.2 came out as XDP_REDIRECT, not XDP_PASS"
    assert arp.judge(full.run_bytes(arp.frame)[0]) is None


def test_a_local_service_is_passed() -> None:
    (web,) = desired(config())
    local = replace(web, backends=tuple(replace(b, row=replace(b.row, way=Way.LOCAL)) for b in web.backends))
    assert {case.wanted for case in forwarded([local], MAC, client)} == {("PASS",)}
