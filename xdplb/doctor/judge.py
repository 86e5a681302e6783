"""All judgments of all themes. Pure."""

from __future__ import annotations

from xdplb.doctor import cores, counters, host, interfaces, offloads, running, services, vips, ways
from xdplb.doctor.facts import Box
from xdplb.doctor.finding import Finding, in_order

THEMES = (running, interfaces, offloads, cores, host, ways, vips, services, counters)


def judge(box: Box) -> list[Finding]:
    """Return everything that is found, the worst first."""
    found = [finding for theme in THEMES for finding in theme.judge(box)]
    return in_order([*found, *running.warnings(box, found)])
