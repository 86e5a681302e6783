"""From what should be true and what lies in the tables to the changes between them, make before break.

Pure. What is right already is not written: after a restart there is nothing to do. Rows and indexes are found again by
identity, so a thing keeps its place as long as it lives. The order of the changes is the order in which they are
safe under traffic: backend rows before slots that name them, slots before VIPs that use them; then the same
backwards for what goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter

from xdplb import hashing
from xdplb.desired import DesiredBackend, DesiredService
from xdplb.differences import differences
from xdplb.hashing import Key
from xdplb.ring import QUICK
from xdplb.slots import NOTHING, Ended, Extent, RingMemo, due_slots, fill_ring, member, write_slots
from xdplb.tables import (
    NO_BACKEND,
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
)

FEW = 64  # backends that are followed one by one at once


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


@dataclass(slots=True)
class Memo:
    """What was written last, and where each thing lies. To be thrown away when it was not written after all."""

    services: Sequence[DesiredService] = ()
    indexes: dict[int, int] = field(default_factory=dict)  # of backends, by identity
    live: set[int] = field(default_factory=set)  # these indexes
    rings: dict[int, RingMemo] = field(default_factory=dict)  # by service's identity


def reconcile(
    services: Sequence[DesiredService],
    actual: Tables,
    capacity: Capacity,
    seed: int,
    ended: Mapping[int, Ended] | None = None,
    memo: Memo | None = None,
) -> list[Change]:
    """Return the changes that lead from `actual` to `services`, in the order to apply them. Raises NoRoom.

    `ended` says, by service, which slots may go on to their next state. With a memo, only what changed since it was
    made is looked at; it must be thrown away when the changes were not applied.
    """
    known, ended = memo or Memo(), ended or {}
    news = find_news(services, known)
    if news is not None:
        changes = follow(services, news, actual, ended, known)
        for number in news:
            known.rings[services[number].identity].ring.prepare()
        return changes
    indexes, put_backends = _place_backends(services, actual, capacity)
    offsets = _place_rings(services, actual, capacity)
    put_slots, rings = _fill_rings(services, indexes, offsets, actual, ended, known)
    limits, put_limits = _place_limits(services, actual, capacity)
    rows = _wanted_rows(services, offsets, limits)
    put_services, clear_services = _place_vips(rows, actual, capacity, seed)
    put_networks, clear_networks = _networks(services, actual)
    changes = [*put_backends, *put_slots, *put_limits, *put_services, *put_networks]
    changes += [*clear_networks, *clear_services]
    changes += [ClearLimit(index) for index in sorted(actual.limits) if index not in limits.values()]
    changes += _free_slots(actual, {ring.extent for ring in rings.values()})
    live = set(indexes.values())
    changes += [ClearBackend(index) for index in sorted(actual.backends) if index not in live]
    known.services, known.indexes, known.live, known.rings = services, indexes, live, rings
    if memo is not None:
        for ring in rings.values():
            ring.ring.prepare()
    return changes


# --- where only the states of backends changed --------------------------------------------------------------

_all_but_words = attrgetter(*(item.name for item in fields(DesiredBackend) if item.compare and item.name != "reason"))
_SHAPE = [item.name for item in fields(DesiredService) if item.name != "backends"]
News = dict[int, dict[int, DesiredBackend]]  # by a service's number, its backends that are others now, by theirs


def find_news(services: Sequence[DesiredService], memo: Memo) -> News | None:
    """Return which backends are others than was written last; None: there is more to change than they and their slots.

    What a check finds is never more than that.
    """
    if len(services) != len(memo.services) or not services:
        return None
    found: News = {}
    for number in differences(memo.services, services):
        before, now = memo.services[number], services[number]
        if any(getattr(before, name) != getattr(now, name) for name in _SHAPE):
            return None
        if len(before.backends) != len(now.backends):
            return None
        changed = {
            n: now.backends[n]
            for n in differences(before.backends, now.backends)
            if _all_but_words(before.backends[n]) != _all_but_words(now.backends[n])
        }
        if not all(_keeps_its_place(before.backends[n], backend, memo) for n, backend in changed.items()):
            return None
        if any(_mtu(before.backends[n]) != _mtu(b) for n, b in changed.items()) and before.mtu != now.mtu:
            return None
        if changed:
            found[number] = changed
    return found


def _keeps_its_place(before: DesiredBackend, now: DesiredBackend, memo: Memo) -> bool:
    """Whether a backend keeps its name, weight and place in the tables."""
    placed = now.row is None or now.identity in memo.indexes
    weight = member(before).weight == member(now).weight
    return placed and weight and before.identity == now.identity and before.backend == now.backend


def _mtu(backend: DesiredBackend) -> int | None:
    return backend.row.mtu if backend.row else None


def find_few_news(services: Sequence[DesiredService], ended: Mapping[int, Ended], memo: Memo) -> News | None:
    """Return the news when they can be followed in a few milliseconds, and None otherwise."""
    news = find_news(services, memo)
    if news is None or sum(map(len, news.values())) > FEW:
        return None
    if sum(len(due.windows) + len(due.flows) for due in ended.values()) > QUICK:
        return None
    for number, changed in news.items():
        ring = memo.rings[services[number].identity].ring
        if not ring.quick({n: member(b) for n, b in changed.items()}):
            return None
    return news


def follow(
    services: Sequence[DesiredService], news: News, actual: Tables, ended: Mapping[int, Ended], memo: Memo
) -> list[Change]:
    """Return the changes that these news make, and bring the memo up to date."""
    puts: list[Change] = []
    moved: dict[int, list[int]] = {}
    for number, changed in news.items():
        ring = memo.rings[services[number].identity]
        puts += [put for b in changed.values() if (put := _put_backend(b, memo.indexes.get(b.identity), actual))]
        moved[number] = list(ring.ring.change({n: member(b) for n, b in changed.items()}))
    due = [n for n, service in enumerate(services) if service.identity in ended] if ended else []
    for number in sorted({*news, *due}):
        service = services[number]
        ring, may = memo.rings[service.identity], ended.get(service.identity, NOTHING)
        slots = {*moved.get(number, ()), *(due_slots(ring, may) if may is not NOTHING else ())}
        if entries := write_slots(service, ring, slots, memo.live, actual, may):
            puts.append(PutSlots(service.identity, entries))
    memo.services = services
    return puts


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
        if index is None and desired.row is not None and (index := next(free, None)) is None:
            raise NoRoom(f"{capacity.backends} backends")
        if index is not None:
            indexes[desired.identity] = index
        if put := _put_backend(desired, index, actual):
            changes.append(put)
    return indexes, changes


def _put_backend(desired: DesiredBackend, index: int | None, actual: Tables) -> PutBackend | None:
    """Return how to write a backend's row, if it is not right."""
    if index is None:
        return None
    have, row = actual.backends.get(index), desired.row
    if row is None:  # unreachable for now: it keeps its index and its counters, but no flows
        return PutBackend(index, replace(have, up=False), fresh=False) if have and have.up else None
    return PutBackend(index, row, fresh=have is None) if have is not row and have != row else None


