"""How an entry of the BPF sources becomes the single text that BCC compiles.

BCC rewrites map accesses only in the text that it is handed, not in files that the compiler includes; so our own
`#include "x.h"` are expanded here, each file once, with `#line` marks so that errors name the right place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from xdplb.contract import BPF_DIR

__all__ = ["BPF_DIR", "fingerprint", "join"]


def join(path: Path, seen: set[Path] | None = None) -> str:
    """Return the text of `path` with our own headers expanded, each at its first mention."""
    seen = set() if seen is None else seen
    seen.add(path)
    out = [f'#line 1 "{path.name}"\n']
    for number, line in enumerate(path.read_text().splitlines(keepends=True), 1):
        include = re.match(r'#include "(.+)"', line)
        if include is None:
            out.append("\n" if line.startswith("#pragma once") else line)
        elif (header := path.parent / include[1]) not in seen:
            out += [join(header, seen), f'#line {number + 1} "{path.name}"\n']
        else:
            out.append("\n")
    return "".join(out)


def fingerprint(text: str, defines: Mapping[str, int]) -> str:
    """Name a text and its constants in 16 hexadecimal digits: what is equal here compiles to equal code."""
    constants = "".join(f"{key}={value}\n" for key, value in sorted(defines.items()))
    return hashlib.blake2b((text + constants).encode(), digest_size=8).hexdigest()
