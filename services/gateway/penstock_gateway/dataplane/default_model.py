"""Which model answers for a service if a request names none."""

from __future__ import annotations

from collections.abc import Sequence

from penstock_common.errors import PenstockError
from penstock_common.service import Service
from penstock_common.service_remedies import how_to_add


def default_model(service: Service, names: Sequence[str]) -> str:
    """The only model, or the one that has the service's name.

    Args:
        names: the models in production that are for the service and that the caller may ask.

    Raises:
        PenstockError: 404 ``no-model-for-service``; 400 ``several-models``.
    """
    if len(names) == 1:
        return names[0]
    if service in names:
        return service.value
    if names:
        text = f"Several models are for {service}: {', '.join(names)}. Name one of them as 'model'."
        raise PenstockError(400, "several-models", text, extra={"field": "model"})
    text = (
        f"No model that this key may ask is for {service}. Add one with: {how_to_add(service)}; or promote one whose "
        f"manifest says service: {service}."
    )
    raise PenstockError(404, "no-model-for-service", text)