# --- rings --------------------------------------------------------------------------------------------------


def _place_rings(services: Sequence[DesiredService], actual: Tables, capacity: Capacity) -> dict[int, int]:
    """Give every service its slots, the old ones if their number is right: identity -> offset."""
    known = {r.identity: Extent(r.ring_offset, r.ring_size) for r in actual.services.values() if r.ring_size}
    taken = set(known.values())  # old extents are in use until the VIPs have moved away
    offsets: dict[int, int] = {}
    for service in services:
        extent = known.get(service.identity)
        if extent is None or extent.size != service.ring_size:
            extent = _first_fit(taken, service.ring_size, capacity.slots)
            taken.add(extent)
        offsets[service.identity] = extent.offset
    return offsets


def _first_fit(taken: set[Extent], size: int, slots: int) -> Extent:
    at = 0
    for extent in sorted(taken, key=lambda e: e.offset):
        if extent.offset - at >= size:
            break
        at = max(at, extent.offset + extent.size)
    if at + size > slots:
        raise NoRoom(f"{slots} slots")
    return Extent(at, size)


def _fill_rings(
    services: Sequence[DesiredService],
    indexes: dict[int, int],
    offsets: dict[int, int],
    actual: Tables,
    ended: Mapping[int, Ended],
    memo: Memo,
) -> tuple[list[Change], dict[int, RingMemo]]:
    """Return the slots to write, a change per service, and all rings as they are then."""
    live = set(indexes.values())
    old = {r.identity: Extent(r.ring_offset, r.ring_size) for r in actual.services.values() if r.ring_size}
    before = {service.identity: service for service in memo.services}
    changes: list[Change] = []
    rings: dict[int, RingMemo] = {}
    for service in services:
        extent = Extent(offsets[service.identity], service.ring_size)
        was, known = old.get(service.identity, extent), memo.rings.get(service.identity)
        due = ended.get(service.identity, NOTHING)
        if known and known.extent == extent == was and before.get(service.identity) is service and due is NOTHING:
            rings[service.identity] = known
            continue
        ring, entries = fill_ring(service, extent, was, indexes, live, actual, due, known)
        rings[service.identity] = ring
        if entries:
            changes.append(PutSlots(service.identity, entries))
    return changes, rings


def _free_slots(actual: Tables, extents: set[Extent]) -> list[Change]:
    """Empty the slots of rings that are no more: only then may their backends' indexes be given free."""
    changes: list[Change] = []
    for identity, offset, size in {
        (r.identity, r.ring_offset, r.ring_size) for r in actual.services.values() if r.ring_size
    }:
        extent = range(offset, offset + size)
        if Extent(offset, size) not in extents and (entries := _in_use(actual, extent)):
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
                service.passive,
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
