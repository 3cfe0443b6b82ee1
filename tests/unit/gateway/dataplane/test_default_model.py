"""Which model answers for a service if a request names none."""

from __future__ import annotations

import pytest

from penstock_common.errors import PenstockError
from penstock_common.service import Service
from penstock_gateway.dataplane.default_model import default_model


def refusal(service: Service, names: list[str]) -> PenstockError:
    with pytest.raises(PenstockError) as refused:
        default_model(service, names)
    return refused.value


def test_the_only_model_answers() -> None:
    """Whatever its name is."""
    assert default_model(Service.OCR, ["scans"]) == "scans"


def test_of_several_the_one_with_the_name_of_the_service_answers() -> None:
    """``penstock add`` gives it that name."""
    assert default_model(Service.OCR, ["aaa", "ocr", "scans"]) == "ocr"


def test_several_models_have_to_be_named() -> None:
    """The error lists them."""
    refused = refusal(Service.OCR, ["receipts", "scans"])
    assert (refused.status, refused.code, refused.extra) == (400, "several-models", {"field": "model"})
    assert "receipts, scans" in refused.detail


@pytest.mark.parametrize(
    ("service", "remedy"),
    [
        (Service.OCR, "penstock add ocr; or promote one whose manifest says service: ocr"),
        (Service.TEXT_CLASSIFICATION, "penstock add text-classification --from FOLDER; or promote"),
        (Service.TRANSLATION, "penstock add translation --from FOLDER, or penstock train translation; or promote"),
        (Service.RECOMMENDATION, "penstock train recommendation --data FILE; or promote"),
        (Service.MODERATION, "penstock add moderation --from FOLDER --harmless-labels LABELS; or promote"),
    ],
)
def test_without_a_model_the_error_says_how_to_add_one(service: Service, remedy: str) -> None:
    """By its recipe, with the user's own weights, or by a training."""
    refused = refusal(service, [])
    assert (refused.status, refused.code) == (404, "no-model-for-service")
    assert remedy in refused.detail
