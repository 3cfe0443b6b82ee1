"""The training of a recommender: what it reads, the weights, what is measured, and the artifact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

from penstock_common.errors import PenstockError
from penstock_common.manifest import MANIFEST_FILE, Format, Manifest, parse_manifest
from penstock_common.manifest_values import check_manifest_values
from penstock_common.postprocessing.steps import Postprocessing
from penstock_common.preprocessing.steps import preprocess
from penstock_training import recommendation
from penstock_training.ease import ItemToItem, ease_weights
from penstock_training.interactions import Columns, Interactions, read_interactions
from penstock_training.pipeline import Trained
from penstock_training.ranking_quality import ranking_quality
from penstock_training.recommendation import train
from penstock_training.table_file import parse_table

USUAL = Columns()


def read(*rows: str, columns: Columns = USUAL, min_value: float | None = None, min_people: int = 1) -> Interactions:
    return read_interactions(parse_table("\n".join(rows).encode(), "t.csv"), columns, min_value, min_people)


def pairs(read: Interactions) -> list[tuple[int, str]]:
    return [(int(p), read.names[i]) for p, i in zip(read.people, read.items, strict=True)]


def test_each_pair_counts_once() -> None:
    """With its last time; rows without a name are left out, and spaces do not make another item."""
    found = read("userId,movieId,timestamp", "1,a  b,5", "1,a b,7", "1,c,2026-11-25", "2,c,1", ",c,1", "2,,1")
    assert pairs(found) == [(0, "a b"), (0, "c"), (1, "c")]
    assert found.times is not None and found.times[0] == 7 and found.times[1] > 1.7e9
    assert (found.left_out["repeated"], found.left_out["without user or item"]) == (1, 2)


def test_low_values_and_rare_items_are_left_out() -> None:
    """A low value is not a like, and does not count for how many people have an item."""
    rows = ("user,item,rating", "1,a,5", "2,a,4", "1,b,5", "2,b,3", "1,c,1")
    found = read(*rows, min_value=4, min_people=2)
    assert pairs(found) == [(0, "a"), (1, "a")]
    assert (found.left_out["of a low value"], found.left_out["of rare items"]) == (2, 1)


@pytest.mark.parametrize(
    ("rows", "options", "told"),
    [
        (["a,b", "1,2"], {}, "say which to take with --user"),
        (["user,b", "1,2"], {}, "say which to take with --item"),
        (["user,item", "1,2"], {"columns": Columns(item="user")}, "--user and --item are the same column"),
        (["user,item", "1,2"], {"min_value": 3.0}, "no column of values for --min-value"),
        (["user,item,value", "1,2,x"], {"min_value": 3.0}, "'x' in line 2, column 'value', is not a number"),
        (["user,item,time", "1,2,noon"], {}, "'noon' in line 2, column 'time', is neither a number nor a date"),
        (["user,item", f"1,{'x' * 501}"], {}, "the item in line 2 has more than 500 bytes"),
    ],
)
def test_an_error_names_the_place_and_the_remedy(rows: list[str], options: dict[str, Any], told: str) -> None:
    """Of the file, the line and the column."""
    with pytest.raises(PenstockError) as refused:
        read(*rows, **options)
    assert refused.value.code == "bad-data" and told in refused.value.detail


def test_the_weights_are_the_least_squares_without_the_item_itself() -> None:
    """Each column is the ridge regression of an item on all others, solved one by one."""
    rng = np.random.default_rng(0)
    likes = (rng.random((50, 6)) < 0.4).astype(np.float32)
    weights = ease_weights(csr_matrix(likes), 3.0)
    for item in range(6):
        others = [other for other in range(6) if other != item]
        x = likes[:, others].astype(np.float64)
        solved = np.linalg.solve(x.T @ x + 3.0 * np.eye(5), x.T @ likes[:, item])
        np.testing.assert_allclose(weights[others, item], solved, atol=1e-5)
    assert not np.diag(weights).any()


def test_the_scores_are_sums_of_weights() -> None:
    """Items that are unknown add nothing; if all are, the popular ones are better."""
    weights = np.arange(9, dtype=np.float32).reshape(3, 3)
    module = ItemToItem(weights, np.array([0.1, 0.9, 0.5], np.float32))
    scores = module(torch.tensor([[0, 2], [3, 1], [3, 3]]))
    np.testing.assert_allclose(scores[:2], [weights[0] + weights[2], weights[1]])
    np.testing.assert_allclose(scores[2], [0.1, 0.9, 0.5])


def test_the_quality_is_that_of_the_rank_of_the_hidden_item() -> None:
    """Liked items do not count as ranked before it, equal scores do; beyond ten there is nothing."""
    likes = csr_matrix(np.ones((3, 14), np.float32) * ([[1] * 3 + [0] * 11]))
    scores = np.tile(np.linspace(2, 1, 14), (3, 1))
    scores[1, 3] = scores[1, 2]  # as good as the hidden one
    scores[2, 2] = 0
    quality = ranking_quality(lambda given: scores[: given.shape[0]].copy(), likes, np.arange(3), np.full(3, 2))
    assert quality["hr_at_10"] == pytest.approx(2 / 3)
    assert quality["ndcg_at_10"] == pytest.approx((1 + 1 / np.log2(3)) / 3)


def tastes() -> str:
    """Return what 300 people of three tastes like; of each taste there are 12 items, and one that everybody has."""
    rng = np.random.default_rng(0)
    rows = ["user,item,time"]
    for person in range(300):
        own = [f"{'abc'[person % 3]}{n}" for n in rng.permutation(12)[:6]]
        rows += [f"{person},{item},{time}" for time, item in enumerate(["bread", *own])]
    return "\n".join(rows)


def trained(folder: Path, format_: Format | None = None, data: str = "") -> tuple[Trained, Manifest]:
    file = folder / "tastes.csv"
    file.write_text(data or tastes())
    result = train(file, Columns(), None, 2, folder, format_, 0, lambda *_: None)
    manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes())
    check_manifest_values(manifest)
    return result, manifest


def asked(manifest: Manifest, folder: Path, run: Any, items: list[str], count: int) -> list[dict[str, Any]]:
    row: NDArray[Any] = np.empty((1, len(items)), object)
    row[0] = [item.encode() for item in items]
    inputs = {"items": row, "count": np.array([count], np.int32)}
    [positions] = preprocess(manifest, inputs, folder)
    scores = np.asarray(run(torch.from_numpy(positions)))
    [[answer]] = Postprocessing(manifest, folder).run([scores], inputs)
    return list(json.loads(answer))


def test_it_recommends_what_the_like_minded_have(tmp_path: Path) -> None:
    """Better than popularity does, without what is liked already; unknown items change nothing."""
    result, manifest = trained(tmp_path)
    report = result.report
    assert report["metrics"]["ndcg_at_10"] > 1.5 * report["baseline"]["metrics"]["ndcg_at_10"]
    assert report["metrics"]["hr_at_10"] > 0.9
    assert (result.rows, result.unit, result.parameters["items"]) == (300, "people", 37)
    run = torch.export.load(tmp_path / manifest.file).module()
    found = asked(manifest, tmp_path, run, ["bread", "a1", "a2", "a2", "nothing"], 5)
    assert len(found) == 5 and {item["item"][0] for item in found} == {"a"}
    assert not {"a1", "a2", "bread"} & {item["item"] for item in found}
    assert [item["score"] for item in found] == sorted([item["score"] for item in found], reverse=True)
    assert found == asked(manifest, tmp_path, run, ["bread", "a1", "a2"], 5)
    [popular] = asked(manifest, tmp_path, run, ["nothing"], 1)
    assert (popular["item"], popular["score"]) == ("bread", 1)


@pytest.mark.parametrize("format_", [Format.TORCHSCRIPT, Format.ONNX])
def test_other_formats_hold_the_same(format_: Format, tmp_path: Path) -> None:
    """For any number of people and items."""
    _, manifest = trained(tmp_path, format_)
    if format_ is Format.ONNX:
        import onnxruntime

        session = onnxruntime.InferenceSession(tmp_path / manifest.file)
        name = session.get_inputs()[0].name
        assert name == "items"
        run: Any = lambda items: session.run(None, {name: items.numpy()})[0]  # noqa: E731
    else:
        run = torch.jit.load(tmp_path / manifest.file)
    assert {item["item"][0] for item in asked(manifest, tmp_path, run, ["b1", "b2", "b3", "b4"], 5)} == {"b"}
    assert run(torch.full((3, 5), 37)).shape == (3, 37)


def test_too_many_items_are_refused_with_the_number_that_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remedy leaves no more than there may be."""
    monkeypatch.setattr(recommendation, "MAX_ITEMS", 20)
    with pytest.raises(PenstockError, match=r"37 items are liked .* with --min-people (\d+)") as refused:
        trained(tmp_path)
    enough = int(refused.value.detail.split()[-1].rstrip("."))
    assert len(read(*tastes().split("\n"), min_people=enough).names) <= 20


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("user,item\n1,a\n2,a\n1,b\n2,b", "2 people have two items or more, and 20 are needed"),
        ("user,item\n1,a\n2,a\n1,b", "1 items are left, and two are needed"),
        ("user,item\n1,a", "0 items are left"),
    ],
)
def test_too_few_people_or_items_are_refused(data: str, told: str, tmp_path: Path) -> None:
    """With the options that leave out fewer."""
    with pytest.raises(PenstockError, match=told):
        trained(tmp_path, data=data)
