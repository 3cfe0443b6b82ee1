"""Tokens, roles, and attempts without a right token."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from structlog.testing import capture_logs

from penstock_common.errors import PenstockError
from penstock_common.registry_roles import ROLES
from penstock_common.registry_token import TokenFile
from penstock_registry.app import build_app
from penstock_registry.authentication import ALL_ROLES, Authenticator, TokenFiles
from penstock_registry.middleware import OPEN_PATHS
from penstock_registry.routes import Role
from penstock_registry.settings import RegistrySettings
from tests.unit.registry.running import administered, running, write_tokens


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def refusal(authenticator: Authenticator, header: str, address: str = "10.0.0.1") -> PenstockError:
    with pytest.raises(PenstockError) as refused:
        authenticator.roles(header, address)
    return refused.value


@pytest.fixture
def one_token(tmp_path: Path) -> TokenFiles:
    """The administrator's token, t."""
    return TokenFiles(write_tokens(tmp_path / "one", admin="t"))


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic t", "Bearer tt", "Bearer é", "t"])
def test_anything_else_is_refused(one_token: TokenFiles, header: str) -> None:
    """401 with the scheme to use."""
    err = refusal(Authenticator(one_token), header)
    assert (err.status, err.code, err.headers["WWW-Authenticate"]) == (401, "bad-token", "Bearer")


def test_files_give_tokens_their_roles(tmp_path: Path) -> None:
    """Several tokens in a file, and one in several files; everybody may read."""
    folder = write_tokens(
        tmp_path / "t", read="pods\ngateways\n", publish="ci\n", promote="ci\nrelease", train="job", admin="root"
    )
    authenticator = Authenticator(TokenFiles(folder))
    roles = {
        token: authenticator.roles(f"Bearer {token}", "")
        for token in ("pods", "gateways", "ci", "release", "job", "root")
    }
    assert roles == {
        "pods": {"read"},
        "gateways": {"read"},
        "ci": {"read", "publish", "promote"},
        "release": {"read", "promote"},
        "job": {"read", "publish", "promote"},
        "root": ALL_ROLES,
    }


def test_a_token_is_replaced_without_a_restart(tmp_path: Path) -> None:
    """The old one is refused with the next call."""
    folder = write_tokens(tmp_path / "t", read="old")
    authenticator = Authenticator(TokenFiles(folder))
    assert authenticator.roles("Bearer old", "") == {"read"}
    write_tokens(folder, read="newer")
    assert authenticator.roles("Bearer newer", "") == {"read"}
    assert refusal(authenticator, "Bearer old").status == 401


STEPS = ["old", "old\nnew", "new\nold", "new"]


@pytest.mark.parametrize(("before", "after"), list(itertools.pairwise(STEPS)))
def test_a_rotation_in_steps_refuses_nobody(tmp_path: Path, before: str, after: str) -> None:
    """Of each step of docs/secrets.md, the registry or a client may hear first; every token that is sent is accepted."""
    for known in (before, after):
        registry = Authenticator(TokenFiles(write_tokens(tmp_path / "registry", read=known)))
        for held in (before, after):
            client = TokenFile(write_tokens(tmp_path / "client", read=held) / "read")
            request = next(client.auth_flow(httpx.Request("GET", "http://registry")))
            assert registry.roles(request.headers["authorization"], "") == {"read"}


def test_a_folder_without_tokens_is_refused(tmp_path: Path) -> None:
    """A registry that nobody can call does not start."""
    with pytest.raises(ValueError, match="no token"):
        TokenFiles(write_tokens(tmp_path / "t", read="\n"))


