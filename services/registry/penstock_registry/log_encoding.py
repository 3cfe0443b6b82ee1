"""Log entries as bytes: only what reads back as it was given is written."""

from __future__ import annotations

import msgspec

from penstock_common.errors import PenstockError
from penstock_common.registry_models import LogEntry


def encode_entry(entry: LogEntry, max_bytes: int) -> bytes:
    """An entry as JSON.

    Raises:
        PenstockError: 413 ``entry-too-large``; 422 ``bad-request`` if the bytes do not read back as ``entry``, e.g.
            since JSON has neither NaN nor infinity.
    """
    try:
        data = msgspec.json.encode(entry)
        same = msgspec.json.decode(data, type=LogEntry) == entry
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as err:
        raise _not_storable(str(err)) from None
    if not same:
        raise _not_storable("a value has no form in JSON")
    if len(data) > max_bytes:
        raise PenstockError(
            413,
            "entry-too-large",
            f"The log entry would have {len(data)} bytes, PENSTOCK_REGISTRY_MAX_ENTRY_BYTES allows {max_bytes}; "
            "shorten the manifest, the list of files or the lineage.",
        )
    return data


def decode_entry(data: bytes, number: int) -> LogEntry | str:
    """Entry ``number`` from its bytes, or what is wrong with them."""
    try:
        entry = msgspec.json.decode(data, type=LogEntry)
    except (msgspec.MsgspecError, ValueError, RecursionError) as err:
        return f"it has {len(data)} bytes and cannot be read: {err}"[:200]
    if entry.entry != number:
        return f"it says that it is entry {entry.entry}"
    return entry


def _not_storable(reason: str) -> PenstockError:
    return PenstockError(
        422, "bad-request", f"What cannot be read back is not written ({reason}); send finite numbers and plain values."
    )
