"""`run --confirm --self-test`: confirmed by itself when the host is well, and taken back when it is not."""

from __future__ import annotations

import subprocess
from ipaddress import ip_address
from pathlib import Path

from tests.rig.net import QUICKSTART
from tools.lab.net import address
from tools.lab.stand import Stand, wait_for
from xdplb.dataplane import loader
from xdplb.dataplane.undo import linked
from xdplb.guard import Lists
from xdplb.prefixes import parse_prefix
from xdplb.proof import _find_client

MORE = '[[service]]\nname = "own"\nvips = ["10.0.2.2"]\nprotocol = "any"\ncheck = { kind = "none" }\n' + (
    'backends = [{ name = "b1", address = "10.0.11.2" }]\n'
)


def test_a_self_test_that_passes_confirms(stand: Stand) -> None:
    stand.start_daemon(QUICKSTART, "--confirm", "20s", "--self-test")

    wait_for(lambda: stand.client.status()["unconfirmed"] is None, "confirmed", 5)

    assert "self-test passed: confirmed" in stand.log.read_text()
    stand.kill_daemon()
    assert linked(loader.Place(stand.name))
    neighbours = stand.lab.run("lb", ["ip", "neigh", "show", "dev", "eth0"]).stdout
    assert all("managed" in line for line in neighbours.splitlines() if address("lb", 4, 1) in line)


def test_a_vip_that_takes_ssh_away_fails_and_is_taken_back(stand: Stand, config_file: Path) -> None:
    config_file.write_text(QUICKSTART.read_text() + MORE)
    stand.start_daemon(config_file, "--confirm", "3s", "--self-test")

    wrong = "SSH to 10.0.2.2 came out as XDP_TX, not XDP_PASS"
    wait_for(lambda: wrong in stand.log.read_text(), "the failure", 3)
    wait_for(lambda: wrong in str(stand.client.status()["unconfirmed"]), "the failure in the status", 2)
    assert f"self-test: {wrong}" in stand.run("status").stdout
    assert stand.daemon is not None
    assert stand.daemon.wait(10) == 1
    assert not linked(loader.Place(stand.name))


def test_a_host_that_lost_its_next_hops_and_backends_fails(stand: Stand) -> None:
    """As with a driver whose XDP mode loses packets: nobody answers after the attach."""
    stand.start_daemon(QUICKSTART)
    stand.kill_daemon()  # its neighbours are known to the kernel, and the program stays
    stand.run("detach")
    with stand.lab.inside("router"):
        subprocess.run(["ip", "link", "set", "lb", "arp", "off"], check=True)
    try:
        stand.start_daemon(QUICKSTART, "--confirm", "12s", "--self-test")
        wrong = f"neighbour {address('lb', 4, 1)} answered before and does not any more"
        wait_for(lambda: wrong in stand.log.read_text(), "the failure", 8)
    finally:
        with stand.lab.inside("router"):
            subprocess.run(["ip", "link", "set", "lb", "arp", "on"], check=True)
    wait_for(lambda: stand.client.status()["unconfirmed"] is None, "confirmed when it answers again", 8)


def test_a_client_is_found_that_the_guard_lets_through() -> None:
    lists = Lists({parse_prefix("198.51.100.0/24"), parse_prefix("2000::/3")}, {parse_prefix("2001:db8::/32")})
    assert _find_client(lists, 4) == ip_address("203.0.113.1")
    assert _find_client(lists, 6) == ip_address("2001:db8::1")
    assert _find_client(Lists({parse_prefix("0.0.0.0/0")}), 4) is None
