"""Text comes token by token, whole characters only."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_inference.runners.detokenizer import Detokenizer


def decode(tokens: Sequence[int]) -> str:
    """A token is a byte."""
    return bytes(tokens).decode(errors="replace")


def pieces(data: bytes) -> list[str]:
    detokenizer = Detokenizer(decode)
    return [*[detokenizer.add(byte) for byte in data], detokenizer.rest()]


def test_a_character_of_several_tokens_comes_with_its_last_one() -> None:
    """Until then, there is no text."""
    assert pieces("a€🙂b".encode()) == ["a", "", "", "€", "", "", "", "🙂", "b", ""]


def test_a_character_that_is_never_completed_is_replaced() -> None:
    """At the end, or before the next character."""
    assert pieces(b"a\xe2\x82") == ["a", "", "", "�"]
    assert pieces(b"\xe2b") == ["", "�b", ""]


@given(st.text())
def test_joined_it_is_the_text(text: str) -> None:
    """None of the pieces has a replacement that the text does not have."""
    parts = pieces(text.encode())
    assert "".join(parts) == text
    assert all("�" not in part for part in parts) or "�" in text


@given(st.binary(max_size=60))
def test_bytes_that_are_no_text_come_as_they_decode_together(data: bytes) -> None:
    """As random weights give them."""
    assert "".join(pieces(data)) == decode(list(data))


@pytest.mark.parametrize("byte", [b"\xff", b"\x80"])
def test_bytes_that_are_no_text_are_not_held_back_without_bound(byte: bytes) -> None:
    """The tokens that are decoded again stay few, however many there are."""
    longest = 0

    def counted(tokens: Sequence[int]) -> str:
        nonlocal longest
        longest = max(longest, len(tokens))
        return decode(tokens)

    detokenizer = Detokenizer(counted)
    text = "".join([detokenizer.add(token) for token in byte * 1000])
    assert len(text) > 900 and longest < 200


def test_a_token_may_change_the_space_before_it() -> None:
    """Decoders of words join them with spaces; a word's own text is not all that it adds."""
    words = ["the", "river", "runs"]
    detokenizer = Detokenizer(lambda tokens: " ".join([words[token] for token in tokens]))
    assert [detokenizer.add(token) for token in range(3)] == ["the", " river", " runs"]
