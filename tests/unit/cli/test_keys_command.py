"""``penstock keys``: the store that it uses, its output, and its explanation of errors."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result
from typer.testing import CliRunner

from penstock_cli.__main__ import app
from penstock_common.errors import PenstockError
from penstock_gateway.auth.key_ring import KeyRing
from penstock_gateway.auth.key_sources import open_keys


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of an installation on this machine; the environment names no other store."""
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PENSTOCK_GATEWAY_KEYS_URL", raising=False)
    return tmp_path / "home"


def penstock(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments])


def answer(store: Path, key: str) -> str:
    """Return how a gateway with that store answers a key: with the caller's name, or with the code of a refusal."""
    ring = KeyRing(open_keys(str(store)))
    ring.load()
    try:
        return ring.authenticate([(b"api-key", key.encode())]).name
    except PenstockError as err:
        return err.code


def test_created_listed_revoked(home: Path) -> None:
    """In this machine's installation, create prints a working key, list shows it without its secret, revoke ends it."""
    created = json.loads(penstock("create", "--name", "shop", "--rate", "5", "--json").stdout)
    assert answer(home / "keys.db", created["key"]) == "shop"
    (listed,) = json.loads(penstock("list", "--json").stdout)
    assert listed == {name: value for name, value in created.items() if name != "key"}
    assert (listed["rate"], listed["burst"], listed["revoked"]) == (5, None, None)
    assert "shop" in penstock("list").stdout
    assert penstock("revoke", created["id"]).stdout == f"revoked {created['id']}\n"
    assert answer(home / "keys.db", created["key"]) == "revoked-key"


@pytest.mark.parametrize(
    ("option", "value", "ahead"),
    [
        ("--expires-in", "90d", timedelta(days=90)),
        ("--expires-in", "12h", timedelta(hours=12)),
        ("--expires-at", "2999-01-31T01:00:00+01:00", None),
    ],
)
def test_a_key_with_an_end_and_models(option: str, value: str, ahead: timedelta | None) -> None:
    """Both ways to say when a key expires, and the globs of its models, are listed."""
    before = datetime.now(UTC).replace(microsecond=0)
    created = json.loads(
        penstock("create", "--name", "shop", option, value, "--models", "price-*, !price-beta", "--json").stdout
    )
    (listed,) = json.loads(penstock("list", "--json").stdout)
    assert listed["models"] == created["models"] == ["price-*", "!price-beta"]
    assert listed["last_used"] is None
    expires = datetime.fromisoformat(listed["expires"])
    if ahead is None:
        assert listed["expires"] == "2999-01-31T00:00:00Z"
    else:
        assert before + ahead <= expires <= datetime.now(UTC) + ahead


@pytest.mark.parametrize(
    ("arguments", "explanation"),
    [
        (["--expires-in", "90"], "give at most 5 digits and one of s, m, h, d, w"),
        (["--expires-in", "100000d"], "give at most 5 digits and one of s, m, h, d, w"),
        (["--expires-at", "2999-01-31T00:00:00"], "give a time with its zone"),
        (["--expires-at", "tomorrow"], "give a time with its zone"),
        (["--expires-at", "2026-01-31T00:00:00Z"], "expires 2026-01-31T00:00:00Z is over"),
        (["--expires-in", "0s"], "name a time in the future"),
        (["--expires-in", "1d", "--expires-at", "2999-01-31T00:00:00Z"], "not both"),
        (["--models", ""], "globs that are not empty"),
        (["--models", "!spam"], "at least one of them without '!'"),
    ],
)
def test_an_end_or_models_that_make_no_sense(home: Path, arguments: list[str], explanation: str) -> None:
    """The error names the option and what it takes, and creates no store."""
    done = penstock("create", "--name", "shop", *arguments)
    assert done.exit_code == 1
    assert explanation in done.stderr
    assert not home.exists()


class Cluster:
    """The part of Kubernetes' API that keys need: one Secret, and no pods."""

    def __init__(self) -> None:
        self.data: dict[str, str] = {}

    def read_namespaced_secret(self, name: str, namespace: str) -> SimpleNamespace:
        return SimpleNamespace(data=self.data)

    def patch_namespaced_secret(self, name: str, namespace: str, body: dict[str, dict[str, str]]) -> None:
        self.data |= body["data"]

    def list_namespaced_pod(self, namespace: str, label_selector: str) -> SimpleNamespace:
        return SimpleNamespace(items=[])


def test_keys_in_a_clusters_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key's models and end are in the Secret, gateways read them there, and there is no last use to list."""
    cluster = Cluster()
    monkeypatch.setattr("kubernetes.config.load_kube_config", lambda: None)
    monkeypatch.setattr("kubernetes.client.CoreV1Api", lambda: cluster)
    created = json.loads(
        penstock("create", "--name", "shop", "--expires-in", "1h", "--models", "spam", "--kubernetes", "--json").stdout
    )
    (listed,) = json.loads(penstock("list", "--kubernetes", "--json").stdout)
    assert (listed["models"], listed["expires"]) == (["spam"], created["expires"])
    assert "last_used" not in listed
    penstock("revoke", created["id"], "--kubernetes")
    ((name, encoded),) = cluster.data.items()
    (tmp_path / name).write_bytes(base64.b64decode(encoded))
    (record,) = open_keys(str(tmp_path)).read() or []
    assert (record.models, record.expires) == (["spam"], created["expires"])
    assert answer(tmp_path, created["key"]) == "revoked-key"


def test_without_json_the_key_alone_is_printed(home: Path) -> None:
    """``KEY=$(penstock keys create ...)`` needs no parsing."""
    done = penstock("create", "--name", "shop")
    assert answer(home / "keys.db", done.stdout.removesuffix("\n")) == "shop"


def test_store_chooses_another_store(home: Path, tmp_path: Path) -> None:
    """``--store`` is used instead of the installation's store, which remains unchanged."""
    other = tmp_path / "other.db"
    done = penstock("create", "--name", "shop", "--store", f"sqlite:///{other}")
    assert answer(other, done.stdout.strip()) == "shop"
    assert not home.exists()


def test_the_gateways_variable_chooses_its_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a gateway's pod, the command uses the store that the gateway reads."""
    other = tmp_path / "other.db"
    monkeypatch.setenv("PENSTOCK_GATEWAY_KEYS_URL", str(other))
    created = json.loads(penstock("create", "--name", "shop", "--json").stdout)
    assert answer(other, created["key"]) == "shop"
    assert json.loads(penstock("revoke", created["id"], "--json").stdout) == {"id": created["id"], "revoked": True}
    assert answer(other, created["key"]) == "revoked-key"


@pytest.mark.parametrize(
    ("arguments", "explanation"),
    [
        (["list"], "There is no file"),
        (["revoke", "nope"], "There is no file"),
        (["create", "--name", "shop", "--rate", "0"], "rate 0.0 must be above 0"),
        (["create", "--name", "shop", "--store", "mysql://db/keys"], "mysql:// does not name a key store"),
        (["create", "--name", "shop", "--store", "/proc"], "--kubernetes"),
    ],
)
def test_an_error_is_one_sentence(home: Path, arguments: list[str], explanation: str) -> None:
    """An error is one line on standard error with status 1, and creates no store."""
    done = penstock(*arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert explanation in done.stderr
    assert done.stderr.count("\n") == 1
    assert not home.exists()


def test_an_unknown_id_is_named() -> None:
    """The error of revoking an id that the store does not have names the id."""
    penstock("create", "--name", "shop")
    done = penstock("revoke", "nope")
    assert done.exit_code == 1
    assert "no key with id 'nope'" in done.stderr
