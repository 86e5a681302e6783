"""What a refresh of the live screen costs: `python -m tools.bench_top [BACKENDS]`, 1,000 if not given.

CPU time of this process for reading a status, computing rates and drawing a frame, per refresh; at one
refresh a second a millisecond is a tenth of a percent of a core.
"""

from __future__ import annotations

import gc
import json
import sys
import time

from xdplb.tui.display import Display
from xdplb.tui.fake_daemon import large


def main() -> None:
    """Print a line for each size of terminal."""
    gc.set_threshold(100_000, 50, 100)  # as `xdplb top` does
    for width, height in ((80, 24), (200, 60)):
        daemon = large(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
        display, costs = Display(daemon.status(), 0.0, patience_s=3.0), []
        for second in range(1, 21):
            daemon.advance(1.0)
            sent = json.dumps(daemon.status())
            began = time.process_time()
            display.answer(json.loads(sent), float(second))
            display.frame(width, height, float(second))
            costs.append(time.process_time() - began)
        print(
            f"{width} x {height}: {min(costs) * 1e3:.1f} ms at best, {sum(costs) / len(costs) * 1e3:.1f} ms on average"
        )


if __name__ == "__main__":
    main()
