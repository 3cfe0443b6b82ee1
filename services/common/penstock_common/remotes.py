"""The list of remotes: models that other servers have and that a gateway offers as its own (docs/remotes.md).

``penstock remote`` and the chart write it, gateways read it. A credential is never in it, only the name of its file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
import yaml

from penstock_common.errors import PenstockError
from penstock_common.manifest import Name
from penstock_common.manifest_yaml import dump_plain_yaml, load_plain_yaml

#: Remotes, and models with a fallback, of one list.
_MOST = 64

Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]
Count = Annotated[int, msgspec.Meta(ge=1)]
#: What of OpenAI's API a remote is asked.
Route = Literal["chat", "completions", "embeddings"]


class Remote(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A model of a server that speaks OpenAI's API."""

    url: Annotated[str, msgspec.Meta(max_length=2048)]  # up to the routes, usually with /v1 at its end
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]  # its name there
    key_file: str = ""  # with the server's credential; relative to the list's folder. Empty if it asks for none
    ca_file: str = ""  # with the authority of its certificate, if that is not a public one; relative likewise
    routes: Annotated[tuple[Route, ...], msgspec.Meta(min_length=1)] = ("chat",)
    width: Annotated[int, msgspec.Meta(ge=1, le=65_536)] | None = None  # numbers of an embedding
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"  # what the server calls it in a chat
    images: bool = False  # whether the messages of a chat may have pictures
    max_connections: Annotated[int, msgspec.Meta(ge=1, le=512)] = 64  # of one gateway
    first_seconds: Seconds = 60.0  # from a request to the first data of its answer
    idle_seconds: Seconds = 30.0  # between two data of a stream
    description: Annotated[str, msgspec.Meta(max_length=1000)] = ""

    def __post_init__(self) -> None:
        _check_url(self.url)
        if ("embeddings" in self.routes) != (self.width is not None):
            raise ValueError("width: is the numbers of an embedding; give it with the route embeddings and only then")
        if self.images and "chat" not in self.routes:
            raise ValueError("images: pictures are in the messages of a chat; give it with the route chat")
        if "embeddings" in self.routes and len(self.routes) > 1:
            raise ValueError("routes: embeddings come from a model of their own; make it a remote of its own")


class Fallback(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which remotes answer for a model of this installation, in order, and when they do.

    They do if no pod can answer. The bounds add: if more than ``in_flight`` rows of one gateway are under way, and if
    the pods have not begun to answer after ``wait_seconds``.
    """

    to: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=8)]
    in_flight: Annotated[int, msgspec.Meta(ge=0)] | None = None
    wait_seconds: Seconds | None = None
    requests_per_day: Count | None = None  # that go to the remotes; of all gateways
    tokens_per_day: Count | None = None  # read and written by them


class RemoteList(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The file: remotes by the name that they have here, and fallbacks by the model that they are for."""

    remotes: Annotated[dict[Name, Remote], msgspec.Meta(max_length=_MOST)] = {}
    fallbacks: Annotated[dict[Name, Fallback], msgspec.Meta(max_length=_MOST)] = {}

    def __post_init__(self) -> None:
        for model, fallback in self.fallbacks.items():
            for name in fallback.to:
                if name not in self.remotes:
                    known = ", ".join(self.remotes) or "none"
                    raise ValueError(f"fallbacks.{model}.to: there is no remote {name!r}; remotes here: {known}")


def parse_remotes(text: str | bytes) -> RemoteList:
    """Read a list; an empty text is one without remotes.

    Raises:
        PenstockError: 422 ``bad-remotes``, naming the place and the remedy.
    """
    try:
        return msgspec.convert(load_plain_yaml(text) or {}, RemoteList)
    except (yaml.YAMLError, msgspec.ValidationError, ValueError) as err:
        raise PenstockError(422, "bad-remotes", f"the list of remotes: {err}") from None


def read_remotes(path: Path) -> RemoteList:
    """Read the list in a file; a file that does not exist is an empty list.

    Raises:
        PenstockError: as ``parse_remotes``.
    """
    try:
        return parse_remotes(path.read_bytes())
    except FileNotFoundError:
        return RemoteList()


def dump_remotes(remotes: RemoteList) -> str:
    plain: Any = msgspec.to_builtins(remotes)
    return dump_plain_yaml(plain)


def read_credential(path: Path) -> str:
    """The credential in a file, without the white space around it.

    Raises:
        PenstockError: 422 ``bad-credential``, without what the file holds.
    """
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as err:
        raise PenstockError(422, "bad-credential", f"{path}: cannot be read ({type(err).__name__})") from None
    if not text or len(text) > 8192 or not text.isascii() or not text.isprintable():
        raise PenstockError(422, "bad-credential", f"{path}: a credential is one line of up to 8192 ASCII characters")
    return text


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:  # also of a host's name that could not be looked up
        known = False
    if not known or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("url: is not understood; write https://host[:port]/v1, or http:// for a host of your own")
    if parts.username is not None or parts.password is not None:
        raise ValueError("url: it holds a name or a password; put the credential into a file and name it as key_file")
    if parts.query or parts.fragment:
        raise ValueError("url: has a query or a fragment; leave out what follows the path")
