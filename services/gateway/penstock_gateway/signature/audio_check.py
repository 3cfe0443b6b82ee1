"""The checker of audio fields."""

from __future__ import annotations

from collections.abc import Sequence

from penstock_common.audio_format import AUDIO_FORMATS, audio_format
from penstock_common.errors import PenstockError
from penstock_common.manifest import Field
from penstock_gateway.edge.bounds import over_bound
from penstock_gateway.signature.audio_header import audio_seconds
from penstock_gateway.signature.field_check import in_field, invalid
from penstock_gateway.signature.file_check import FileCheck
from penstock_gateway.signature.request_bounds import RequestBounds

#: What headers may say beyond the bound, since encoders fill up the last frame; the pods count samples.
_SLACK_SECONDS = 0.5
#: How a WAV, FLAC, OGG or MP3 starts in base64, and a data URL of any.
_BASE64_STARTS = (b"UklGR", b"ZkxhQ", b"T2dnUw", b"SUQz", b"//", b"/+", b"data:audio/")


class AudioCheck(FileCheck):
    """A WAV, FLAC, OGG or MP3."""

    def __init__(self, field: Field, bounds: RequestBounds) -> None:
        super().__init__(field, "a sound", _BASE64_STARTS)
        self._most_in_all = bounds.max_request_audio_seconds
        self._most_seconds = field.most_seconds

    def _check_headers(self, files: Sequence[bytes]) -> None:
        """Refuse other formats, and sounds that are too long; one whose header does not say counts as the longest."""
        total = 0.0
        for value in files:
            if audio_format(value) is None:
                raise invalid(
                    self.name,
                    f"is not a sound that this service reads (it starts with {value[:8]!r}); send {AUDIO_FORMATS}",
                    415,
                    "unsupported-audio",
                )
            seconds = audio_seconds(value)
            if seconds is not None and seconds > self._most_seconds + _SLACK_SECONDS:
                raise self._too_large(
                    f"has {seconds:,.1f} seconds, {self._most_seconds:g} are allowed; send it in parts"
                )
            total += self._most_seconds if seconds is None else seconds
        most = self._most_in_all
        if total > most:
            what = (
                f"the sound and those of the request's other rows have {total:,.1f} seconds, those counted as "
                f"{self._most_seconds:g} whose headers do not say it; {most:g} are allowed; send fewer rows"
            )
            refusal = over_bound(413, "audio-too-large", "max_request_audio_seconds", most, f"{what}.")
            raise in_field(self.name, refusal)

    def _too_large(self, what: str) -> PenstockError:
        return invalid(self.name, f"the sound {what}", 413, "audio-too-large")
