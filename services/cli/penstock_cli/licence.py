"""The licence that a model's card states: Hugging Face's ``README.md``, which begins with YAML."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from penstock_common.manifest_yaml import load_plain_yaml

NOT_STATED = "not stated"
_CARD = "README.md"
_MOST_BYTES = 64 << 10
_MOST_CHARACTERS = 100


def stated_licence(model: Path) -> str:
    """Return the licence in the card of a model's folder, or ``NOT_STATED``.

    If ``license`` is ``other``, it is ``license_name`` (huggingface.co/docs/hub/model-cards#model-card-metadata).
    """
    card = model / _CARD
    if not card.is_file():
        return NOT_STATED
    with card.open("rb") as file:
        text = file.read(_MOST_BYTES).decode(errors="replace")
    front = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    try:
        said = load_plain_yaml(front[1]) if front else None
    except (ValueError, yaml.YAMLError):
        return NOT_STATED
    if not isinstance(said, dict):
        return NOT_STATED
    licence = said.get("license")
    if licence == "other":
        licence = said.get("license_name") or licence
    names = licence if isinstance(licence, list) else [licence]
    shown = ", ".join(name for name in names if isinstance(name, str))
    return "".join(filter(str.isprintable, shown))[:_MOST_CHARACTERS] or NOT_STATED
