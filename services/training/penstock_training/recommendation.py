"""Recommendation: what others like who like the same."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

from penstock_common.item_names import FILE
from penstock_common.manifest import Batching, Field, FieldKind, Format, Manifest, Output, Postprocess, Preprocess, Task
from penstock_common.service import Service
from penstock_training.artifact import FILES, save
from penstock_training.ease import ItemToItem, ease_weights
from penstock_training.evaluate import write_report
from penstock_training.fit import Progress
from penstock_training.interactions import Columns, Interactions, read_interactions
from penstock_training.pipeline import HELD_OUT, Trained
from penstock_training.ranking_quality import CUTOFF, ranking_quality
from penstock_training.table_file import bad_data, read_table_file

#: The weights take memory as the square of the items, and their computation takes time as the cube.
MAX_ITEMS = 10_000
#: With two items at least.
MIN_PEOPLE = 20
#: Share of the people by whom the penalty is chosen.
_VALIDATION = 0.1
_PENALTIES = (20.0, 100.0, 500.0)
_MAX_LIKED = 1000
_MAX_COUNT = 100


def train(
    data: Path,
    columns: Columns,
    min_value: float | None,
    min_people: int,
    folder: Path,
    format_: Format | None,
    seed: int,
    progress: Progress,
) -> Trained:
    """Train a recommender by EASE, and evaluate it on people that it has not seen.

    Of each of these, the last item (a random one if the file has no times) is to be among the first ten recommendations
    for the others.

    Raises:
        PenstockError: 422 ``bad-data``.
    """
    pairs = read_interactions(read_table_file(data), columns, min_value, min_people)
    rng = np.random.default_rng(seed)
    _check_items(pairs, min_people)
    likes = csr_matrix(
        (np.ones(len(pairs.people), np.float32), (pairs.people, pairs.items)),
        shape=(int(pairs.people.max()) + 1, len(pairs.names)),
    )
    wanted = _last_items(pairs, rng)
    several = rng.permutation(np.flatnonzero(np.diff(likes.indptr) >= 2))
    if len(several) < MIN_PEOPLE:
        raise bad_data(
            f"{data.name}: {len(several)} people have two items or more, and {MIN_PEOPLE} are needed at least; collect "
            "more, or lower --min-people and --min-value."
        )
    tested = several[: round(HELD_OUT * len(several))]
    validated = several[len(tested) :][: max(1, round(_VALIDATION * len(several)))]
    rest = np.ones(likes.shape[0], bool)
    rest[tested] = False
    fitted = rest.copy()
    fitted[validated] = False
    penalty, quality = _best_penalty(likes, fitted, validated, wanted, progress)
    weights = ease_weights(likes[rest], penalty)
    progress(len(_PENALTIES) + 1, len(_PENALTIES) + 1, 1 - quality)
    popularity = (np.asarray(likes[rest].sum(axis=0)).ravel() / rest.sum()).astype(np.float32)
    report = {
        "metrics": ranking_quality(partial(_scores, weights), likes, tested, wanted),
        "baseline": {
            "answer": "the most popular items",
            "metrics": ranking_quality(lambda given: np.tile(popularity, (given.shape[0], 1)), likes, tested, wanted),
        },
        "left_out": pairs.left_out,
    }
    by_popularity = [pairs.names[i] for i in np.argsort(-popularity, kind="stable")[:5]]
    manifest = _manifest(format_ or Format.TORCH_EXPORT, by_popularity)
    example = (torch.tensor([[0, 1, 2], [1, len(pairs.names), 0]]),)
    dynamic = ({0: torch.export.Dim("batch", min=1, max=4096), 1: torch.export.Dim("items", min=1, max=_MAX_LIKED)},)
    save(folder, ItemToItem(weights, popularity), manifest, example, dynamic)
    (folder / FILE).write_text("\n".join(pairs.names) + "\n", encoding="utf-8")
    write_report(folder, data.stem, report)
    parameters = {"penalty": penalty, "items": len(pairs.names), "interactions": len(pairs.people), "seed": seed}
    return Trained(report, f"ndcg_at_{CUTOFF}", True, pairs.digest, len(several), parameters, "people")


def _check_items(pairs: Interactions, min_people: int) -> None:
    if len(pairs.names) < 2:
        raise bad_data(f"{len(pairs.names)} items are left, and two are needed at least; lower --min-people.")
    if len(pairs.names) > MAX_ITEMS:
        counts = np.sort(np.bincount(pairs.items))
        enough = int(counts[-MAX_ITEMS - 1]) + 1
        raise bad_data(
            f"{len(pairs.names):,} items are liked by at least {min_people} people, and {MAX_ITEMS:,} are learned at most; "
            f"leave out rare ones with --min-people {enough}."
        )


def _last_items(pairs: Interactions, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the item of each person that is to be found: the last one, or a random one if there are no times."""
    order = rng.permutation(len(pairs.people))
    if pairs.times is not None:
        order = order[np.argsort(pairs.times[order], kind="stable")]
    wanted = np.empty(int(pairs.people.max()) + 1, np.int64)
    wanted[pairs.people[order]] = pairs.items[order]  # of several assignments, numpy keeps the last
    return wanted


def _best_penalty(
    likes: Any, fitted: NDArray[np.bool_], validated: NDArray[np.int64], wanted: NDArray[np.int64], progress: Progress
) -> tuple[float, float]:
    """Return the penalty with the best ranking for some people that it was not fitted on, and that ranking's quality."""
    qualities = []
    for number, penalty in enumerate(_PENALTIES):
        weights = ease_weights(likes[fitted], penalty)
        quality = ranking_quality(partial(_scores, weights), likes, validated, wanted)
        qualities.append(quality[f"ndcg_at_{CUTOFF}"])
        progress(number + 1, len(_PENALTIES) + 1, 1 - qualities[-1])
    best = int(np.argmax(qualities))
    return _PENALTIES[best], qualities[best]


def _scores(weights: NDArray[np.float32], given: Any) -> NDArray[Any]:
    return np.asarray(given @ weights)


def _manifest(format_: Format, popular: list[str]) -> Manifest:
    return Manifest(
        format=format_,
        file=FILES[format_],
        task=Task.TENSOR,
        inputs=[
            Field(
                "items",
                FieldKind.TENSOR,
                "BYTES",
                shape=[-1],
                max_elements=_MAX_LIKED,
                description="What a person likes; items that are unknown are ignored.",
            ),
            Field(
                "count",
                FieldKind.INTEGER,
                "INT32",
                minimum=1,
                maximum=_MAX_COUNT,
                required=False,
                default=10,
                description="Of the recommendations.",
            ),
        ],
        outputs=[Output("items", "BYTES", description="A JSON list of item and score, the best first.")],
        preprocess=Preprocess("items"),
        postprocess=Postprocess("ranking", {"exclude": "items", "count": "count"}),
        batching=Batching(max_batch_size=32),
        service=Service.RECOMMENDATION,
        description="Recommends items that others like who like the same; the most popular ones if it knows none of them.",
        examples=[{"items": popular[:2]}, {"items": popular[1:2], "count": 3}],
    )
