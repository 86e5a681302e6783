"""From what should be true and what lies in the tables to the changes between them, make before break.

Pure. What is right already is not written: after a restart there is nothing to do. Rows and indexes are found again by
identity, so a thing keeps its place as long as it lives. The order of the changes is the order in which they are
safe under traffic: backend rows before slots that name them, slots before VIPs that use them; then the same
backwards for what goes.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from xdplb import hashing
from xdplb.desired import DesiredService
from xdplb.hashing import Key
from xdplb.ring import Member, build_ordered
from xdplb.tables import (
    MOVED,
    MOVING,
    NO_BACKEND,
    SETTLED,
    Capacity,
    Change,
    ClearBackend,
    ClearLimit,
    ClearNetwork,
    ClearService,
    PutBackend,
    PutLimit,
    PutNetwork,
    PutService,
    PutSlots,
    ServiceRow,
    Tables,
    power_of_two,
    slot_parts,
    slot_word,
)


class NoRoom(Exception):
    """The tables are too small for what is desired, or a VIP finds no row with this seed: make others."""


def needed(services: Sequence[DesiredService]) -> Capacity:
    """Return room for these services and as much again, at least the default."""
    least = Capacity()
    keys = len(_wanted_rows(services, dict.fromkeys((s.identity for s in services), 0), {}))
    return replace(
        least,
        rows_bits=max(least.rows_bits, (4 * keys - 1).bit_length() if keys else 0),
        slots=max(least.slots, power_of_two(2 * sum(s.ring_size for s in services))),
        backends=max(least.backends, power_of_two(2 * sum(len(s.backends) for s in services) + 1)),
        limits=max(least.limits, power_of_two(2 * sum(s.limit is not None for s in services))),
    )


def reconcile(
    services: Sequence[DesiredService],
    actual: Tables,
    capacity: Capacity,
    seed: int,
    ended: Mapping[int, Ended] | None = None,
    memo: Rings | None = None,
) -> list[Change]:
    """Return the changes that lead from `actual` to `services`, in the order to apply them. Raises NoRoom.

    `ended` says, by service, which slots may go on to their next state. With a memo, only what changed since it was
    made is looked at; it must be thrown away when the changes were not applied.
    """
    indexes, put_backends = _place_backends(services, actual, capacity)
    offsets = _place_rings(services, actual, capacity)
    put_slots, extents = _fill_rings(services, indexes, offsets, actual, ended or {}, {} if memo is None else memo)
    limits, put_limits = _place_limits(services, actual, capacity)
    rows = _wanted_rows(services, offsets, limits)
    put_services, clear_services = _place_vips(rows, actual, capacity, seed)
    put_networks, clear_networks = _networks(services, actual)
    changes: list[Change] = [*put_backends, *put_slots, *put_limits, *put_services, *put_networks]
    changes += [*clear_networks, *clear_services]
    changes += [ClearLimit(index) for index in sorted(actual.limits) if index not in limits.values()]
    changes += _free_slots(actual, extents)
    live = set(indexes.values())
    if memo:
        for gone in memo.keys() - {service.identity for service in services}:
            del memo[gone]
    changes += [ClearBackend(index) for index in sorted(actual.backends) if index not in live]
    return changes


# --- backends -----------------------------------------------------------------------------------------------


def _place_backends(
    services: Sequence[DesiredService], actual: Tables, capacity: Capacity
) -> tuple[dict[int, int], list[Change]]:
    """Give every reachable backend an index, its old one if it has one: identity -> index, and the writes."""
    known = {row.identity: index for index, row in actual.backends.items()}
    taken = actual.backends.keys() | set(actual.held)
    free = (index for index in range(1, capacity.backends) if index not in taken)
    indexes: dict[int, int] = {}
    changes: list[Change] = []
    for desired in (backend for service in services for backend in service.backends):
        index = known.get(desired.identity)
        if desired.row is None:
            if index is not None:  # unreachable for now: it keeps its index and its counters, but no flows
                indexes[desired.identity] = index
                if actual.backends[index].up:
                    changes.append(PutBackend(index, replace(actual.backends[index], up=False), fresh=False))
            continue
        fresh = index is None
        if index is None and (index := next(free, None)) is None:
            raise NoRoom(f"{capacity.backends} backends")
        indexes[desired.identity] = index
        have = actual.backends.get(index)
        if have is not desired.row and have != desired.row:
            changes.append(PutBackend(index, desired.row, fresh))
    return indexes, changes


# --- rings --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Extent:
    offset: int
    size: int


def _place_rings(services: Sequence[DesiredService], actual: Tables, capacity: Capacity) -> dict[int, int]:
    """Give every service its slots, the old ones if their number is right: identity -> offset."""
    known = {r.identity: _Extent(r.ring_offset, r.ring_size) for r in actual.services.values() if r.ring_size}
    taken = set(known.values())  # old extents are in use until the VIPs have moved away
    offsets: dict[int, int] = {}
    for service in services:
        extent = known.get(service.identity)
        if extent is None or extent.size != service.ring_size:
            extent = _first_fit(taken, service.ring_size, capacity.slots)
            taken.add(extent)
        offsets[service.identity] = extent.offset
    return offsets


def _first_fit(taken: set[_Extent], size: int, slots: int) -> _Extent:
    at = 0
    for extent in sorted(taken, key=lambda e: e.offset):
        if extent.offset - at >= size:
            break
        at = max(at, extent.offset + extent.size)
    if at + size > slots:
        raise NoRoom(f"{slots} slots")
    return _Extent(at, size)


def members_of(service: DesiredService) -> list[Member]:
    """Return a service's backends as its ring sees them: whatever keeps one from new flows counts as not up."""
    return [
        Member(
            key=f"{b.backend.name}\0{b.backend.address}",
            weight=b.backend.weight if b.member else 0,
            up=b.serves,
            share=b.share,
        )
        for b in service.backends
    ]


