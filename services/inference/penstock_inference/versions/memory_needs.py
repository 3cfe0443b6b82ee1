"""How much memory the process of a version will need: as its manifest says, as measured before, or from its files."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

import msgspec

from penstock_common.manifest import Manifest

#: What a process needs for itself, whatever it loads.
_PROCESS_BYTES = 64 * 2**20
#: Added to what was measured, since no two loads are the same.
_MARGIN = 1.1
#: Artifacts whose measure is remembered, those loaded last.
_MAX_REMEMBERED = 1000


class Need(NamedTuple):
    """Bytes of memory that a process needs beyond what it shares with its parent, and how that is known."""

    bytes: int
    source: str


class MemoryNeeds:
    """The needs of the artifacts that this pod has loaded, by digest, kept in a file between starts.

    Args:
        file: where they are kept; one that is absent or damaged is an empty one.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._measured: dict[str, int] = {}
        with contextlib.suppress(OSError, msgspec.DecodeError):
            self._measured = msgspec.json.decode(file.read_bytes(), type=dict[str, int])

    def of(self, digest: str, manifest: Manifest, file_bytes: int, weight_bytes: int) -> Need:
        """Return what a process of an artifact will need; see ``need_of``."""
        if manifest.resources.memory_mb is None and digest in self._measured:
            # What it took before the server heard of the process is not in the measure; the files bound that.
            needed = max(int(self._measured[digest] * _MARGIN), file_bytes)
            return Need(needed, "as measured when it was last loaded")
        return need_of(manifest, file_bytes, weight_bytes)

    def remember(self, digest: str, taken_bytes: int) -> None:
        """Remember what the newest process of an artifact took at most while it was loaded and tried."""
        known = self._measured.pop(digest, None)
        self._measured[digest] = taken_bytes
        for oldest in list(self._measured)[:-_MAX_REMEMBERED]:
            del self._measured[oldest]
        if known != taken_bytes:
            self._save()

    def _save(self) -> None:
        """Replace the file as a whole; a disk that is full costs the estimates, not the load."""
        new = self._file.with_suffix(".new")
        with contextlib.suppress(OSError):
            new.write_bytes(msgspec.json.encode(self._measured))
            new.replace(self._file)


def need_of(manifest: Manifest, file_bytes: int, weight_bytes: int) -> Need:
    """Return what a process will need that was never loaded: what its manifest says, or a rough estimate.

    Args:
        file_bytes: of all files of the artifact.
        weight_bytes: of the weights once they are loaded.
    """
    if manifest.resources.memory_mb is not None:
        return Need(manifest.resources.memory_mb * 2**20, "as resources.memory_mb says")
    # For a moment a load has both in memory, the files and the weights that it makes of them.
    return Need(file_bytes + max(file_bytes, weight_bytes) + _PROCESS_BYTES, "estimated from its files")
