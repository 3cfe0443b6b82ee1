"""The routes of tasks in a whole installation: the example models say which service they are for."""

from __future__ import annotations

import base64

import httpx
import openai

from tests.installation import ROOT, Installation

SEVEN = (ROOT / "examples" / "seven.png").read_bytes()


def test_texts_are_classified(client: httpx.Client) -> None:
    """By the only text classifier, in a batch; the model's own answer has the same scores."""
    texts = ["WINNER!! Claim your free prize now", "See you at lunch tomorrow?"]
    answer = client.post("/v1/classify", json={"text": texts}).raise_for_status().json()
    assert (answer["model"], [result["label"] for result in answer["results"]]) == ("spam", ["spam", "ham"])
    own = client.post("/v1/models/spam/predict", json=[{"text": text} for text in texts]).raise_for_status().json()
    for result, prediction in zip(answer["results"], own, strict=True):
        assert {each["label"]: each["score"] for each in result["scores"]} == prediction["probabilities"]


def test_pictures_are_classified(client: httpx.Client) -> None:
    """In base64, as files of a form, and as the body."""
    encoded = base64.b64encode(SEVEN).decode()
    for request in (
        client.build_request("POST", "/v1/classify", json={"image": encoded, "top_k": 2}),
        client.build_request("POST", "/v1/classify", files=[("image", SEVEN), ("image", SEVEN)], data={"top_k": "2"}),
        client.build_request("POST", "/v1/classify", content=SEVEN, headers={"content-type": "image/png"}),
    ):
        answer = client.send(request).raise_for_status().json()
        assert answer["model"] == "digits"
        assert {result["label"] for result in answer["results"]} == {"7"}


def test_a_large_body_is_decoded_beside_the_gateway(client: httpx.Client) -> None:
    """And answered as a small one is; its errors name the row and the field."""
    texts = ["See you at lunch tomorrow? " * 40] * 300
    answer = client.post("/v1/classify", json={"text": texts, "top_k": 1}).raise_for_status().json()
    assert [result["scores"][0]["label"] for result in answer["results"]] == ["ham"] * 300
    refused = client.post("/v1/classify", json={"text": [*texts, "a" * 5001]})
    assert (refused.status_code, refused.json()["row"], refused.json()["field"]) == (422, 300, "text")


def test_a_task_without_a_model_says_how_to_add_one(client: httpx.Client) -> None:
    """By the name of its recipe; OpenAI's route has OpenAI's error."""
    refused = client.post("/v1/ocr", json={"image": base64.b64encode(SEVEN).decode()})
    assert (refused.status_code, refused.json()["code"]) == (404, "no-model-for-service")
    assert "penstock add ocr" in refused.json()["detail"]
    refused = client.post("/v1/moderations", json={"input": "hello"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "no-model-for-service")


def test_the_list_of_models_says_what_they_are_for(installation: Installation, unlimited_key: str) -> None:
    """OpenAI's client reads it beside its own members."""
    with openai.OpenAI(base_url=f"{installation.url}/v1", api_key=unlimited_key) as client:
        services = {model.id: getattr(model, "service", None) for model in client.models.list()}
    assert services == {"spam": "text-classification", "digits": "image-classification", "price": None}
