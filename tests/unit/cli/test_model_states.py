"""What ``penstock models`` and ``penstock status`` say of models."""

from __future__ import annotations

from typing import Any

from penstock_cli.model_states import model_state, not_answering

READY = {"ready": True, "owned_by": "penstock", "loading": []}
LOAD = {"version": "2", "state": "loading", "reason": "", "since": "12:00", "bytes": 5 * 2**20}
FAILED = LOAD | {"state": "failed", "reason": "OSError: no file"}


def listed(**changed: Any) -> dict[str, dict[str, Any]]:
    return {"spam": READY | changed}


def test_a_model_says_what_it_waits_for() -> None:
    """The version, its size, since when, and the reason if it failed; beside whether an earlier version answers."""
    assert model_state(listed(), "spam") == "ready"
    assert model_state(listed(ready=False, loading=[LOAD]), "spam") == "version 2 loading since 12:00 (5.0 MB)"
    assert model_state(listed(loading=[FAILED]), "spam") == (
        "ready; version 2 failed since 12:00 (5.0 MB): OSError: no file"
    )
    assert model_state(listed(ready=False, owned_by="remote:gpt"), "spam") == "does not answer"


def test_a_gateway_that_is_away_and_models_that_it_does_not_know() -> None:
    """The first is said; of the second nothing is known."""
    assert model_state(None, "spam") == "the gateway could not be asked"
    assert model_state(listed(), "other") == ""


def test_only_models_that_wait_are_shown_with_the_parts() -> None:
    """Also those whose earlier version answers in the meantime."""
    assert not_answering(listed()) == []
    assert [row["model"] for row in not_answering(listed(loading=[FAILED]))] == ["spam"]
    assert [row["model"] for row in not_answering(listed(ready=False))] == ["spam"]
