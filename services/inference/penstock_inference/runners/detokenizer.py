"""Tokens of a stream to text, as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence

#: What bytes that are not UTF-8 decode to, and those of a character that is not complete yet.
_REPLACEMENT = "�"
#: Bytes of a character that can be there before its last one; each may have a token of its own.
_MOST_INCOMPLETE = 3
#: Tokens that are decoded together at most. More of them without a whole character are not text.
_MOST_TOKENS = 64


class Detokenizer:
    """Gives the text of tokens piece by piece, never half a character.

    A token's text depends on those before it (spaces, characters of several tokens). So the last tokens whose text has
    been given are decoded again with the new ones, and what is more of it is new.

    Args:
        decode: returns the text of tokens, without that of special ones.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        self._known = 0  # of the tokens, those whose text has been given
        self._given = 0  # characters of the tokens' text

    def add(self, token: int) -> str:
        """Return the text that a token completes; it may be empty."""
        self._tokens.append(token)
        text = self._decode(self._tokens)
        incomplete = len(text) - len(text.rstrip(_REPLACEMENT))
        whole = text[: len(text) - min(incomplete, _MOST_INCOMPLETE)]
        if len(self._tokens) - self._known > _MOST_TOKENS:
            incomplete, whole = 0, text
        new = whole[self._given :]
        self._given = max(self._given, len(whole))
        if new and not incomplete:
            self._tokens = self._tokens[self._known :]
            self._known = len(self._tokens)
            self._given = len(self._decode(self._tokens))
        return new

    def rest(self) -> str:
        """Return the text that is still held back, at the end of a stream."""
        return self._decode(self._tokens)[self._given :]
