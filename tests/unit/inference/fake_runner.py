"""What runners without a file have in common."""

from __future__ import annotations

from penstock_inference.runners.runner import FileTensor


class FakeRunner:
    """One input of any name, type and shape, and no state."""

    inputs = (FileTensor(None),)

    def changed_state(self) -> list[str]:
        return []
