"""``python -m penstock_training``: train a model and register it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from penstock_training import digits, image, price, recommendation, spam, tabular, text, translation
from penstock_training.image_network import SIDES
from penstock_training.interactions import Columns
from penstock_training.pipeline import Pipeline
from penstock_training.tabular_rows import Kind
from penstock_training.training_run import FormatName, TrainingRun
from penstock_training.translation import Language

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Train a model, evaluate it on held-out rows, and register it; production points at it if it is better.",
)


File = Annotated[
    Path, typer.Option(help="A CSV or TSV file whose first line names the columns.", exists=True, dir_okay=False)
]
Name = Annotated[str, typer.Option(help="The model's name; that of the data if absent.")]
ServiceName = Annotated[str, typer.Option(help="The model's name; the service's route takes the one of this name.")]
RegistryUrl = Annotated[str, typer.Option(envvar="PENSTOCK_REGISTRY_URL", help="URL of the registry.")]
Out = Annotated[Path | None, typer.Option(help="Folder to keep the artifact in.")]
NoRegister = Annotated[bool, typer.Option("--no-register", help="Only write the artifact.")]
FormatOption = Annotated[FormatName | None, typer.Option("--format", help="File format of the model.")]
Seed = Annotated[int, typer.Option(help="Seed of the split and the training.")]
Promote = Annotated[bool, typer.Option(help="Point production at it if it is better than the current one.")]
IfMissing = Annotated[bool, typer.Option("--if-missing", help="Do nothing if production points at a version.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

_URL = "http://127.0.0.1:8081"


@app.command(
    "text", epilog="Example: penstock train text --data reviews.csv --text review --label stars --name reviews"
)
def train_text(
    data: File,
    text_column: Annotated[str | None, typer.Option("--text", help="Column of the texts.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the labels.")] = None,
    name: Name = "",
    registry_url: RegistryUrl = _URL,
    out: Out = None,
    no_register: NoRegister = False,
    format: FormatOption = None,
    seed: Seed = 0,
    promote: Promote = True,
    if_missing: IfMissing = False,
    as_json: AsJson = False,
) -> None:
    """Train a classifier of labelled texts."""
    name = name or data.stem
    run = TrainingRun(name, registry_url, out, no_register, format, seed, promote, if_missing, as_json)
    run.run(partial(text.train, name, data, text_column, label))


@app.command("tabular", epilog="Example: penstock train tabular --data cars.csv --target price")
def train_tabular(
    data: File,
    target: Annotated[str | None, typer.Option(help="Column to predict; the last one if absent.")] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="A column that the model does not get; repeat it.")] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="If absent, a target of more than two different numbers is estimated.")
    ] = None,
    name: Name = "",
    registry_url: RegistryUrl = _URL,
    out: Out = None,
    no_register: NoRegister = False,
    format: FormatOption = None,
    seed: Seed = 0,
    promote: Promote = True,
    if_missing: IfMissing = False,
    as_json: AsJson = False,
) -> None:
    """Train a classifier or a regressor of a table's rows."""
    name = name or data.stem
    run = TrainingRun(name, registry_url, out, no_register, format, seed, promote, if_missing, as_json)
    run.run(partial(tabular.train, name, data, target, ignore or [], kind))


@app.command("image", epilog="Example: penstock train image --data photos --side 64")
def train_image(
    data: Annotated[Path, typer.Option(help="A folder with a folder for each label.", exists=True, file_okay=False)],
    side: Annotated[
        int, typer.Option(help=f"Pixels of both sides after resizing: {', '.join(map(str, SIDES))}; more take longer.")
    ] = 32,
    name: Name = "",
    registry_url: RegistryUrl = _URL,
    out: Out = None,
    no_register: NoRegister = False,
    format: FormatOption = None,
    seed: Seed = 0,
    promote: Promote = True,
    if_missing: IfMissing = False,
    as_json: AsJson = False,
) -> None:
    """Train a classifier of labelled pictures."""
    name = name or data.resolve().name
    run = TrainingRun(name, registry_url, out, no_register, format, seed, promote, if_missing, as_json)
    run.run(partial(image.train, name, data, side))


@app.command("recommendation", epilog="Example: penstock train recommendation --data ratings.csv --min-value 4")
def train_recommendation(
    data: File,
    user: Annotated[str | None, typer.Option(help="Column of the people.")] = None,
    item: Annotated[str | None, typer.Option(help="Column of the items.")] = None,
    value: Annotated[str | None, typer.Option(help="Column of ratings or the like, for --min-value.")] = None,
    time: Annotated[str | None, typer.Option(help="Column of times: the last item of a person is to be found.")] = None,
    min_value: Annotated[float | None, typer.Option(help="Leave out rows with a smaller value.")] = None,
    min_people: Annotated[int, typer.Option(min=1, help="Leave out items that fewer people have.")] = 2,
    name: ServiceName = "recommendation",
    registry_url: RegistryUrl = _URL,
    out: Out = None,
    no_register: NoRegister = False,
    format: FormatOption = None,
    seed: Seed = 0,
    promote: Promote = True,
    if_missing: IfMissing = False,
    as_json: AsJson = False,
) -> None:
    """Train a recommender of items by what people have."""
    run = TrainingRun(name, registry_url, out, no_register, format, seed, promote, if_missing, as_json)
    run.run(partial(recommendation.train, data, Columns(user, item, value, time), min_value, min_people))


@app.command("translation", epilog="Example: penstock train translation --source de --target en")
def train_translation(
    source: Annotated[Language, typer.Option(help="Language of the texts.")] = Language.en,
    target: Annotated[Language, typer.Option(help="Language of the answers.")] = Language.de,
    name: ServiceName = "translation",
    registry_url: RegistryUrl = _URL,
    out: Out = None,
    no_register: NoRegister = False,
    seed: Seed = 0,
    promote: Promote = True,
    if_missing: IfMissing = False,
    as_json: AsJson = False,
) -> None:
    """Train a translator of numbers in words."""
    run = TrainingRun(name, registry_url, out, no_register, None, seed, promote, if_missing, as_json)
    run.run(partial(translation.train, name, source, target))


def _preset(name: str, pipeline: Pipeline) -> Callable[..., None]:
    def train(
        data: Annotated[Path | None, typer.Option(help="CSV or TSV to train on.", exists=True, dir_okay=False)] = None,
        registry_url: RegistryUrl = _URL,
        out: Out = None,
        no_register: NoRegister = False,
        format: FormatOption = None,
        seed: Seed = 0,
        promote: Promote = True,
        if_missing: IfMissing = False,
        as_json: AsJson = False,
    ) -> None:
        run = TrainingRun(name, registry_url, out, no_register, format, seed, promote, if_missing, as_json)
        run.run(partial(pipeline, data))

    return train


for _name, _pipeline, _help in (
    ("spam", spam.train, "The preset of text for messages that are ham or spam."),
    ("digits", digits.train, "The preset of image for handwritten digits."),
    ("price", price.train, "The preset of tabular for prices of used cars."),
):
    app.command(_name, help=_help)(_preset(_name, _pipeline))


if __name__ == "__main__":
    app(prog_name="penstock train")
