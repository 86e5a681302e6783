"""An explanation as people see it, whole."""

from __future__ import annotations

import pytest

from tests.explain.test_causes import CAUSES
from tests.rig.explaining import explained, outcome, world
from tests.rig.packets import CLIENT4, LB_MAC, ROUTER_MAC, VIP4, tcp
from xdplb.explain.words import lines
from xdplb.reasons import REASONS


def test_a_packet_for_no_vip() -> None:
    told = explained(world(), tcp(dport=81), outcome("passed_no_service", bytes(tcp(dport=81))))

    assert (
        "\n".join(lines(told))
        == f"""\
passed_no_service: no VIP {VIP4}:81/tcp; this address has 80/tcp
  do        when clients are meant: compare with `vips`
  came in   by eth0, 54 bytes
              Ethernet {ROUTER_MAC} > {LB_MAC}
              IPv4 {CLIENT4} > {VIP4} ttl 64, id 1, 40 bytes
              TCP 4000 > 81 SYN
  parsed    tcp {CLIENT4}:4000 > {VIP4}:81, a new connection
  goes      to this host's own stack, as it came
  verdict   XDP_PASS, passed_no_service"""
    )


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_its_cause_in_the_first_line_and_what_to_do(reason: str) -> None:
    there, sent, cause = CAUSES[reason]
    shown = list(lines(explained(there, sent, outcome(reason, bytes(sent)))))

    assert shown[0] == f"{reason}: {cause}"
    assert shown[1] == f"  do        {REASONS[reason].fix}"
    assert shown[-1] == f"  verdict   XDP_{outcome(reason).action.upper()}, {reason}"


def test_bytes_are_shown_to_who_wants_them() -> None:
    told = explained(world(), tcp(), outcome("dropped_no_headroom"))

    assert list(lines(told, verbose=True))[-4] == f"  in        0000  {bytes(tcp())[:16].hex(' ')}"
