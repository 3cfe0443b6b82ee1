"""Decides which pool of pods serves a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

#: gRPC metadata from which Envoy chooses the pool.
POOL_HEADER = "penstock-pool"
#: gRPC metadata with the id of the principal of a message's rows, if they all are the same principal's.
PRINCIPAL_HEADER = "penstock-principal"


def matches(model: str, patterns: Iterable[str]) -> bool:
    """Return whether some glob matches the model and none that begins with ``!`` excludes it."""
    included = False
    for pattern in patterns:
        if pattern.startswith("!"):
            if fnmatchcase(model, pattern[1:]):
                return False
        elif fnmatchcase(model, pattern):
            included = True
    return included


def pool_of(model: str, pools: Mapping[str, Sequence[str]]) -> str:
    """Return the first pool whose patterns match, or an empty string if none does."""
    return next((name for name, patterns in pools.items() if matches(model, patterns)), "")
