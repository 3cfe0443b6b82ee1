"""Tuning of Python's garbage collector for a long-running service."""

from __future__ import annotations

import gc


def freeze_startup_objects() -> None:
    """Exempt all objects that exist now from garbage collection.

    Call it once, after all libraries are imported and before anything is created that may
    be released later, such as a model. Without this, Python scans the objects of all imported
    libraries again and again under load, which cost the gateway pauses of 30 to 120 ms and a
    tenth of its throughput. A frozen object that is part of a cycle is never freed.

    Collections of younger objects become less frequent as well.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
