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
    shorter_case = Case(case.spec, case.states[: 1 + max(state for state, _ in steps)], case.devices)
    case = shorter_case if differs(shorter_case) else case
    for number in range(len(case.states)):

        def changed(services: list[DesiredService], number: int = number) -> Case:
            states = (*case.states[:number], tuple(services), *case.states[number + 1 :])
            return Case(case.spec, states, case.devices)

        kept = fewer(list(case.states[number]), lambda services: differs(changed(services)))
        for at, service in enumerate(kept):

            def with_service(**fields: object) -> list[DesiredService]:
                return [*kept[:at], replace(service, **fields), *kept[at + 1 :]]  # type: ignore[arg-type]  # noqa: B023

            vips = fewer(list(service.vips), lambda vips: differs(changed(with_service(vips=tuple(vips)))))
            service = replace(service, vips=tuple(vips))
            backends = fewer(
                list(service.backends),
                lambda backends: differs(changed(with_service(backends=tuple(backends)))),
            )
            kept = with_service(backends=tuple(backends))
        case = changed(kept)
    return case


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
