"""The ring of a service: which backend gets the flows that hash to a slot.

A ring is a function of the *set* of backends (keys, weights, up or down) and of nothing else: neither of their order nor
of what was before. So every box computes the same ring, and it does so again after a restart.

How it is made:

1. *Race.* Each backend draws slots from a stream of its own, in proportion to its weight; a slot goes to whoever draws it
   first. That is weighted rendezvous hashing (Thaler and Ravishankar 1998) at the cost of a few draws per slot: who joins
   takes only its own slots, who leaves gives up only its own. But it is uneven, by 6 % rms at 131 slots per backend.
2. *Give back.* A backend with more than its share and TOLERANCE keeps its earliest slots and frees the others.
3. *Fill.* Each free slot looks at backends in an order of its own until one has room. First up to the share less TOLERANCE,
   then up to the share and TOLERANCE. Slots and backends rank each other by the same number, the attempt, so this
   is a stable matching (Gale and Shapley 1962), which one more slot or backend changes in a few places only.
4. *Skip.* A slot whose backend is not up goes to the backend of the next slot, and so on. Nothing else looks at `up`: who
   fails or recovers moves exactly its own slots, whatever the others do.

Measured by `tools/bench_ring.py`, equal weights, slots as `ring_size` says. "Moved": slots that change their backend, as a
multiple of the slots of the backend added or removed; for a weight, of the slots it gains. For Maglev (Eisenbud and
others 2016) the first number was 2.5 at 100 backends and 6.5 at 1,000.

    backends     slots   share off by   moved: added  removed  weight + 50 %       time
@@TABLE@@

Movement is the price of even shares. A function of the set alone has to even out anew what the race made uneven, and each
slot that a newcomer takes tips some balance: with TOLERANCE at 0.04 instead of 0.02, 1,000 backends move @@T4@@ times the
minimum, and with 200 slots per backend @@S2@@ times. (For the theory see Aamand, Knudsen and Thorup, "Load Balancing with
Dynamic Set of Balls and Bins", 2021.)
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby, repeat
from math import ceil, floor

TOLERANCE = 0.02  # how far a share may be off, or one slot if that is more
DRAWS = 4  # per slot: 1.8 % of the slots are drawn by nobody (e^-4)
BLOCK = 16  # draws that a backend makes in one go, which keeps the sorting cheap
ATTEMPTS = 512  # a free slot's, before it takes what is left; a tenth is enough nearly always
STRIDE = 7919  # between a free slot's attempts in the list of choices


@dataclass(frozen=True, slots=True)
class Member:
    """A backend as its ring sees it. The key names it on every box; a weight of 0 means no slots."""

    key: str
    weight: int
    up: bool = True


def ring_size(backends: int) -> int:
    """Return the number of slots for so many backends: a power of two, at least 1,024 and 100 for each."""
    return 1 << (max(1024, 100 * backends) - 1).bit_length()


def build_ring(members: Sequence[Member], size: int, salt: str = "") -> array[int]:
    """Return slot -> position in `members`, or -1 everywhere if none is up with a weight.

    `salt` makes services with the same backends differ. With all up and q slots due to a backend, it gets between
    min(floor(q), 0.98 q) and max(ceil(q), 1.02 q), at least 1. With fewer slots than backends some get none. Raises
    ValueError if two members have the same key.
    """
    position = {member.key: at for at, member in enumerate(members)}
    if len(position) < len(members):
        raise ValueError("two members of a ring have the same key")
    sharing = sorted((m for m in members if m.weight > 0), key=lambda m: m.key)
    up = [m.up for m in sharing]
    if not any(up):
        return array("i", [-1]) * size
    ring = _share(sharing, size, salt)
    if not all(up):
        _skip_down(ring, up)
    positions = [position[m.key] for m in sharing]
    return array("i", [positions[owner] for owner in ring])


def _share(sharing: Sequence[Member], size: int, salt: str) -> array[int]:
    """Return slot -> index in `sharing`, as if all of them were up."""
    weights = [m.weight for m in sharing]
    seeds = [f"{salt}\0{m.key}" for m in sharing]
    phases = [_phase(seed) for seed in seeds]
    due = _due(weights, size)
    # The phases keep backends of one weight from crossing from one number to the next all at once.
    least = [min(floor(q), ceil(q * (1 - TOLERANCE) + phase)) for q, phase in zip(due, phases)]
    most = [max(ceil(q), floor(q * (1 + TOLERANCE) - phase)) for q, phase in zip(due, phases)]

    end = DRAWS * size / sum(weights) / BLOCK
    draws = [_draw(seed, ceil(end * weight) * BLOCK, size) for seed, weight in zip(seeds, weights)]
    ring = _race(weights, phases, draws, end, size)
    held = _give_back(ring, draws, least, most)
    free = [slot for slot, owner in enumerate(ring) if owner < 0]
    choices = _draw(salt, size, size)
    free = _fill(ring, free, [max(0, low - has) for low, has in zip(least, held)], choices)
    _fill(ring, free, [high - max(low, has) for low, high, has in zip(least, most, held)], choices)
    return ring


def _due(weights: Sequence[int], size: int) -> list[float]:
    """Return the slots due to each weight, not whole ones: at least 1 if there are enough, the rest in proportion."""
    if len(weights) > size:
        return [size * weight / sum(weights) for weight in weights]
    slots, total, small = size, sum(weights), 0
    for weight in sorted(weights):
        if weight * slots >= total:
            break
        slots, total, small = slots - 1, total - weight, weight
    return [1.0 if weight <= small else slots * weight / total for weight in weights]


def _race(
    weights: Sequence[int], phases: Sequence[float], draws: Sequence[array[int]], end: float, size: int
) -> array[int]:
    """Give each slot to who draws it first; block b of a backend's draws has its turn at (b + phase) / weight."""
    turns: list[tuple[float, int, array[int], int]] = []
    by_weight = sorted(range(len(weights)), key=lambda at: (weights[at], phases[at]))
    for weight, same in groupby(by_weight, key=weights.__getitem__):  # each group comes sorted: little is left to sort
        group = list(same)
        for block in range(ceil(end * weight)):
            times = [(block + phases[at]) / weight for at in group]
            turns += zip(times, repeat(block * BLOCK), [draws[at] for at in group], group)
    turns.sort(key=lambda turn: turn[0])
    ring = array("i", [-1]) * size
    for _, start, drawn, owner in reversed(turns[: bisect_left(turns, end, key=lambda turn: turn[0])]):
        for slot in drawn[start : start + BLOCK]:  # backwards in time: the earliest is written last and stays
            ring[slot] = owner
    return ring


