"""What a folder of CTranslate2 says of itself in its files, without the library that runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from penstock_inference.runners.hugging_face import read_json
from penstock_inference.runners.languages import Languages
from penstock_inference.runners.runner import ModelMismatchError

#: How models mark languages among their tokens: NLLB and mBART (``deu_Latn``, ``de_DE``), M2M100 (``__de__``) in the
#: beginning of a translation; Marian (``>>deu<<``) in the beginning of a text.
_BOTH = re.compile(r"([a-z]{2,3}_[A-Z][A-Za-z]{1,3})|__([a-z]{2,3})__")
_INTO = re.compile(r">>(.+)<<")


def read_languages(folder: Path) -> tuple[Languages, Languages]:
    """Return the languages that begin a text and its translation, and those that a text names as its target.

    A model that translates between two languages only has neither.
    """
    source, target = (_vocabulary(folder, side) for side in ("source", "target"))
    both = {found[1] or found[2]: token for token in target if (found := _BOTH.fullmatch(token)) is not None}
    into = {found[1]: token for token in source if (found := _INTO.fullmatch(token)) is not None}
    return Languages(both), Languages(into)


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
