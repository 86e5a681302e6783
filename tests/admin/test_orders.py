"""What a request may order, and that what is wrong changes nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.rig.packets import BACKENDS4, config
from xdplb.admin import orders
from xdplb.desired import Key, Overrides
from xdplb.errors import ConfigError

CONFIG = config()
NAME = BACKENDS4[0].name
KEY = ("web", NAME)


def test_a_removal_waits_ten_minutes_or_as_long_as_told_or_not_at_all() -> None:
    for query, removing in (({}, 1600.0), ({"for_s": "30"}, 1030.0), ({"for_s": "2h"}, 8200.0)):
        overrides = Overrides()
        assert orders.remove(CONFIG, overrides, NAME, query, 1000.0) == [KEY]
        assert overrides == Overrides(draining={KEY}, removing={KEY: removing})
    overrides = Overrides()
    orders.remove(CONFIG, overrides, NAME, {"now": "1"}, 1000.0)
    assert overrides == Overrides(removed={KEY})


def test_a_drain_has_a_deadline_if_told() -> None:
    overrides = Overrides()
    orders.drain(CONFIG, overrides, NAME, {"service": "web", "for_s": "0.5m"}, 1000.0)
    assert overrides == Overrides(draining={KEY}, deadlines={KEY: 1030.0})
    orders.drain(CONFIG, overrides, NAME, {}, 1000.0)
    assert overrides == Overrides(draining={KEY})


@pytest.mark.parametrize(
    ("order", "error"),
    [
        (lambda o: orders.drain(CONFIG, o, NAME, {"for_s": "soon"}, 0), "for_s: 'soon' is no duration; write"),
        (lambda o: orders.drain(CONFIG, o, NAME, {"for_s": "0"}, 0), "for_s: 0.0 is out of range; give 1 to 604800"),
        (lambda o: orders.remove(CONFIG, o, NAME, {"for_s": "169h"}, 0), "for_s: 608400.0 is out of range"),
        (lambda o: orders.remove(CONFIG, o, NAME, {"now": "yes"}, 0), "now: 'yes' is not known; give 1 or 0"),
        (lambda o: orders.remove(CONFIG, o, NAME, {"now": "1", "for_s": "9"}, 0), "for_s: makes no sense with now"),
        (lambda o: orders.weigh(CONFIG, o, NAME, None, {}), "weight: None is no whole number; give 0 to 65535"),
        (lambda o: orders.weigh(CONFIG, o, NAME, None, {"weight": True}), "weight: True is no whole number"),
        (lambda o: orders.weigh(CONFIG, o, NAME, None, {"weight": -1}), "weight: -1 is out of range"),
        (
            lambda o: orders.weigh(CONFIG, o, NAME, None, {"weight": 1, "for": 2}),
            "for: unknown key; known here: weight",
        ),
    ],
)
def test_what_is_wrong_is_refused_and_changes_nothing(order: Callable[[Overrides], list[Key]], error: str) -> None:
    overrides = Overrides()
    with pytest.raises(ConfigError) as caught:
        order(overrides)
    assert str(caught.value).startswith(error)
    assert overrides == Overrides()
