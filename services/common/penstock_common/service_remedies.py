"""How an installation gets a model for a service."""

from __future__ import annotations

from penstock_common.service import Service

#: The services that no recipe of ``penstock add`` makes.
WITHOUT_RECIPE = {
    Service.TEXT_CLASSIFICATION: (
        "penstock add sentiment, penstock train text --data FILE, or penstock add text-classification --from FOLDER"
    ),
    Service.TRANSLATION: "penstock add translation --from FOLDER, or penstock train translation",
    Service.RECOMMENDATION: "penstock train recommendation --data FILE",
    Service.MODERATION: "penstock add moderation --from FOLDER --harmless-labels LABELS",
}


def how_to_add(service: Service) -> str:
    """Return the commands that add a model for a service."""
    return WITHOUT_RECIPE.get(service, f"penstock add {service}")
