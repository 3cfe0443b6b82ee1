"""Checks of a whole input file, before any of its requests is sent."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

from penstock_gateway.batches.batch_record import BatchError
from penstock_gateway.batches.input_lines import LineError, LineTooLongError, as_batch_error, decode_line, read_lines

_MOST_ERRORS = 100


async def validate(
    chunks: AsyncIterator[bytes], endpoint: str, max_lines: int, max_line_bytes: int
) -> tuple[int, list[BatchError]]:
    """How many requests a file has, and what is wrong with it.

    Args:
        chunks: the file.
        max_lines: bound on the requests.
    """
    errors: list[BatchError] = []
    seen: set[bytes] = set()  # digests: of 50,000 ids of any length, 5 MB
    total = 0
    try:
        async for number, line in read_lines(chunks, max_line_bytes):
            total += 1
            if total > max_lines:
                text = f"The file has more than {max_lines} requests (max_batch_lines); split it into several."
                errors.append(BatchError("too_many_requests", text, number))
                break
            try:
                custom_id = decode_line(line, endpoint).custom_id
            except LineError as err:
                errors.append(as_batch_error(err, number))
            else:
                digest = hashlib.blake2b(custom_id.encode(), digest_size=16).digest()
                if digest in seen:
                    text = f"custom_id '{custom_id[:80]}' stands in an earlier line too; give each line its own."
                    errors.append(BatchError("duplicate_custom_id", text, number, "custom_id"))
                seen.add(digest)
            if len(errors) >= _MOST_ERRORS:
                break
    except LineTooLongError as err:
        errors.append(as_batch_error(err, err.number))
    if not total and not errors:
        errors.append(BatchError("empty_file", "The file has no requests; write one a line."))
    return total, errors
