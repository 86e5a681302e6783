"""Carry what must not be lost from old tables to new ones: who has which index, slots that are not settled, flows.

Everything else follows from the configuration. Pure: words come in, words go out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from xdplb.contract import CONSTANTS
from xdplb.hashing import flow_line
from xdplb.tables import Capacity, Change, ClearService, PutBackend, PutSlots, Tables

_LINE = 8  # words of either table
_NAME = CONSTANTS["FLOW_NAME_SHIFT"]
_ANY_BORN = CONSTANTS["ANY_BORN"]


class Words(Protocol):
    """The words of `learned` or `born`, as in memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, at: int, /) -> int: ...

    def __setitem__(self, at: int, word: int, /) -> None: ...


def room_for(old: Tables) -> Capacity:
    """Return at least as much room as these tables fill."""
    most = max(old.backends, default=0) + 1
    return Capacity(slots=1 << (len(old.slots) - 1).bit_length(), backends=1 << (most - 1).bit_length())


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


def copy_flows(old: tuple[Words, Words], new: tuple[Words, Words]) -> int:
    """Copy flows (`learned`, `born`) to tables of another size; return how many found no place. May be done again."""
    lost, lines, new_lines = 0, len(old[0]) // _LINE, len(new[0]) // _LINE
    for born, words in enumerate(old):
        for at in range(len(words)):
            if at % _LINE and (word := words[at]):
                line = flow_line(at // _LINE, lines, word, new_lines) * _LINE
                kept = _put(new[born], line + 1, line + _LINE, word)
                if born and kept:
                    new[0][line] |= _ANY_BORN  # or nobody would look there
                lost += not kept
    return lost


def _put(flows: Words, first: int, end: int, word: int) -> bool:
    """Put a flow among these places, over itself or where it is free."""
    same = (at for at in range(first, end) if flows[at] and flows[at] >> _NAME == word >> _NAME)
    place = next(same, next((at for at in range(first, end) if not flows[at]), None))
    if place is None:
        return False
    flows[place] = word
    return True
