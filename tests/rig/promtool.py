"""promtool, Prometheus' own checker, installed or in .cache (tools/setup)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tools.lab.stand import ROOT

PROMTOOL = shutil.which("promtool") or str(ROOT / ".cache/prometheus/promtool")


def promtool(*arguments: str | Path, text: str | None = None) -> str:
    """Run it; return what it says, in a failure of the test unless it is content."""
    argv = [PROMTOOL, *map(str, arguments)]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
