"""The compiler's own program: a request in, an answer out."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.rig.xdp import SPEC, Xdp
from xdplb.dataplane.kernel import request_for


def test_the_answer_describes_every_map(xdp: Xdp) -> None:
    request = request_for(SPEC)
    order = {
        "source": request.source,
        "function": request.function,
        "pin_dir": str(xdp.kernel.pinned.folder),
        "program": str(xdp.place.pins / "again"),
        "tail": request.tail,
        "tail_pin": str(xdp.place.pins / "again_tail"),
        "defines": {k: f"{v}ULL" if v > 2**32 else v for k, v in request.defines.items()},
    }
    done = subprocess.run(
        [sys.executable, "-m", "xdplb.dataplane.compile"], input=json.dumps(order), capture_output=True, text=True
    )
    assert done.stderr == ""
    maps = json.loads(done.stdout)["maps"]
    assert maps == xdp.kernel.pinned.maps
    assert {name for name, m in maps.items() if m["per_cpu"]} == {"traffic", "verdicts", "spared", "answers"}
    (xdp.place.pins / "again").unlink()
    (xdp.place.pins / "again_tail").unlink()


def test_a_daemon_does_not_carry_the_compiler() -> None:
    code = "import sys, xdplb.daemon, xdplb.admin.server; print('bcc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
