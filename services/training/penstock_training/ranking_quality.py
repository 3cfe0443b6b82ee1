"""How often, and how high, a recommender ranks an item that a person likes and it was not given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Positions of a ranking that count.
CUTOFF = 10
_PEOPLE_AT_ONCE = 256


def ranking_quality(
    score: Callable[[Any], NDArray[Any]], likes: Any, people: NDArray[np.int64], wanted: NDArray[np.int64]
) -> dict[str, float]:
    """Return the hit rate and the normalized discounted cumulative gain of the first ten.

    One item of each person is hidden. With one to find, the gain of rank r is 1 / log2(r + 1), and the ideal one is 1
    (Järvelin and Kekäläinen, 2002). Of equal scores, the hidden item's counts as the worst.

    Args:
        score: of all items ``[people, items]``, for a sparse matrix ``[people, items]`` of those that they like.
        likes: that matrix, of all people.
        people: whose rankings are evaluated.
        wanted: the hidden item of every person.
    """
    ranks = []
    for at in range(0, len(people), _PEOPLE_AT_ONCE):
        part = people[at : at + _PEOPLE_AT_ONCE]
        rows = np.arange(len(part))
        given = likes[part].tolil()
        given[rows, wanted[part]] = 0
        given = given.tocsr()
        given.eliminate_zeros()
        scores = np.asarray(score(given))
        hidden = scores[rows, wanted[part]]
        scores[given.nonzero()] = -np.inf
        ranks.append((scores >= hidden[:, np.newaxis]).sum(axis=1))
    rank = np.concatenate(ranks)
    found = rank <= CUTOFF
    return {
        f"hr_at_{CUTOFF}": float(found.mean()),
        f"ndcg_at_{CUTOFF}": float(np.where(found, 1 / np.log2(rank + 1), 0).mean()),
    }
