"""Texts that nearly equal an earlier one."""

import re
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

NGRAM = 3
CHUNK = 1000


def find_near_duplicates(texts: Sequence[str], threshold: float, exempt: Sequence[bool]) -> np.ndarray:
    """For each text, the position of the first earlier kept text that it nearly equals, or -1.

    Two texts are near-duplicates if the Jaccard similarity of their sets of character trigrams, punctuation aside,
    reaches the threshold. A text is kept if it is near-duplicate of no kept text before it.

    Args:
        texts: normalized texts, none empty.
        threshold: in (0, 1].
        exempt: texts that are never compared with each other, because they are told apart by their meaning.
    """
    skip = np.asarray(exempt, dtype=bool)
    twin = np.full(len(texts), -1)
    if skip.all():
        return twin
    grams = CountVectorizer(analyzer="char_wb", ngram_range=(NGRAM, NGRAM), binary=True, dtype=np.int32)
    # a text of nothing but punctuation is compared by that
    rows = grams.fit_transform([re.sub(r"[^\w\s]", " ", text) if re.search(r"\w", text) else text for text in texts])
    sizes = np.asarray(rows.sum(axis=1)).ravel()
    columns = rows.T.tocsr()
    for start in range(0, len(texts), CHUNK):
        shared = (rows[start : start + CHUNK] @ columns).tocoo()
        later, earlier = shared.row + start, shared.col
        union = sizes[later] + sizes[earlier] - shared.data
        close = (shared.data >= threshold * union) & (earlier < later) & ~(skip[later] & skip[earlier])
        order = np.lexsort((earlier[close], later[close]))
        for one, other in zip(later[close][order], earlier[close][order], strict=True):
            if twin[one] == -1 and twin[other] == -1:
                twin[one] = other
    return twin
