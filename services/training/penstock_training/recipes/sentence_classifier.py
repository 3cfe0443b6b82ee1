"""A classifier of sentences: a BERT of sentence vectors as it is, and a linear layer that is trained on its vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from penstock_training.evaluate import classification
from penstock_training.fit import fit
from penstock_training.labelled_texts import Texts
from penstock_training.pipeline import HELD_OUT
from penstock_training.recipes.progress import Share, log

_EPOCHS = 8
_BATCH = 64

#: From texts to their tokens, and to 1 for each of these that is not padding, ``int64 [N, L]`` both.
Tokenize = Callable[[Sequence[str]], tuple[Tensor, Tensor]]


class SentenceClassifier(nn.Module):
    """Tokens to probabilities ``float32 [N, labels]``.

    Args:
        bert: a ``transformers.BertModel``; the mean of its states is a sentence's vector.
    """

    def __init__(self, bert: Any, labels: int) -> None:
        super().__init__()
        self.bert = bert
        self.head = nn.Linear(bert.config.hidden_size, labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return torch.softmax(self.head(self.vectors(input_ids, attention_mask)), dim=1)

    def vectors(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the vectors of sentences, ``float32 [N, width]``."""
        states: Tensor = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(dim=1) / weights.sum(dim=1)


def train(weights: Path, tokenize: Tokenize, data: Texts, seed: int) -> tuple[SentenceClassifier, dict[str, Any]]:
    """Return a classifier and the report of ``classification`` for a held-out fifth of the sentences.

    Args:
        weights: the folder of the BERT, which stays as it is, so that each sentence goes through it once.
    """
    import transformers

    torch.manual_seed(seed)
    bert = transformers.BertModel.from_pretrained(weights, add_pooling_layer=False)
    classifier = SentenceClassifier(bert, len(data.labels)).eval()
    truth = np.array(data.truth)
    train_rows, test_rows = train_test_split(
        np.arange(len(truth)), test_size=HELD_OUT, stratify=truth, random_state=seed
    )
    vectors, targets = _vectors(classifier, tokenize, data.texts), torch.from_numpy(truth)

    def batch(rows: NDArray[Any]) -> tuple[tuple[Tensor, ...], Tensor]:
        return (vectors[rows],), targets[rows]

    fit(
        classifier.head,
        classifier.head,
        batch,
        train_rows,
        nn.functional.cross_entropy,
        epochs=_EPOCHS,
        learning_rate=3e-3,
        batch_size=_BATCH,
        seed=seed,
        progress=lambda done, total, loss: log.info("trains: epoch %d of %d, loss %.3f", done, total, loss),
        weight_decay=1e-2,
    )
    with torch.no_grad():
        probabilities = torch.softmax(classifier.head(vectors[test_rows]), dim=1).numpy()
    report = classification(probabilities, truth[test_rows], data.labels, truth[train_rows])
    return classifier, {**report, "left_out": data.left_out}


def _vectors(classifier: SentenceClassifier, tokenize: Tokenize, texts: list[str]) -> Tensor:
    """Return the vectors of all texts, ``float32 [N, width]``; those of about the same length share a batch."""
    order = np.argsort([len(text) for text in texts])
    vectors = torch.empty(len(texts), classifier.bert.config.hidden_size)
    share = Share(f"reads {len(texts):,} sentences", len(texts))
    with torch.no_grad():
        for at in range(0, len(order), _BATCH):
            rows = order[at : at + _BATCH]
            vectors[rows] = classifier.vectors(*tokenize([texts[row] for row in rows]))
            share.done(at + len(rows))
    return vectors
