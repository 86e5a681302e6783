"""What all checks of a backend found, as one: is it up, why, and what else is known of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xdplb.desired import Health
from xdplb.health.check import Result, Said


def combine(checks: Sequence[Sequence[Result]], needed: int = 0) -> Health:
    """Return a backend's health: of each of its checks the results, one for each VIP that it is asked for.

    A check passes when it does at all its VIPs; `needed` checks must, 0: all. Nothing is decided before enough of them
    have a result either way. `cause` names what decides.
    """
    results = [_at_all_vips(results) for results in checks]
    up, cause = _decide(results, needed or len(results))
    said = [result.said for results in checks for result in results if result.said]
    if any(one.maintenance for one in said):
        up, cause = False, "its agent says maintenance"
    warnings = dict.fromkeys(result.warning for results in checks for result in results if result.warning)
    return Health(up, cause, "; ".join(warnings), _percent(said), any(one.drain or one.maintenance for one in said))


def _at_all_vips(results: Sequence[Result]) -> Result:
    """Return the result that counts for a check: one that fails, or one that is not known yet, or any."""
    failing = next((result for result in results if result.up is False), None)
    return failing or next((result for result in results if result.up is None), results[0])


def _decide(results: Sequence[Result], needed: int) -> tuple[bool | None, str]:
    passing = sum(result.up is True for result in results)
    failing = next((result for result in results if result.up is False), None)
    failed = sum(result.up is False for result in results)
    if passing >= needed:
        up: bool | None = True
    else:
        up = False if failed > len(results) - needed else None
    if len(results) == 1:
        return up, results[0].cause
    if up is False and needed == len(results) and failing:
        return up, failing.cause
    if up and passing == len(results):
        return up, f"all {passing} checks pass"
    counted = f"{passing} of {len(results)} checks pass, {needed} needed"
    return up, f"{counted}; {failing.cause}" if failing else f"{counted}; the others have no result yet"


def _percent(said: Iterable[Said]) -> int | None:
    """Return the least that an agent wants."""
    return min((one.percent for one in said if one.percent is not None), default=None)
