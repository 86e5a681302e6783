"""Keys change what the reader sees."""

from __future__ import annotations

from xdplb.tui.view import Sort, View


def press(view: View, *keys: str) -> View:
    for key in keys:
        view = view.handle(key)
    return view


def test_s_goes_round_all_orders_and_capital_s_back() -> None:
    view, seen = View(), []
    for _ in Sort:
        seen.append(view.sort)
        view = view.handle("s")

    assert seen == list(Sort)
    assert view.sort is Sort.NAME
    assert view.handle("S").sort is Sort.SHARE_ERROR


def test_r_turns_the_order_round_and_a_new_order_begins_straight() -> None:
    view = press(View(), "s", "r")

    assert view.reverse
    assert not press(view, "r").reverse
    assert not press(view, "s").reverse


def test_a_filter_is_typed_and_kept_with_enter() -> None:
    view = press(View(), "/", "w", "q", "backspace", "e", "s")

    assert (view.typing, view.filter, view.quit, view.sort) == (True, "wes", False, Sort.NAME)
    view = press(view, "enter")
    assert (view.typing, view.filter) == (False, "wes")
    assert press(view, "/", "t").filter == "west"
    assert press(view, "/", "ctrl_u", "x").filter == "x"


def test_escape_drops_the_filter_while_it_is_typed_and_afterwards() -> None:
    assert press(View(), "/", "w", "escape") == View()
    assert press(View(), "/", "w", "enter", "escape") == View()


def test_scrolling_stops_at_both_ends() -> None:
    view = View().fit(rows=100, page=10)

    assert press(view, "up").top == 0
    assert press(view, "down", "j", "j", "k").top == 2
    assert press(view, "page_down", "page_down", "page_up").top == 9
    assert press(view, "end").top == press(view, "G").top == 90
    assert press(view, "G", "down", "page_down").top == 90
    assert press(view, "G", "home").top == press(view, "G", "g").top == 0


def test_a_shorter_list_pulls_the_page_back() -> None:
    view = press(View().fit(rows=100, page=10), "G")

    assert view.fit(rows=50, page=10).top == 40
    assert view.fit(rows=3, page=10).top == 0


def test_while_typing_arrows_scroll_and_letters_do_not() -> None:
    view = press(View().fit(rows=100, page=10), "/", "down", "page_down")

    assert view.top == 10
    assert press(view, "G").top == 0  # a new filter, from its first row
    assert press(view, "G").filter == "G"


def test_p_and_space_pause_and_go_on() -> None:
    assert press(View(), "p").paused
    assert press(View(), " ").paused
    assert not press(View(), "p", " ").paused


def test_help_goes_away_with_any_key_which_does_nothing_else() -> None:
    view = press(View(), "?")

    assert view.help
    assert press(view, "s") == View()
    assert press(view, "q").quit


def test_q_quits_and_unknown_keys_do_nothing() -> None:
    assert press(View(), "q").quit
    assert press(View(), "x", "enter", "ctrl_l", "é") == View()
