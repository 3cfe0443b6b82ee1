"""Keys in a mounted Secret and in PostgreSQL: both are followed, and an outage changes nothing."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock_common.errors import PenstockError
from penstock_common.keys import dump_record, new_key
from penstock_gateway.auth.key_ring import KeyRing
from penstock_gateway.auth.key_sources import open_keys
from penstock_gateway.auth.key_store import open_store
from tests.installation import free_ports


def refusal(ring: KeyRing, key: str) -> str:
    with pytest.raises(PenstockError) as caught:
        ring.lookup(key)
    return caught.value.code


def test_a_mounted_secret_is_followed(tmp_path: Path) -> None:
    """A record that appears is known, one that is gone is not, and a broken one leaves the last keys in force."""
    record, key = new_key("shop", rate=5)
    (tmp_path / "shop.json").write_bytes(dump_record(record))
    ring = KeyRing(open_keys(str(tmp_path)))
    ring.load()
    assert ring.lookup(key).limits.rate == 5
    other, second = new_key("other")
    (tmp_path / "other.json").write_bytes(dump_record(other))
    (tmp_path / "shop.json").unlink()
    ring.load()
    assert ring.lookup(second).name == "other"
    assert refusal(ring, key) == "bad-key"
    (tmp_path / "broken.json").write_text('{"id": 1}')
    ring.load()
    assert ring.lookup(second).name == "other"


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Callable[[str], None]]]:
    """A real server of its own: its URL, and what starts and stops it."""
    found = shutil.which("pg_ctl") or next((str(p) for p in Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")), None)
    if found is None:
        pytest.skip("needs PostgreSQL; on Debian: apt-get install postgresql")
    home = tmp_path_factory.mktemp("postgres")
    user: dict[str, int] = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        nobody = pwd.getpwnam("nobody")
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid}
        for folder in (home, *home.parents):
            if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
                folder.chmod(0o755)
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
    data = home / "data"
    (port,) = free_ports(1)

    def run(*command: str) -> None:
        subprocess.run(command, check=True, cwd=home, stdout=subprocess.DEVNULL, **user)  # type: ignore[call-overload]

    # SQL_ASCII, the encoding of a database that was made without a locale, says nothing of what its texts are.
    initdb = str(Path(found).with_name("initdb"))
    run(initdb, "-D", str(data), "-U", "penstock", "-A", "trust", "-E", "SQL_ASCII", "--locale=C")
    options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1 -c fsync=off"

    def control(action: str) -> None:
        run(
            found,
            action,
            "-D",
            str(data),
            "-w",
            "-l",
            str(home / "log"),
            *(["-o", options] if action == "start" else []),
        )

    control("start")
    yield f"postgresql://penstock@127.0.0.1:{port}/postgres", control
    control("stop")


def test_keys_in_postgresql(postgres: tuple[str, Callable[[str], None]]) -> None:
    """Created, listed and revoked there; with the server away known keys keep working, and it is found again."""
    url, control = postgres
    early = KeyRing(open_keys(url))
    early.load()
    assert early.loaded  # an empty database holds no keys; it is not an outage
    store = open_store(url)
    record, key = store.create("shop", burst=7)
    ring = KeyRing(open_keys(url))
    ring.load()
    assert ring.lookup(key).limits.burst == 7
    assert [r.id for r in store.records()] == [record.id]
    control("stop")
    ring.load()
    assert ring.lookup(key).name == "shop"
    control("start")
    store.revoke(record.id)
    ring.load()
    assert refusal(ring, key) == "revoked-key"
    with pytest.raises(PenstockError, match="no key with id"):
        store.revoke("nope")
