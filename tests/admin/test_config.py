"""What requests about the configuration say, and that answers are as documented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from xdplb.admin import config
from xdplb.errors import ConfigError


@pytest.mark.parametrize(
    ("read", "body", "words"),
    [
        (config._text, {}, "config: None is no text"),
        (config._text, {"config": 3}, "config: 3 is no text"),
        (config._path, {"path": "etc"}, "path: 'etc' is no absolute path"),
        (config._path, {"path": 3}, "path: 3 is no absolute path"),
    ],
)
def test_what_is_wrong_is_told_by_its_key(read: Any, body: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(body)
    assert str(caught.value).startswith(words)


def test_numbers_are_numbers_in_their_range() -> None:
    assert config._number({}, "confirm_s", 1, 9) is None
    assert config._number({"confirm_s": 3}, "confirm_s", 1, 9) == 3.0
    for wrong in (True, "3", 0, 10):
        with pytest.raises(ConfigError, match="confirm_s"):
            config._number({"confirm_s": wrong}, "confirm_s", 1, 9)


def test_a_path_may_be_left_out() -> None:
    assert config._path({}) is None
    assert config._path({"path": "/etc/xdplb.toml"}) == Path("/etc/xdplb.toml")


def test_every_route_is_documented_with_its_role() -> None:
    routes = {(route.path, route.method.lower()) for route in config.ROUTES}
    assert routes == {(path, method) for path, item in config.PATHS.items() for method in item}
    roles = {path: item["x-role"] for paths in config.PATHS.values() for path, item in paths.items()}
    assert set(roles.values()) <= {"read", "operate", "admin"}
