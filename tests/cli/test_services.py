"""`xdplb services`: the listing that people know, whose columns scripts may count on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.rig.admin import serving, status_of
from xdplb.cli.services import services
from xdplb.tui.fake_daemon import FakeDaemon, make_backend, make_service, small


def listing(path: Path, fake: FakeDaemon, *options: str, looks_s: float = 0.0) -> str:
    """Return what is printed; `looks_s` pass at the daemon with each look."""

    def look() -> dict[str, Any]:
        fake.advance(looks_s)
        return status_of(fake)

    with serving(path / "s", look) as target:
        done = CliRunner().invoke(services, options, obj=target)
    assert done.exit_code == 0, done.output
    return done.output


def test_vips_are_lines_and_backends_stand_below_behind_arrows(tmp_path: Path) -> None:
    fake = small()
    fake.set_state("web", "b2", "down", "tcp 10.0.12.2:80 refused the connection")
    assert listing(tmp_path, fake).splitlines() == [
        "Prot Address:Port      Service Forward Weight State FlowsLeft",
        "  -> Address           Backend Forward Weight State FlowsLeft",
        "TCP  192.0.2.10:80     web     ipip       300 2/3           0",
        "TCP  [2001:db8::10]:80 web     ipip       300 2/3           0",
        "  -> 10.0.11.2         b1      ipip       100 up            0",
        "  -> 10.0.12.2         b2      ipip       100 down          0",
        "  -> 10.0.13.2         b3      ipip       100 up            0",
    ]


def test_stats_are_counted_since_the_start_and_summed_for_the_vip(tmp_path: Path) -> None:
    fake = small()
    for number, backend in enumerate(fake.services[0]["backends"]):
        backend |= {"connections": 10 + number, "packets": 60_000_000, "bytes": 49_800_000_000}
    lines = [line.split() for line in listing(tmp_path, fake, "web", "--stats").splitlines()]
    assert lines[0] == ["Prot", "Address:Port", "Service", "Conns", "InPkts", "InBytes"]
    assert lines[1] == ["->", "Address", "Backend", "Conns", "InPkts", "InBytes"]
    assert lines[2] == ["TCP", "192.0.2.10:80", "web", "33", "180000K", "149400M"]
    assert lines[4] == ["->", "10.0.11.2", "b1", "10", "60000000", "49800000K"]
    assert "149400000000" in listing(tmp_path, fake, "--stats", "--exact")


def test_rates_are_those_of_the_interval(tmp_path: Path) -> None:
    document = json.loads(listing(tmp_path, small(), "--rate", "--interval", "0.1", "--json", looks_s=0.1))
    rates = [backend["rate"]["packets"] for backend in document["services"][0]["backends"]]
    # A second of the fake is what it says; the interval is ours, and at least as long as was asked for.
    assert sum(rates) == pytest.approx(1_240_000 * 0.1 / document["measured_s"], rel=0.25)
    assert document["measured_s"] >= 0.1


def test_a_backend_that_was_removed_and_added_meanwhile_counts_from_nothing(tmp_path: Path) -> None:
    fake = FakeDaemon([make_service("web", ["192.0.2.10:80/tcp"], [make_backend("b1", "10.0.11.2")])])
    counts = iter([1000, 40])

    def look() -> dict[str, Any]:
        fake.services[0]["backends"][0]["packets"] = next(counts)
        return status_of(fake)

    with serving(tmp_path / "s", look) as target:
        done = CliRunner().invoke(services, ["--rate", "--interval", "0.1", "--json"], obj=target)
    found = json.loads(done.output)
    packets = found["services"][0]["backends"][0]["rate"]["packets"]
    assert packets == pytest.approx(40 / found["measured_s"], rel=0.01)


def test_what_cannot_be_is_told(tmp_path: Path) -> None:
    with serving(tmp_path / "s", lambda: status_of(small())) as target:
        done = CliRunner().invoke(services, ["mail"], obj=target)
        assert str(done.exception) == "service: there is no service 'mail'; the services are: web"
        done = CliRunner().invoke(services, ["--stats", "--rate"], obj=target)
        assert "--stats and --rate are two listings: give one of them" in done.output
