"""From the frames of a whole configuration to the few bytes of them that show a difference."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tools.fuzz.configs import Case
from tools.fuzz.run import Difference, Run, Step

SECONDS = 8.0  # as long as this may take
FEW = 50  # frames, after each of which the counters are looked at


def minimise(run: Run, case: Case, steps: Sequence[Step]) -> tuple[Case, list[Step], Difference] | None:
    """Return a smaller input that differs, too, and how; None when these frames, sent again, differ in nothing."""
    deadline = time.monotonic() + SECONDS
    difference = run.replay(case, steps, closely=False)
    if difference is None:
        return None
    kept = list(steps)

    def differs(candidate: Sequence[Step]) -> bool:
        return time.monotonic() < deadline and run.replay(case, candidate, len(candidate) <= FEW) is not None

    if difference.step is not None:
        kept = kept[: difference.step + 1]
        if differs(kept[-1:]):
            kept = kept[-1:]
    kept = fewer(kept, differs)
    for number in range(len(kept) if len(kept) <= 4 else 0):
        kept = shorter(kept, number, differs)
    case = _fewer_states(run, case, kept)
    return case, kept, run.replay(case, kept, len(kept) <= FEW) or difference


def fewer(steps: list[Step], differs: Callable[[Sequence[Step]], bool]) -> list[Step]:
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


def shorter(steps: list[Step], number: int, differs: Callable[[Sequence[Step]], bool]) -> list[Step]:
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


def _fewer_states(run: Run, case: Case, steps: Sequence[Step]) -> Case:
    """Leave out the states after the last frame's."""
    last = max(state for state, _ in steps)
    shorter_case = Case(case.spec, case.states[: last + 1], case.devices)
    return shorter_case if run.replay(shorter_case, steps, len(steps) <= FEW) else case
