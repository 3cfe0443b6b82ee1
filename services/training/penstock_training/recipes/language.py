"""The language of a text, by the model of py3langid (github.com/adbar/py3langid)."""

from __future__ import annotations

import io
import lzma
from pathlib import Path

import numpy as np

from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Preprocess, Task
from penstock_common.service import Service
from penstock_training.manifest_file import write_manifest
from penstock_training.recipes.recipe import Call, Package, Recipe

_LENGTH = 5000
_MAX_BYTES = 4 * _LENGTH
#: Rows of one run; with more, their counts of 100,000 n-grams each do not fit into the cache.
_ROWS = 8


def _make(packages: list[Path], artifact: Path) -> None:
    import torch

    from penstock_training.recipes.ngram_automaton import NgramAutomaton

    [package] = packages
    with np.load(io.BytesIO(lzma.decompress((package / "data" / "model.npz.xz").read_bytes()))) as model:
        classes = model["classes"].tolist()
        labels = list(dict.fromkeys(classes))
        network = NgramAutomaton(
            model["nextmove"].reshape(-1, 256),
            model["nextmove_row"].astype(np.int64),
            model["out_feat"],
            model["ptc"],
            model["pc"],
            np.array([labels.index(name) for name in classes]),
        ).eval()
    dynamic = ({0: torch.export.Dim("rows", min=1, max=4096), 1: torch.export.Dim.AUTO},)
    example = torch.zeros(2, 48, dtype=torch.uint8)
    torch.export.save(torch.export.export(network, (example,), dynamic_shapes=dynamic), artifact / "model.pt2")
    write_manifest(
        artifact,
        Manifest(
            Format.TORCH_EXPORT,
            "model.pt2",
            Task.CLASSIFICATION,
            [Field("text", FieldKind.TEXT, "BYTES", max_length=_LENGTH)],
            [Output("probabilities", "FP32", [len(labels)])],
            labels=labels,
            preprocess=Preprocess("utf8-bytes", {"max_bytes": _MAX_BYTES, "normalize": "NFC", "lower_capitals": True}),
            batching=Batching(_ROWS),
            service=Service.LANGUAGE,
            description=f"The language of a text: {len(labels)} codes of ISO 639-1, or 639-3 if it has none there; zxx is "
            "no language.",
            examples=[
                {"text": "This is a sentence."},
                {"text": "Dies ist ein Satz."},
                {"text": "Ceci est une phrase."},
            ],
        ),
    )


RECIPE = Recipe(
    name="language",
    what="the language of a text (py3langid, 140 languages)",
    packages=(Package("py3langid==0.4.0", "py3langid"),),
    megabytes=5,
    licence="BSD-3-Clause",
    call=Call("/v1/language", {"model": "{model}", "text": "Wie spät ist es?"}),
    make=_make,
    quality="the language that py3langid says for 618 of 618 texts",
)
