"""The languages that a translation model knows, by its tokenizer's codes and by those of ISO 639."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import langcodes

from penstock_common.errors import PenstockError

#: Codes such as ``eng_Latn`` (NLLB) and ``en_XX`` (mBART), which are tokens themselves.
_CODE_TOKEN = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]+")
_MOST_LISTED = 12
#: How far apart two languages may be to share a code; below it are those that CLDR calls the same.
_NEAR = 9


class Languages:
    """The tokens of a tokenizer that name languages; false if it has none.

    Args:
        tokens: by the tokenizer's own code.
    """

    def __init__(self, tokens: dict[str, str]) -> None:
        self._tokens = tokens
        self._codes = _with_iso_codes(tokens)

    def __bool__(self) -> bool:
        return bool(self._tokens)

    @property
    def codes(self) -> list[str]:
        """The tokenizer's own codes, sorted."""
        return sorted(self._tokens)

    def code(self, field: str, text: str) -> str:
        """Return the tokenizer's own code of a language.

        Raises:
            PenstockError: 422 ``invalid-input``, which lists some that there are.
        """
        code = self._codes.get(_folded(text))
        if code is None:
            own = sorted(self._tokens)
            more = f", and {len(own) - _MOST_LISTED} more" if len(own) > _MOST_LISTED else ""
            raise PenstockError(
                422,
                "invalid-input",
                f"{field}: {text[:40]!r} is not a language of this model; it has {', '.join(own[:_MOST_LISTED])}{more}, "
                "each also by its ISO 639 code.",
            )
        return code

    def token(self, code: str) -> str:
        """Return the token of one of the tokenizer's own codes."""
        return self._tokens[code]


def languages_of(tokenizer: Any) -> Languages:
    """Return the languages of a tokenizer of M2M100, NLLB, mBART or Marian; none of another."""
    if m2m := getattr(tokenizer, "lang_code_to_token", None):
        return Languages(dict(m2m))
    if marian := getattr(tokenizer, "supported_language_codes", None):
        return Languages({token.strip("<>"): token for token in marian})
    if hasattr(tokenizer, "src_lang"):
        return Languages({token: token for token in tokenizer.all_special_tokens if _CODE_TOKEN.fullmatch(token)})
    return Languages({})


def _folded(code: str) -> str:
    return code.replace("_", "-").casefold()


def _with_iso_codes(own: Iterable[str]) -> dict[str, str]:
    """Return the own codes by all codes that mean the same, folded.

    They are all listed beforehand, since the library that compares them caches without a bound what it is asked.
    """
    by_tag: dict[str, str] = {}
    for code in own:
        if langcodes.tag_is_valid(code):
            by_tag.setdefault(langcodes.standardize_tag(code, macro=True), code)
    codes: dict[str, str] = {}
    for tag, code in by_tag.items():
        codes[_folded(tag)] = code
        for language in {langcodes.Language.get(tag), langcodes.Language.get(code)}:
            short = langcodes.Language.make(language=language.language)
            for name in (short.to_tag(), short.to_alpha3(), short.to_alpha3("B")):
                # With several scripts or regions, it is the one that is meant if none is said: zho_Hans for zh.
                nearest, _ = langcodes.closest_match(name, list(by_tag), max_distance=_NEAR)
                codes[_folded(name)] = by_tag.get(nearest, code)
    return codes | {_folded(code): code for code in own}
