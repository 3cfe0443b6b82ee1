"""Generate the chart's table of values (README.md) and values.schema.json from the comments of values.yaml.

Usage: chart_docs.py [--check]; with --check it writes nothing and fails if a file is not up to date.

A value's comment begins with "# --" and may span several lines. "# @enum a, b" lists the allowed values, "# @items a, b"
those of an array, each at most once; "# @type T" gives the type that a default alone does not show: object (free),
object of objects, array of strings|integers|objects.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parent / "penstock"
BEGIN, END = "<!-- values -->", "<!-- end of values -->"


@dataclass
class Value:
    path: tuple[str, ...]
    default: Any
    description: str = ""
    enum: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    type: str = ""


def read_values(text: str) -> list[Value]:
    """Return every key of the file in order, with its comment."""
    tree = yaml.safe_load(text)
    values: list[Value] = []
    stack: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            if stripped.startswith("# --"):
                comment = []
            comment.append(stripped.removeprefix("#").strip())
            continue
        found = re.match(r"( *)([A-Za-z]\w*):", line)
        if not found:
            comment = []
            continue
        indent = len(found.group(1))
        while stack and stack[-1][0] >= indent:
            stack.pop()
        stack.append((indent, found.group(2)))
        path = tuple(key for _, key in stack)
        if not any(v.type and v.path == path[: len(v.path)] for v in values):  # inside a documented object
            default = tree
            for key in path:
                default = default[key]
            values.append(_value(path, default, comment))
        comment = []
    return values


def _value(path: tuple[str, ...], default: Any, comment: list[str]) -> Value:
    value = Value(path, default)
    words = []
    for line in comment if comment and comment[0].startswith("--") else []:
        if line.startswith("@enum"):
            value.enum = [item.strip() for item in line.removeprefix("@enum").split(",")]
        elif line.startswith("@items"):
            value.items = [item.strip() for item in line.removeprefix("@items").split(",")]
        elif line.startswith("@type"):
            value.type = line.removeprefix("@type").strip()
        else:
            words.append(line.removeprefix("--").strip())
    value.description = " ".join(words)
    return value


def is_leaf(value: Value) -> bool:
    return bool(value.type) or not isinstance(value.default, dict)


def schema(values: list[Value]) -> dict[str, Any]:
    root: dict[str, Any] = _object()
    root |= {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the penstock chart"}
    # Helm adds this one itself.
    root["properties"]["global"] = {"type": "object"}
    for value in values:
        at = root
        for key in value.path[:-1]:
            at = at["properties"][key]
        at["properties"][value.path[-1]] = _leaf(value) if is_leaf(value) else _object()
    pool = json.loads(json.dumps(root["properties"]["poolDefaults"]))
    pool["properties"]["models"] = {
        "type": "array",
        "items": {"type": "string"},
        "description": "Globs of the models that it serves.",
    }
    root["properties"]["pools"]["additionalProperties"] = pool
    root["properties"]["poolDefaults"]["properties"]["models"] = pool["properties"]["models"]
    return root


def _object() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def _leaf(value: Value) -> dict[str, Any]:
    out: dict[str, Any] = {"description": value.description}
    if value.enum:
        return out | {"enum": value.enum}
    if value.items:
        return out | {"type": "array", "items": {"enum": value.items}, "uniqueItems": True}
    if value.type.startswith("array of "):
        return out | {"type": "array", "items": {"type": value.type.removeprefix("array of ").removesuffix("s")}}
    if value.type.startswith("object"):
        return out | {"type": "object"}
    if isinstance(value.default, float):
        # "helm --set" makes strings of fractions.
        return out | {"type": ["number", "string"], "minimum": 0, "pattern": r"^\d+(\.\d+)?$"}
    kinds = {bool: "boolean", int: "number", str: "string"}
    out["type"] = kinds[type(value.default)]
    if out["type"] == "number":
        out["minimum"] = 0
    return out


def table(values: list[Value]) -> str:
    rows = ["| Value | Default | What |", "|---|---|---|"]
    for value in values:
        if is_leaf(value):
            default = json.dumps(value.default)
            what = value.description + (f" One of {', '.join(value.enum)}." if value.enum else "")
            what += f" Of {', '.join(value.items)}." if value.items else ""
            rows.append(f"| `{'.'.join(value.path)}` | `{default}` | {what.replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def main() -> int:
    values = read_values((CHART / "values.yaml").read_text())
    undocumented = [".".join(v.path) for v in values if is_leaf(v) and not v.description]
    if undocumented:
        print(f"values.yaml: no '# --' comment above {', '.join(undocumented)}", file=sys.stderr)
        return 1
    readme = (CHART / "README.md").read_text()
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    wanted = {
        CHART / "README.md": f"{head}{BEGIN}\n{table(values)}\n{END}{tail}",
        CHART / "values.schema.json": json.dumps(schema(values), indent=2) + "\n",
    }
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv and stale:
        print(f"stale: {', '.join(p.name for p in stale)}; run make chart-docs", file=sys.stderr)
        return 1
    for path in stale:
        path.write_text(wanted[path])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
