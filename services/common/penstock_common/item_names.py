"""The names of the items that a recommender knows: a file of the artifact with one a line."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from penstock_common.manifest import bad_manifest

FILE = "items.txt"
#: Of the file.
MAX_BYTES = 50_000_000


@dataclass(frozen=True)
class ItemNames:
    """Items in the order of the model's scores.

    Attributes:
        positions: of each name, in UTF-8 as clients send it.
    """

    names: list[str]
    positions: dict[bytes, int]


@cache
def read_item_names(path: Path) -> ItemNames:
    """Read the file of the items, and keep it for the life of the process.

    Raises:
        PenstockError: 422 ``bad-manifest`` if it is too large, not UTF-8, or has an item twice.
    """
    if path.stat().st_size > MAX_BYTES:
        raise bad_manifest(f"{path.name}: it has more than {MAX_BYTES:,} bytes; leave out items that few people like")
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as err:
        raise bad_manifest(f"{path.name}: it is not UTF-8 (byte {err.start})") from None
    names = text.removesuffix("\n").split("\n")
    positions = {name.encode(): i for i, name in enumerate(names)}
    if len(positions) < len(names):
        twice = next(name for i, name in enumerate(names) if positions[name.encode()] != i)
        raise bad_manifest(f"{path.name}: {twice!r} is there twice; each line is one item")
    return ItemNames(names, positions)


def check_inside(file: str) -> None:
    """Raise ValueError if the path of a file is not one inside the artifact."""
    if file.startswith("/") or ".." in Path(file).parts:
        raise ValueError(f"file {file!r} must lie inside the artifact")
