"""What the rows of one request may hold."""

from __future__ import annotations

import msgspec


class RequestBounds(msgspec.Struct, frozen=True):
    """The fields are settings of the same names; ``docs/limits.md`` gives the reason for each.

    ``max_request_*`` are for all rows of one field together.
    """

    max_rows: int = 1024
    max_image_pixels: int = 50_000_000
    max_image_scans: int = 64
    max_request_pixels: int = 200_000_000
    max_request_audio_seconds: float = 3600.0


#: What a deployment that says nothing allows.
DEFAULT_BOUNDS = RequestBounds()
