"""The Secrets that the chart's Job creates: once, complete, and never over one that exists."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import certifi
import httpx
import pytest
import typer
from typer.testing import CliRunner

from penstock_cli import cluster_secrets
from penstock_cli.cluster_secrets import Secrets, create_first_key, create_tokens
from penstock_common.errors import PenstockError
from penstock_common.registry_roles import ROLES
from penstock_gateway.auth.key_ring import KeyRing
from penstock_gateway.auth.key_sources import open_keys
from penstock_registry.authentication import Authenticator, TokenFiles

PATH = "/api/v1/namespaces/shop/secrets"


class Cluster:
    """Kubernetes' API for the Secrets of the namespace ``shop``; ``forbidden`` names the one that it refuses."""

    def __init__(self, forbidden: str = "") -> None:
        self.secrets: dict[str, dict[str, Any]] = {}
        self._forbidden = forbidden
        self.http = httpx.Client(
            transport=httpx.MockTransport(self._answer), base_url="https://cluster/api/v1/namespaces/shop/"
        )
        self.client = Secrets(self.http, {"app.kubernetes.io/instance": "mine"})

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            folder, _, name = request.url.path.rpartition("/")
        else:
            folder, body = request.url.path, json.loads(request.content)
            name = body["metadata"]["name"]
        assert folder == PATH
        if name == self._forbidden:
            return httpx.Response(403, json={"message": "no right to do that"})
        if request.method == "GET":
            return httpx.Response(200, json=self.secrets[name]) if name in self.secrets else httpx.Response(404)
        if name in self.secrets:
            return httpx.Response(409)
        self.secrets[name] = body
        return httpx.Response(201, json=body)

    def mounted(self, name: str, folder: Path) -> Path:
        """A Secret's entries as the files that a pod sees."""
        folder.mkdir()
        for entry, value in self.secrets[name]["data"].items():
            (folder / entry).write_bytes(base64.b64decode(value))
        return folder


def caller(records: Path, key: bytes) -> str:
    """The name that a gateway with these records has for a key."""
    ring = KeyRing(open_keys(str(records)))
    ring.load()
    return ring.authenticate([(b"api-key", key)]).name


def test_the_registry_accepts_every_token_for_its_role(tmp_path: Path) -> None:
    """The Secret, mounted, is what the registry reads; the tokens differ from each other."""
    cluster = Cluster()
    assert create_tokens(cluster.client, "tokens")
    folder = cluster.mounted("tokens", tmp_path / "tokens")
    registry = Authenticator(TokenFiles(folder))
    assert {path.name for path in folder.iterdir()} == set(ROLES)
    for role, rights in ROLES.items():
        assert registry.roles(f"Bearer {(folder / role).read_text()}", "") == rights


def test_a_gateway_accepts_the_first_key(tmp_path: Path) -> None:
    """The key in one Secret belongs to the record in the other, which gateways mount."""
    cluster = Cluster()
    assert create_first_key(cluster.client, "first", "records")
    key = base64.b64decode(cluster.secrets["first"]["data"]["key"])
    assert caller(cluster.mounted("records", tmp_path / "records"), key) == "first"
    assert cluster.secrets["records"]["metadata"]["labels"] == {"app.kubernetes.io/instance": "mine"}


def test_what_exists_stays_as_it_is() -> None:
    """A second run, as before every upgrade, changes nothing."""
    cluster = Cluster()
    create_tokens(cluster.client, "tokens")
    create_first_key(cluster.client, "first", "records")
    before = json.dumps(cluster.secrets)
    assert not create_tokens(cluster.client, "tokens")
    assert not create_first_key(cluster.client, "first", "records")
    assert json.dumps(cluster.secrets) == before


def test_a_first_key_that_was_deleted_is_not_made_again() -> None:
    """Its records still exist, so a new key would be one that no gateway knows."""
    cluster = Cluster()
    create_first_key(cluster.client, "first", "records")
    del cluster.secrets["first"]
    assert not create_first_key(cluster.client, "first", "records")
    assert "first" not in cluster.secrets


def test_a_run_that_was_interrupted_is_completed(tmp_path: Path) -> None:
    """The Secret of the key exists, that of its record does not: the record is made for the key that exists."""
    cluster = Cluster()
    create_first_key(cluster.client, "first", "records")
    del cluster.secrets["records"]
    assert create_first_key(cluster.client, "first", "records")
    key = base64.b64decode(cluster.secrets["first"]["data"]["key"])
    assert caller(cluster.mounted("records", tmp_path / "records"), key) == "first"


@pytest.mark.parametrize("content", [{}, {"key": "hunter2"}, {"key": "psk_short_x"}, {"key": "psk_0123456789ab_"}])
def test_a_secret_that_holds_no_key_is_named(content: dict[str, str]) -> None:
    """No record is made for something that no client could send."""
    cluster = Cluster()
    cluster.client.create("first", {entry: value.encode() for entry, value in content.items()})
    with pytest.raises(PenstockError, match="Secret first is not an API key"):
        create_first_key(cluster.client, "first", "records")
    assert "records" not in cluster.secrets


def test_the_program_names_what_it_created(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for each Secret, without its content; only what is asked for is created."""
    cluster = Cluster()
    monkeypatch.setattr(cluster_secrets, "_in_cluster", lambda namespace: cluster.http)
    done = run("--tokens", "tokens")
    assert (done.exit_code, done.stdout) == (0, "tokens: created\n")
    assert set(cluster.secrets) == {"tokens"}


def test_a_refusal_ends_the_program_with_kubernetes_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Job fails, and its log says which Secret and why."""
    cluster = Cluster(forbidden="tokens")
    monkeypatch.setattr(cluster_secrets, "_in_cluster", lambda namespace: cluster.http)
    done = run("--tokens", "tokens", "--key", "first", "--records", "records")
    assert done.exit_code == 1
    assert "Secret tokens" in done.stderr and "no right to do that" in done.stderr


@pytest.mark.parametrize(("host", "url"), [("10.96.0.1", "10.96.0.1"), ("fd00::1", "[fd00::1]")])
def test_the_program_calls_kubernetes_as_its_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, url: str
) -> None:
    """The address comes from the pod's environment, the token and the authority from its mounted identity."""
    (tmp_path / "token").write_text("of-the-pod")
    shutil.copy(certifi.where(), tmp_path / "ca.crt")
    monkeypatch.setattr(cluster_secrets, "_IDENTITY", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    request = cluster_secrets._in_cluster("shop").build_request("GET", "secrets/x")
    assert str(request.url) == f"https://{url}{PATH}/x"
    assert request.headers["authorization"] == "Bearer of-the-pod"


def run(*options: str) -> Any:
    app = typer.Typer()
    app.command()(cluster_secrets.main)
    return CliRunner().invoke(app, ["--namespace", "shop", "--release", "mine", *options])
