"""Which encoded images Penstock takes, by how a file starts."""

from __future__ import annotations

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"


def image_type(data: bytes) -> str | None:
    """Return ``image/png``, ``image/jpeg`` or ``image/webp``; None for anything else."""
    if data.startswith(PNG):
        return "image/png"
    if data.startswith(JPEG):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None
