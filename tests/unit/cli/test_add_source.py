"""``penstock add SERVICE --from``: folders of tiny models become services, and those of another kind are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from typer.testing import CliRunner

from penstock_cli import inference_programs, recipes, service_source
from penstock_cli.__main__ import app
from penstock_cli.licence import stated_licence
from penstock_common.errors import PenstockError
from penstock_common.file_signature import FileSignature, SignatureRequest
from penstock_common.manifest import MANIFEST_FILE, FieldKind, Manifest, Parameters, parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_common.service import Service
from penstock_common.service_remedies import WITHOUT_RECIPE
from penstock_inference.signatures.read import read_signature
from penstock_inference.versions.load_model import load_model
from tests.unit.inference.runners import tiny_conversions, tiny_listeners, tiny_translators
from tests.unit.inference.runners.tiny_language_model import save_language_model

_SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
_MOODS = {0: "negative", 1: "positive"}


def bert(folder: Path, kind: Any = transformers.BertModel, **config: Any) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "a", "wonderful", "day", "!"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=16)
    tokenizer.save_pretrained(folder / "model")
    settings = transformers.BertConfig(vocab_size=len(words), max_position_embeddings=16, **_SIZES, **config)
    kind(settings).save_pretrained(folder / "model")


def classifier(folder: Path, labels: dict[int, str]) -> None:
    bert(folder, transformers.BertForSequenceClassification, id2label=labels)


def pictures(folder: Path) -> None:
    settings = transformers.ViTConfig(image_size=32, patch_size=16, id2label=_MOODS, **_SIZES)
    transformers.ViTForImageClassification(settings).save_pretrained(folder / "model")
    transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder / "model")


def of_one_folder(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def made(folder: Path) -> None:
        folder.mkdir()
        make(folder)

    return made


FOLDERS: dict[str, Callable[[Path], Any]] = {
    "chat": lambda folder: save_language_model(folder / "model"),
    "no template": lambda folder: save_language_model(folder / "model", template=None),
    "vectors": bert,
    "moods": lambda folder: classifier(folder, _MOODS),
    "languages": lambda folder: classifier(folder, {0: "de", 1: "en"}),
    "names": lambda folder: bert(folder, transformers.BertForTokenClassification, id2label={0: "O", 1: "B-PER"}),
    "pictures": pictures,
    "marian": of_one_folder(tiny_translators.marian),
    "nllb": of_one_folder(lambda folder: tiny_translators.nllb(folder, "eng_Latn", "fra_Latn")),
    "speech": of_one_folder(tiny_listeners.whisper),
    "converted nllb": of_one_folder(lambda folder: tiny_conversions.nllb(folder, "eng_Latn", "fra_Latn")),
    "bart": of_one_folder(tiny_translators.bart),
    "t5": of_one_folder(
        lambda folder: tiny_translators.t5(
            folder,
            task_specific_params={
                "summarization": {"prefix": "summarize: "},
                "translation_en_to_de": {"prefix": "translate English to German: "},
                "translation_en_to_fr": {"prefix": "translate English to French: "},
            },
        )
    ),
}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that makes a folder of ``FOLDERS``, once."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            torch.manual_seed(0)
            made[name] = tmp_path_factory.mktemp("source") / "of"
            FOLDERS[name](made[name])
        return made[name] / "model"

    return make


@pytest.fixture(autouse=True)
def _read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signature is read in this process: ten seconds less for each test."""

    def read(request: SignatureRequest) -> FileSignature:
        return read_signature(Path(request.folder) / request.file, request.format, request.inputs)

    monkeypatch.setattr(inference_programs, "read_signature", read)


def made(
    service: str, source: Path, artifact: Path, *, task: str = "", harmless_labels: tuple[str, ...] = ()
) -> tuple[Manifest, recipes.Recipe]:
    """The manifest that is written, which registration accepts, and what is said of the service."""
    recipe = service_source.make(service, str(source), artifact, task, list(harmless_labels))
    manifest = parse_manifest((artifact / MANIFEST_FILE).read_text())
    check_manifest_values(manifest)
    return manifest, recipe