@dataclass(slots=True)
class RingMemo:
    """A ring as it was last written: what it was made of, its places, and which of its slots are not settled."""

    service: DesiredService
    extent: _Extent
    index_of: list[int]
    places: array[int]
    unsettled: set[int]


Rings = dict[int, RingMemo]  # by service


@dataclass(frozen=True, slots=True)
class Ended:
    """Slots (numbers in the table) of a service that may go on: from moving to moved, from moved to settled."""

    windows: Collection[int] = ()  # whose learn window is over
    flows: Collection[int] = ()  # of which no flow is remembered any more


def _fill_rings(
    services: Sequence[DesiredService],
    indexes: dict[int, int],
    offsets: dict[int, int],
    actual: Tables,
    ended: Mapping[int, Ended],
    memo: Rings,
) -> tuple[list[Change], set[range]]:
    """Return the slots to write, a change per service, and the extents in use; bring the memo up to date."""
    live = set(indexes.values())
    old = {r.identity: _Extent(r.ring_offset, r.ring_size) for r in actual.services.values() if r.ring_size}
    changes: list[Change] = []
    extents: set[range] = set()
    for service in services:
        offset = offsets[service.identity]
        extents.add(range(offset, offset + service.ring_size))
        new = _Extent(offset, service.ring_size)
        was, known = old.get(service.identity, new), memo.get(service.identity)
        due = ended.get(service.identity, _NOTHING)
        if known and known.extent == new == was and known.service is service and due is _NOTHING:
            continue
        places, order = build_ordered(members_of(service), service.ring_size, service.name)
        index_of = [indexes.get(service.backends[i].identity, NO_BACKEND) for i in order] + [NO_BACKEND]  # [-1]: none
        todo: Sequence[int] = range(service.ring_size)
        unsettled = set(known.unsettled) if known and known.extent == new else set[int]()
        if known and known.extent == new == was and known.index_of == index_of:
            todo = sorted(unsettled.union(_differences(known.places, places)))
        entries = {}
        before = actual.slots[was.offset : was.offset + was.size] if len(todo) > was.size // 4 else None
        for slot in todo:
            # Slots are picked by a hash's upper bits: a slot of a ring twice as large is half of one of the old.
            old_slot = slot * was.size // new.size
            have = before[old_slot] if before is not None else actual.slots[was.offset + old_slot]
            wanted = index_of[places[slot]]
            word = have if have == wanted else _next(have, wanted, live, service, due, was.offset + old_slot)
            if was != new or have != word:
                entries[offset + slot] = word
            if word >> 62:
                unsettled.add(slot)
            else:
                unsettled.discard(slot)
        if entries:
            changes.append(PutSlots(service.identity, entries))
        memo[service.identity] = RingMemo(service, new, index_of, places, unsettled)
    return changes, extents


