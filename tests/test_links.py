"""What a configured name means when interfaces go, come, and change their names; and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from xdplb.links import Kind, Seen, follow, news, problems


@dataclass(frozen=True)
class Nic:
    name: str
    up: bool = True
    carrier: bool = True


ETH0, ETH1 = Nic("eth0"), Nic("eth1")
BOTH = {"eth0": 2, "eth1": 3}


@pytest.mark.parametrize(
    ("what", "links", "gone", "found"),
    [
        ("nothing", {2: ETH0, 3: ETH1}, (), BOTH),
        ("one vanished", {3: ETH1}, (2,), {"eth0": 0, "eth1": 3}),
        ("made anew", {9: ETH0, 3: ETH1}, (2,), {"eth0": 9, "eth1": 3}),
        ("renamed: by number", {2: Nic("eth7"), 3: ETH1}, (), BOTH),
        ("renamed, and another has the name: by name", {2: Nic("eth7"), 9: ETH0, 3: ETH1}, (), {"eth0": 9, "eth1": 3}),
        ("names exchanged", {2: ETH1, 3: ETH0}, (), {"eth0": 3, "eth1": 2}),
        ("one took the name of the other", {3: ETH0}, (2,), {"eth0": 3, "eth1": 0}),
        ("a stranger got the number", {2: Nic("veth5"), 3: ETH1}, (2,), {"eth0": 0, "eth1": 3}),
    ],
)
def test_a_name_means(what: str, links: dict[int, Nic], gone: tuple[int, ...], found: dict[str, int]) -> None:
    assert follow(BOTH, links, gone) == found


def test_what_vanished_comes_back_by_its_name_only() -> None:
    without = follow({"eth0": 2}, {}, (2,))
    assert follow(without, {0: Nic("odd"), 4: Nic("eth7")}) == {"eth0": 0}
    assert follow(without, {5: ETH0}) == {"eth0": 5}


def kinds(number: int, *links: Nic) -> list[Kind]:
    return [p.kind for p in problems({"eth0": number}, dict(enumerate(links, 2)))]


def test_problems() -> None:
    assert kinds(2, ETH0) == []
    assert kinds(0, ETH0) == [Kind.VANISHED]
    assert kinds(2, Nic("eth0", carrier=False)) == [Kind.NO_CARRIER]
    assert kinds(2, Nic("eth0", up=False, carrier=False)) == [Kind.DOWN]  # without it there is no carrier either
    assert kinds(2, Nic("eth7", up=False, carrier=False)) == [Kind.RENAMED, Kind.DOWN]


def test_problems_name_the_fix_with_the_name_that_works_now() -> None:
    renamed, down = problems({"eth0": 2}, {2: Nic("eth7", up=False)})
    assert renamed.text.startswith("eth0 is called eth7 now")
    assert down.text == "eth7 is down; run `ip link set eth7 up`"


def seen(number: int, link: Nic | None) -> Seen:
    numbers = {"eth0": number}
    return Seen(numbers, problems(numbers, {number: link} if link else {}))


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (seen(2, ETH0), seen(2, ETH0), []),
        (seen(2, ETH0), seen(2, Nic("eth0", carrier=False)), ["eth0 has no carrier"]),
        (seen(2, Nic("eth0", carrier=False)), seen(2, ETH0), ["eth0 has its carrier again"]),
        (seen(2, ETH0), seen(0, None), ["eth0 has vanished"]),
        (seen(0, None), seen(9, ETH0), ["eth0 is there again, as number 9"]),
        (seen(0, None), seen(9, Nic("eth0", up=False)), ["eth0 is there again, as number 9", "eth0 is down"]),
        (seen(2, Nic("eth7")), seen(2, ETH0), ["eth0 has its name again"]),
        (seen(2, Nic("eth7")), seen(2, Nic("eth8")), ["eth0 is called eth8 now"]),
        (seen(2, Nic("eth7")), seen(0, None), ["eth0 has vanished"]),
        (seen(2, Nic("eth7")), seen(9, ETH0), ["eth0 is another interface now, number 9; number 2 is left"]),
    ],
)
def test_news(before: Seen, now: Seen, words: list[str]) -> None:
    lines = news(before, now)
    assert len(lines) == len(words), lines
    assert all(line.startswith(some) for line, some in zip(lines, words, strict=True)), lines
