"""The block and allow lists: from the configuration, its files and what operators changed to the kernel's table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xdplb.errors import ConfigError
from xdplb.model import Address, Guard
from xdplb.prefixes import Prefix, Prefixes, Verdict, parse_list, parse_prefix, prefix_text, words_needed

VERDICTS = {"block": Verdict.BLOCKED, "allow": Verdict.ALLOWED}


@dataclass(slots=True)
class Lists:
    """Both lists as they should be."""

    blocked: set[Prefix] = field(default_factory=set)
    allowed: set[Prefix] = field(default_factory=set)
    six: int = field(init=False)  # of both, how many are of IPv6

    def __post_init__(self) -> None:
        self.six = sum(map(prefix_is_6, self.blocked)) + sum(map(prefix_is_6, self.allowed))

    def __len__(self) -> int:
        """Return how many prefixes are on the lists."""
        return len(self.blocked) + len(self.allowed)

    def put(self, prefix: Prefix, verdict: str | None) -> None:
        """Have a prefix on one list alone; None: on neither."""
        before = len(self)
        self.blocked.discard(prefix)
        self.allowed.discard(prefix)
        if verdict == "block":
            self.blocked.add(prefix)
        elif verdict == "allow":
            self.allowed.add(prefix)
        if prefix_is_6(prefix):
            self.six += len(self) - before

    def put_all(self, changes: Mapping[str, str | None]) -> None:
        """Have all these prefixes where operators put them."""
        for text, verdict in changes.items():
            self.put(parse_prefix(text), verdict)

    def said(self, changes: Mapping[str, str | None]) -> frozenset[str]:
        """Return which of these changes make no difference to the lists."""
        found = ((text, verdict, parse_prefix(text)) for text, verdict in changes.items())
        is_on = {"block": (True, False), "allow": (False, True), None: (False, False)}
        return frozenset(
            text for text, to, prefix in found if (prefix in self.blocked, prefix in self.allowed) == is_on[to]
        )

    def longest(self, address: Address) -> tuple[str, str] | None:
        """Return the longest prefix that covers an address, and its list; None: there is none."""
        prefix = parse_prefix(str(address))
        while prefix.bit_length() > 2:
            for among, verdict in ((self.allowed, "allow"), (self.blocked, "block")):
                if prefix in among:
                    return prefix_text(prefix), verdict
            prefix = Prefix(prefix >> 1)
        return None

    def words(self, least: int = 0) -> int:
        """Return how much room they want in the kernel, and room for `least` prefixes in all; 0: they are empty."""
        if not len(self) and not least:
            return 0
        return words_needed(max(len(self) - self.six, least), self.six)


def prefix_is_6(prefix: Prefix) -> bool:
    """Whether a prefix is of IPv6: its first three bits say (see `Prefix`)."""
    return prefix >> prefix.bit_length() - 3 == 6


def read_lists(guard: Guard, changes: Mapping[str, str | None], folder: Path) -> Lists:
    """Return the lists of a configuration as operators changed them. Files are sought from `folder`.

    Raises ConfigError, which names the file and line.
    """
    lists = read_files(guard, folder)
    lists.put_all(changes)
    check_room(guard, lists)
    return lists


def read_files(guard: Guard, folder: Path) -> Lists:
    """Return the lists of a configuration as it says them. Raises ConfigError, which names the file and line."""
    return Lists(
        _read("guard.block", guard.block, guard.block_file, folder),
        _read("guard.allow", guard.allow, guard.allow_file, folder),
    )


def check_room(guard: Guard, lists: Lists) -> None:
    """Raise ConfigError when the lists hold more than is allowed."""
    most = guard.max_prefixes
    if most and len(lists) > most:
        raise ConfigError("guard.max_prefixes", f"{most} is less than the lists hold", f"give {len(lists)} or more")


def _read(key: str, inline: Iterable[str], file: str | None, folder: Path) -> set[Prefix]:
    found = set()
    try:
        found.update(parse_list(inline))
    except ValueError as error:
        raise ConfigError(key, str(error).replace("line", "entry", 1), "give prefixes such as 192.0.2.0/24") from None
    if file is not None:
        path = folder / file
        try:
            with path.open(encoding="utf-8") as lines:
                found.update(parse_list(lines))
        except ValueError as error:
            raise ConfigError(f"{key}_file", f"{path}: {error}", "one prefix a line, # begins a comment") from None
        except OSError as error:
            raise ConfigError(f"{key}_file", f"{path} cannot be read ({error.strerror})", "give a text file") from None
    return found


def parse_change(key: str, text: str) -> str:
    """Return a prefix as it is kept. Raises ConfigError."""
    try:
        return prefix_text(parse_prefix(text))
    except ValueError as error:
        raise ConfigError(key, str(error), "give a prefix such as 192.0.2.0/24") from None


def change_table(table: Prefixes, text: str, verdict: str | None) -> None:
    """Have a prefix on one list of the kernel's table alone; None: on neither. Raises prefixes.NoRoom."""
    prefix = parse_prefix(text)
    if verdict is not None:
        table.put(prefix, VERDICTS[verdict])
    for name, other in VERDICTS.items():
        if name != verdict:
            table.remove(prefix, other)
