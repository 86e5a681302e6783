"""One check of one backend: when does a row of results change what we believe of it? Pure: times come in.

`rise` and `fall` results in a row change it; the first one of all decides at once, since before it there is nothing to
protect. While a change is brewing, probes come after `fast_interval_s`. Evidence from traffic (passive) makes them come
at once and in quick succession, and decides nothing itself. A backend that flaps has to pass for a *hold time*, which
doubles with each further fall. The rules and their numbers, for people: docs/health.md.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeAlias

from xdplb.health.kinds import Initial
from xdplb.model import Check

SUSPECT_S = 0.005  # between probes while evidence is looked into
CALM_S = 0.1  # evidence that a probe has refuted counts no more for so long; twice as long each time, up to an interval
FLAP_S = 60.0  # a fall within so long after coming up is a flap, or within so many intervals, or hold times, if longer
FLAP_INTERVALS = 10
FLAP_HOLDS = 2


@dataclass(frozen=True, slots=True)
class Said:
    """What an agent on the backend wants: so many percent of its weight, no new flows, or to be taken for down."""

    percent: int | None = None
    drain: bool = False
    maintenance: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What a check has found so far; `up` None: nothing. `cause` is one phrase for people, `warning` what to mend."""

    up: bool | None
    cause: str
    warning: str = ""
    said: Said | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """All of a check that must outlive the daemon. Times are in seconds since the boot, None: never."""

    up: bool
    cause: str
    since: float  # when `up` became what it is
    streak: int = 0  # results in a row that speak against `up`
    passes_since: float | None = None  # when the first of them came, of one that is down
    falls: int = 0  # how often it came down in this spell
    spell_since: float | None = None  # when it did so first
    rose_at: float | None = None  # when it came up after a fall
    warning: str = ""
    said: Said | None = None

    def until(self, now: float) -> Memory:
        """Return it without times that have not come yet."""
        times = {name: min(value, now) for name in _TIMES if (value := getattr(self, name)) is not None}
        return replace(self, **times)


_TIMES = ("since", "passes_since", "spell_since", "rose_at")


@dataclass(frozen=True, slots=True)
class Start:
    """Event: begin, with what is known from before.

    `spread`, 0 to 1: at which part of an interval the first probe of one that is known comes, so that many checks that
    begin at once do not march in step.
    """

    memory: Memory | None = None
    spread: float = 0.0


