"""The port for metrics is taken before anything else happens, and refused with key and fix."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from xdplb.admin.metrics import PATHS, ROUTES, take_listener
from xdplb.errors import RefusedError
from xdplb.model import Listen


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken_is_named_with_its_key(address: str) -> None:
    with take_listener(Listen(ip_address(address), 0)) as first:
        port = first.getsockname()[1]
        with pytest.raises(RefusedError) as refused:
            take_listener(Listen(ip_address(address), port))
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    fix = "give metrics.listen another port, or an address of this host"
    assert str(refused.value) == f"metrics.listen: {where} cannot be listened on (Address already in use); {fix}"


def test_an_address_of_another_host_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"metrics.listen: 192.0.2.1:9110 cannot .*Cannot assign requested address"):
        take_listener(Listen(ip_address("192.0.2.1"), 9110))


def test_what_is_served_is_described() -> None:
    assert {(route.path, route.method.lower()) for route in ROUTES} == {
        (path, m) for path in PATHS for m in PATHS[path]
    }
