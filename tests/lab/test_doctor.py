"""The doctor beside a real daemon: faults of backends, of the file, and of packets that are on their way meanwhile."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.rig.traffic import backend, holding, service
from tools.lab.net import VIP4, address
from tools.lab.stand import Stand, wait_for
from tools.lab.tags import tagged
from xdplb.cli.main import cli
from xdplb.doctor.finding import Finding
from xdplb.doctor.judge import judge
from xdplb.doctor.look import Look, Times

FAST = {"interval_s": 0.1, "timeout_s": 0.2, "rise": 1, "fall": 1}
DIRECT = {**FAST, "through": "direct", "port": 80}
NOBODY = {**FAST, "through": "direct", "port": 9}  # discard: nobody listens
TEXT = '[balancer]\ninterface = "eth0"\nvlan = false\n' + "".join(
    [
        service("web", 80, backend("b1"), backend("b2"), check={**FAST, "through": "tunnel"}),
        service("silent", 81, backend("b3"), check=DIRECT),
        service("idle", 82, {**backend("b1"), "weight": 0}, check=DIRECT),  # type: ignore[dict-item]
        service("kept", 83, backend("b1"), check=NOBODY, when_all_down="keep"),
        service("lent", 84, backend("b1"), check=NOBODY, fallback="silent"),
        service("lost", 85, backend("b1"), check=NOBODY),
    ]
)


class Ward:
    """A balancer at work, and the doctor's look at it."""

    def __init__(self, stand: Stand, file: Path) -> None:
        self.stand, self.file, self.lab = stand, file, stand.lab

    def look(self, sample_s: float = 0.0) -> dict[str, list[Finding]]:
        """Return what is found, by id."""
        found: dict[str, list[Finding]] = {}
        with self.lab.inside("lb"):
            for finding in judge(Look(self.stand.name, None, Times(sample_s, 0.1)).run()):
                found.setdefault(finding.check, []).append(finding)
        return found

    def look_while(self, port: int) -> dict[str, list[Finding]]:
        """Look while a client keeps asking for this port."""
        over = threading.Event()

        def ask() -> None:
            with self.lab.inside("client"):
                while not over.wait(0.01):
                    with socket.socket() as asking:
                        asking.setblocking(False)
                        asking.connect_ex((VIP4, port))

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            return self.look(0.3)
        finally:
            over.set()
            asking.join()

    def wait_state(self, name: str, state: str, of: str = "web") -> None:
        def there() -> bool:
            services = {s["name"]: s for s in self.stand.client.status()["services"]}
            return any((b["name"], b["state"]) == (name, state) for b in services[of]["backends"])

        wait_for(there, f"{of}/{name} {state}")


@pytest.fixture
def ward(stand: Stand, config_file: Path) -> Iterator[Ward]:
    config_file.write_text(TEXT)
    stand.start_daemon(config_file)
    ward = Ward(stand, config_file)
    for host, of in (("b1", "web"), ("b2", "web"), ("b3", "silent")):
        ward.wait_state(host, "up", of)
    yield ward
    stand.kill_daemon()
    stand.lab.run("lb", ["ip", "link", "del", "eth0"])  # others want a wire that has never lost a frame
    stand.lab.renew_wire("lb")


@contextmanager
def no_program_at_the_router(ward: Ward) -> Iterator[None]:
    ward.lab.run("router", ["ip", "link", "set", "lb", "xdp", "off"])
    try:
        yield
    finally:
        ward.lab.take_tx("lb")


def test_what_is_wrong_beside_a_daemon(ward: Ward) -> None:
    """One daemon for all of it: it takes a second to start."""
    see_services_as_they_are(ward)
    see_backends_that_fail(ward)
    see_packets_that_are_lost(ward)
    see_a_file_that_was_edited(ward)
    see_a_daemon_that_died(ward)


def see_services_as_they_are(ward: Ward) -> None:
    found = ward.look()
    assert not {"service-fallback", "service-panic", "service-idle", "service-down"} - found.keys()
    assert "kept: 1 backends that are down get flows (b1)" in found["service-panic"][0].seen
    assert "lent is served by silent/b3" in found["service-fallback"][0].seen
    assert found["service-idle"][0].fixes == ("xdplb backend weight b1 100 --service idle",)
    assert [f.seen for f in found["service-down"]] == ["no backend of lost is up: b1 down"]
    assert [f.seen for f in found["tunnel-unchecked"]] == [
        "no check goes through the tunnel of silent, idle, kept and 2 more"
    ]
    wrong = {"backend-tunnel", "backend-silent", "config-differs", "packets-lost", "daemon-dead", "daemon-absent"}
    assert not wrong & found.keys()


def see_backends_that_fail(ward: Ward) -> None:
    lab = ward.lab
    with ExitStack() as stack:
        stack.enter_context(holding(lab, "b1", f"addr del {VIP4}/32 dev lo", f"addr add {VIP4}/32 dev lo"))
        silenced = f"route add blackhole {address('b3')}/32", f"route del blackhole {address('b3')}/32"
        stack.enter_context(holding(lab, "router", *silenced))
        ward.stand.kill_server("b2")
        ward.wait_state("b1", "down")
        ward.wait_state("b2", "down")
        ward.wait_state("b3", "down", "silent")
        found = ward.look()
    ward.stand.start_server("b2")

    (tunnel,) = found["backend-tunnel"]
    assert (tunnel.where, f"ip addr add {VIP4}/32 dev lo" in tunnel.fixes) == ("b1", True)
    assert f"xdplb decap run --interface eth0 --from {address('lb')}" in tunnel.fixes
    refusals = {finding.seen.split(":")[0]: finding for finding in found["backend-refuses"]}
    assert "b2" in refusals["a backend of web"].seen
    (silent,) = found["backend-silent"]
    assert silent.fixes[0] == f"ping -c 3 {address('b3')}"
    for host, of in (("b1", "web"), ("b2", "web"), ("b3", "silent")):
        ward.wait_state(host, "up", of)


def see_packets_that_are_lost(ward: Ward) -> None:
    assert "dropped_no_backend grew" in ward.look_while(85)["packets-lost"][0].seen

    with no_program_at_the_router(ward):
        found = ward.look_while(80)
    assert "failed to send" in found["send-errors"][0].seen
    assert "peer-program" in found

    with ward.lab.inside("router"), tagged("lb", [7]):
        assert "passed_vlan grew" in ward.look_while(80)["tags-arrive"][0].seen


def see_a_file_that_was_edited(ward: Ward) -> None:
    ward.file.write_text(TEXT + service("new", 99, backend("b2")))
    assert "service new added" in ward.look()["config-differs"][0].seen


def see_a_daemon_that_died(ward: Ward) -> None:
    """By the command, as a person calls it: the exit status tells scripts that something is wrong."""
    ward.file.write_text(TEXT)
    assert "config-differs" not in ward.look()
    ward.stand.kill_daemon()

    with ward.lab.inside("lb"):
        done = CliRunner().invoke(cli, ["--name", ward.stand.name, "doctor", str(ward.file), "--json"])

    document = json.loads(done.stdout)
    dead = next(finding for finding in document["findings"] if finding["id"] == "daemon-dead")
    assert (dead["severity"], dead["fixes"]) == ("warning", [f"xdplb run {ward.file}"])
    assert done.exit_code == 1
    assert {item["what"] for item in document["unchecked"]} >= {"services, checks and counters"}
