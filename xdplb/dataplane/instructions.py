"""The instructions of a loaded program, as the compiler's process left them: to be loaded once more with other maps."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xdplb.dataplane.syscall import MapShape
from xdplb.errors import KernelError


@dataclass(frozen=True, slots=True)
class Function:
    """One function. `maps`: the numbers of its instructions that name a map."""

    instructions: bytes
    maps: Mapping[int, str]

    def with_maps(self, fds: Mapping[str, int]) -> bytes:
        """Return the instructions with these descriptors of its maps (`ld_imm64`, whose second word is the value's)."""
        code = bytearray(self.instructions)
        for number, name in self.maps.items():
            code[8 * number + 4 : 8 * number + 8] = fds[name].to_bytes(4, "little")
        return bytes(code)


@dataclass(frozen=True, slots=True)
class Code:
    """A whole program: its functions, and every map that they name."""

    functions: Mapping[str, Function]
    maps: Mapping[str, MapShape]
    frags: bool


def read_code(path: Path) -> Code:
    """Return what `loader.code_file` holds. FileNotFoundError: there is none; KernelError: it is not readable."""
    try:
        raw: Any = json.loads(path.read_text())
        functions = {name: _function(part) for name, part in raw["functions"].items()}
        return Code(functions, {name: MapShape(*shape) for name, shape in raw["maps"].items()}, raw["frags"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KernelError(f"{path} does not hold a program ({error!r}); remove it, it is made again") from None


def _function(raw: Any) -> Function:
    return Function(base64.b64decode(raw["instructions"]), {int(at): name for at, name in raw["maps"].items()})
