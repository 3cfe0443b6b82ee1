"""YAML as data: no anchors, no aliases, bounded depth, and only values that JSON has as well."""

from __future__ import annotations

import math
from typing import Any

import yaml

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # PyYAML without libyaml
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

MAX_DEPTH = 32


def load_plain_yaml(text: str | bytes) -> Any:
    """Load one YAML document.

    Aliases are refused since a few hundred bytes of them expand to hundreds of megabytes.

    Raises:
        ValueError: naming the line or the place; yaml.YAMLError: if it is not YAML.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark is not None else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError(f"line {line}: anchors (&) and aliases (*) are not allowed; write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"line {line}: lists and mappings are nested deeper than {MAX_DEPTH}; flatten them")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    value = yaml.load(text, Loader=_Loader)
    check_plain(value, "")
    return value


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def dump_plain_yaml(value: Any) -> str:
    """A document that ``load_plain_yaml`` accepts: a value that occurs twice is written twice."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def check_plain(value: Any, where: str) -> None:
    """Raise ValueError if JSON would not give back ``value`` as it is; ``where`` is its place, e.g. ``inputs.age``."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise ValueError(f"{where}: the whole number does not fit 64 bits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where}: {value} is not a finite number")
    elif isinstance(value, str):
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise ValueError(f"{where}: the text holds half of a surrogate pair")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            named = isinstance(item, dict) and isinstance(item.get("name"), str)
            place = item["name"] if named else str(i)
            check_plain(item, f"{where}.{place}" if where else place)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{where}: the key {key!r} is not a text; put it in quotes")
            check_plain(item, f"{where}.{key}" if where else key)
    else:
        raise ValueError(f"{where}: a {type(value).__name__} is not a plain value; put it in quotes")
