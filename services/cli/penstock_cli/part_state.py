"""What a supervisor reports about its part, in a file that ``penstock status`` reads."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class PartState:
    """The state of a part.

    Args:
        pid: its process; None while it does not run.
        restarts: how often it was started again.
        last_exit: how its last process ended, e.g. ``killed by SIGKILL``; empty if none has.
        gave_up: whether the supervisor has ended because the part kept ending.
    """

    pid: int | None = None
    restarts: int = 0
    last_exit: str = ""
    gave_up: bool = False

    def write(self, path: Path) -> None:
        """Replace the file; a reader sees the old state or the new one."""
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(dataclasses.asdict(self)))
        temporary.replace(path)

    @classmethod
    def read(cls, path: Path) -> PartState:
        """The state in the file; that of a part that never ran if there is no such file."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return cls()
