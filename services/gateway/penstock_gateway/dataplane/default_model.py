"""Which model answers for a service if a request names none."""

from __future__ import annotations

from collections.abc import Sequence

from penstock_common.errors import PenstockError
from penstock_common.service import Service

#: What ``penstock add`` calls a model of a service, if it is not the service's name; None: it has none.
_RECIPES: dict[Service, str | None] = {Service.TEXT_CLASSIFICATION: "sentiment", Service.MODERATION: None}


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
    recipe = _RECIPES.get(service, service.value)
    remedy = f"Add one with: penstock add {recipe}; or" if recipe else "To add one,"
    text = (
        f"No model that this key may ask is for {service}. {remedy} promote one whose manifest says service: {service}."
    )
    raise PenstockError(404, "no-model-for-service", text)
