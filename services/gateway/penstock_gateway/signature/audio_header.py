"""How long a sound is, as its header says.

Nothing is decoded, and every loop is bounded. A header may lie: the pods count what they decode, and stop at the bound.

Formats: WAV (RIFF, Microsoft's mmreg.h), FLAC (RFC 9639), Ogg (RFC 3533) with Vorbis or Opus (RFC 7845), MP3
(ISO/IEC 11172-3 and 13818-3, with the frame counts of Xing, LAME and VBRI).
"""

from __future__ import annotations

from penstock_common.audio_format import audio_format

#: Chunks of a WAV file before its samples.
_MAX_CHUNKS = 512
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
#: Opus counts samples at this rate, whatever it was made of.
_OPUS_RATE = 48_000

_MPEG_1 = 3
#: Bits a second, in thousands, of layer 3 by the index in the frame's header.
_BIT_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BIT_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
#: Samples a second by the index, of MPEG 1; MPEG 2 has half of it, MPEG 2.5 a quarter.
_RATES = (44_100, 48_000, 32_000)
#: Bytes of a frame in which its count of frames would be.
_MOST_OF_A_FRAME = 200


def audio_seconds(data: bytes) -> float | None:
    """Return the length of a WAV, FLAC, OGG or MP3 file; None if its header does not say, or is broken."""
    match audio_format(data):
        case "WAV":
            return _wav(data)
        case "FLAC":
            return _flac(data[4:])
        case "OGG":
            return _ogg(data)
        case "MP3":
            return _mp3(data)
    return None


def _wav(data: bytes) -> float | None:
    bytes_per_second = 0
    at = 12
    for _ in range(_MAX_CHUNKS):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if len(kind) < 4:
            return None
        if kind == b"fmt ":
            encoding, rate, declared, block = (
                int.from_bytes(data[at + start : at + end], "little")
                for start, end in ((8, 10), (12, 16), (16, 20), (20, 22))
            )
            bytes_per_second = rate * block if encoding in (_PCM, _FLOAT, _EXTENSIBLE) else declared
        elif kind == b"data":
            there = min(size, len(data) - at - 8)  # a stream's header has the largest size that there is
            return there / bytes_per_second if bytes_per_second else None
        at += 8 + size + (size & 1)
    return None


def _flac(block: bytes) -> float | None:
    """The first block has 20 bits of rate and, 12 bits later, 36 bits of samples; 0 if unknown."""
    if len(block) < 22 or block[0] & 0x7F != 0:
        return None
    bits = int.from_bytes(block[14:22], "big")
    rate, samples = bits >> 44, bits & 0xFFFFFFFFF
    return samples / rate if rate and samples else None


def _ogg(data: bytes) -> float | None:
    """The first page has the rate, the last one the number of samples so far."""
    packet = data[27 + (data[26] if len(data) > 26 else 0) :]
    if packet.startswith(b"\x01vorbis"):
        rate = int.from_bytes(packet[12:16], "little")
    elif packet.startswith(b"OpusHead"):
        rate = _OPUS_RATE
    else:
        return None
    last = data.rfind(b"OggS")
    samples = int.from_bytes(data[last + 6 : last + 14], "little", signed=True)
    return samples / rate if rate and samples > 0 else None


def _mp3(data: bytes) -> float | None:
    """By the number of frames that encoders write into the first one, or else by the bit rate of that."""
    at = 0
    if data.startswith(b"ID3"):
        at = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=False))
    head = data[at : at + 4]
    if audio_format(head) != "MP3":
        return None
    version = head[1] >> 3 & 0b11
    rate = _RATES[head[2] >> 2 & 0b11] >> (0 if version == _MPEG_1 else 1 if version == 2 else 2)
    samples = 1152 if version == _MPEG_1 else 576
    frame = data[at : at + _MOST_OF_A_FRAME]
    for name, offset in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
        found = frame.find(name)
        # Xing has a flag that says whether the frames are counted.
        if found >= 0 and (name == b"VBRI" or (frame[found + 7 : found + 8] and frame[found + 7] & 1)):
            return int.from_bytes(data[at + found + offset : at + found + offset + 4], "big") * samples / rate
    kilobits = (_BIT_RATES_1 if version == _MPEG_1 else _BIT_RATES_2)[head[2] >> 4]
    return (len(data) - at) / (kilobits * 125)