def _give_back(
    ring: array[int], draws: Sequence[array[int]], least: Sequence[int], most: Sequence[int]
) -> list[int]:
    """Free what is held beyond `most`, and more if that does not give everybody `least`; return what each holds."""
    held = [0] * (len(draws) + 1)
    for owner in ring:
        held[owner] += 1
    free = held.pop()  # the owner of a free slot is -1
    for at, high in enumerate(most):
        if held[at] > high:
            free += _free_latest(ring, draws[at], at, held[at] - high)
            held[at] = high
    missing = sum(max(0, low - has) for low, has in zip(least, held)) - free
    while missing > 0:
        for at, low in enumerate(least):
            if missing > 0 and held[at] > low:
                missing -= _free_latest(ring, draws[at], at, 1)
                held[at] -= 1
    return held


def _free_latest(ring: array[int], drawn: array[int], owner: int, number: int) -> int:
    left = number
    for slot in reversed(drawn):
        if ring[slot] == owner:
            ring[slot] = -1
            left -= 1
            if not left:
                break
    return number


def _fill(ring: array[int], free: list[int], room: Sequence[int], choices: array[int]) -> list[int]:
    """Give free slots to backends with room, and return the slots for which there was none.

    A free slot's choices are the owners of other slots, so that a backend is found in proportion to its weight.
    """
    owners, room, wanted = ring[:], [*room, 0], sum(room)  # no room at [-1], the owner of a free slot
    for attempt in range(ATTEMPTS):
        if not free or not wanted:
            return free
        shift, refused = attempt * STRIDE % len(ring), []
        for slot in free:
            owner = owners[choices[slot - shift]]
            if room[owner]:
                ring[slot] = owner
                room[owner] -= 1
                wanted -= 1
            else:
                refused.append(slot)
        free = refused
    for slot, owner in zip(free, chain.from_iterable(map(repeat, range(len(room)), room))):
        ring[slot] = owner
    return free[wanted:]


def _skip_down(ring: array[int], up: Sequence[bool]) -> None:
    """Give each slot whose owner is down to the owner of the next slot after it whose owner is up."""
    ring.append(next(owner for owner in ring if up[owner]))  # after the last slot comes the first
    for slot in reversed([slot for slot, owner in enumerate(ring) if not up[owner]]):
        ring[slot] = ring[slot + 1]
    ring.pop()


def _draw(seed: str, number: int, size: int) -> array[int]:
    """Return pseudo-random slots, the same everywhere: 32 bits each, scaled to `size` as the packet's hash is."""
    pairs = (number + 1) // 2
    drawn = int.from_bytes(hashlib.shake_128(seed.encode()).digest(8 * pairs), "little")
    # All of them at once in one long integer: each half of a 64-bit lane, times `size`, fits into the lane.
    low = int.from_bytes(b"\xff\xff\xff\xff\0\0\0\0" * pairs, "little")
    scaled = ((drawn & low) * size >> 32 & low) | ((drawn >> 32 & low) * size & low << 32)
    slots = array("I", scaled.to_bytes(8 * pairs, "little"))
    if sys.byteorder == "big":
        slots.byteswap()
    return slots[:number]


def _phase(seed: str) -> float:
    """Return where between 0 and 1 a backend starts."""
    return int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=6).digest(), "little") / 2**48
