"""Status after status goes in; rates and shares come out."""

from __future__ import annotations

import pytest

from xdplb.tui.fake_daemon import FakeDaemon, make_backend, make_service
from xdplb.tui.rates import Meter, Rate, Rates
from xdplb.tui.trends import HISTORY


class Daemon(FakeDaemon):
    """A daemon whose backends are sent what a test says."""

    def pass_time(self, seconds: float, **sent: tuple[int, int, int]) -> None:
        """Let time pass, in which backends are sent so many packets, bytes and connections."""
        self.uptime_s += seconds
        for service in self.services:
            for backend in service["backends"]:
                for name, amount in zip(
                    ("packets", "bytes", "connections"), sent.get(backend["name"], ()), strict=False
                ):
                    backend[name] += amount
                    self.forwarded[name] += amount


@pytest.fixture
def daemon() -> Daemon:
    """b1 and b2 behind web, with weights 1 to 3."""
    backends = [make_backend("b1", "10.0.11.2", 100), make_backend("b2", "10.0.12.2", 300)]
    return Daemon([make_service("web", ["192.0.2.10:80/tcp"], backends)])


@pytest.fixture
def meter(daemon: Daemon) -> Meter:
    """A meter that has seen one status."""
    meter = Meter()
    meter.take(daemon.status())
    return meter


def share(rates: Rates, backend: str) -> tuple[float | None, float]:
    one = rates.backends["web", backend]
    return one.share, one.weight_share


def test_the_first_status_has_no_rates(daemon: Daemon) -> None:
    rates = Meter().take(daemon.status())

    assert rates.forwarded is None
    assert rates.services["web"].rate is None
    assert rates.backends["web", "b1"].rate is None
    assert rates.interfaces["eth0"]["xdp_tx_errors"] is None
    assert set(rates.verdicts.values()) == {None}
    assert share(rates, "b2") == (None, 0.75)


def test_rates_are_per_second_of_the_daemons_clock(daemon: Daemon, meter: Meter) -> None:
    daemon.pass_time(2.0, b1=(200, 1000, 20), b2=(20, 100, 0))
    daemon.verdicts["passed_no_service"] += 8
    rates = meter.take(daemon.status())

    assert rates.backends["web", "b1"].rate == Rate(packets=100, bits=4000, connections=10)
    assert rates.services["web"].rate == Rate(packets=110, bits=4400, connections=10)
    assert rates.forwarded == Rate(packets=110, bits=4400, connections=10)
    assert rates.verdicts["passed_no_service"] == 4
    assert rates.interfaces["eth0"]["xdp_tx_errors"] == 0

    daemon.pass_time(0.5, b1=(50, 250, 5))
    assert meter.take(daemon.status()).backends["web", "b1"].rate == Rate(100, 4000, 10)


def test_the_same_status_again_changes_nothing(daemon: Daemon, meter: Meter) -> None:
    daemon.pass_time(1.0, b1=(100, 1000, 10))
    rates = meter.take(daemon.status())

    assert meter.take(daemon.status()) == rates


def test_history_keeps_the_last_samples(daemon: Daemon, meter: Meter) -> None:
    for number in range(HISTORY + 5):
        daemon.pass_time(1.0, b1=(number, 0, 0), b2=(1, 0, 0))
        rates = meter.take(daemon.status())

    assert tuple(rates.backends["web", "b1"].history) == tuple(range(5, HISTORY + 5))
    assert tuple(rates.services["web"].history) == tuple(range(6, HISTORY + 6))


def test_counters_that_begin_anew_have_no_negative_rate(daemon: Daemon, meter: Meter) -> None:
    daemon.pass_time(1.0, b1=(1000, 1000, 10), b2=(1000, 1000, 10))
    daemon.verdicts["passed_not_ip"] = 5
    before = meter.take(daemon.status())
    assert share(before, "b1") == (0.5, 0.25)

    for backend in daemon.services[0]["backends"]:
        backend |= {"packets": 7, "bytes": 7, "connections": 7}
    daemon.forwarded = {"packets": 14, "bytes": 14, "connections": 14}
    daemon.verdicts["passed_not_ip"] = 1
    daemon.pass_time(1.0)
    rates = meter.take(daemon.status())
    assert rates.forwarded is None
    assert rates.services["web"].rate is None
    assert rates.backends["web", "b1"].rate is None
    assert tuple(rates.backends["web", "b1"].history) == (1000,)
    assert rates.verdicts["passed_not_ip"] is None
    assert share(rates, "b1") == (None, 0.25)

    daemon.pass_time(1.0, b1=(30, 0, 3))
    assert meter.take(daemon.status()).backends["web", "b1"].rate == Rate(30, 0, 3)


def test_a_clock_that_is_set_back_begins_everything_anew(daemon: Daemon, meter: Meter) -> None:
    daemon.pass_time(1.0, b1=(1000, 1000, 10))
    meter.take(daemon.status())
    daemon.pass_time(-3600.0, b1=(1000, 1000, 10))
    rates = meter.take(daemon.status())
    assert rates.forwarded is None
    assert rates.backends["web", "b1"].rate is None

    daemon.pass_time(1.0, b1=(10, 10, 1))
    rates = meter.take(daemon.status())
    assert rates.forwarded == rates.backends["web", "b1"].rate == Rate(10, 80, 1)


