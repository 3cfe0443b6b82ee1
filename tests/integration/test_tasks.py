"""The routes of tasks in a whole installation: the example models say which service they are for, and small ones do."""

from __future__ import annotations

import asyncio
import base64

import httpx
import onnx
import openai
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from tests.installation import ROOT, Installation

SEVEN = (ROOT / "examples" / "seven.png").read_bytes()

SHOUTS = """
format: torchscript
file: model.pt
task: classification
service: moderation
inputs: [{name: comment, kind: text, datatype: BYTES, max_length: 100, source: text}]
outputs: [{name: probabilities, datatype: FP32, shape: [2]}]
labels: [calm, shouted]
harmless_labels: [calm]
preprocess: {name: utf8-bytes}
"""
ECHO = """
format: onnx
file: model.onnx
task: tensor
service: translation
description: Says every text again.
inputs: [{name: text, kind: text, datatype: BYTES, max_length: 100}]
outputs: [{name: text, datatype: BYTES, source: again}]
"""


class Shouts(nn.Module):
    """Whether a text has an exclamation mark."""

    def forward(self, text: Tensor) -> Tensor:
        shouted = (text == ord("!")).any(dim=1).float()
        return torch.stack([1 - shouted, shouted], dim=1)


@pytest.fixture(scope="module")
def small_models(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A moderation and a translation in production."""
    shouts, echo = tmp_path_factory.mktemp("shouts"), tmp_path_factory.mktemp("echo")
    torch.jit.script(Shouts().eval()).save(shouts / "model.pt")
    (shouts / "model.yaml").write_text(SHOUTS)
    texts = [helper.make_tensor_value_info(name, TensorProto.STRING, ["rows"]) for name in ("text", "again")]
    graph = helper.make_graph([helper.make_node("Identity", ["text"], ["again"])], "echo", texts[:1], texts[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(echo / "model.onnx"))
    (echo / "model.yaml").write_text(ECHO)
    asyncio.run(installation.serve("shouts", shouts))
    asyncio.run(installation.serve("echo", echo))


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
    """By the name of its recipe."""
    refused = client.post("/v1/ocr", json={"image": base64.b64encode(SEVEN).decode()})
    assert (refused.status_code, refused.json()["code"]) == (404, "no-model-for-service")
    assert "penstock add ocr" in refused.json()["detail"]


@pytest.mark.usefixtures("small_models")
def test_openais_client_asks_for_moderations(installation: Installation, unlimited_key: str) -> None:
    """Of the only model for it; a refusal names OpenAI's member."""
    with openai.OpenAI(base_url=f"{installation.url}/v1", api_key=unlimited_key) as client:
        answer = client.moderations.create(input=["hello", "HELLO!"])
        assert [result.flagged for result in answer.results] == [False, True]
        assert answer.results[1].categories.to_dict() == {"shouted": True}
        assert answer.model == "shouts"
        with pytest.raises(openai.BadRequestError) as refused:
            client.moderations.create(input="a" * 101)
    assert refused.value.param == "input"


@pytest.mark.usefixtures("small_models")
def test_a_text_goes_to_the_model_and_back(client: httpx.Client) -> None:
    """By the name of the task; what the model does not take is refused with its own words."""
    answer = client.post("/v1/translate", json={"text": ["Grüße", "a\u0000b"]}).raise_for_status().json()
    assert answer == {"model": "echo", "version": "1", "results": [{"text": "Grüße"}, {"text": "a\u0000b"}]}
    refused = client.post("/v1/translate", json={"text": "a", "target": "de"})
    assert (refused.status_code, refused.json()["field"]) == (422, "target")
    assert "Says every text again." in refused.json()["detail"]


def test_the_list_of_models_says_what_they_are_for(installation: Installation, unlimited_key: str) -> None:
    """OpenAI's client reads it beside its own members."""
    with openai.OpenAI(base_url=f"{installation.url}/v1", api_key=unlimited_key) as client:
        services = {model.id: getattr(model, "service", None) for model in client.models.list()}
    own = {name: services[name] for name in ("spam", "digits", "price")}
    assert own == {"spam": "text-classification", "digits": "image-classification", "price": None}
