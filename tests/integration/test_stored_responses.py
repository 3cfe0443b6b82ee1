"""Responses that a real gateway has stored, after it was killed and from a second one beside it."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import psutil
import pytest

from tests.installation import Installation, until

pytestmark = pytest.mark.integration


def client_of(url: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def test_responses_outlive_the_gateway_that_made_them(echoing: Installation) -> None:
    """Whole and streamed: after SIGKILL, the gateway and another one show them and go on where they ended."""
    client = client_of(echoing.url, echoing.key)
    first = client.responses.create(model="echo", input="one")
    assert first.output_text == "[one]"
    with client.responses.stream(model="echo", input="two", previous_response_id=first.id) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        second = stream.get_final_response()
    assert "".join(deltas) == second.output_text == "[one][[one]][two]"

    gateway = gateway_of(echoing)
    psutil.Process(gateway["pid"]).kill()
    until(lambda: gateway_of(echoing)["restarts"] == gateway["restarts"] + 1, "the gateway's restart")
    until(lambda: ready(echoing.url), "the gateway to be ready")
    shown = client.responses.retrieve(second.id)
    assert shown.output_text == second.output_text
    assert client.responses.retrieve(first.id).to_dict() == first.to_dict()

    with echoing.another_gateway() as other:
        beside = client_of(other.url, echoing.key)
        assert beside.responses.retrieve(first.id).to_dict() == first.to_dict()
        third = beside.responses.create(model="echo", input="three", previous_response_id=second.id)
        assert third.output_text == f"[one][[one]][two][{second.output_text}][three]"
        assert len(list(beside.responses.input_items.list(third.id, limit=2))) == 5
        beside.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError, match="no stored response"):
        client.responses.retrieve(first.id)
    stranger = client_of(echoing.url, echoing.unlimited_key())
    with pytest.raises(openai.NotFoundError, match="no stored response"):
        stranger.responses.retrieve(third.id)


def gateway_of(installation: Installation) -> dict[str, Any]:
    [found] = [row for row in installation.status() if row["part"] == "gateway"]
    return found


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.HTTPError:
        return False
