"""Make the pictures of `xdplb top` in docs/ from a fake daemon: two SVGs and a text.

Usage: python tools/capture_top.py [DIRECTORY]
"""

from __future__ import annotations

import io
import os
import re
import sys
import time
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from xdplb.tui.display import Display  # noqa: E402 - the path comes first
from xdplb.tui.fake_daemon import FakeDaemon, make_backend, make_service, small  # noqa: E402


def watch(daemon: FakeDaemon) -> Display:
    """Let 24 seconds pass in front of the screen; after 13 of them b2 goes down."""
    daemon.advance(93_784.0)  # it has been running for a while
    display = Display(daemon.status(), daemon.uptime_s, patience_s=3.0)
    for second in range(24):
        if second == 13:
            daemon.set_state("web", "b2", "down", "tcp 10.0.12.2:80 refused the connection")
        daemon.advance(1.0)
        daemon.services[0]["moving_slots"] = max(0, daemon.services[0]["moving_slots"] - 20)
        display.answer(daemon.status(), daemon.uptime_s)
    for event in daemon.events():
        display.happen(event)
    return display


def take_picture(display: Display, width: int, height: int) -> Console:
    """Return a console that has recorded one frame."""
    console = Console(
        record=True,
        width=width,
        height=height,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
    )
    console.print(display.frame(width, height, display.answered_at), soft_wrap=True)
    return console


def write_svg(console: Console, path: Path) -> None:
    """Write what was recorded, without the fonts that rich would have a browser load from elsewhere."""
    svg = console.export_svg(title="xdplb top")
    path.write_text(re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL))


def busy() -> FakeDaemon:
    """Return enough backends to fill a large screen: three behind web, 48 behind a UDP service."""
    daemon = small()
    resolvers = [make_backend(f"ns{n}", f"fd00:0:53::{n:x}", 50 if n % 4 else 200) for n in range(1, 49)]
    for one in resolvers:
        one["reason"] = f"tcp [{one['address']}]:53 connected in 0.3 ms"
    daemon.services.append(make_service("dns", ["192.0.2.53:53/udp", "[2001:db8::53]:53/udp"], resolvers))
    daemon.set_state("dns", "ns7", "draining", "an operator asked for no new flows")
    daemon.set_state("dns", "ns20", "unreachable", "fd00:0:53::14 does not answer neighbour discovery on eth1")
    return daemon


def main() -> None:
    """Write top-80x24.svg, top-200x60.svg and top.txt. Times of events are in UTC, on whatever machine."""
    os.environ["TZ"] = "UTC"
    time.tzset()
    docs = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs"
    narrow = take_picture(watch(small()), 80, 24)
    text = narrow.export_text(clear=False, styles=False)
    (docs / "top.txt").write_text("".join(f"{one.rstrip()}\n" for one in text.splitlines()))
    write_svg(narrow, docs / "top-80x24.svg")
    write_svg(take_picture(watch(busy()), 200, 60), docs / "top-200x60.svg")


if __name__ == "__main__":
    main()
