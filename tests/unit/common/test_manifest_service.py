"""``service`` in a manifest: what each one needs, and where a manifest that lacks it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from penstock_common.errors import PenstockError
from penstock_common.manifest import dump_manifest, parse_manifest
from penstock_common.manifest_service import CONTRACTS, service_input
from penstock_common.manifest_values import check_manifest_values
from penstock_common.manifest_yaml import dump_plain_yaml
from penstock_common.service import Service

TEXT = {"name": "text", "kind": "text", "datatype": "BYTES"}
IMAGE = {"name": "image", "kind": "image", "datatype": "BYTES"}
AUDIO = {"name": "audio", "kind": "audio", "datatype": "BYTES"}
ITEMS = {"name": "items", "kind": "tensor", "datatype": "BYTES", "shape": [-1]}
LABELS: dict[str, Any] = {
    "task": "classification",
    "labels": ["a", "b"],
    "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [2]}],
}


def gives(name: str, datatype: str = "BYTES") -> dict[str, Any]:
    return {"outputs": [{"name": name, "datatype": datatype}]}


#: A manifest of each service, without what all have.
VALID: dict[str, dict[str, Any]] = {
    "chat": gives("text")
    | {
        "format": "transformers",
        "task": "generation",
        "stream": True,
        "inputs": [{**TEXT, "name": "messages", "required": False}],
        "examples": [{"messages": "[]"}],
    },
    "embeddings": {"inputs": [TEXT], "outputs": [{"name": "vector", "datatype": "FP32", "shape": [3]}]},
    "ocr": {"inputs": [IMAGE]} | gives("lines"),
    "faces": {"inputs": [IMAGE]} | gives("faces"),
    "image-classification": {"inputs": [IMAGE | {"name": "photo"}]} | LABELS,
    "text-classification": {"inputs": [TEXT | {"name": "message"}]} | LABELS,
    "transcription": {"inputs": [AUDIO]} | gives("text"),
    "speech": {"inputs": [TEXT]} | gives("audio", "FP32"),
    "voice-activity": {"inputs": [AUDIO]} | gives("parts"),
    "language": {"inputs": [TEXT]} | LABELS,
    "entities": {"inputs": [TEXT]} | gives("entities"),
    "translation": {"inputs": [TEXT, TEXT | {"name": "target"}]} | gives("text"),
    "summarization": {"inputs": [TEXT]} | gives("text"),
    "recommendation": {"inputs": [ITEMS]} | gives("items"),
    "moderation": {"inputs": [TEXT], "harmless_labels": ["a"]} | LABELS,
}


def check(service: str, **members: Any) -> None:
    manifest = {"format": "python", "file": "model.py", "task": "tensor", "service": service} | VALID[service]
    check_manifest_values(parse_manifest(dump_plain_yaml(manifest | members)))


def refusal(service: str, **members: Any) -> str:
    with pytest.raises(PenstockError) as refused:
        check(service, **members)
    assert (refused.value.status, refused.value.code) == (422, "bad-manifest")
    return refused.value.detail


def test_there_is_a_contract_for_each_service() -> None:
    """And a manifest below that fits it."""
    assert set(CONTRACTS) == set(Service) == set(VALID)


@pytest.mark.parametrize("service", sorted(VALID))
def test_a_manifest_with_what_its_service_needs_is_accepted(service: str) -> None:
    """It has no more than that."""
    check(service)


def test_a_service_is_kept_when_a_manifest_is_written() -> None:
    """A manifest without one stays as it was."""
    manifest = parse_manifest(dump_plain_yaml({"format": "python", "file": "m.py", "task": "tensor"} | VALID["ocr"]))
    assert manifest.service is None
    assert "service" not in dump_manifest(manifest)
    manifest.service = Service.OCR
    assert parse_manifest(dump_manifest(manifest)).service is Service.OCR


@pytest.mark.parametrize(
    ("service", "members", "message"),
    [
        ("ocr", {"inputs": [TEXT]}, "inputs: a model with service: ocr has one of kind image with the name image"),
        ("ocr", {"inputs": [IMAGE | {"name": "photo"}]}, "with the name image; add it"),
        ("ocr", gives("text"), "outputs: a model with service: ocr has one with the name lines; add it"),
        ("ocr", gives("lines", "FP32"), "gives BYTES of shape [], not FP32 of shape []"),
        (
            "ocr",
            {"inputs": [IMAGE, TEXT]},
            "inputs.text: is not sent to a model with service: ocr; set required: false",
        ),
        ("text-classification", {"inputs": [IMAGE]}, "has one of kind text; add it"),
        ("language", {"task": "tensor"}, "has task: classification, not tensor"),
        ("embeddings", gives("vector", "FP32"), "has a vector of floats"),
        ("entities", {"stream": True}, "stream: a model with service: entities answers at once"),
        ("recommendation", {"inputs": [ITEMS | {"datatype": "INT64"}]}, "inputs.items: is a list of texts"),
        (
            "summarization",
            {"inputs": [TEXT, {"name": "sentences", "kind": "integer", "datatype": "INT64"}]},
            "inputs.sentences.datatype: a model with service: summarization has INT32, not INT64",
        ),
        ("moderation", {"harmless_labels": []}, "harmless_labels: name those of the labels that are not flagged: a, b"),
        ("moderation", {"harmless_labels": ["c"]}, "harmless_labels: 'c' is not one of the labels: a, b"),
        ("moderation", {"harmless_labels": ["a", "b"]}, "nothing would be flagged"),
        ("language", {"harmless_labels": ["a"]}, "harmless_labels: are those of service: moderation"),
    ],
)
def test_a_manifest_without_what_its_service_needs_is_refused(
    service: str, members: dict[str, Any], message: str
) -> None:
    """The error names what is missing and the remedy."""
    assert message in refusal(service, **members)


def test_an_unknown_service_is_refused() -> None:
    """By its name."""
    with pytest.raises(PenstockError, match="telepathy"):
        parse_manifest(dump_plain_yaml({"format": "python", "file": "m.py", "task": "tensor", "service": "telepathy"}))


def test_further_inputs_may_be_optional_or_constant() -> None:
    """The routes do not send them."""
    check("ocr", inputs=[IMAGE, TEXT | {"required": False}])
    check("ocr", inputs=[IMAGE, TEXT | {"constant": "en"}])


def test_the_input_of_a_service_is_the_required_one() -> None:
    """Also if an optional one of the kind comes first."""
    inputs = [TEXT | {"name": "hint", "required": False}, TEXT]
    manifest = parse_manifest(
        dump_plain_yaml(
            {"format": "python", "file": "m.py", "service": "text-classification", "inputs": inputs} | LABELS
        )
    )
    field = service_input(manifest)
    assert field is not None and field.name == "text"
