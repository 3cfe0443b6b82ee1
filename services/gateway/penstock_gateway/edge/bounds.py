"""What one connection, one address and all callers together may take of this gateway."""

from __future__ import annotations

from dataclasses import dataclass

from penstock_common.errors import PenstockError


@dataclass(frozen=True, slots=True)
class Bounds:
    """The fields are settings of the same names; ``docs/limits.md`` gives the reason for each.

    ``max_*_bytes``, ``max_unread_bytes``: bytes. ``*_seconds``: seconds. The others are counts.
    """

    max_url_bytes: int
    max_header_bytes: int
    max_header_fields: int
    max_pipelined: int
    header_seconds: float
    body_seconds: float
    answer_seconds: float
    keep_alive_seconds: float
    linger_seconds: float
    max_unread_bytes: int
    max_connections: int
    max_connections_per_address: int
    max_bodies_bytes: int
    max_bodies_bytes_per_key: int
    max_waiting_bodies: int


def over_bound(status: int, code: str, bound: str, limit: float, detail: str) -> PenstockError:
    """The refusal of what goes over ``bound``, a setting's name, whose value is ``limit``.

    Args:
        detail: what was too much and what to do; the setting is named after it.
    """
    return PenstockError(
        status,
        code,
        f"{detail} The bound is the gateway's setting {bound} = {limit}.",
        headers={"Retry-After": "1"} if status in (429, 503) else None,
        extra={"bound": bound, "limit": limit},
    )


def url_too_long(bounds: Bounds) -> PenstockError:
    return over_bound(
        414,
        "url-too-long",
        "max_url_bytes",
        bounds.max_url_bytes,
        "The URL is too long; send data in the body.",
    )


def headers_too_large(bounds: Bounds) -> PenstockError:
    return over_bound(
        431,
        "headers-too-large",
        "max_header_bytes",
        bounds.max_header_bytes,
        "The header fields have too many bytes; send fewer or shorter ones, such as cookies.",
    )


def too_many_fields(bounds: Bounds) -> PenstockError:
    return over_bound(
        431,
        "too-many-headers",
        "max_header_fields",
        bounds.max_header_fields,
        "There are too many header fields; send fewer.",
    )


def too_many_pipelined(bounds: Bounds) -> PenstockError:
    return over_bound(
        429,
        "too-many-pipelined",
        "max_pipelined",
        bounds.max_pipelined,
        "Too many requests came on one connection before the first was answered; use more connections.",
    )


def headers_late(bounds: Bounds) -> PenstockError:
    return over_bound(
        408,
        "headers-timeout",
        "header_seconds",
        bounds.header_seconds,
        "The request's headers did not arrive in time; send them at once.",
    )


def answer_late(bounds: Bounds) -> PenstockError:
    return over_bound(
        504,
        "answer-timeout",
        "answer_seconds",
        bounds.answer_seconds,
        "The gateway found no answer in time; try again, and tell its operator.",
    )


def too_many_connections(bounds: Bounds) -> PenstockError:
    return over_bound(
        503,
        "too-many-connections",
        "max_connections",
        bounds.max_connections,
        "The gateway has as many connections as it may; try again shortly.",
    )


def too_many_from_address(bounds: Bounds) -> PenstockError:
    return over_bound(
        503,
        "too-many-connections-from-address",
        "max_connections_per_address",
        bounds.max_connections_per_address,
        "Your address has as many connections as it may; close some, or reuse them.",
    )
