"""A stop string ends a stream, however its text is cut, and never shows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock_inference.runners.stop_strings import StopStrings


def passed(stops: list[str], parts: list[str]) -> tuple[list[str], bool]:
    strings = StopStrings(stops)
    texts = []
    for part in parts:
        text, stopped = strings.add(part)
        texts.append(text)
        if stopped:
            return texts, True
    return [*texts, strings.rest()], False


def test_the_beginning_of_a_stop_is_held_back() -> None:
    """Until it is one, which ends the stream, or is not, and is passed on."""
    assert passed(["END"], ["a E", "N", "D b"]) == (["a ", "", ""], True)
    assert passed(["END"], ["a E", "N", "d b"]) == (["a ", "", "ENd b", ""], False)


def test_what_is_held_back_is_passed_on_at_the_end() -> None:
    """A stream may end inside of what could have become a stop."""
    assert passed(["\n\n"], ["a\n"]) == (["a", "\n"], False)


def test_the_first_of_several_stops_counts() -> None:
    """By its place in the text, not in the list."""
    assert passed(["late", "b"], ["a b late"]) == (["a "], True)


def test_without_stops_everything_is_passed_on_at_once() -> None:
    assert passed([], ["a", "b"]) == (["a", "b", ""], False)


@given(st.lists(st.text("ab", min_size=1, max_size=4), max_size=3), st.lists(st.text("abc", max_size=3), max_size=12))
def test_it_passes_on_what_is_before_the_first_stop(stops: list[str], parts: list[str]) -> None:
    """Cut in any way. The text up to the token that completes a stop decides, as no later text is known."""
    texts, stopped = passed(stops, parts)
    so_far = ""
    for part in parts:
        so_far += part
        places = [place for place in map(so_far.find, stops) if place >= 0]
        if places:
            assert stopped and "".join(texts) == so_far[: min(places)]
            return
    assert not stopped and "".join(texts) == so_far
