"""Who is calling: API keys, answered from memory.

``KeyRing`` is this process's replica of the key store; the request path never
reads the database. ``python -m penstock_gateway.keys`` manages the store.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import os
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog
from prometheus_client import Counter

from penstock_common.errors import PenstockError
from penstock_common.keys import ID_LENGTH, PREFIX, KeyRecord, key_hash, public
from penstock_gateway.auth.authenticator import Headers
from penstock_gateway.auth.key_sources import KeySource, KeySourceError
from penstock_gateway.auth.key_store import is_postgres, open_store
from penstock_gateway.auth.principal import Limits, Principal

REFRESH_SECONDS = 0.5
_ID_END = len(PREFIX) + ID_LENGTH
_FAILURES = Counter("penstock_gateway_key_refresh_failures_total", "Refreshes of the API keys that failed")
_log = structlog.get_logger()


def credential(headers: Sequence[tuple[bytes, bytes]]) -> str:
    """The key out of ASGI headers: ``API-Key``, ``X-API-Key`` or ``Authorization: Bearer``; "" where there is none."""
    for name, value in headers:
        if name == b"api-key" or name == b"x-api-key":
            return value.decode("latin-1").strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].decode("latin-1").strip()
    return ""


class KeyRing:
    """The keys in memory, refreshed from the store within ``REFRESH_SECONDS`` of a change."""

    def __init__(self, source: KeySource) -> None:
        self._source = source
        self._keys: dict[str, tuple[bytes, Principal, bool]] = {}
        self._loaded = False
        self._away = False

    @property
    def loaded(self) -> bool:
        """Whether the store was read at least once."""
        return self._loaded

    def authenticate(self, headers: Headers) -> Principal:
        return self.lookup(credential(headers))

    def lookup(self, presented: str) -> Principal:
        """The caller that ``presented`` belongs to.

        Raises:
            PenstockError: 401 ``missing-key``, ``bad-key`` or ``revoked-key``.
        """
        known = self._keys.get(presented[len(PREFIX) : _ID_END])
        if known is None or not hmac.compare_digest(known[0], key_hash(presented)):
            raise _refused(presented)
        if known[2]:
            text = f"The key '{known[1].name}' was revoked; ask for a new one."
            raise _unauthorized("revoked-key", text, ', error="invalid_token"')
        return known[1]

    def load(self) -> None:
        """Read the store where it changed; with the store away the last good keys stay."""
        try:
            records = self._source.read()
        except KeySourceError as err:
            _FAILURES.inc()
            if not self._away:
                _log.warning("key store away, keeping the last keys", error=str(err))
            self._away = True
            return
        if self._away:
            _log.info("key store is back")
        self._away = False
        self._loaded = True
        if records is not None:
            self._keys = {
                r.id: (r.hash, Principal(r.id, r.name, limits=Limits(r.rate, r.burst)), r.revoked is not None)
                for r in records
            }

    async def refresh_forever(self, interval: float = REFRESH_SECONDS) -> None:
        """Follow the store."""
        while True:
            await asyncio.to_thread(self.load)
            await asyncio.sleep(interval)


def _refused(presented: str) -> PenstockError:
    if not presented:
        return _unauthorized("missing-key", "Send an API key in the header 'API-Key' or 'Authorization: Bearer <key>'.")
    text = f"The API key is not known here; a key looks like {PREFIX}<id>_<secret>. Check that it is whole."
    return _unauthorized("bad-key", text, ', error="invalid_token"')


def _unauthorized(code: str, detail: str, parameters: str = "") -> PenstockError:
    challenge = f'Bearer realm="penstock"{parameters}'
    return PenstockError(401, code, detail, headers={"WWW-Authenticate": challenge})


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    here = os.environ.get("PENSTOCK_GATEWAY_KEYS_URL")
    common.add_argument(
        "--db",
        default=here,
        required=here is None,
        help="the key store: a SQLite file or postgresql://...; PENSTOCK_GATEWAY_KEYS_URL where absent",
    )
    common.add_argument("--json", action="store_true", help="print JSON")
    parser = argparse.ArgumentParser(
        prog="python -m penstock_gateway.keys",
        description="Manage API keys.",
        epilog="example: python -m penstock_gateway.keys create --db keys.db --name shop --rate 100 --burst 200",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", parents=[common], help="make a key and print it, this once")
    create.add_argument("--name", required=True, help="who will use it")
    create.add_argument("--rate", type=float, help="requests a second; the gateway's default where absent")
    create.add_argument("--burst", type=float, help="requests at once; the gateway's default where absent")
    commands.add_parser("list", parents=[common], help="list the keys")
    revoke = commands.add_parser("revoke", parents=[common], help="revoke a key")
    revoke.add_argument("--id", required=True, help="the key's id, its second part")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        if args.command != "create" and not is_postgres(args.db):
            Path(args.db).stat()  # a mistyped path is an error, not a new store
        store = open_store(args.db)
        if args.command == "create":
            record, key = store.create(args.name, args.rate, args.burst)
            print(json.dumps({**public(record), "key": key}) if args.json else key)
        elif args.command == "revoke":
            store.revoke(args.id)
            print(json.dumps({"id": args.id, "revoked": True}) if args.json else f"revoked {args.id}")
        else:
            _print_list(store.records(), args.json)
    except (PenstockError, OSError, sqlite3.Error) as err:
        print(f"error: {err}", file=sys.stderr)
        return 1
    return 0


def _print_list(records: Sequence[KeyRecord], as_json: bool) -> None:
    if as_json:
        print(json.dumps([public(record) for record in records]))
        return
    for r in records:
        print(f"{r.id}  {r.name}  {f'revoked {r.revoked}' if r.revoked else 'active'}")


if __name__ == "__main__":
    raise SystemExit(main())
