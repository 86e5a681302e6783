"""Check the units of `packaging/systemd` as systemd reads them: `python -m tools.systemd_check` (`make systemd-check`).

Prints what `systemd-analyze verify` has to say, and each service's exposure by `systemd-analyze security`: 0 is a
service that may do nothing, 10 one that may do everything.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

UNITS = Path(__file__).resolve().parent.parent / "packaging/systemd"
PROGRAM = "/opt/xdplb/bin/xdplb"


def copy_units(folder: Path) -> list[Path]:
    """Copy all units, with a program that is there on every machine; an instance of each template."""
    found = []
    for unit in sorted(UNITS.iterdir()):
        copy = folder / unit.name.replace("@.", "@edge.")
        copy.write_text(unit.read_text().replace(PROGRAM, sys.executable))
        found.append(copy)
    return found


def verify(units: list[Path]) -> str:
    """Return what systemd finds wrong with them."""
    argv = ["systemd-analyze", "verify", "--man=no", *map(str, units)]
    done = subprocess.run(argv, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip() or ("" if done.returncode == 0 else f"exit status {done.returncode}")


def exposure(unit: Path) -> float:
    """Return how much a service may do."""
    argv = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)]
    done = subprocess.run(argv, capture_output=True, text=True)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    if not found:
        raise RuntimeError(done.stdout + done.stderr)
    return float(found[1])


def main() -> int:
    """Print all of it; exit status 1 when something is wrong."""
    if not shutil.which("systemd-analyze"):
        print("there is no systemd-analyze here: install systemd", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        units = copy_units(Path(folder))
        problems = verify(units)
        print(problems or f"verify: {', '.join(unit.name for unit in units)}: nothing is wrong")
        for unit in units:
            if unit.suffix == ".service":
                print(f"exposure of {unit.name}: {exposure(unit):g} of 10")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
