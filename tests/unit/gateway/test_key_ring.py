"""API keys: stored as hashes, answered from memory."""

import asyncio
import contextlib
import json
import sqlite3
from pathlib import Path

import pytest

from penstock_common.errors import PenstockError
from penstock_common.keys import ID_LENGTH, PREFIX
from penstock_gateway.auth.key_ring import KeyRing, credential, main
from penstock_gateway.auth.key_sources import open_keys
from penstock_gateway.auth.key_store import KeyStore, open_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.db"


@pytest.fixture
def store(path: Path) -> KeyStore:
    return open_store(str(path))


def refusal(ring: KeyRing, key: str) -> PenstockError:
    with pytest.raises(PenstockError) as caught:
        ring.lookup(key)
    assert caught.value.headers["WWW-Authenticate"].startswith("Bearer ")
    return caught.value


def test_a_key_is_known_by_its_limits(store: KeyStore, path: Path) -> None:
    """A key is answered with its name and limits."""
    record, key = store.create("shop", 10, 20)
    ring = KeyRing(open_keys(str(path)))
    assert not ring.loaded
    ring.load()
    principal = ring.lookup(key)
    assert ring.loaded
    assert (principal.id, principal.name, principal.limits.rate, principal.limits.burst) == (record.id, "shop", 10, 20)


def test_wrong_keys_are_401(store: KeyStore, path: Path) -> None:
    """No key, another key and a key with one character changed are told apart from each other, not in detail."""
    _, key = store.create("shop")
    ring = KeyRing(open_keys(str(path)))
    ring.load()
    assert refusal(ring, "").code == "missing-key"
    for wrong in ("x", "psk_", key[:-1], key + "x", "é" * 40, key.replace("psk_", "PSK_")):
        assert refusal(ring, wrong).code == "bad-key"


def test_revocation_reaches_a_running_ring(store: KeyStore, path: Path) -> None:
    """The next refresh sees keys made and revoked by another connection."""
    ring = KeyRing(open_keys(str(path)))
    ring.load()
    record, key = store.create("shop")
    ring.load()
    ring.lookup(key)
    store.revoke(record.id)
    ring.load()
    assert refusal(ring, key).code == "revoked-key"


def test_the_last_keys_stay_while_the_store_is_away(store: KeyStore, path: Path) -> None:
    """With the file gone or broken, known keys keep working; a store put back is read."""
    _, key = store.create("shop")
    ring = KeyRing(open_keys(str(path)))
    ring.load()
    path.unlink()
    ring.load()
    ring.lookup(key)
    path.write_bytes(b"no database" * 100)
    ring.load()
    ring.lookup(key)
    path.unlink()
    _, other = open_store(str(path)).create("new")
    ring.load()
    ring.lookup(other)
    assert refusal(ring, key).code == "bad-key"


def test_a_ring_never_creates_a_store(path: Path) -> None:
    """A store that is not there leaves the ring not loaded and the path untouched."""
    ring = KeyRing(open_keys(str(path)))
    ring.load()
    assert not ring.loaded
    assert not path.exists()


def test_the_store_holds_no_key(store: KeyStore, path: Path) -> None:
    """The file is for its owner alone and does not contain the key."""
    _, key = store.create("shop")
    assert path.stat().st_mode & 0o777 == 0o600
    secret = key[len(PREFIX) + ID_LENGTH + 1 :].encode()
    assert len(secret) > 40
    assert secret not in b"".join(p.read_bytes() for p in path.parent.iterdir())


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0), (float("nan"), 1), (float("inf"), 1)])
def test_a_key_has_usable_limits(store: KeyStore, rate: float, burst: float) -> None:
    """A limit that could never allow anything is refused."""
    with pytest.raises(PenstockError):
        store.create("shop", rate, burst)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([(b"api-key", b"k")], "k"),
        ([(b"host", b"h"), (b"x-api-key", b" k ")], "k"),
        ([(b"authorization", b"Bearer k")], "k"),
        ([(b"authorization", b"bearer k")], "k"),
        ([(b"authorization", b"Basic k")], ""),
        ([(b"authorization", b"Basic k"), (b"api-key", b"k")], "k"),
        ([(b"api-key", b"\xff")], "ÿ"),
        ([], ""),
    ],
)
def test_where_a_key_is_looked_for(headers: list[tuple[bytes, bytes]], key: str) -> None:
    """API-Key, X-API-Key and Authorization: Bearer carry a key."""
    assert credential(headers) == key


def test_the_command_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Create prints a key that works, list shows it without the key, revoke ends it."""
    assert main(["create", "--db", str(path), "--name", "shop", "--rate", "5", "--json"]) == 0
    created = json.loads(capsys.readouterr().out)
    ring = KeyRing(open_keys(str(path)))
    ring.load()
    assert ring.lookup(created["key"]).limits.rate == 5
    assert main(["list", "--db", str(path)]) == 0
    listed = capsys.readouterr().out
    assert "shop  active" in listed
    assert created["key"] not in listed
    assert main(["revoke", "--db", str(path), "--id", created["id"]]) == 0
    ring.load()
    assert refusal(ring, created["key"]).code == "revoked-key"


def test_the_command_line_explains_errors(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown id and a missing file are one line on standard error, and make no store."""
    assert main(["list", "--db", str(path)]) == 1
    assert not path.exists()
    open_store(str(path))
    assert main(["revoke", "--db", str(path), "--id", "nope"]) == 1
    assert "no key with id 'nope'" in capsys.readouterr().err


def test_sqlite_is_in_wal_mode(store: KeyStore, path: Path) -> None:
    """Readers and writers of the store do not block each other."""
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_the_refresh_goes_on_through_an_outage(path: Path) -> None:
    """The refresh survives a store that is away and picks it up when it comes."""
    ring = KeyRing(open_keys(str(path)))
    refresh = asyncio.create_task(ring.refresh_forever(interval=0))
    try:
        await asyncio.sleep(0)
        assert not ring.loaded
        _, key = open_store(str(path)).create("shop")
        async with asyncio.timeout(5):
            while True:
                await asyncio.sleep(0)
                with contextlib.suppress(PenstockError):
                    assert ring.lookup(key).name == "shop"
                    return
    finally:
        refresh.cancel()
