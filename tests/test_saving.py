"""What is found is saved a moment later, what is changed at once, and the newest is what stays."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from xdplb import state
from xdplb.desired import Health, Overrides
from xdplb.errors import DaemonError
from xdplb.saving import Saving
from xdplb.state import Kept

NAME, KEY = "test", ("web", "b1")
TIMEOUT_S = 5


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "DIRECTORY", tmp_path)
    return tmp_path / NAME


def play(kept: Kept, scene: Callable[[Saving], Awaitable[None]]) -> list[DaemonError | None]:
    """Play a scene until nothing is left to be written; return how the writes in between ended."""
    ended: list[DaemonError | None] = []

    async def whole() -> None:
        saving = Saving(NAME, lambda: kept, ended.append)
        await scene(saving)
        async with asyncio.timeout(TIMEOUT_S):
            while not saving.idle:
                await asyncio.sleep(0.001)

    asyncio.run(whole())
    return ended


def test_what_is_found_is_written_soon_and_nobody_waits(folder: Path) -> None:
    kept = Kept(health={KEY: Health(True, "fine")})

    async def scene(saving: Saving) -> None:
        saving.soon()
        assert not folder.exists()

    assert play(kept, scene) == [None]
    assert state.load(NAME).health == kept.health


def test_what_is_found_while_the_disk_is_busy_is_written_too(folder: Path) -> None:
    kept = Kept(health={KEY: Health(True, "fine")})

    async def scene(saving: Saving) -> None:
        saving.soon()
        await asyncio.sleep(0)  # it has taken what to write
        kept.health[KEY] = Health(False, "refused")
        saving.soon()

    play(kept, scene)
    assert state.load(NAME).health == {KEY: Health(False, "refused")}


class Slow(dict[tuple[str, str], str]):
    """Places that can be read only when somebody lets them be: what is written takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.go_on = threading.Event(), threading.Event()

    def get(self, key: tuple[str, str], default: str = "") -> str:  # type: ignore[override]
        self.reached.set()
        assert self.go_on.wait(TIMEOUT_S)
        return default


def test_an_older_state_never_replaces_what_was_written_at_once(folder: Path) -> None:
    slow = Slow()
    kept = Kept(health={KEY: Health(True, "fine")}, places=slow)

    async def scene(saving: Saving) -> None:
        saving.soon()
        assert await asyncio.to_thread(slow.reached.wait, TIMEOUT_S)
        kept.overrides, kept.places = Overrides(draining={KEY}), {}
        kept.health = {KEY: Health(False, "refused")}
        saving.now()
        slow.go_on.set()

    play(kept, scene)
    found = state.load(NAME)
    assert (found.overrides.draining, found.health) == ({KEY}, {KEY: Health(False, "refused")})


def test_a_disk_that_cannot_be_written_is_told_and_nothing_stops(folder: Path) -> None:
    folder.write_text("a file where a directory should be")
    kept = Kept()

    async def scene(saving: Saving) -> None:
        saving.soon()
        with pytest.raises(DaemonError, match="cannot be written"):
            saving.now()

    (problem,) = play(kept, scene)
    assert "cannot be written" in str(problem)


def test_after_the_end_only_what_is_written_at_once_is_written(folder: Path) -> None:
    kept = Kept(health={KEY: Health(True, "fine")})

    async def scene(saving: Saving) -> None:
        saving.soon()
        saving.close()
        kept.health = {}
        saving.now()

    assert play(kept, scene) == []
    assert state.load(NAME).health == {}
