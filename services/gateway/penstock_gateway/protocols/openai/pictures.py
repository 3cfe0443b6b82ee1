"""Pictures in a conversation: parts of its messages, which become the model's input ``images``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from penstock_common.errors import PenstockError
from penstock_gateway.protocols.openai.errors import bad_request

IMAGES = "images"
#: How errors begin that the gateway's decoder or a pod raises for that input; a pod says which of the pictures.
_OF_IMAGES = re.compile(rf"(?:Field '{IMAGES}'|{IMAGES}(?:\.(\d{{1,4}}))?): ")


class Picture(NamedTuple):
    """A picture of a request.

    Attributes:
        place: of its part in the request, such as ``messages[0].content[1]``.
        part: the type of that part.
        url: a ``data:`` URL.
    """

    place: str
    part: str
    url: str


def check_picture_url(url: str, place: str) -> None:
    """Refuse the address of a picture; nothing is fetched here.

    Raises:
        PenstockError: 400 ``invalid-request``.
    """
    if not url.startswith("data:"):
        text = (
            f"{place}: '{url[:40]}' is an address, and pictures are not fetched here; send the picture itself as a data: "
            "URL, such as data:image/png;base64,..."
        )
        raise bad_request(text, place)


def refuse_pictures(pictures: Sequence[Picture], model: str) -> PenstockError:
    """The error for pictures that a model cannot see."""
    first = pictures[0]
    text = (
        f"{first.place}: parts of type '{first.part}' are not understood by '{model}', which reads texts alone; "
        "send text, or ask a model that sees."
    )
    return bad_request(text, first.place)


def naming_picture(err: PenstockError, pictures: Sequence[Picture]) -> PenstockError:
    """An error about the input ``images`` with the place of the picture in the request; another as it is."""
    found = _OF_IMAGES.match(err.detail)
    if found is None or not pictures:
        return err
    number = int(err.extra.pop("element", found[1] or -1))
    place = pictures[number].place if 0 <= number < len(pictures) else pictures[0].place.partition("[")[0]
    err.detail = f"{place}: {err.detail[found.end() :]}"
    err.extra["field"] = place
    return err
