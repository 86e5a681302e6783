"""Keys change what the reader sees."""

from __future__ import annotations

from xdplb.tui.view import Key, Place, Screen, Sort, View

ROWS: list[Key | None] = [("web", None), *[("web", f"b{n}") for n in range(1, 100)]]


def press(view: View, *keys: str) -> View:
    for key in keys:
        view = view.handle(key)
    return view


def among(rows: list[Key | None], page: int) -> View:
    return View().at(Place().fit(rows, page))


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


def test_the_choice_moves_and_the_page_follows_it() -> None:
    view = among(ROWS, 10)

    assert view.place.chosen == ("web", None)
    assert press(view, "up").place.cursor == 0
    assert press(view, "down", "j", "j", "k").place.chosen == ("web", "b2")
    assert press(view, *["down"] * 12).place.top == 3
    assert press(view, "page_down", "page_down", "page_up").place.cursor == 9
    assert press(view, "end").place.chosen == press(view, "G").place.chosen == ("web", "b99")
    assert press(view, "G", "down", "page_down").place.top == 90
    assert press(view, "G", "home").place.top == press(view, "G", "g").place.top == 0


def test_the_head_of_a_service_never_covers_the_choice() -> None:
    view = press(among(ROWS, 10), "G", *["up"] * 20)

    assert view.place.top == view.place.cursor - 1


def test_another_order_leaves_the_same_backend_chosen() -> None:
    view = press(among(ROWS, 10), "down", "down")
    turned = view.place.fit([ROWS[0], *ROWS[:0:-1]], 10)

    assert turned.chosen == ("web", "b2")
    assert turned.cursor == 98
    assert turned.top > 80


def test_when_the_chosen_one_goes_its_neighbour_is_chosen() -> None:
    view = press(among(ROWS, 10), "down", "down")

    assert view.place.fit([key for key in ROWS if key != ("web", "b2")], 10).chosen == ("web", "b3")
    assert view.place.fit(ROWS[:2], 10).chosen == ("web", "b1")
    assert view.place.fit([], 10).chosen is None


def test_lines_that_cannot_be_chosen_are_passed_over_or_scrolled() -> None:
    view = among([None, None, ("web", "b1"), None, ("web", "b2"), None], 3)

    assert (view.place.chosen, view.place.top) == (("web", "b1"), 0)
    assert press(view, "down").place.chosen == press(view, "G").place.chosen == ("web", "b2")
    assert press(view, "down", "up").place.top == 0
    text = among([None] * 20, 5)
    assert press(text, "down", "down").place.top == 2
    assert press(text, "G", "down").place.top == 15
    assert press(text, "enter") == text


def test_a_shorter_list_pulls_the_page_back() -> None:
    place = press(among([None] * 100, 10), "G").place

    assert place.fit([None] * 50, 10).top == 40
    assert place.fit([None] * 3, 10).top == 0


def test_while_typing_arrows_move_and_letters_do_not() -> None:
    view = press(among(ROWS, 10), "/", "down", "page_down")

    assert view.place.cursor == 10
    assert press(view, "G").place.cursor == 0  # a new filter, from its first row
    assert press(view, "G").filter == "G"


def test_enter_opens_what_is_chosen_and_escape_goes_back_to_it() -> None:
    view = press(among(ROWS, 10), "down", "enter")

    assert (view.place.screen, view.place.about, view.backend) == (Screen.DETAIL, ("web", "b1"), ("web", "b1"))
    assert press(view, "escape").place.chosen == ("web", "b1")
    assert press(view, "escape", "escape").place.screen is Screen.SERVICES


def test_screens_have_letters_and_the_same_one_is_not_opened_twice() -> None:
    opened = {key: press(View(), key).place.screen for key in "evb?"}

    assert opened == {"e": Screen.EVENTS, "v": Screen.REASONS, "b": Screen.GUARD, "?": Screen.HELP}
    assert len(press(View(), "e", "v", "e").places) == 2
    assert press(View(), "e", "v", "e").place.screen is Screen.EVENTS


def test_orders_of_backends_belong_to_screens_that_have_some() -> None:
    assert press(View(), "e", "s", "r", "/").sort is Sort.NAME
    assert not press(View(), "e", "/").typing


def test_p_and_space_pause_and_go_on() -> None:
    assert press(View(), "p").paused
    assert press(View(), " ").paused
    assert not press(View(), "p", " ").paused


def test_q_quits_and_unknown_keys_do_nothing() -> None:
    assert press(View(), "q").quit
    assert press(View(), "?", "q").quit
    assert press(View(), "x", "enter", "ctrl_l", "é") == View()
