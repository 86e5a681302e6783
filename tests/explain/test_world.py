"""Names of what lies in the tables, with the daemon and without."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from tests.rig.explaining import world
from tests.rig.packets import config, service
from tests.rig.xdp import desired
from xdplb.explain.world import Names, names_of


def test_things_are_called_as_in_the_configuration() -> None:
    there = world(down={"four12"})
    numbers = {there.backend(index): there.health(index) for index in there.tables.backends}

    assert set(numbers) == {"four11 (10.0.11.2)", "four12 (10.0.12.2)", "four13 (10.0.13.2)"}
    assert numbers["four11 (10.0.11.2)"] == "up"
    assert numbers["four12 (10.0.12.2)"].startswith("down")
    assert {there.service(row) for row in there.tables.services.values() if row.ring_size} == {"web"}
    assert (there.interface(5), there.interface(99)) == ("eth0", "interface number 99")


def test_without_a_daemon_addresses_are_known() -> None:
    there = replace(world(down={"four12"}), names=Names())

    assert {there.backend(index) for index in there.tables.backends} == {"10.0.11.2", "10.0.12.2", "10.0.13.2"}
    assert {there.health(index) for index in there.tables.backends} == {"up", "down"}
    assert there.backend(0) == "nobody"
    assert there.backend(77) == "backend number 77, which is gone"


def test_mapped_addresses_are_on_no_list() -> None:
    listed = names_of(desired(config(service())), lambda address: (f"{address}/32", "block")).listed

    assert listed
    assert listed(ip_address("10.0.0.1")) == ("10.0.0.1/32", "block")
    assert listed(ip_address("::ffff:10.0.0.1")) is None
