"""What went wrong at a remote, as the problem that a client sees.

What a server says of its own failures may be about its operator's account, so none of it is passed on. What it says of
a request that it refuses (400, 413, 422) is for whoever wrote the request.
"""

from __future__ import annotations

import email.utils
import time
from typing import Any

import msgspec

from penstock_common.errors import PenstockError

#: Characters of a server's message that a client gets.
_LONGEST_MESSAGE = 300


class _ErrorObject(msgspec.Struct):
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _ErrorObject | str = ""
    message: str = ""
    detail: Any = None


_BODY = msgspec.json.Decoder(_ErrorBody)


def unavailable(name: str, what: str, retry_after: float = 1.0) -> PenstockError:
    """The error for a server that gives no answer; ``what`` is a sentence without its subject."""
    text = f"The server of the remote model {name!r} {what}; try again shortly."
    return PenstockError(503, "remote-unavailable", text, headers={"Retry-After": _seconds(retry_after)})


def silent(name: str, seconds: float) -> PenstockError:
    text = f"The server of the remote model {name!r} has said nothing for {seconds:g} s; try again, or ask for less."
    return PenstockError(504, "remote-silent", text)


def busy_here(name: str, connections: int) -> PenstockError:
    """The error for a request that has found no free connection."""
    text = f"{connections} requests to the remote model {name!r} are under way, which is its max_connections."
    return PenstockError(
        503, "overloaded", f"{text} Try again shortly.", headers={"Retry-After": "1"}, extra={"limit": connections}
    )


def bad_remote_answer(name: str, what: str) -> PenstockError:
    """The error for an answer that is not one of OpenAI's API."""
    text = f"The server of the remote model {name!r} answered {what}. The request was fine; tell the model's owner."
    return PenstockError(500, "bad-remote-answer", text)


def refusal(name: str, status: int, body: bytes, retry_after: float | None, secret: str) -> PenstockError:
    """The error for an answer whose status is not 200.

    Args:
        body: its beginning.
        retry_after: seconds that the server asks to wait.
        secret: the credential, which no message may hold.
    """
    if status in (401, 403):
        text = f"The server of the remote model {name!r} does not accept this gateway's credential; tell its operator."
        return PenstockError(503, "remote-refused-credential", text, headers={"Retry-After": "30"})
    if status in (400, 413, 422):
        message = _message(body)
        if not message or (secret and secret in message):
            message = "it does not say why"
        text = f"The server of the remote model {name!r} refused the request: {message}"
        return PenstockError(400, "remote-refused-request", text)
    if status == 429:
        text = f"The server of the remote model {name!r} takes no more requests of this gateway now; try again later."
        headers = {"Retry-After": _seconds(retry_after or 1.0)}
        return PenstockError(503, "remote-busy", text, headers=headers)
    return unavailable(name, f"answered with status {status}", retry_after or 1.0)


def retry_after_seconds(value: str | None) -> float | None:
    """The seconds that a header ``Retry-After`` asks for, which may also hold a date (RFC 9110, section 10.2.3)."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value[:12])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _message(body: bytes) -> str:
    """What an error body says, on one line; empty if it is in no form that is known."""
    try:
        parsed = _BODY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    error = parsed.error.message if isinstance(parsed.error, _ErrorObject) else parsed.error
    text = error or parsed.message or (parsed.detail if isinstance(parsed.detail, str) else "")
    return "".join(c if c.isprintable() else " " for c in text[:_LONGEST_MESSAGE])


def _seconds(wait: float) -> str:
    return str(min(3600, max(1, round(wait))))
