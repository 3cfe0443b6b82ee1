"""Which encoded sounds Penstock takes, by how a file starts."""

from __future__ import annotations

#: For messages.
AUDIO_FORMATS = "WAV, FLAC, OGG or MP3"

_ADTS_LAYER_3 = 0b01


def audio_format(data: bytes) -> str | None:
    """Return ``WAV``, ``FLAC``, ``OGG`` or ``MP3``; None for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "WAV"
    if data.startswith(b"fLaC"):
        return "FLAC"
    if data.startswith(b"OggS"):
        return "OGG"
    if data.startswith(b"ID3") or _is_mp3_frame(data[:4]):
        return "MP3"
    return None


def _is_mp3_frame(head: bytes) -> bool:
    """Whether four bytes are the header of a frame of MPEG audio, layer 3 (ISO/IEC 11172-3, 2.4.1.3)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 0b11, head[1] >> 1 & 0b11
    bit_rate, sample_rate = head[2] >> 4, head[2] >> 2 & 0b11
    return version != 0b01 and layer == _ADTS_LAYER_3 and bit_rate not in (0, 0b1111) and sample_rate != 0b11
