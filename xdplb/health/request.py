"""What an HTTP check asks, and which answers pass: the same for both versions of HTTP. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from xdplb import __version__
from xdplb.health.expect import found
from xdplb.health.kinds import Http

MOST_BYTES = 65536  # of a body that are looked at
MOST_PADDING = 4000  # in one header: servers refuse lines of 8 KiB
PADDING = "X-Padding"
USER_AGENT = f"xdplb/{__version__}"

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's status and, as far as it was read, its body."""

    status: int
    body: bytes = b""


def headers_of(wanted: Http, host: str) -> Headers:
    """Return the request's headers, Host first: ours, unless the check has its own."""
    own = {name.lower(): value for name, value in wanted.headers}
    first = ("Host", own.get("host", wanted.host or host))
    agent = () if "user-agent" in own else (("User-Agent", USER_AGENT),)
    return (first, *agent, *((name, value) for name, value in wanted.headers if name.lower() != "host"))


def padding(missing_bytes: int) -> Headers:
    """Return headers that are at least so long.

    X is one of the few letters that HPACK's Huffman code writes in whole eight bits (RFC 7541, appendix B).
    """
    if missing_bytes <= 0:
        return ()
    line = len(f"{PADDING}: \r\n")
    headers: list[tuple[str, str]] = []
    while missing_bytes > 0:
        length = min(max(missing_bytes - line, 1), MOST_PADDING)
        headers.append((PADDING, "X" * length))
        missing_bytes -= length + line
    return tuple(headers)


def fault(wanted: Http, answer: Answer) -> str:
    """Return why an answer does not pass, "" if it does. Raises ProbeFailed when that takes too long to say."""
    if not any(first <= answer.status <= last for first, last in wanted.status):
        ranges = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in wanted.status)
        return f"answered {answer.status}, not {ranges}"
    if wanted.body is None or found(wanted.body, answer.body.decode(errors="replace")):
        return ""
    first_bytes = "first " if len(answer.body) == MOST_BYTES else ""
    return f"{wanted.body!r} is not in the {first_bytes}{len(answer.body)} bytes of the body: {answer.body[:60]!r}"
