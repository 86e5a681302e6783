"""What a terminal sends, as names of keys.

A key that prints is named by its character. Others have a word: "up", "page_down", "enter", "escape",
"ctrl_l". Sequences that we have no word for are swallowed whole, so that their letters do not become keys.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ESCAPE = "\x1b"
# ECMA-48 section 5.4: CSI, parameters, intermediates, one final byte; and SS3 with one letter (xterm's
# ctlseqs, "PC-Style Function Keys").
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[ -~])")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?\Z")
_WORDS = {
    "\x1b[A": "up", "\x1bOA": "up",
    "\x1b[B": "down", "\x1bOB": "down",
    "\x1b[C": "right", "\x1bOC": "right",
    "\x1b[D": "left", "\x1bOD": "left",
    "\x1b[H": "home", "\x1bOH": "home", "\x1b[1~": "home", "\x1b[7~": "home",
    "\x1b[F": "end", "\x1bOF": "end", "\x1b[4~": "end", "\x1b[8~": "end",
    "\x1b[5~": "page_up", "\x1b[6~": "page_down",
    "\r": "enter", "\n": "enter",
    "\x7f": "backspace", "\x08": "backspace",
    "\x0c": "ctrl_l", "\x15": "ctrl_u",
    _ESCAPE: "escape",
}  # fmt: skip


@dataclass(slots=True)
class Decoder:
    """Turns bytes into keys; keeps what may be the beginning of one."""

    rest: bytes = b""

    @property
    def waiting(self) -> bool:
        """Return whether a key has begun: if nothing follows soon, `flush` says what it was."""
        return bool(self.rest)

    def feed(self, received: bytes) -> list[str]:
        """Return the keys that are complete."""
        text, self.rest = _whole_characters(self.rest + received)
        keys: list[str] = []
        while text:
            if _UNFINISHED.match(text):
                self.rest = text.encode() + self.rest
                break
            match = _SEQUENCE.match(text)
            key = match.group() if match else text[0]
            text = text[len(key) :]
            if key in _WORDS or key.isprintable():
                keys.append(_WORDS.get(key, key))
        return keys

    def flush(self) -> list[str]:
        """Return the key that was waited for, when nothing followed: the Escape key, or nothing."""
        alone = self.rest == _ESCAPE.encode()
        self.rest = b""
        return ["escape"] if alone else []


def _whole_characters(received: bytes) -> tuple[str, bytes]:
    """Split off a UTF-8 character whose end has not arrived."""
    for tail in range(min(3, len(received)) + 1):
        try:
            whole = received[: len(received) - tail].decode()
        except UnicodeDecodeError:
            continue
        return whole, received[len(received) - tail :]
    return received.decode(errors="ignore"), b""
