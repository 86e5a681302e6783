"""The text is what Prometheus' own parsers and promtool take, and says what the tables say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from tests.rig.packets import BACKENDS4, config
from tests.rig.promtool import promtool
from tests.rig.xdp import desired
from xdplb.metrics import METRICS, PIECE, Exposition, Tally, add_services, add_summary
from xdplb.model import State
from xdplb.status import SlotCounts
from xdplb.tables import Traffic

NIC = {"name": "eth0", "up": True, "carrier": False, "mtu": 1600, "rx_packets": 9, "xdp_tx_errors": None}
NIC |= {"program_id": 4, "map_bytes": 4096}
DOCUMENT: dict[str, Any] = {
    "version": "0.1",
    "name": "main",
    "started": 1.5,
    "config": {"path": '/etc/a "b"\\c\n.toml', "changes": ["one"]},
    "warnings": [],
    "unconfirmed": None,
    "forwarded": {"packets": 10, "bytes": 900, "connections": 2},
    "verdicts": {"passed_not_ip": 3, "dropped_blocked": 4},
    "spared": {"blocked": 1},
    "probes": {"sent": 5},
    "guard": {"blocked": 1, "allowed": 2, "words": 3, "room": 4},
    "flows": {"remembered": 5, "room": 65536},
    "reconcile": {"took_s": 0.0125},
    "interfaces": [NIC, {"name": "eth1", "error": "eth1 has vanished"}],
}


def expose(kind: bool = False) -> Exposition:
    """Three backends, of which one is down."""
    services = desired(config(), down={BACKENDS4[2].name})
    first, ring = services[0].backends[0].identity, services[0].identity
    out = Exposition(kind)
    add_summary(out, DOCUMENT)
    slots = SlotCounts({first: 512}, {ring: 7}, {ring: 2})
    tally = {b.name: Tally(b is not BACKENDS4[2], 12.25, 3, 1) for b in BACKENDS4}
    for _ in add_services(out, services, slots, ({first: Traffic(3, 180, 1)}, {first: 5}), lambda key: tally[key[1]]):
        pass
    return out


def values(text: str) -> dict[str, float]:
    """Every sample by its name and labels, as Prometheus' parser reads them."""
    return {
        f"{sample.name}{''.join(f'{{{k}={v}}}' for k, v in sorted(sample.labels.items()))}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_text_says_what_the_tables_say() -> None:
    found = values("".join(expose().text()))

    assert found["xdplb_backend_packets_total{backend=four11}{service=web}"] == 3
    assert found["xdplb_backend_bytes_total{backend=four11}{service=web}"] == 180
    assert found["xdplb_backend_slots{backend=four11}{service=web}"] == 512
    assert found["xdplb_backend_flows_left{backend=four11}{service=web}"] == 5
    assert found["xdplb_backend_probes_total{backend=four11}{result=failed}{service=web}"] == 1
    assert found["xdplb_service_slots_moving{service=web}"] == 7
    assert found["xdplb_service_backends_serving{service=web}"] == 2
    assert found["xdplb_packets_total{action=dropped}{reason=dropped_blocked}"] == 4
    assert found["xdplb_packets_total{action=forwarded}{reason=forwarded}"] == 10
    assert found["xdplb_reconcile_duration_seconds"] == 0.0125
    assert found["xdplb_interface_present{interface=eth1}"] == 0
    assert "xdplb_interface_xdp_tx_errors_total{interface=eth0}" not in found  # its driver does not say
    assert found['xdplb_config_info{balancer=main}{path=/etc/a "b"\\c\n.toml}'] == 1


def test_a_backend_is_in_one_state() -> None:
    found = values("".join(expose().text()))
    for backend, state in ((BACKENDS4[0], "up"), (BACKENDS4[2], "down")):
        states = {s: found[f"xdplb_backend_state{{backend={backend.name}}}{{service=web}}{{state={s}}}"] for s in State}
        assert states == {s: float(s == state) for s in State}


@pytest.mark.slow
def test_promtool_takes_it_without_a_word() -> None:
    assert promtool("check", "metrics", text="".join(expose().text())) == ""


def test_openmetrics_is_taken_too_and_says_the_same() -> None:
    text = "".join(expose(True).text())
    families = list(openmetrics.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    assert {f.name for f in families} >= {"xdplb_backend_packets", "xdplb_build", "xdplb_backend_state"}
    assert text.endswith("# EOF\n")
    plain = "".join(expose().text())
    assert [s for s in text.splitlines() if s[0] != "#"] == [s for s in plain.splitlines() if s[0] != "#"]


def test_labels_are_few_and_no_client_is_among_them() -> None:
    known = {"service", "backend", "state", "result", "reason", "action", "limit", "list", "interface"}
    assert {label for metric in METRICS for label in metric.labels} == known | {"version", "balancer", "path"}


def test_many_backends_are_done_in_pieces() -> None:
    (web,) = desired(config())
    backends = tuple(replace(web.backends[0], identity=n) for n in range(PIECE * 3))
    steps = add_services(
        Exposition(), [replace(web, backends=backends)], SlotCounts({}, {}, {}), ({}, {}), lambda _: Tally()
    )
    assert len(list(steps)) == 3


def test_names_follow_prometheus_rules() -> None:
    for metric in METRICS:
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric
        assert metric.name.endswith("_info") == (metric.kind == "info"), metric
        assert metric.meaning.endswith("."), metric
