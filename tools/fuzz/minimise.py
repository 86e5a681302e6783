"""From the frames of a whole configuration to the few bytes of them that show a difference."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from tools.fuzz.configs import Case
from tools.fuzz.run import Difference, Run, Step
from xdplb.desired import DesiredService

Item = TypeVar("Item")

SECONDS = 8.0  # as long as this may take
FEW = 50  # frames, after each of which the counters are looked at


def minimise(run: Run, case: Case, steps: Sequence[Step]) -> tuple[Case, list[Step], Difference] | None:
    """Return a smaller input that differs in the same way; None when these frames, sent again, differ in nothing."""
    deadline = time.monotonic() + SECONDS
    difference = run.replay(case, steps, closely=False)
    if difference is None:
        return None
    what, kept = difference.what, list(steps)

    def seen(changed: Case, candidate: Sequence[Step]) -> bool:
        if time.monotonic() > deadline:
            return False
        found = run.replay(changed, candidate, len(candidate) <= FEW)
        return found is not None and found.what == what

    def differs(candidate: list[Step]) -> bool:
        return seen(case, candidate)

    if difference.step is not None:
        kept = kept[: difference.step + 1]
        if differs(kept[-1:]):
            kept = kept[-1:]
    kept = fewer(kept, differs)
    case = _smaller(case, kept, lambda changed: seen(changed, kept))
    for number in range(len(kept) if len(kept) <= 4 else 0):
        kept = shorter(kept, number, differs)
    return case, kept, run.replay(case, kept, len(kept) <= FEW) or difference


def _smaller(case: Case, steps: Sequence[Step], differs: Callable[[Case], bool]) -> Case:
    """Leave out later states, services, VIPs and backends."""
    shorter_case = Case(case.spec, case.states[: 1 + max(state for state, _ in steps)], case.devices, case.lists)
    case = shorter_case if differs(shorter_case) else case
    for number in range(len(case.states)):
        whole = case

        def with_services(services: list[DesiredService], number: int = number, whole: Case = whole) -> Case:
            states = (*whole.states[:number], tuple(services), *whole.states[number + 1 :])
            return Case(whole.spec, states, whole.devices, whole.lists)

        kept = fewer(list(case.states[number]), lambda services: differs(with_services(services)))
        for at in range(len(kept)):
            kept = _smaller_service(kept, at, lambda services: differs(with_services(services)))
        case = with_services(kept)
    return case


def _smaller_service(
    services: list[DesiredService], at: int, differs: Callable[[list[DesiredService]], bool]
) -> list[DesiredService]:
    """Leave out VIPs and backends of one service."""

    def changed(service: DesiredService) -> list[DesiredService]:
        return [*services[:at], service, *services[at + 1 :]]

    one = services[at]
    vips = fewer(list(one.vips), lambda vips: differs(changed(replace(one, vips=tuple(vips)))))
    fewer_vips = replace(one, vips=tuple(vips))
    rows = fewer(list(one.backends), lambda rows: differs(changed(replace(fewer_vips, backends=tuple(rows)))))
    return changed(replace(fewer_vips, backends=tuple(rows)))


def fewer(steps: list[Item], differs: Callable[[list[Item]], bool]) -> list[Item]:
    """Leave out what is not needed, in ever smaller pieces (Zeller, Hildebrandt 2002)."""
    size = len(steps) // 2
    while size:
        at = 0
        while at < len(steps):
            candidate = steps[:at] + steps[at + size :]
            if candidate and differs(candidate):
                steps = candidate
            else:
                at += size
        size //= 2
    return steps


def shorter(steps: list[Step], number: int, differs: Callable[[list[Step]], bool]) -> list[Step]:
    """Cut one frame off as early as may be, and make its bytes 0 where that changes nothing."""

    def attempt(frame: bytes) -> bool:
        nonlocal steps
        candidate = [*steps[:number], (steps[number][0], frame), *steps[number + 1 :]]
        if len(frame) >= 14 and frame != steps[number][1] and differs(candidate):
            steps = candidate
            return True
        return False

    cut = 512
    while cut:
        if not attempt(steps[number][1][:-cut]):
            cut //= 2
    for at in range(len(steps[number][1])):
        frame = steps[number][1]
        if frame[at]:
            attempt(frame[:at] + b"\0" + frame[at + 1 :])
    return steps
