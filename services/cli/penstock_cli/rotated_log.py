"""The log of a part, in files of a bounded size."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

#: Older files beside the one that is written: ``NAME.log.1`` to ``NAME.log.3``.
OLDER_FILES = 3
#: Bytes after which a line is cut in two, so that one without an end takes bounded memory.
_LONGEST_LINE = 64 * 1024


class RotatedLog:
    """Writes what a process prints.

    Args:
        total_bytes: of all files together.
    """

    def __init__(self, path: Path, total_bytes: int) -> None:
        self._handler = RotatingFileHandler(
            path, maxBytes=max(1, total_bytes // (1 + OLDER_FILES)), backupCount=OLDER_FILES, encoding="utf-8"
        )
        self._unfinished = b""

    def write(self, data: bytes) -> None:
        """Write the lines that ``data`` completes; keep the rest for the next call."""
        *lines, rest = (self._unfinished + data).split(b"\n")
        if len(rest) >= _LONGEST_LINE:
            lines.append(rest)
            rest = b""
        self._unfinished = rest
        for line in lines:
            self._write_line(line.decode(errors="replace"))

    def note(self, text: str) -> None:
        """Write a line of the supervisor's own, after what the process had begun to print."""
        if self._unfinished:
            self.write(b"\n")
        self._write_line(f"supervisor: {text}")

    def _write_line(self, text: str) -> None:
        # A full disk must not end the supervisor: the handler reports its errors on stderr.
        self._handler.emit(logging.makeLogRecord({"msg": text}))
