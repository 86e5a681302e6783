"""Pieces of lines fit, and nothing in them is obeyed."""

from __future__ import annotations

from rich.cells import cell_len

from xdplb.tui.cells import Cell, clean, cut, fit, line, pack, spread, used, wrap


def test_cut_text_ends_with_an_ellipsis_also_with_wide_characters() -> None:
    assert fit("abc", 5) == "abc  "
    assert fit("abcdef", 5) == "abcd…"
    assert cell_len(fit("日本日本日本", 6)) == 6
    assert fit("abc", 0) == ""


def test_control_characters_become_question_marks() -> None:
    assert clean("a\nb\tc\x07") == "a?b?c?"
    assert line([Cell("a\x1b[2J", "bold")], 80).plain == "a?[2J"


def test_what_stands_at_the_right_end_is_made_room_for() -> None:
    assert spread(line([Cell("a long beginning")], 20), [Cell("end")], 12).plain == "a long … end"
    assert spread(line([Cell("ab")], 20), [Cell("end")], 12).plain == "ab       end"
    assert spread(line([Cell("ab")], 20), [Cell("end")], 3).plain == "ab"


def test_long_text_is_wrapped_and_indented() -> None:
    assert [one.plain for one in wrap("one two three", 9, "bold", "  ")] == ["one two", "  three"]
    assert [one.plain for one in wrap("", 9)] == [""]


def test_pieces_without_room_are_counted() -> None:
    pieces = [[Cell("abc ")], [Cell("def ")], [Cell("ghi ")], [Cell("jkl ")], [Cell("mno ")]]

    assert [one.plain for one in pack(pieces, 8, 1)] == ["abc def "]  # the count itself has no room
    assert [one.plain for one in pack(pieces, 10, 1)] == ["abc def +3"]
    assert [one.plain for one in pack(pieces[:4], 8, 2)] == ["abc def ", "ghi jkl "]


def test_cut_only_shortens() -> None:
    assert (cut("abc", 5), cut("abcdef", 5), cut("abc", 0)) == ("abc", "abcd…", "")
    assert used([Cell("日本"), Cell("a")]) == 5
