"""Every key, and what the columns mean: on the screen by `?`, and in docs/top.md."""

from __future__ import annotations

import textwrap

KEYS = [
    ("up down, j k", "choose the line above, below; where none is chosen, scroll"),
    ("PgUp PgDn", "the same by a page"),
    ("Home End, g G", "first, last line"),
    ("Enter", "open what is chosen: its checks, slots, flows, rates"),
    ("Esc", "back; drop the filter or a question"),
    ("d u", "drain, undrain the chosen backend, once confirmed by y"),
    ("w", "change its weight, once confirmed by y"),
    ("e", "events: what happened, newest first"),
    ("v", "reasons: verdicts on packets that were not forwarded"),
    ("b", "guard: blocked, limited, spared"),
    ("t", "there: ask who sends most"),
    ("s S", "next, previous order of backends; also right, left"),
    ("r", "turn the order round"),
    ("/", "filter: Enter keeps, Esc drops"),
    ("p, space", "pause, go on; a recording stops meanwhile"),
    ("left right", "in a recording: 10 s back, on"),
    ("+ -", "in a recording: faster, slower"),
    ("Ctrl-L", "paint anew"),
    ("? h", "these keys"),
    ("q, Ctrl-C", "quit"),
]
COLUMNS = [
    (
        "share/weight",
        "share of the connections of the last 10 s (of the packets, if there are none) / the share that the weight "
        "asks for; yellow where chance does not explain the difference",
    ),
    ("pkt/s bit/s", "sent to the backend; bits as they came, without outer header"),
    ("conn/s", "TCP SYNs; always 0 for UDP"),
    ("history", "packets/s of the last answers, from 0 to the largest"),
    ("filter", "every word occurs in a backend's name, address or state, or in its service's name or VIPs"),
]


def help_lines(width: int) -> list[str]:
    """Return the text for a screen of this width."""
    lines: list[str] = []
    for name, what in [*KEYS, ("", ""), *COLUMNS]:
        lines += textwrap.wrap(what, max(40, width), initial_indent=f"  {name:17}", subsequent_indent=" " * 19) or [""]
    return lines
