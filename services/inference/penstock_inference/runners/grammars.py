"""Grammars that the text of a stream keeps: the tokens that may come next, by ``llguidance``.

A schema can take a while to become a grammar, so that happens in a thread of its own, beside the steps of the model.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.hf import from_tokenizer

from penstock_inference.runners.chat_template import invalid

#: Work and memory for one grammar: to build it, for one token, and for all states that it comes to.
_LIMITS = LLParserLimits(
    initial_lexer_fuel=500_000,
    step_lexer_fuel=50_000,
    step_max_items=20_000,
    max_lexer_states=20_000,
    max_grammar_size=100_000,
    verbose_errors=False,
)
_MOST_REASON = 300
#: What the library says before and behind a reason: where it is in the grammar, and that grammar.
_AROUND_REASON = re.compile(r"^at \d+\(\d+\): (?:failed to compile JSON schema: )?|\n +\d+ \|.*|<non-verbose/>", re.S)


class Guide:
    """What one stream may write next.

    Args:
        matcher: at the beginning of its text.
    """

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def forbidden(self, vocabulary: int) -> torch.Tensor:
        """Return which tokens may not come next, ``[vocabulary]``, on the CPU.

        Raises:
            PenstockError: 422 ``invalid-input`` if that takes more work than one token may.
        """
        allowed = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8)
        self._check()
        return allowed[:vocabulary] == 0

    def accept(self, token: int) -> bool:
        """Go on behind a token that may come; return whether it is the last one.

        Raises:
            PenstockError: 422 ``invalid-input`` if that takes more work or memory than a grammar may.
        """
        self._matcher.consume_token(token)
        self._check()
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise invalid(f"The grammar of the answer became too complex: {_reason(self._matcher)}")


class Grammars:
    """Makes guides for the streams of one model; see ``grammars_of``."""

    def __init__(self, tokenizer: LLTokenizer) -> None:
        self._tokenizer = tokenizer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grammars")

    def prepare(self, where: str, grammar: str) -> Future[Guide]:
        """Begin to make a guide.

        Args:
            where: the request says what the answer has to be, for errors.
            grammar: in the syntax of ``llguidance``.

        Returns:
            What has the guide once it is made, or a ``PenstockError``, 422 ``invalid-input`` with the reason.
        """
        return self._thread.submit(self._guide, where, grammar)

    def _guide(self, where: str, grammar: str) -> Guide:
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=_LIMITS)
        matcher.compute_logit_bias()  # the first one can take long, for all that it finds out
        if matcher.is_stopped():  # as it is by any error
            raise invalid(f"{where}: no answer can be held to it: {_reason(matcher)}.")
        return Guide(matcher)


def grammars_of(tokenizer: Any, vocabulary: int, ends: Collection[int]) -> Grammars | None:
    """Return what makes guides for a model; None if its tokenizer is of a kind that ``llguidance`` does not know.

    Args:
        tokenizer: of ``transformers``.
        vocabulary: how many tokens have a score.
        ends: tokens that end a text.
    """
    try:
        known = from_tokenizer(tokenizer, n_vocab=max(vocabulary, len(tokenizer)), eos_token=sorted(ends) or None)
    except ValueError:
        return None
    return Grammars(known)


def _reason(matcher: LLMatcher) -> str:
    error = _AROUND_REASON.sub("", str(matcher.get_error())).strip()
    if not error or error.startswith("NoExtension"):
        return "there is none that fits"
    return " ".join(error.split())[:_MOST_REASON]