def test_shares_are_of_the_connections_of_the_last_ten_seconds(daemon: Daemon, meter: Meter) -> None:
    daemon.pass_time(1.0, b1=(1, 1, 1000), b2=(1000, 1, 0))
    rates = meter.take(daemon.status())
    assert share(rates, "b1") == (1.0, 0.25)
    assert rates.backends["web", "b1"].share_error == 0.75

    for _ in range(10):
        daemon.pass_time(1.0, b1=(1000, 1, 1), b2=(1000, 1, 3))
        rates = meter.take(daemon.status())
    assert share(rates, "b1") == (0.25, 0.25)
    assert share(rates, "b2") == (0.75, 0.75)


def test_a_long_silence_still_counts_as_the_last_ten_seconds(daemon: Daemon, meter: Meter) -> None:
    daemon.pass_time(1.0, b1=(1, 1, 1))
    meter.take(daemon.status())
    daemon.pass_time(60.0, b1=(1, 1, 10), b2=(1, 1, 30))

    assert share(meter.take(daemon.status()), "b1") == (0.25, 0.25)


def test_shares_are_of_packets_where_there_are_no_connections(daemon: Daemon, meter: Meter) -> None:
    daemon.pass_time(1.0, b1=(10, 1, 0), b2=(90, 1, 0))
    rates = meter.take(daemon.status())

    assert share(rates, "b1") == (0.1, 0.25)
    assert not rates.backends["web", "b1"].skewed  # packets come in flows: that is no proof


def test_only_backends_that_receive_have_a_weight_share(daemon: Daemon, meter: Meter) -> None:
    daemon.set_state("web", "b2", "down", "refused")
    assert share(meter.take(daemon.status() | {"now": 1e10}), "b1") == (None, 1.0)
    daemon.set_state("web", "b1", "idle", "its weight is 0")
    rates = meter.take(daemon.status() | {"now": 2e10})
    assert [share(rates, backend)[1] for backend in ("b1", "b2")] == [0.0, 0.0]


def test_shares_begin_anew_when_somebody_goes_down(daemon: Daemon, meter: Meter) -> None:
    daemon.pass_time(1.0, b1=(1, 1, 100), b2=(1, 1, 300))
    meter.take(daemon.status())
    daemon.set_state("web", "b2", "down", "refused")
    daemon.pass_time(1.0, b1=(1, 1, 200), b2=(1, 1, 200))
    assert share(meter.take(daemon.status()), "b1") == (None, 1.0)

    daemon.pass_time(1.0, b1=(1, 1, 400))
    assert share(meter.take(daemon.status()), "b1") == (1.0, 1.0)


@pytest.mark.parametrize(
    ("b1", "b2", "skewed"),
    [(25, 75, False), (35, 65, False), (50, 50, True), (2600, 7400, False), (3100, 6900, True)],
)
def test_a_share_is_skewed_when_chance_does_not_explain_it(
    daemon: Daemon, meter: Meter, b1: int, b2: int, skewed: bool
) -> None:
    daemon.pass_time(1.0, b1=(1, 1, b1), b2=(1, 1, b2))

    assert meter.take(daemon.status()).backends["web", "b1"].skewed is skewed


def test_backends_and_services_come_and_go(daemon: Daemon, meter: Meter) -> None:
    daemon.pass_time(1.0, b1=(10, 10, 1), b2=(10, 10, 1))
    meter.take(daemon.status())
    gone = daemon.services[0]["backends"].pop()
    daemon.services.append(make_service("dns", ["192.0.2.53:53/udp"], [make_backend("b1", "10.0.13.2")]))
    daemon.pass_time(1.0)
    rates = meter.take(daemon.status())
    assert set(rates.backends) == {("web", "b1"), ("dns", "b1")}
    assert rates.backends["dns", "b1"].rate is None
    assert rates.services["dns"].rate is None

    daemon.services[0]["backends"].append(gone | {"packets": 1_000_000})
    daemon.pass_time(1.0, b1=(10, 10, 1))
    rates = meter.take(daemon.status())
    assert rates.backends["web", "b2"].rate is None
    assert not rates.backends["web", "b2"].history
    assert rates.services["dns"].rate == Rate(10, 80, 1)


def test_a_name_that_got_another_address_is_another_backend(daemon: Daemon, meter: Meter) -> None:
    daemon.services[0]["backends"][0] = make_backend("b1", "10.0.99.2") | {"packets": 5_000}
    daemon.pass_time(1.0)

    assert meter.take(daemon.status()).backends["web", "b1"].rate is None


def test_a_driver_that_does_not_count_errors_has_no_rate_of_them(daemon: Daemon) -> None:
    meter, status = Meter(), daemon.status()
    status["interface"]["xdp_tx_errors"] = None
    meter.take(status)
    daemon.pass_time(1.0)

    rates = meter.take(status | {"now": status["now"] + 1})
    assert rates.interfaces["eth0"]["xdp_tx_errors"] is None
