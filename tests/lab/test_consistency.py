"""Nothing breaks: flows that live long and new ones go through every change, and no backend that is up loses one.

    client ── router ═╦═ lb ────┬─ b1, b2, b3     80: served;  8081: what the checks ask, so that a backend can be seen
    (held, new flows) ╚═ twin ──┴─ b4 (spare)     down while it serves on

The scenarios are in tools/consistency; `make consistency` plays all of them at full size, as this does with
XDPLB_CONSISTENCY=full; otherwise those that need most of the others' means.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.rig.traffic import unique
from tools.consistency.scenarios import SCENARIOS
from tools.consistency.trial import FULL, SMALL, Scenario, trial

pytestmark = [pytest.mark.slow, pytest.mark.alone]

SIZE = FULL if os.environ.get("XDPLB_CONSISTENCY") == "full" else SMALL
SHORT = ("daemon killed", "layout upgrade", "balancer vanishes, second chance")
CHOSEN = [scenario for scenario in SCENARIOS if SIZE is FULL or scenario.name in SHORT]


@pytest.mark.parametrize("scenario", CHOSEN, ids=lambda scenario: scenario.name.replace(" ", "-").replace(",", ""))
def test_no_flow_of_a_live_backend_breaks(scenario: Scenario, tmp_path: Path) -> None:
    with trial(scenario, SIZE, tmp_path, unique("hold")) as made:
        found = made.run()

    assert scenario.faults(found, made.moving) == []
    assert found.opened > SIZE.held
    print(f"{scenario.name}: {len(found.broken)} broken of {found.opened} flows, {found.slow} slow answers")