def test_tokens_are_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every token is compared in full, also after one that is right."""
    compared: list[bytes] = []

    def record(given: bytes, token: bytes) -> bool:
        compared.append(token)
        return given == token

    monkeypatch.setattr("penstock_registry.authentication.hmac.compare_digest", record)
    Authenticator(TokenFiles(write_tokens(tmp_path / "t", read="a b"))).roles("Bearer a", "")
    assert compared == [b"a", b"b"]


def test_an_address_that_guesses_is_told_to_stop(one_token: TokenFiles) -> None:
    """429 after the bound, for this address and this minute; a right token passes all the same."""
    clock = Clock()
    authenticator = Authenticator(one_token, max_bad_tokens=3, clock=clock)
    assert [refusal(authenticator, "Bearer x").status for _ in range(5)] == [401, 401, 401, 429, 429]
    err = refusal(authenticator, "Bearer x")
    assert (err.code, err.headers["Retry-After"]) == ("too-many-bad-tokens", "60")
    assert "PENSTOCK_REGISTRY_MAX_BAD_TOKENS" in err.detail
    assert refusal(authenticator, "Bearer x", "10.0.0.2").status == 401
    assert authenticator.roles("Bearer t", "10.0.0.1") == ALL_ROLES
    clock.now = 61
    assert refusal(authenticator, "Bearer x").status == 401


def test_attempts_are_logged_and_the_log_is_bounded(one_token: TokenFiles) -> None:
    """One line in ten seconds says how many there were; no token is in it."""
    clock = Clock()
    authenticator = Authenticator(one_token, clock=clock)
    with capture_logs() as lines:
        for _ in range(1000):
            refusal(authenticator, "Bearer guess")
        clock.now = 10
        refusal(authenticator, "Bearer guess")
    assert [line["attempts"] for line in lines] == [1, 1000]
    assert "guess" not in str(lines)


def test_addresses_are_remembered_in_bounded_memory(one_token: TokenFiles) -> None:
    """The oldest is forgotten."""
    authenticator = Authenticator(one_token)
    for number in range(5000):
        refusal(authenticator, "Bearer x", str(number))
    assert len(authenticator._attempts) <= 1024


def test_every_route_says_which_role_it_needs(tmp_path: Path) -> None:
    """A route without a role would be everybody's."""
    app = build_app(administered(tmp_path / "store"))
    roles: dict[str, list[str]] = {}
    for route in _api_routes(app.routes):
        needed = [d.call.role for d in route.dependant.dependencies if isinstance(d.call, Role)]
        roles.setdefault(route.path, []).extend(needed)
        assert len(needed) == (0 if route.path in OPEN_PATHS else 1), route.path
    assert len(roles) > 10


def _api_routes(routes: Any) -> list[APIRoute]:
    found: list[APIRoute] = []
    for route in routes:
        if isinstance(route, APIRoute):
            found.append(route)
        else:
            inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", [])
            found += _api_routes(inner)
    return found


CALLS: list[tuple[str, str, str]] = [
    ("GET", "/v1/models", "read"),
    ("GET", "/v1/watch", "read"),
    ("GET", "/v1/models/m", "read"),
    ("GET", "/v1/models/m/versions/1/files", "read"),
    ("POST", "/v1/models/m/uploads", "publish"),
    ("PUT", "/v1/blobs/sha256/" + "0" * 64, "publish"),
    ("POST", "/v1/models/m/versions", "publish"),
    ("PUT", "/v1/models/m/aliases/production", "promote"),
    ("DELETE", "/v1/models/m/aliases/production", "promote"),
    ("POST", "/v1/models/m/versions/1/retire", "promote"),
    ("POST", "/v1/models/m/versions/1/quarantine", "admin"),
    ("POST", "/v1/models/m/repair", "admin"),
    ("DELETE", "/v1/models/m", "admin"),
    ("GET", "/v1/fsck", "admin"),
]


@pytest.mark.parametrize("token", ROLES)
async def test_a_token_is_good_for_its_roles_only(tmp_path: Path, token: str) -> None:
    """403 names the missing role: a pod's token cannot promote, nor a pipeline's that publishes."""
    folder = write_tokens(tmp_path / "t", **{role: role for role in ROLES})
    settings = RegistrySettings(store_url=str(tmp_path / "store"), tokens_dir=folder)
    async with running(settings, token) as client:
        for method, path, role in CALLS:
            answer = await client.request(method, path, content=b"{}" if method != "GET" else None)
            allowed = token == "admin" or role in ("read", token) or (token == "train" and role != "admin")
            assert (answer.status_code == 403) is not allowed, (method, path, answer.text)
            if not allowed:
                assert answer.json()["code"] == "missing-role"
                assert f"'{role}'" in answer.json()["detail"]
