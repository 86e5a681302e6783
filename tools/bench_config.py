"""Import and validation times of msgspec and pydantic, for the choice in docs/dependencies.md.

`python -m tools.bench_config`; pydantic is installed only for this (`pip install pydantic`).
"""

from __future__ import annotations

import subprocess
import sys

IMPORT = "import time; t = time.perf_counter(); from {0} import {1}; print((time.perf_counter() - t) * 1e3)"
BASES = {"msgspec": "Struct", "pydantic": "BaseModel"}  # pydantic imports its parts when they are first used
VALIDATE = {
    "msgspec": """
import msgspec, time
class Backend(msgspec.Struct, forbid_unknown_fields=True):
    address: str
    name: str | None = None
    weight: int = 100
class File(msgspec.Struct, forbid_unknown_fields=True):
    backends: list[Backend]
read = lambda raw: msgspec.convert(raw, File)
""",
    "pydantic": """
import pydantic, time
class Backend(pydantic.BaseModel, extra="forbid", frozen=True):
    address: str
    name: str | None = None
    weight: int = 100
class File(pydantic.BaseModel, extra="forbid"):
    backends: list[Backend]
read = File.model_validate
""",
}
MEASURE = """
raw = {"backends": [{"address": f"10.0.{n >> 8}.{n & 255}", "name": f"b{n}", "weight": 10} for n in range(1000)]}
best = 1e9
for _ in range(50):
    t = time.perf_counter()
    read(raw)
    best = min(best, time.perf_counter() - t)
print(best * 1e3)
"""


def run(code: str, times: int) -> float:
    """Return the least of what several new processes print."""
    outputs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True) for _ in range(times)]
    return min(float(output.stdout) for output in outputs)


if __name__ == "__main__":
    for library, declare in VALIDATE.items():
        print(f"{library:9} import {run(IMPORT.format(library, BASES[library]), 7):6.1f} ms, 1,000 backends ", end="")
        print(f"{run(declare + MEASURE, 3):6.3f} ms")
