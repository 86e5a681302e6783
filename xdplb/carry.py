"""Carry what must not be lost from old tables to new ones: who has which index, slots that are not settled, flows.

Everything else follows from the configuration. Pure: words come in, words go out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from xdplb.contract import CONSTANTS
from xdplb.hashing import flow_line
from xdplb.tables import Capacity, Change, ClearService, PutBackend, PutSlots, Tables, power_of_two

_LINE = 1 + CONSTANTS["FLOWS_IN_LINE"]  # words
_NAME = CONSTANTS["FLOW_NAME_SHIFT"]


class Words(Protocol):
    """The words of `flows`, as in memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, at: int, /) -> int: ...

    def __setitem__(self, at: int, word: int, /) -> None: ...


def room_for(old: Tables) -> Capacity:
    """Return at least as much room as these tables fill."""
    return Capacity(slots=power_of_two(len(old.slots)), backends=power_of_two(max(old.backends, default=0) + 1))


def transplant(old: Tables) -> tuple[list[Change], Tables]:
    """Return what to write into empty tables first, and what `reconcile` then has to take them for.

    VIPs find other rows in other tables: so there the old ones lie in rows that there are none of, by negative numbers,
    and only say where their rings are.
    """
    puts: list[Change] = [PutBackend(index, row, fresh=True) for index, row in old.backends.items()]
    puts.append(PutSlots(0, {slot: word for slot, word in enumerate(old.slots) if word}))
    services = {-1 - number: row for number, row in enumerate(old.services.values())}
    return puts, replace(old, services=services, limits={}, networks={})


def only_real(changes: Sequence[Change]) -> list[Change]:
    """Leave out what rows that there are none of are about."""
    return [change for change in changes if not (isinstance(change, ClearService) and change.number < 0)]


def copy_flows(old: Words, new: Words) -> int:
    """Copy flows to a table of another size; return how many found no place. May be done again."""
    lost, lines, new_lines = 0, len(old) // _LINE, len(new) // _LINE
    for at in range(len(old)):
        if at % _LINE and (word := old[at]):
            line = flow_line(at // _LINE, lines, word, new_lines) * _LINE
            lost += not _put(new, line + 1, line + _LINE, word)
    return lost


def _put(flows: Words, first: int, end: int, word: int) -> bool:
    """Put a flow among these places, over itself or where it is free."""
    same = (at for at in range(first, end) if flows[at] and flows[at] >> _NAME == word >> _NAME)
    place = next(same, next((at for at in range(first, end) if not flows[at]), None))
    if place is None:
        return False
    flows[place] = word
    return True
