"""What readiness says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Health:
    """Readiness folds every component and the drain into one answer."""

    components: dict[str, Callable[[], bool]] = field(default_factory=dict)
    draining: bool = False

    def report(self) -> tuple[bool, dict[str, str]]:
        parts = {name: "ok" if check() else "not yet" for name, check in self.components.items()}
        if self.draining:
            parts["drain"] = "under way"
        return bool(self.components) and all(v == "ok" for v in parts.values()), parts
