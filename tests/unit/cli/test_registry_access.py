"""Which token of the registry a command uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock_cli.registry import registry_access
from penstock_cli.settings import LocalSettings
from penstock_common.registry_roles import ROLES


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalSettings:
    """An installation on this machine that has never been started; the environment names no other registry."""
    for name in ("PENSTOCK_REGISTRY_URL", "PENSTOCK_REGISTRY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    return LocalSettings(home=tmp_path / "home")


def test_each_command_uses_the_token_of_the_role_that_it_needs(settings: LocalSettings) -> None:
    """Of this machine's installation, whose folder has one for each role."""
    settings.create_registry_tokens()
    for role in ROLES:
        url, token_file = registry_access(settings, role)
        assert (url, token_file) == (settings.registry_url, settings.registry_tokens_dir / role)


def test_the_environment_names_another_registry_and_its_token(
    settings: LocalSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One token for everything, as somebody else's registry gives it."""
    settings.create_registry_tokens()
    monkeypatch.setenv("PENSTOCK_REGISTRY_URL", "http://elsewhere:8081")
    monkeypatch.setenv("PENSTOCK_REGISTRY_TOKEN_FILE", "/run/token")
    assert registry_access(settings, "admin") == ("http://elsewhere:8081", Path("/run/token"))


def test_without_an_installation_there_is_no_token(settings: LocalSettings) -> None:
    """A registry that asks for none can still be used."""
    assert registry_access(settings, "read") == (settings.registry_url, None)


def test_tokens_are_created_once_and_for_their_owner_only(settings: LocalSettings) -> None:
    """They differ from each other, and a second start keeps them."""
    settings.create_registry_tokens()
    files = [settings.registry_token_file(role) for role in ROLES]
    assert settings.registry_tokens_dir.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    tokens = [path.read_text() for path in files]
    assert len(set(tokens)) == len(ROLES)
    settings.create_registry_tokens()
    assert [path.read_text() for path in files] == tokens
