"""Texts that end a stream."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Passes on the text of a stream until one of some texts comes, which it does not pass on.

    Args:
        texts: none of them empty.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._held = ""  # the end of the text so far that one of the texts may begin with

    def add(self, text: str) -> tuple[str, bool]:
        """Return what of the text can be passed on, and whether a stop has come."""
        text = self._held + text
        found = [place for place in map(text.find, self._texts) if place >= 0]
        if found:
            self._held = ""
            return text[: min(found)], True
        passed = len(text) - self._beginning_of_stop(text)
        self._held = text[passed:]
        return text[:passed], False

    def rest(self) -> str:
        """Return the text that is still held back, at the end of a stream."""
        return self._held

    def _beginning_of_stop(self, text: str) -> int:
        """Return how many characters at the end of a text are the beginning of a stop."""
        longest = max((len(stop) - 1 for stop in self._texts), default=0)
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._texts):
                return length
        return 0