def _differences(a: array[int], b: array[int], step: int = 512) -> Iterator[int]:
    """Yield where two arrays of one length differ; long equal stretches are passed at a glance."""
    for at in range(0, len(a), step):
        left, right = a[at : at + step], b[at : at + step]
        if left != right:
            yield from (at + n for n, (x, y) in enumerate(zip(left, right, strict=True)) if x != y)


_NOTHING = Ended()


def _next(have: int, backend: int, live: Collection[int], service: DesiredService, due: Ended, slot: int) -> int:
    """Return a slot's next word. While it moves, `previous` stays the oldest backend that it had, if that lives.

    Law: ../bpf/steer.h; with a learn window of 0, nothing is protected.
    """
    owner, previous, state = slot_parts(have)
    if not service.learn_window_s:
        return slot_word(backend)
    if owner != backend:
        oldest = previous if state == MOVING else owner
        if oldest not in live:
            oldest = NO_BACKEND
        if state == SETTLED and oldest == NO_BACKEND:  # nobody had it, or who had it is gone
            return slot_word(backend)
        return slot_word(backend, oldest, MOVING)
    if state == MOVED and slot in due.flows:
        return slot_word(backend)
    if state == MOVING and slot in due.windows:
        state = MOVED
    return slot_word(backend, previous if previous in live else NO_BACKEND, state)


def _free_slots(actual: Tables, extents: set[range]) -> list[Change]:
    """Empty the slots of rings that are no more: only then may their backends' indexes be given free."""
    changes: list[Change] = []
    for identity, offset, size in {
        (r.identity, r.ring_offset, r.ring_size) for r in actual.services.values() if r.ring_size
    }:
        extent = range(offset, offset + size)
        if extent not in extents and (entries := _in_use(actual, extent)):
            changes.append(PutSlots(identity, entries))
    return changes


def _in_use(actual: Tables, extent: range) -> dict[int, int]:
    words = actual.slots[extent.start : extent.stop]
    return {slot: NO_BACKEND for slot, word in zip(extent, words, strict=True) if word}


# --- limits -------------------------------------------------------------------------------------------------


def _place_limits(
    services: Sequence[DesiredService], actual: Tables, capacity: Capacity
) -> tuple[dict[int, int], list[Change]]:
    """Give every service with limits an index, its old one if it has one: identity -> index, and the writes."""
    known = {row.identity: index for index, row in actual.limits.items()}
    free = (index for index in range(capacity.limits) if index not in actual.limits)
    indexes: dict[int, int] = {}
    changes: list[Change] = []
    for row in (service.limit for service in services if service.limit):
        index = known.get(row.identity)
        if index is None and (index := next(free, None)) is None:
            raise NoRoom(f"{capacity.limits} limits")
        indexes[row.identity] = index
        if actual.limits.get(index) != row:
            changes.append(PutLimit(index, row))
    return indexes, changes


# --- VIPs ---------------------------------------------------------------------------------------------------