@pytest.mark.parametrize(
    ("service", "folder", "asked"),
    [
        ("chat", "chat", "messages"),
        ("embeddings", "vectors", "text"),
        ("text-classification", "moods", "text"),
        ("language", "languages", "text"),
        ("entities", "names", "text"),
        ("image-classification", "pictures", "image"),
        ("transcription", "speech", "audio"),
        ("translation", "marian", "text"),
        ("translation", "nllb", "text"),
        ("summarization", "bart", "text"),
        ("summarization", "t5", "text"),
    ],
)
def test_a_folder_becomes_a_service_that_a_pod_loads(
    service: str, folder: str, asked: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """Its manifest names the service and shows a row, with which a pod tries it."""
    manifest, recipe = made(service, folder_of(folder), tmp_path)
    assert manifest.service is Service(service)
    assert asked in [field.name for field in manifest.inputs]
    assert asked in ("image", "audio") or asked in manifest.examples[0]
    assert "{model}" in str(recipe.call) and recipe.licence == "not stated"
    load_model(manifest, tmp_path, 1)


def test_sentiment_takes_a_classifier_of_texts(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """It is a use of that service."""
    manifest, recipe = made("sentiment", folder_of("moods"), tmp_path)
    assert (manifest.service, recipe.name) == (Service.TEXT_CLASSIFICATION, "sentiment")


def test_vectors_come_with_the_tokens_that_were_read(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """``/v1/embeddings`` counts usage by them."""
    manifest, _ = made("embeddings", folder_of("vectors"), tmp_path)
    assert [output.name for output in manifest.outputs] == ["embedding", "tokens"]


def test_languages_have_the_names_of_the_route(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """The folder's own names are their sources; the call names a target, since the model needs one."""
    manifest, recipe = made("translation", folder_of("nllb"), tmp_path)
    languages = {field.name: (field.source, field.required) for field in manifest.inputs if field.source}
    assert languages == {"target": ("target_language", True), "source": ("source_language", False)}
    assert recipe.call.body == {"model": "{model}", "text": "Good morning.", "target": "eng_Latn"}


def test_a_translator_that_has_to_be_told_both_languages(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """They are texts, so that codes of ISO 639-1 are taken; the example names two that there are, and a pod tries it."""
    manifest, recipe = made("translation", folder_of("converted nllb"), tmp_path)
    assert {field.name: (field.kind, field.required) for field in manifest.inputs} == dict.fromkeys(
        ("text", "source", "target"), (FieldKind.TEXT, True)
    )
    assert manifest.examples == [{"text": "Good morning.", "source": "eng_Latn", "target": "fra_Latn"}]
    assert recipe.call.body == {"model": "{model}", **manifest.examples[0]}
    manifest.parameters = Parameters(max_tokens=12)  # random weights never end a text
    load_model(manifest, tmp_path, 1)


def test_of_several_tasks_the_user_chooses(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """A T5 translates into several languages; the error names the tasks, and the chosen one is in the manifest."""
    with pytest.raises(
        PenstockError, match="choose one of its tasks with --task: translation_en_to_de, translat"
    ) as caught:
        made("translation", folder_of("t5"), tmp_path / "a")
    assert caught.value.code == "wrong-service"
    manifest, _ = made("translation", folder_of("t5"), tmp_path / "b", task="translation_en_to_fr")
    assert manifest.parameters is not None and manifest.parameters.task == "translation_en_to_fr"
    with pytest.raises(PenstockError, match="--task nothing: the folder names summarization, "):
        made("translation", folder_of("t5"), tmp_path / "c", task="nothing")


def test_the_labels_that_are_harmless_make_a_moderation(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """Without them, the error lists the labels."""
    with pytest.raises(PenstockError, match="--harmless-labels; there are negative, positive"):
        made("moderation", folder_of("moods"), tmp_path / "a")
    manifest, _ = made("moderation", folder_of("moods"), tmp_path / "b", harmless_labels=("positive",))
    assert manifest.harmless_labels == ["positive"]


@pytest.mark.parametrize(
    ("service", "folder", "what", "remedy"),
    [
        ("chat", "moods", "is a classifier of texts, not a language model", "penstock add text-classification --from"),
        ("chat", "no template", "it has no chat template", "no service takes it; penstock import"),
        ("embeddings", "chat", "is a model that continues texts", "penstock add chat --from"),
        ("translation", "vectors", "takes texts and gives embedding, tokens", "penstock add embeddings --from"),
        ("summarization", "nllb", "inputs.target_language", "penstock add translation --from"),
        ("language", "moods", "not codes of ISO 639-1: negative", "penstock add text-classification --from"),
        ("text-classification", "pictures", "a classifier of images", "penstock add image-classification --from"),
        ("embeddings", "speech", "takes sounds and gives text, segments", "penstock add transcription --from"),
        ("moderation", "pictures", "a classifier of images", "penstock add image-classification --from"),
        ("entities", "languages", "a classifier of texts", "text-classification --from {0} or penstock add language --"),
    ],
)  # fmt: skip
def test_a_model_for_another_service_is_refused(
    service: str, folder: str, what: str, remedy: str, folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    """The error says what it is, and the command that takes it."""
    source = folder_of(folder)
    with pytest.raises(PenstockError) as caught:
        made(service, source, tmp_path)
    assert caught.value.code == "wrong-service"
    assert what in caught.value.detail and remedy.replace("{0}", str(source)) in caught.value.detail
    assert not (tmp_path / MANIFEST_FILE).exists()


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlanguage: en\nlicense: apache-2.0\n---\n# Model", "apache-2.0"),
        ("---\nlicense: [mit, cc-by-4.0]\n---\n", "mit, cc-by-4.0"),
        ("---\nlicense: other\nlicense_name: river\n---\n", "river"),
        ("---\nlicense: \"a\\e[31mb\"\n---\n", "a[31mb"),
        ("# Model\nlicense: mit\n", "not stated"),
        ("---\nlicense: &a mit\nb: *a\n---\n", "not stated"),
        ("---\n: [\n---\n", "not stated"),
    ],
)  # fmt: skip
def test_the_licence_is_that_of_the_card(card: str, licence: str, tmp_path: Path) -> None:
    """README.md begins with it; nothing in it reaches the terminal but letters."""
    model = tmp_path / "card"
    model.mkdir()
    (model / "README.md").write_text(card)
    assert stated_licence(model) == licence


def test_all_services_are_listed() -> None:
    """One without a recipe with the command that makes it; what takes no model of the user's is named with what does."""
    listed = {line["name"]: line for line in json.loads(CliRunner().invoke(app, ["add", "--list", "--json"]).stdout)}
    assert listed["translation"]["licence"] == (
        "made by: penstock add translation --from FOLDER, or penstock train translation"
    )
    assert listed["recommendation"]["licence"] == "made by: penstock train recommendation --data FILE"
    assert listed.keys() >= {*Service, "sentiment"}
    refused = CliRunner().invoke(app, ["add", "faces", "--from", "."])
    assert "No service 'faces' takes a model with --from; these do: chat, embeddings" in refused.stderr
    refused = CliRunner().invoke(app, ["add", "chat", "--task", "x"])
    assert "are for a model of yours: add --from" in refused.stderr


@pytest.mark.parametrize(
    ("service", "remedy"),
    [
        ("translation", "penstock add translation --from FOLDER, or penstock train translation"),
        ("recommendation", "penstock train recommendation --data FILE"),
        ("text-classification", "penstock add sentiment, penstock train text --data FILE, or penstock add text-class"),
        ("moderation", "penstock add moderation --from FOLDER --harmless-labels LABELS"),
    ],
)
def test_a_service_without_a_recipe_names_the_command_that_makes_it(service: str, remedy: str) -> None:
    """Before anything is fetched."""
    refused = CliRunner().invoke(app, ["add", service])
    assert refused.exit_code == 1
    assert f"{service} comes without a model. Add one with: {remedy}" in refused.stderr


def test_an_artifact_of_the_service_is_taken_as_it_is(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    """Such as that of a training; one of another service is refused with how to register it."""
    manifest, _ = made("translation", folder_of("marian"), tmp_path / "artifact")
    again, recipe = made("translation", tmp_path / "artifact", tmp_path / "again")
    assert again == manifest
    assert (tmp_path / "again" / manifest.file / "config.json").is_file()
    assert (recipe.call.path, recipe.what) == ("/v1/translate", manifest.description)
    assert recipe.call.body == {"model": "{model}", **manifest.examples[0]}
    with pytest.raises(PenstockError, match="says service: translation, not recommendation; penstock push NAME") as no:
        made("recommendation", tmp_path / "artifact", tmp_path / "b")
    assert no.value.code == "wrong-service"


def test_the_services_without_a_recipe_are_known() -> None:
    """Those for which an error says ``penstock add SERVICE`` have one."""
    named = {recipe.name for recipe in recipes.list_recipes()}
    assert named.isdisjoint(WITHOUT_RECIPE)
    assert set(Service) - set(WITHOUT_RECIPE) == named - {"sentiment"}  # is a use of text-classification
