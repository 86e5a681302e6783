"""Pieces of lines. Everything is made of Text objects: names, addresses and reasons are never read as markup."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text


class Cell(NamedTuple):
    """A piece of a line."""

    text: str
    style: str = ""


def line(cells: list[Cell], width: int) -> Text:
    """Return one line of at most `width` cells."""
    text = Text.assemble(*((clean(text), style) for text, style in cells), no_wrap=True, overflow="crop")
    text.truncate(width)
    return text


def spread(left: Text, right: list[Cell], width: int) -> Text:
    """Return a line with something at its right end, for which the left one makes room."""
    end = line(right, width)
    room = width - end.cell_len - 1
    if room < 1:
        return left
    left.truncate(room, overflow="ellipsis")
    gap = width - left.cell_len - end.cell_len
    return Text.assemble(left, " " * gap, end, no_wrap=True, overflow="crop")


def wrap(text: str, width: int, style: str = "", indent: str = "") -> list[Text]:
    """Return a text on as many lines as it needs; those after the first are indented."""
    lines = textwrap.wrap(clean(text), max(width, len(indent) + 1), subsequent_indent=indent) or [""]
    return [line([Cell(one, style)], width) for one in lines]


def pack(pieces: list[list[Cell]], width: int, most: int) -> list[Text]:
    """Return pieces side by side on at most so many lines; how many found no room stands at the end."""
    lines: list[list[Cell]] = [[]]
    for shown, piece in enumerate(pieces):
        if lines[-1] and used(lines[-1]) + used(piece) > width:
            if len(lines) == most:
                lines[-1].append(Cell(f"+{len(pieces) - shown}", "dim"))
                break
            lines.append([])
        lines[-1] += piece
    return [line(cells, width) for cells in lines]


def clean(text: str) -> str:
    """Return the text with a question mark for each character that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else "?" for one in text)


def fit(text: str, width: int) -> str:
    """Return the text in exactly `width` cells, with an ellipsis if it is cut."""
    text = clean(text)
    if cell_len(text) > width > 0:
        return set_cell_size(text, width - 1) + "…"
    return set_cell_size(text, width)


def cut(text: str, room: int) -> str:
    """Return the text, shortened if it needs more than `room` cells."""
    text = clean(text)
    return fit(text, min(cell_len(text), max(0, room)))


def used(cells: list[Cell]) -> int:
    """Return how many cells of the screen are taken."""
    return sum(cell_len(text) for text, _ in cells)
