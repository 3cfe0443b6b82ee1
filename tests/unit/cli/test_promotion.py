"""``penstock promote`` and ``rollback``: they wait for the gateway, and undo what the pods cannot load."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import msgspec
import pytest
from typer.testing import CliRunner

from penstock_cli import gateway
from penstock_cli.commands import promotion
from penstock_cli.settings import LocalSettings
from penstock_common.registry_client import RegistryClient
from penstock_common.registry_models import AliasTarget, Model

LOADING = {"version": "2", "state": "loading", "reason": "", "since": "now", "bytes": 1}


class Installation:
    """A registry with one model, and a gateway that lists in turn what it is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *listings: dict[str, Any], production: int = 1) -> None:
        aliases = {"production": [AliasTarget(production)]} if production else {}
        self.model = Model("m", 3, {}, aliases, earlier={"production": [[AliasTarget(9)]]})
        self.listings = list(listings)
        self.moves: list[list[int]] = []
        monkeypatch.setattr(promotion, "ask_registry", self._ask)
        monkeypatch.setattr(gateway.httpx, "request", self._listing)
        monkeypatch.setattr(gateway, "_LOOK_SECONDS", 0.0)

    def run(self, *arguments: str) -> Any:
        return CliRunner().invoke(promotion.app, arguments)

    def _ask(self, _: LocalSettings, role: str, call: Callable[[RegistryClient], Awaitable[Any]]) -> Any:
        assert role == "promote"

        async def run() -> Any:
            async with RegistryClient("http://registry", transport=httpx.MockTransport(self._registry)) as client:
                return await call(client)

        return asyncio.run(run())

    def _registry(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            targets = [AliasTarget(**target) for target in json.loads(request.content)["targets"]]
            self.moves.append([target.version for target in targets])
            self.model = msgspec.structs.replace(self.model, aliases={"production": targets})
        elif request.method == "DELETE":
            self.moves.append([])
            self.model = msgspec.structs.replace(self.model, aliases={})
        return httpx.Response(200, content=msgspec.json.encode(self.model))

    def _listing(self, method: str, url: str, **_: Any) -> httpx.Response:
        if not self.listings:
            raise httpx.ConnectError("connection refused")
        listing = self.listings[0] if len(self.listings) == 1 else self.listings.pop(0)
        return httpx.Response(200, json={"data": [listing]}, request=httpx.Request(method, url))


def listed(*in_effect: int, loading: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    shares = [{"version": str(version), "weight": 100} for version in in_effect]
    return {"id": "m", "ready": True, "aliases": {"production": shares} if shares else {}, "loading": list(loading)}


def test_promote_returns_once_the_gateway_answers_with_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while the version is still being loaded."""
    there = Installation(monkeypatch, listed(1), listed(1, loading=(LOADING,)), listed(2))
    done = there.run("promote", "m", "2")
    assert (done.exit_code, there.moves, len(there.listings)) == (0, [[2]], 1), done.output


def test_a_version_that_cannot_be_loaded_is_not_left_promoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 1 with the pod's reason, and the alias points at what it pointed at before."""
    failed = LOADING | {"state": "failed", "reason": "OSError: not a model"}
    there = Installation(monkeypatch, listed(1), listed(1, loading=(failed,)))
    done = there.run("promote", "m", "2")
    assert (done.exit_code, there.moves) == (1, [[2], [1]])
    assert "OSError: not a model" in done.output
    assert "points at 1 again" in done.output


def test_a_first_version_that_cannot_be_loaded_leaves_no_alias(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to point back at, so the alias is deleted."""
    failed = LOADING | {"state": "failed", "reason": "bad"}
    there = Installation(monkeypatch, listed(loading=(failed,)), production=0)
    assert there.run("promote", "m", "2").exit_code == 1
    assert there.moves == [[2], []]


def test_nothing_changes_if_the_gateway_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the remedies; --no-wait moves the alias all the same."""
    there = Installation(monkeypatch)
    done = there.run("promote", "m", "2")
    assert (done.exit_code, there.moves) == (1, [])
    assert "--no-wait" in done.output
    assert there.run("promote", "m", "2", "--no-wait").exit_code == 0
    assert there.moves == [[2]]


def test_a_promotion_that_takes_too_long_stays_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large model may still arrive, so the alias is not moved back."""
    monkeypatch.setattr(gateway.time, "monotonic", iter(range(0, 10_000, 100)).__next__)
    there = Installation(monkeypatch, listed(1, loading=(LOADING,)))
    done = there.run("promote", "m", "2", "--timeout", "5")
    assert (done.exit_code, there.moves) == (1, [[2]])
    assert "not in effect after 5 s" in done.output


def test_rollback_goes_to_the_newest_earlier_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the registry keeps for each alias."""
    there = Installation(monkeypatch, listed(9))
    assert there.run("rollback", "m").exit_code == 0
    assert there.moves == [[9]]
