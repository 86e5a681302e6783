"""Plays a recording into the display: forward at some speed, still, or from another place on. Without a clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xdplb.tui.display import Display
from xdplb.tui.figures import duration
from xdplb.tui.recording import Recording

STEP_S = 10.0
_SPEEDS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300)


@dataclass(slots=True)
class Player:
    """Where in a recording one is. `at` counts the recording's seconds."""

    KEYS: ClassVar[set[str]] = {" ", "p", "left", "right", "+", "=", "-"}

    recording: Recording
    display: Display
    at: float = 0.0
    speed: float = 1.0
    still: bool = False

    @classmethod
    def begin(cls, recording: Recording) -> Player:
        """Return a player at the beginning."""
        statuses, _ = recording.until(0.0)
        display = Display(statuses[0], 0.0, patience_s=float("inf"), recorded=True)
        player = cls(recording, display)
        player.seek(0.0)
        return player

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to play."""
        return self.at >= self.recording.length_s

    def advance(self, elapsed_s: float) -> None:
        """Let time pass in front of the screen."""
        if not self.still and not self.ended:
            there = min(self.at + elapsed_s * self.speed, self.recording.length_s)
            for kind, document in self.recording.between(self.at, there):
                if kind == "status":
                    self.display.answer(document, there)
                else:
                    self.display.happen(document)
            self.at = there
        self._tell()

    def seek(self, t: float) -> None:
        """Go to another place."""
        self.at = min(max(0.0, t), self.recording.length_s)
        statuses, events = self.recording.until(self.at)
        self.display.begin_anew(statuses[0], self.at)
        for status in statuses[1:]:
            self.display.answer(status, self.at)
        for event in events:
            self.display.happen(event)
        self._tell()

    def press(self, keys: list[str]) -> None:
        """Take keys: those of playing, and all others as on a live screen."""
        for key in keys:
            if key in self.KEYS and not self.display.view.typing:
                self._play(key)
            else:
                self.display.press([key])
        self._tell()

    def _play(self, key: str) -> None:
        match key:
            case "left":
                self.seek(self.at - STEP_S)
            case "right":
                self.seek(self.at + STEP_S)
            case " " | "p":
                self.still = not self.still
            case _:
                step = -1 if key == "-" else 1
                self.speed = _SPEEDS[min(max(0, _SPEEDS.index(self.speed) + step), len(_SPEEDS) - 1)]

    def _tell(self) -> None:
        """Say where one is."""
        how = "end" if self.ended else "still" if self.still else f"{self.speed:g}x"
        self.display.playback = f"recording {duration(self.at)} of {duration(self.recording.length_s)}, {how}"
