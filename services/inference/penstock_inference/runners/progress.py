"""What a model's process shows of its progress, in a page that the server reads: its heartbeat, and its steps."""

from __future__ import annotations

import struct
import threading
import time

from penstock_inference.runners.shared_tensors import SharedMemory

#: Seconds between two heartbeats. They stop when the process does, or when something holds the interpreter's lock.
BEAT_SECONDS = 0.5

_COUNT = struct.Struct("<Q")


class Progress:
    """The process's side of the page: a count of heartbeats, and one of steps.

    The count of steps is odd during a step of streams; a long run of a batch counts it up now and then.
    """

    def __init__(self, page: SharedMemory) -> None:
        self._page = page
        self._steps = 0

    def start_heartbeat(self) -> None:
        """Count heartbeats in a thread, until the process ends."""

        def beat() -> None:
            count = 0
            while True:
                count += 1
                self._page.put(_COUNT.pack(count))
                time.sleep(BEAT_SECONDS)

        threading.Thread(target=beat, name="heartbeat", daemon=True).start()

    def working(self) -> None:
        """Something begins that has to end soon; whatever began before has ended."""
        self._steps = (self._steps + 2) | 1
        self._page.put(_COUNT.pack(self._steps), _COUNT.size)

    def waiting(self) -> None:
        """Whatever began has ended, and the server has to speak next."""
        self._steps = (self._steps + 1) & ~1
        self._page.put(_COUNT.pack(self._steps), _COUNT.size)


class ProgressReader:
    """The server's side of the page."""

    def __init__(self, page: SharedMemory) -> None:
        self._page = page
        self._beats = self._steps = 0

    def heard_beat(self) -> bool:
        """Return whether the heart has beaten since the last call."""
        count = self._count(0)
        heard, self._beats = count != self._beats, count
        return heard

    def moved(self) -> bool:
        """Return whether something has begun or ended since the last call."""
        count = self._count(_COUNT.size)
        moved, self._steps = count != self._steps, count
        return moved

    def stepped(self) -> bool:
        """Return whether no step runs, or one has ended since the last call."""
        return self.moved() or self._steps % 2 == 0

    def _count(self, offset: int) -> int:
        return int(_COUNT.unpack(self._page.get(_COUNT.size, offset))[0])

    def close(self) -> None:
        self._page.close()
