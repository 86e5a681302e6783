"""Which prefixes are blocked and which allowed, and the table in which the XDP program finds an address's longest one.

How the table's words lie stands in `bpf/prefix_maps.h`; only Python writes them. Over both lists together the longest
prefix decides; where the same prefix is on both, it is allowed. A change writes one node's run anew, into free room,
and what pointed at the old run then points at the new one, in one store: a packet meets the state before or after,
never between. The old run's room stays as it is until no packet can be reading it any more (`release`).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import NewType

from xdplb.errors import XdplbError
from xdplb.model import Address

# A prefix as one number: 0b100 (IPv4) or 0b110 (IPv6), and behind it the bits that it fixes. So the prefix around it
# is this one without its last bit, and a node's place in the trie is the prefix that all in it have in common.
Prefix = NewType("Prefix", int)

ROOTS = 2 << 16  # words of `prefix_roots`
GRACE_S = 1.0  # a packet is in the program for microseconds
_FAMILY_BITS = 3
_DIGIT = 16  # bits
_DIGITS = 1 << _DIGIT
_START = 48  # shift of a span's first digit
_VERDICT = 3
_RUN = (1 << 48) - 1 & ~_VERDICT  # what is below
_KIND, _PLAIN, _PACKED, _WORD = 3 << 46, 1 << 46, 2 << 46, 3 << 46
_REST = (1 << 38) - 1  # of a packed word, all but its first digit
_LOW = (1 << _START) - 1
# A node's prefixes lie as sorted numbers: first digit, length within the digit, verdict. So a prefix comes after all
# those around it, and "allowed" after "blocked".
_FIRST, _LENGTH = 7, 2  # shifts
_BELOW = 17 << _LENGTH  # the place of a node below: after every prefix that begins at its digit


class Verdict(IntEnum):
    """What a prefix says of the addresses that it covers."""

    NONE = 0
    BLOCKED = 1
    ALLOWED = 2


class NoRoom(XdplbError):
    """The table is too small for a change, so nothing of it was made."""


# --- text ---------------------------------------------------------------------------------------------------

_OCTETS = {str(n): n for n in range(256)}
_LENGTHS = {str(n): n for n in range(129)}
_HOST_BITS4 = [(1 << 32 - n) - 1 for n in range(33)]


def parse_prefix(text: str) -> Prefix:
    """Return the prefix that a text means, a bare address being one of full length. Raises ValueError."""
    address, slash, length = text.partition("/")
    try:
        a, b, c, d = address.split(".")
        value = _OCTETS[a] << 24 | _OCTETS[b] << 16 | _OCTETS[c] << 8 | _OCTETS[d]
        bits = _LENGTHS[length] if slash else 32
        if value & _HOST_BITS4[bits]:
            raise ValueError
    except (ValueError, KeyError, IndexError):
        return _parse_any(text)
    return Prefix((4 << 32 | value) >> 32 - bits)


def _parse_any(text: str) -> Prefix:
    """Parse either family, at leisure, and say what is wrong."""
    address, slash, length = text.partition("/")
    try:
        ip: Address = IPv6Address(address) if ":" in address else IPv4Address(address)
    except ValueError:
        raise ValueError(f"{text!r} is no address and no prefix, such as 192.0.2.0/24 or 2001:db8::/32") from None
    most = ip.max_prefixlen
    bits = _LENGTHS.get(length, most + 1) if slash else most
    if bits > most:
        raise ValueError(f"{text}: the length of an IPv{ip.version} prefix is a number from 0 to {most}")
    if isinstance(ip, IPv6Address):
        if ip.scope_id:
            raise ValueError(f"{text}: a prefix has no zone; leave out %{ip.scope_id}")
        if ip.ipv4_mapped and bits >= 96:
            four = int(ip.ipv4_mapped) >> 128 - bits << 128 - bits
            raise ValueError(f"{text} is IPv4-mapped; give {IPv4Address(four)}" + (f"/{bits - 96}" if slash else ""))
    prefix = Prefix((ip.version << most | int(ip)) >> most - bits)
    if int(ip) & (1 << most - bits) - 1:
        raise ValueError(f"{text} has host bits set; give {prefix_text(prefix)}")
    return prefix


def parse_list(lines: Iterable[str]) -> list[Prefix]:
    """Return the prefixes of a list, one a line; `#` and `;` begin a comment. Raises ValueError that names the line."""
    found: list[Prefix] = []
    number = 0
    try:
        for line in lines:
            number += 1
            if text := line.partition("#")[0].partition(";")[0].strip():
                found.append(parse_prefix(text))
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None
    return found


def prefix_text(prefix: Prefix) -> str:
    """Return the text of a prefix, always with its length."""
    length = prefix.bit_length() - _FAMILY_BITS
    if prefix >> length == 4:
        return f"{IPv4Address((prefix << 32 - length) - (4 << 32))}/{length}"
    return f"{IPv6Address((prefix << 128 - length) - (6 << 128))}/{length}"


# --- runs ---------------------------------------------------------------------------------------------------


def _locate(prefix: Prefix, verdict: Verdict) -> tuple[int, int]:
    """Return the node that a prefix lies in and its number there."""
    length = prefix.bit_length() - _FAMILY_BITS
    rest = length and (length - 1) % _DIGIT + 1
    return prefix >> rest, (prefix << _DIGIT - rest & _DIGITS - 1) << _FIRST | rest << _LENGTH | verdict


def _group(blocked: Iterable[Prefix], allowed: Iterable[Prefix]) -> dict[int, array[int]]:
    """Return the prefixes of each node; as `_locate`, for very many."""
    nodes: dict[int, list[int]] = {}
    for prefixes, verdict in ((blocked, 1), (allowed, 2)):
        for prefix in prefixes:
            length = prefix.bit_length() - _FAMILY_BITS
            rest = length and (length - 1) % _DIGIT + 1
            entry = (prefix << _DIGIT - rest & _DIGITS - 1) << _FIRST | rest << _LENGTH | verdict
            node = prefix >> rest
            if node in nodes:
                nodes[node].append(entry)
            else:
                nodes[node] = [entry]
    return {node: array("I", sorted(set(entries))) for node, entries in nodes.items()}


def _sweep(
    entries: Iterable[int], below: Mapping[int, int] | None = None, start: int = 0, end: int = _DIGITS, outer: int = 0
) -> list[int]:
    """Return the spans from digit `start` to `end` of a node with these prefixes, `outer` holding where none is.

    `below` has the runs of the nodes below, by digit.
    """
    at = {start: outer}  # what begins where; in order, since whatever is set later begins later or at the last place
    around = [(end, outer)]  # the prefixes that the sweep is in
    if below:
        entries = sorted([*entries, *(digit << _FIRST | _BELOW for digit in below)])
    for entry in entries:
        first, verdict = entry >> _FIRST, entry & _VERDICT
        while around[-1][0] <= first:
            to = around.pop()[0]
            at[to] = around[-1][1]
        if verdict:
            at[first] = verdict
            around.append((first + (_DIGITS >> (entry >> _LENGTH & 31)), verdict))
        else:
            at[first] = around[-1][1] | below[first]  # type: ignore[index]  # without them, all have a verdict
            at[first + 1] = around[-1][1]
    while len(around) > 1:
        to = around.pop()[0]
        at[to] = around[-1][1]
    at.pop(end, None)
    return _joined(digit << _START | low for digit, low in at.items())


def _joined(words: Iterable[int], last: int = -1) -> list[int]:
    """Return spans without those that say what the one before says; `last` is said before the first.

    A digit with something below stays a span of its own.
    """
    joined = []
    for word in words:
        if word & _LOW != last or word & _RUN:
            joined.append(word)
            last = word & _LOW
    return joined


def _spread(words: Sequence[int], end: int) -> list[int]:
    """Return what holds for each digit up to `end`."""
    ends = [word >> _START for word in words[1:]] + [end]
    return [word & _VERDICT for word, to in zip(words, ends, strict=True) for _ in range(to - (word >> _START))]


def _pack(spans: list[int]) -> list[int]:
    """Return the words of a packed run."""
    spans += spans[-1:] * (-len(spans) % 3)
    return [
        a & ~_LOW | a & 3 | b >> 26 & 0xFFFF << 22 | (b & 3) << 2 | c >> 42 & 0xFFFF << 6 | (c & 3) << 4
        for a, b, c in zip(spans[::3], spans[1::3], spans[2::3], strict=True)
    ]


def _unpack_verdict(word: int, digit: int) -> int:
    """Return what holds for a digit that lies in one of the three spans of a packed word."""
    later = (word >> 22 & _DIGITS - 1 <= digit) + (word >> 6 & _DIGITS - 1 <= digit)
    return word >> 2 * later & _VERDICT


def _within(entries: Sequence[int], start: int, length: int) -> tuple[Sequence[int], int]:
    """Return a node's prefixes inside one of its ranges, and what holds there by those around it."""
    outer = 0
    for shorter in range(length):
        size = _DIGITS >> shorter
        code = (start // size * size) << _FIRST | shorter << _LENGTH
        for verdict in (1, 2):
            at = bisect_left(entries, code | verdict)
            if at < len(entries) and entries[at] == code | verdict:
                outer = verdict
    first = bisect_left(entries, start << _FIRST | length << _LENGTH)
    return entries[first : bisect_left(entries, start + (_DIGITS >> length) << _FIRST)], outer


class Room:
    """Which of `size` words are free: an allocator that joins what is given back with its free neighbours."""

    def __init__(self, size: int, used: Iterable[tuple[int, int]] = ()) -> None:
        self.used = 0
        self._counts: dict[int, int] = {}  # of free words, by offset
        self._offsets: dict[int, int] = {}  # by where they end
        self._same: dict[int, dict[int, None]] = {}  # offsets by count
        self._next, self._size = 0, size  # all is free from `next` on
        for offset, count in sorted(used):
            if offset > self._next:
                self._add(self._next, offset - self._next)
            self._next = offset + count
            self.used += count

    def _add(self, offset: int, count: int) -> None:
        self._counts[offset] = count
        self._offsets[offset + count] = offset
        self._same.setdefault(count, {})[offset] = None

    def _drop(self, offset: int) -> int:
        count = self._counts.pop(offset)
        del self._offsets[offset + count]
        same = self._same[count]
        del same[offset]
        if not same:
            del self._same[count]
        return count

    def take(self, count: int) -> int:
        """Return the offset of `count` words, now in use. Raises NoRoom."""
        if count not in self._same and self._size - self._next >= count:
            offset = self._next
            self._next += count
        else:
            fits = count if count in self._same else min((c for c in self._same if c > count), default=0)
            if not fits:
                free = self._size - self.used
                raise NoRoom(
                    f"the prefix table is full: {count} words in a row wanted, {free} of {self._size} are free"
                )
            offset = next(iter(self._same[fits]))
            self._drop(offset)
            if fits > count:
                self._add(offset + count, fits - count)
        self.used += count
        return offset

    def give(self, offset: int, count: int) -> None:
        """Take `count` words back."""
        if not count:
            return
        self.used -= count
        if (before := self._offsets.get(offset)) is not None:
            count += self._drop(before)
            offset = before
        if offset + count in self._counts:
            count += self._drop(offset + count)
        if offset + count == self._next:
            self._next = offset
        else:
            self._add(offset, count)


def _bounds(run: int) -> tuple[int, int]:
    """Return (offset, count) of the run below, as it stands in a word; the count is 0 when there is none."""
    if run & _KIND in (0, _WORD):
        return 0, 0
    return run >> 2 & (1 << 28) - 1, (run >> 30 & (1 << 16) - 1) + 1


def _depth(node: int) -> int:
    """Return how many digits lead to a node."""
    return (node.bit_length() - _FAMILY_BITS) // _DIGIT


def _root(family: int) -> int:
    """Return where the first digits of a family begin."""
    return 0 if family == 4 else _DIGITS


def _first_index(node: int) -> int:
    """Return where the word of a node's first digit lies in the roots."""
    shift = (_depth(node) - 1) * _DIGIT
    return _root(node >> shift + _DIGIT) + (node >> shift & _DIGITS - 1)


_EMPTY = memoryview(array("Q", [0]))  # the spans of a node that is not there
_NONE: array[int] = array("I")


def words_needed(four: int, six: int) -> int:
    """Return how many words `prefix_spans` wants for lists of so many IPv4 and IPv6 prefixes.

    IPv4 takes one word a prefix at the most, 0.6 in a list of a million; IPv6 took 1.8 in a list like today's routes
    (/29 to /64), and 18 if nothing but single addresses far apart are on it. Twice that, since a list that replaces
    another lies beside it at first; and some room for what is replaced between two releases.
    """
    return 2 * (four + 3 * six) + 2 * _DIGITS


class Prefixes:
    """The lists and their table, in the words of `prefix_roots` and `prefix_spans`."""

    def __init__(self, roots: memoryview, spans: memoryview) -> None:
        """Take over two arrays of 64-bit words (format "Q") as they are; `load` then says what is in them."""
        self._roots, self._spans = roots, spans
        self._entries: dict[int, array[int]] = {}  # of each node
        self._room = Room(len(spans), (_bounds(run) for _, run in self._walk()))
        self._taken: list[int] = []  # runs of the change that is being made, not seen by packets yet
        self._replaced: list[int] = []  # runs that packets may still be in
        self._waiting: list[tuple[float, list[int]]] = []  # the same, and since when

    def __len__(self) -> int:
        """Return how many prefixes are on the lists; one that is on both counts twice."""
        return sum(map(len, self._entries.values()))

    @property
    def words_used(self) -> int:
        """How many words of `prefix_spans` are in use or not yet released."""
        return self._room.used

    # --- changes ---

    def put(self, prefix: Prefix, verdict: Verdict) -> None:
        """Add a prefix to one of the lists. Raises NoRoom, and then nothing has changed."""
        node, entry = _locate(prefix, verdict)
        entries = self._entries.setdefault(node, array("I"))
        at = bisect_left(entries, entry)
        if at == len(entries) or entries[at] != entry:
            entries.insert(at, entry)
            try:
                self._renew(node, entry)
            except NoRoom:
                self._forget(node, at)
                raise

    def remove(self, prefix: Prefix, verdict: Verdict) -> None:
        """Take a prefix off one of the lists, if it is there. Raises NoRoom, and then nothing has changed."""
        node, entry = _locate(prefix, verdict)
        entries = self._entries.get(node, _NONE)
        at = bisect_left(entries, entry)
        if at < len(entries) and entries[at] == entry:
            self._forget(node, at)
            try:
                self._renew(node, entry)
            except NoRoom:
                self._entries.setdefault(node, array("I")).insert(at, entry)
                raise

    def load(self, blocked: Iterable[Prefix], allowed: Iterable[Prefix]) -> None:
        """Make the lists these; runs that are right already are left alone. Raises NoRoom: nothing has changed."""
        entries, old = _group(blocked, allowed), dict(self._walk())
        nodes: list[set[int]] = [set() for _ in range(8)]  # by depth
        for node in entries:
            nodes[_depth(node)].add(node)
        below: dict[int, dict[int, int]] = {}  # runs, by node above and digit
        try:
            for depth in range(7, 0, -1):
                for node in nodes[depth]:
                    run = self._rewrite(entries.get(node, _NONE), below.pop(node, {}), old.get(node, 0))
                    if old.get(node) == run:
                        del old[node]
                    below.setdefault(node >> _DIGIT, {})[node & _DIGITS - 1] = run
                    nodes[depth - 1].add(node >> _DIGIT)
        except NoRoom:
            self._undo()
            raise
        self._entries = entries
        for family in (4, 6):
            words_wanted = _spread(_sweep(entries.get(family, ())), _DIGITS)
            for digit, run in below.get(family, {}).items():
                words_wanted[digit] |= run
            self._store_roots(family, 0, words_wanted)
        self._settle(old.values())

    def release(self, now_s: float) -> None:
        """Give free the runs that were replaced before a call that lies GRACE_S back; to be called now and then.

        `now_s` is of any clock that only goes forward.
        """
        if self._replaced:
            self._waiting.append((now_s, self._replaced))
            self._replaced = []
        while self._waiting and self._waiting[0][0] + GRACE_S <= now_s:
            for run in self._waiting.pop(0)[1]:
                self._room.give(*_bounds(run))

    def _forget(self, node: int, at: int) -> None:
        del self._entries[node][at]
        if not self._entries[node]:
            del self._entries[node]

    def _renew(self, node: int, entry: int) -> None:
        """Write anew what a prefix of a node covers, and what has to change above."""
        start, length = entry >> _FIRST, entry >> _LENGTH & 31
        if not _depth(node):
            entries, outer = _within(self._entries.get(node, _NONE), start, length)
            end = start + (_DIGITS >> length)
            verdicts = _spread(_sweep(entries, None, start, end, outer), end)
            runs = self._roots[_root(node) + start : _root(node) + end]
            self._store_roots(
                node, start, [word & _RUN | verdict for word, verdict in zip(runs, verdicts, strict=True)]
            )
            return
        way, replaced, below = self._way(node), list[int](), dict[int, int]()
        try:
            for depth in range(_depth(node), 0, -1):
                memory, index = way[depth - 1] if depth <= len(way) else (_EMPTY, 0)
                run = memory[index] & _RUN
                new = self._edit(node, run, start, length, below)
                if new == run:
                    return
                replaced += [run] if run else []
                if depth == 1 or (run and new):
                    memory[index] = memory[index] & ~_RUN | new  # from here on, packets see it
                    break
                node, start, length, below = node >> _DIGIT, node & _DIGITS - 1, _DIGIT, {node & _DIGITS - 1: new}
        except NoRoom:
            self._undo()
            raise
        self._settle(replaced)

    def _edit(self, node: int, run: int, start: int, length: int, below: dict[int, int]) -> int:
        """Return a run that differs from `run` by what now holds from `start` on, for a prefix of this length.

        `below` has the run below one digit, where it has changed. A node in which nothing holds has the run 0.
        """
        entries: Sequence[int] = self._entries.get(node, _NONE)
        offset, count = _bounds(run)
        old, end = self._spans[offset : offset + count], start + (_DIGITS >> length)
        if run & _KIND != _PLAIN:
            return self._rewrite(entries, below, run)
        if not any(below.values()) and not any(below.get(word >> _START, word & _RUN) for word in old):
            return self._rewrite(entries, {}, run)
        first = bisect_left(old, start << _START)
        behind = bisect_left(old, end << _START, first)
        runs = {word >> _START: word & _RUN for word in old[first:behind] if word & _RUN} | below
        entries, outer = _within(entries, start, length)
        words = _sweep(entries, {digit: found for digit, found in runs.items() if found}, start, end, outer)
        if end < _DIGITS:  # the span behind, which may have to begin here, or no longer
            begins = behind < len(old) and old[behind] >> _START == end
            words.append(old[behind] if begins else end << _START | old[behind - 1] & _VERDICT)
            behind += begins
        middle = array("Q", _joined(words, old[first - 1] & _LOW if first else -1))
        return run if old[first:behind] == middle else self._write(_PLAIN, old[:first], middle, old[behind:])

    def _rewrite(self, entries: Sequence[int], below: Mapping[int, int], run: int) -> int:
        """Return a run for a whole node: `run` if it is right already."""
        if not entries and not below:
            return 0
        words = _sweep(entries, below) if below else _pack(_sweep(entries))
        if len(words) == 1 and not below:
            return _WORD | (words[0] & _REST) << 2
        new, kind = array("Q", words), _PLAIN if below else _PACKED
        offset, count = _bounds(run)
        if run & _KIND == kind and self._spans[offset : offset + count] == new:
            return run
        return self._write(kind, new)

    def _write(self, kind: int, *parts: array[int] | memoryview) -> int:
        """Write a run into free room. Raises NoRoom."""
        count = sum(map(len, parts))
        at = offset = self._room.take(count)
        for part in parts:
            self._spans[at : at + len(part)] = part
            at += len(part)
        self._taken.append(run := kind | count - 1 << 30 | offset << 2)
        return run

    def _settle(self, replaced: Iterable[int]) -> None:
        """Close a change that packets see."""
        self._taken = []
        self._replaced += replaced

    def _undo(self) -> None:
        """Give back what a change took that no packet has seen."""
        for run in self._taken:
            self._room.give(*_bounds(run))
        self._taken = []

    def _store_roots(self, family: int, start: int, wanted: Sequence[int]) -> None:
        """Store the words of the first digits from `start` on that are not as wanted."""
        start += _root(family)
        for index, (now, word) in enumerate(zip(self._roots[start:], wanted, strict=False), start):
            if now != word:
                self._roots[index] = word

    # --- reading ---

    def find(self, address: Address) -> Verdict:
        """Look an address up in the table, as the XDP program does."""
        node = address.version << address.max_prefixlen | int(address)
        depth = _depth(node)
        word = self._roots[_first_index(node)]
        verdict = word & _VERDICT
        for shift in range((depth - 2) * _DIGIT, -1, -_DIGIT):
            digit, kind = node >> shift & _DIGITS - 1, word & _KIND
            if kind == _WORD:
                return Verdict(_unpack_verdict(word >> 2, digit) or verdict)
            if not kind:
                break
            word = self._spans[self._search(word, digit)]
            if kind == _PACKED:
                return Verdict(_unpack_verdict(word, digit) or verdict)
            verdict = word & _VERDICT or verdict
        return Verdict(verdict)

    def _way(self, node: int) -> list[tuple[memoryview, int]]:
        """Return where the words lie, as (array, index), that lead to a node, as far as the table goes."""
        way = [(self._roots, _first_index(node))]
        for shift in range((_depth(node) - 2) * _DIGIT, -1, -_DIGIT):
            memory, index = way[-1]
            word = memory[index]
            if word & _KIND != _PLAIN:
                break
            way.append((self._spans, self._search(word, node >> shift & _DIGITS - 1)))
        return way

    def _search(self, word: int, digit: int) -> int:
        """Return where the last word of the run below lies that begins at this digit or before."""
        offset, count = _bounds(word)
        return bisect_left(self._spans, digit + 1 << _START, offset, offset + count) - 1

    def _walk(self) -> Iterator[tuple[int, int]]:
        """Yield every node of the table and its run."""
        for family in (4, 6):
            first = _root(family)
            words = self._roots[first : first + _DIGITS].tolist()
            found = [(family << _DIGIT | digit, word & _RUN) for digit, word in enumerate(words) if word & _RUN]
            while found:
                node, run = found.pop()
                yield node, run
                if run & _KIND == _PLAIN:
                    offset, count = _bounds(run)
                    below = [word for word in self._spans[offset : offset + count].tolist() if word & _RUN]
                    found += [(node << _DIGIT | word >> _START, word & _RUN) for word in below]
