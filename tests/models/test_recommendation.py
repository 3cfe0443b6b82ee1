"""Recommendation: ``penstock train recommendation``, asked at its route."""

from __future__ import annotations

from pathlib import Path

from tests.models.serving import Serving

TASTES = {"walks": ["boots", "tent", "map", "stove", "rope"], "tea": ["pot", "cup", "sugar", "spoon", "biscuits"]}


def shop(folder: Path) -> str:
    """Write what each of 100 people has, a CSV file; return its path."""
    rows = ["user,item"]
    for person in range(100):
        own = TASTES["walks" if person % 3 else "tea"]
        rows += [f"{person},{own[(person + n) % 5]}" for n in range(3)]
    file = folder / "shop.csv"
    file.write_text("\n".join(rows))
    return str(file)


def test_a_recommender_of_own_data(serving: Serving, tmp_path: Path) -> None:
    """It recommends what the like-minded have, and what is popular to one of whom it knows nothing."""
    serving.train("recommendation", "--data", shop(tmp_path))
    [result] = serving.client.post("/v1/recommend", json={"items": ["cup", "pot"], "count": 3}).json()["results"]
    assert {entry["item"] for entry in result["items"]} == {"sugar", "spoon", "biscuits"}
    unknown = serving.client.post("/v1/recommend", json={"items": ["hat"], "count": 5})
    assert {entry["item"] for entry in unknown.json()["results"][0]["items"]} == set(TASTES["walks"])
