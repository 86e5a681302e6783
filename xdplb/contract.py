"""Where the BPF sources are, and the constants that they and Python both know, read from the headers that say so."""

from __future__ import annotations

import os
import re
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
# In a wheel the sources travel inside the package; in a checkout they are beside it. The variable is for those who
# work on the sources.
_PLACES = (os.environ.get("XDPLB_BPF_DIR"), _PACKAGE / "bpf", _PACKAGE.parent / "bpf")
BPF_DIR = next(Path(place) for place in _PLACES if place and Path(place).is_dir())


def read_constants(text: str) -> dict[str, int]:
    """Return every `#define NAME number` of a header."""
    return {name: int(number) for name, number in re.findall(r"^#define (\w+) (\d+)\b", text, re.M)}


CONTRACTS = ("backend.h", "maps.h", "probe_maps.h", "trace_maps.h")
CONSTANTS = read_constants("".join((BPF_DIR / header).read_text() for header in CONTRACTS))