@dataclass(frozen=True, slots=True)
class ProbeEnded:
    """Event: one probe is over. `warning`: what should be mended although it passed."""

    passed: bool
    cause: str
    warning: str = ""
    said: Said | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Event: traffic says that the backend does not serve.

    `probing`: a probe of this check is under way now, as only the driver knows. That one began before the evidence
    came: its failure counts, but if it passes, another one has to.
    """

    cause: str
    probing: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """Effect: try once, after this long, and instead of a try that has not begun yet.

    After a probe has ended, that is so long after it began, or at once if it took longer: then a backend that answers
    nothing is found as soon as one that refuses. Otherwise it counts from now.
    """

    after_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """Effect: the backend is now believed to be up or down; `cause` is one phrase for people."""

    up: bool
    cause: str


Event: TypeAlias = Start | ProbeEnded | Evidence
Effect: TypeAlias = Probe | Report


class RiseFall:
    """The state of one check. There is at most one probe of it under way or waiting."""

    __slots__ = (
        *(item.name for item in fields(Memory)),
        "_calm_until",
        "_refuted",
        "_suspected",
        "_too_early",
        "check",
    )

    up: bool | None
    cause: str
    since: float
    streak: int
    passes_since: float | None
    falls: int
    spell_since: float | None
    rose_at: float | None
    warning: str
    said: Said | None

    def __init__(self, check: Check) -> None:
        self.check = check
        self._recall(Memory(False, "not probed yet", 0.0))
        self.up = None
        self._suspected = ""  # the evidence that is looked into
        self._too_early = False  # the probe under way began before that came
        self._refuted, self._calm_until = 0, 0.0  # so much evidence in a row; until then, more does not count

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; return what the driver has to do, in order. `now` is in seconds since the boot."""
        if isinstance(event, ProbeEnded):
            return self._take(event, now)
        if isinstance(event, Evidence):
            return self._suspect(event, now)
        return self._start(event, now)

    @property
    def result(self) -> Result:
        """What has been found so far, in the words of the latest probe that agrees."""
        return Result(self.up, self.cause, self.warning, self.said)

    @property
    def memory(self) -> Memory | None:
        """What another machine can go on from; None: nothing is known."""
        if self.up is None:
            return None
        return Memory(**{item.name: getattr(self, item.name) for item in fields(Memory)})

    @property
    def fast_s(self) -> float:
        """The interval while a change is brewing."""
        fast = self.check.fast_interval_s
        return self.check.interval_s / 2 if fast is None else min(fast, self.check.interval_s)

    @property
    def hold_s(self) -> float:
        """For how long it has to pass before it comes up again."""
        if self.falls < 2:
            return 0.0
        return min(self.check.hold_down_s * 2.0 ** min(self.falls - 2, 64), self.check.hold_down_max_s)

    # --- start ----------------------------------------------------------------------------------------------

    def _start(self, event: Start, now: float) -> list[Effect]:
        if event.memory is not None:
            self._recall(event.memory.until(now))
            brewing = 0 < self.streak < (self.check.fall if self.up else self.check.rise)
            return [Probe(event.spread * (self.fast_s if brewing else self.check.interval_s))]
        if self.check.initial is Initial.PROBE:
            return [Probe(0)]
        self.up, self.since = self.check.initial is Initial.UP, now
        self.cause = f'initially {self.check.initial}, as configured (initial = "{self.check.initial}")'
        return [Report(self.up, self.cause), Probe(0)]

    def _recall(self, memory: Memory) -> None:
        for item in fields(Memory):
            setattr(self, item.name, getattr(memory, item.name))

    # --- results --------------------------------------------------------------------------------------------

    def _take(self, ended: ProbeEnded, now: float) -> list[Effect]:
        if ended.passed or ended.warning:
            self.warning = ended.warning
        self.said = ended.said or self.said
        if ended.passed == self.up:
            return [Probe(self._agree(ended, now))]
        self._too_early = False
        self.streak += 1
        if ended.passed and self.passes_since is None:
            self.passes_since = now
        wait_s = self._wait_s(ended, now)
        if wait_s:
            return [Probe(wait_s)]
        return [self._turn(ended, now), Probe(self.check.interval_s)]

    def _agree(self, ended: ProbeEnded, now: float) -> float:
        """Take a result that is as expected; return when to look again."""
        self.streak, self.passes_since = 0, None
        self.cause = ended.cause if ended.passed else self._with_hold(ended.cause)
        if self._too_early:
            self._too_early = False
            return SUSPECT_S
        if self._suspected:
            self._suspected = ""
            self._calm_until = now + min(CALM_S * 2.0 ** min(self._refuted, 64), self.check.interval_s)
            self._refuted += 1
        return self.check.interval_s

    def _wait_s(self, ended: ProbeEnded, now: float) -> float:
        """Return when to look again before this changes what is believed; 0: it does so now."""
        if self.up is None:
            return 0.0
        if self.up:
            self._refuted = 0
            waits = self.streak < self.check.fall
            return (SUSPECT_S if self._suspected else self.fast_s) if waits else 0.0
        if self.streak < self.check.rise:
            return self.fast_s
        held_s = self.hold_s - (now - (now if self.passes_since is None else self.passes_since))
        if held_s <= 0:
            return 0.0
        self.cause = self._with_hold("")
        return max(min(held_s, self.check.interval_s), SUSPECT_S)

    def _turn(self, ended: ProbeEnded, now: float) -> Report:
        """Believe the other from now on."""
        cause = ended.cause
        if self.up and not ended.passed:
            self._note_fall(now)
            cause = self._with_hold(f"{self._suspected}; then {cause}" if self._suspected else cause)
        elif self.up is False:
            self.rose_at = now
        self.up, self.since, self.cause = ended.passed, now, cause
        self.streak, self.passes_since, self._suspected = 0, None, ""
        return Report(ended.passed, cause)

    # --- flapping -------------------------------------------------------------------------------------------

    def _note_fall(self, now: float) -> None:
        """Count a fall; one that comes long after the last time that it came up begins another spell."""
        window_s = max(FLAP_S, FLAP_INTERVALS * self.check.interval_s, FLAP_HOLDS * self.hold_s)
        if self.rose_at is None or now - self.rose_at >= window_s:
            self.falls = 0
        if not self.falls:
            self.spell_since = now
        self.falls += 1
        self.since = now

    def _with_hold(self, cause: str) -> str:
        """Add to a cause that it has to pass for a time, if so."""
        if not self.hold_s:
            return cause
        span_s = self.since - (self.since if self.spell_since is None else self.spell_since)
        hold = f"flapping: came down {self.falls} times in {span_s:.0f} s; up after {self.hold_s:g} s without a failure"
        return f"{cause}; {hold}" if cause else hold

    # --- evidence -------------------------------------------------------------------------------------------

    def _suspect(self, evidence: Evidence, now: float) -> list[Effect]:
        if not self.up or self._suspected or now < self._calm_until:
            return []
        if now - self._calm_until > self.check.interval_s:
            self._refuted = 0
        self._suspected, self._too_early = evidence.cause or "traffic says so", evidence.probing
        return [] if evidence.probing else [Probe(0)]
