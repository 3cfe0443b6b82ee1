"""What a folder of CTranslate2 says of itself in its files, without the library that runs it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock_inference.runners.hugging_face import read_json
from penstock_inference.runners.runner import ModelMismatchError

#: How models mark languages among their tokens: NLLB and mBART (``deu_Latn``, ``de_DE``), M2M100 (``__de__``) in the
#: beginning of a translation; Marian (``>>deu<<``) in the beginning of a text.
_TARGET_LANGUAGE = re.compile(r"([a-z]{2,3}_[A-Z][A-Za-z]{1,3})|__([a-z]{2,3})__")
_SOURCE_LANGUAGE = re.compile(r">>(.+)<<")


@dataclass(frozen=True, slots=True)
class Languages:
    """The languages of a translator: tokens by name.

    Attributes:
        from_and_into: tokens that begin a text and its translation.
        into: tokens that begin a text and say what it is to become.
    """

    from_and_into: dict[str, str]
    into: dict[str, str]


def read_languages(folder: Path) -> Languages:
    """Return the languages among the tokens of a folder; none if it translates between two languages only."""
    source, target = (_vocabulary(folder, side) for side in ("source", "target"))
    both = {found[1] or found[2]: token for token in target if (found := _TARGET_LANGUAGE.fullmatch(token)) is not None}
    into = {found[1]: token for token in source if (found := _SOURCE_LANGUAGE.fullmatch(token)) is not None}
    return Languages(both, into)


def read_config(folder: Path) -> dict[str, Any]:
    """Return the folder's ``config.json``, which may be absent."""
    config: dict[str, Any] = read_json(folder / "config.json")
    return config


def most_tokens(folder: Path, otherwise: int) -> int:
    """Return the longest text that the folder's tokenizer names, in tokens."""
    limit = read_json(folder / "tokenizer_config.json").get("model_max_length")
    return int(limit) if isinstance(limit, int | float) and 1 <= limit < 1_000_000 else otherwise


def _vocabulary(folder: Path, side: str) -> list[str]:
    for name in (f"{side}_vocabulary", "shared_vocabulary", "vocabulary"):
        if (path := folder / f"{name}.json").exists():
            return [str(token) for token in json.loads(path.read_text(encoding="utf-8"))]
        if (path := folder / f"{name}.txt").exists():
            return path.read_text(encoding="utf-8").split("\n")
    raise ModelMismatchError(
        f"{folder.name} has no vocabulary (shared_vocabulary.json, or source_ and target_vocabulary.json); copy the whole "
        "folder that the converter wrote."
    )
