"""Every reason has its line; those that grow come first."""

from __future__ import annotations

from rich.text import Text

from tests.tui.scenes import first
from xdplb.reasons import REASONS
from xdplb.tui.fake_daemon import small
from xdplb.tui.reasons import reasons_body


def test_what_grows_is_first_and_what_is_lost_red() -> None:
    daemon = small()
    daemon.status()
    scene = first(daemon)
    scene.status["verdicts"]["dropped_no_backend"] = 5
    scene.rates.verdicts["dropped_no_backend"] = 500.0
    lines = [text for _, text in reasons_body(scene, 80) if isinstance(text, Text)]

    assert lines[1].plain.startswith("dropped_no_backend              5     500")
    assert lines[1].spans[0].style == "bold red"
    assert lines[2].plain.strip() == REASONS["dropped_no_backend"].fix
    assert lines[3].plain.startswith("passed_no_service")
    names = {line.plain.split()[0] for line in lines[1:]}
    assert names >= scene.status["verdicts"].keys()
