"""The memory of a pod's processes: what each has for itself, and what copies of a framework share."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import psutil

_MB = 2**20


@dataclass
class Framework:
    """What a framework's parent and the processes of its models take, in MB.

    Args:
        parent: resident memory of the parent, which the models share.
        resident: of a model's process, what it shares included; the median of all.
        private: of a model's process, what only it has; the median of all.
        together: of the parent and all models, what is shared counted once.
    """

    name: str
    models: int
    parent: float
    resident: float
    private: float
    together: float


def frameworks(server: psutil.Process) -> list[Framework]:
    """Return a row for each parent among a server's children."""
    found = []
    for parent in server.children():
        own = parent.memory_full_info()
        models = [child.memory_full_info() for child in parent.children()]
        if models:
            found.append(
                Framework(
                    parent.cmdline()[-3],
                    len(models),
                    own.rss / _MB,
                    statistics.median(model.rss for model in models) / _MB,
                    statistics.median(model.uss for model in models) / _MB,
                    (own.pss + sum(model.pss for model in models)) / _MB,
                )
            )
    return found


def server_resident(server: psutil.Process) -> float:
    """Return the resident memory of the server itself, in MB."""
    return float(server.memory_info().rss) / _MB
