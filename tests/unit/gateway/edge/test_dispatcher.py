"""Which calls go past FastAPI."""

from __future__ import annotations

from typing import Any

import pytest

from penstock_gateway.edge.dispatcher import Dispatcher

PATHS = (
    "/v1/models/{model}/predict",
    "/v1/models/{model}/versions/{version}/predict",
    "/predict",
    "/v2/models/{model}/infer",
    "/v2/models/{model}/versions/{version}/infer",
)


async def taken(path: str, method: str = "POST", kind: str = "http") -> tuple[str, Any]:
    """Who answers, and the parameters that it finds."""
    found: list[tuple[str, Any]] = []

    def answers(name: str) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            found.append((name, scope.get("path_params")))

        return app

    dispatcher = Dispatcher(answers("rest"))
    dispatcher.add({p: answers(p) for p in PATHS})
    await dispatcher({"type": kind, "method": method, "path": path}, None, None)  # type: ignore[arg-type]
    return found[0]


@pytest.mark.parametrize(
    ("path", "pattern", "parameters"),
    [
        ("/v1/models/a@b/predict", PATHS[0], {"model": "a@b"}),
        ("/v1/models/a/versions/7/predict", PATHS[1], {"model": "a", "version": "7"}),
        ("/predict", PATHS[2], None),
        ("/v2/models/versions/infer", PATHS[3], {"model": "versions"}),
        ("/v2/models/a/versions/7/infer", PATHS[4], {"model": "a", "version": "7"}),
    ],
)
async def test_predictions_go_straight_to_their_endpoint(path: str, pattern: str, parameters: Any) -> None:
    """With the parameters that the router would have found."""
    assert await taken(path) == (pattern, parameters)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/predict/",
        "/v1/models/a/predict/",
        "/v1/models//predict",
        "/v1/models/a/versions//predict",
        "/v1/models/a/b/predict",
        "/v1/models/a/infer",
        "/v2/models/a/predict",
        "/v1/models/a/versions/7/infer",
        "/v1//models/a/predict",
    ],
)
async def test_every_other_path_goes_to_the_router(path: str) -> None:
    """Nothing is answered here that the router would have refused."""
    assert (await taken(path))[0] == "rest"


async def test_other_methods_and_kinds_go_to_the_router() -> None:
    """It says which method is right; and the lifespan is FastAPI's."""
    assert (await taken(PATHS[0], "GET"))[0] == "rest"
    assert (await taken("/predict", kind="lifespan"))[0] == "rest"