def _wanted_rows(
    services: Sequence[DesiredService], offsets: dict[int, int], limits: dict[int, int]
) -> dict[Key, ServiceRow]:
    """Return the rows of all VIPs and those that lead to them: of each address, and of ranges of ports."""
    rows: dict[Key, ServiceRow] = {}
    ranges: dict[Key, list[tuple[int, int]]] = {}
    for service in services:
        for vip in service.vips:
            address = hashing.vip_address(vip)
            top = (*address, hashing.key_word(0, 0, "ADDRESS"))
            rows.setdefault(top, ServiceRow(top))
            key = hashing.vip_key(vip)
            rows[key] = ServiceRow(
                key,
                offsets[service.identity],
                service.ring_size,
                service.identity,
                service.mtu,
                service.client4 if vip.address.version == 4 else service.client6,
                limits.get(service.identity),
                service.second_chance,
            )
            if vip.last_port:
                leads = (*address, hashing.key_word(0, vip.protocol.number, "RANGES"))
                ranges.setdefault(leads, []).append((vip.port, vip.last_port))
    return rows | {key: ServiceRow(key, ranges=tuple(sorted(found))) for key, found in ranges.items()}


def _networks(services: Sequence[DesiredService], actual: Tables) -> tuple[list[Change], list[Change]]:
    """Return the networks to write and those to clear."""
    wanted = {vip.network: hashing.network_word(vip) for service in services for vip in service.vips if vip.prefix}
    puts: list[Change] = [
        PutNetwork(network, word) for network, word in wanted.items() if actual.networks.get(network) != word
    ]
    return puts, [ClearNetwork(network) for network in actual.networks if network not in wanted]


def _place_vips(
    rows: dict[Key, ServiceRow], actual: Tables, capacity: Capacity, seed: int
) -> tuple[list[Change], list[Change]]:
    """Return the rows to write and the rows to clear; a VIP is never without a row in between."""
    numbers = {
        row.key: number
        for number, row in actual.services.items()
        if row.key in rows and number in hashing.key_rows(row.key, seed, capacity.rows_bits)
    }
    taken = {number: key for key, number in numbers.items()}
    for key in rows:
        if key not in numbers:
            _insert(key, numbers, taken, capacity, seed)
    puts: list[Change] = [
        PutService(numbers[key], rows[key])
        for key in _safe_order(rows, numbers, actual)
        if actual.services.get(numbers[key]) != rows[key]
    ]
    clears: list[Change] = [ClearService(n) for n in sorted(actual.services) if n not in taken]
    return puts, clears


def _safe_order(rows: dict[Key, ServiceRow], numbers: dict[Key, int], actual: Tables) -> list[Key]:
    """Order keys so that each has its new row before another takes its old one, and what leads to others is last."""
    order: dict[Key, None] = {}
    for key in sorted(rows, key=lambda key: bool(rows[key].ranges)):
        chain: list[Key] = []
        while key not in order:
            if key in chain:
                raise NoRoom("VIPs would have to change places")
            chain.append(key)
            old = actual.services.get(numbers[key])
            if old is None or old.key == key or old.key not in rows:
                break
            key = old.key
        order |= dict.fromkeys(reversed(chain))
    return list(order)


def _insert(key: Key, numbers: dict[Key, int], taken: dict[int, Key], capacity: Capacity, seed: int) -> None:
    """Place one key, pushing others to their other row (cuckoo hashing)."""
    pushed_from = -1
    for _ in range(64):
        first, second = hashing.key_rows(key, seed, capacity.rows_bits)
        number = next((n for n in (first, second) if n not in taken), None)
        if number is None:
            number = second if first == pushed_from else first
        pushed = taken.get(number)
        numbers[key], taken[number] = number, key
        if pushed is None:
            return
        key, pushed_from = pushed, number
    raise NoRoom("a VIP finds no row with this seed")
