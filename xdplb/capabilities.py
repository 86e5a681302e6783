"""What this process may do (capabilities(7)), and what it must be able to: said at the start, by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from xdplb.errors import RefusedError

STATUS = Path("/proc/self/status")
UID_MAP = Path("/proc/self/uid_map")
_SYS_ADMIN = 21
_EVERYBODY = ["0", "0", "4294967295"]  # the first user namespace's map

# What may not be missing: without CAP_PERFMON the verifier takes a pointer's comparison for a leak. CAP_SYS_ADMIN
# includes CAP_BPF and CAP_PERFMON (capabilities(7)).
NEEDED = {"CAP_BPF": 39, "CAP_NET_ADMIN": 12, "CAP_PERFMON": 38}
_IN_SYS_ADMIN = {"CAP_BPF", "CAP_PERFMON"}


def missing(wanted: Mapping[str, int] = NEEDED) -> list[str]:
    """Return which of them this process does not have; in a user namespace it has none that counts for bpf(2)."""
    if UID_MAP.read_text().split() != _EVERYBODY:
        return [*wanted]
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", STATUS.read_text(), re.M)
    have = int(found[1], 16) if found else 0
    included = _IN_SYS_ADMIN if have >> _SYS_ADMIN & 1 else set()
    return [name for name, bit in wanted.items() if not have >> bit & 1 and name not in included]


def require(command: str) -> None:
    """Raise RefusedError when something that a command needs is missing."""
    if lacking := missing():
        fix = "start it as root, or from the unit in packaging/systemd"
        raise RefusedError(f"{command} lacks {', '.join(lacking)}, without which no XDP program is loaded; {fix}")
