"""What somebody asks to have explained, as JSON says it: frames in hexadecimal, or fields that make one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xdplb.errors import ConfigError
from xdplb.explain.making import make_frame, parse_hex, parse_wish

MOST_FRAMES = 1000  # of one question
FIELDS = ("src", "dst", "proto", "flags", "length")
KNOWN = ("hex", "frames", "in", *FIELDS)


@dataclass(frozen=True, slots=True)
class Question:
    """Frames, and by which interface they come in; None: the first one that the program is attached to."""

    frames: tuple[bytes, ...]
    interface: str | None


def parse_question(body: Mapping[str, Any]) -> Question:
    """Return the question of a body. Raises ConfigError."""
    if unknown := sorted(set(body) - set(KNOWN)):
        raise ConfigError(unknown[0], "unknown key", f"known here: {', '.join(KNOWN)}")
    ways = [name for name in ("hex", "frames", "src") if body.get(name) is not None]
    if len(ways) != 1:
        said = f"are given {' and '.join(ways)}" if ways else "is missing"
        raise ConfigError("packet", said, 'give one of "hex", "frames", or "src" and "dst"')
    if ways != ["src"] and (extra := [name for name in FIELDS if body.get(name) is not None]):
        raise ConfigError(extra[0], f"makes no sense with {ways[0]}", "give whole frames, or what to make one of")
    frames = _frames(body) if ways != ["src"] else (_frame(body),)
    return Question(frames, _text(body, "in"))


def _frames(body: Mapping[str, Any]) -> tuple[bytes, ...]:
    if body.get("hex") is not None:
        return (parse_hex(_text(body, "hex") or ""),)
    frames = body["frames"]
    if not isinstance(frames, list) or not all(isinstance(frame, str) for frame in frames):
        raise ConfigError("frames", "is no list of texts", "give frames in hexadecimal")
    if not 0 < len(frames) <= MOST_FRAMES:
        raise ConfigError("frames", f"are {len(frames)}", f"give 1 to {MOST_FRAMES} at a time")
    return tuple(parse_hex(frame) for frame in frames)


def _frame(body: Mapping[str, Any]) -> bytes:
    source, destination = _text(body, "src"), _text(body, "dst")
    if source is None or destination is None:
        raise ConfigError("dst", "is missing", 'give where to, as "192.0.2.10:80"')
    length = body.get("length")
    if length is not None and (not isinstance(length, int) or isinstance(length, bool)):
        raise ConfigError("length", f"{length!r} is no whole number", "give bytes of the IP packet")
    wish = parse_wish(source, destination, _text(body, "proto") or "tcp", _text(body, "flags"), length)
    return make_frame(wish)


def _text(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise ConfigError(name, f"{value!r} is no text", "give it in quotes")
    return value
