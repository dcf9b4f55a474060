"""Find texts that nearly equal an earlier one."""

import re
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer

from rsidiff_kedro.prompts.characters import without_unseen_marks, word_characters

CHUNK = 1000
PAIRS = 100_000
"""Pairs that are compared at once."""


def find_near_duplicates(texts: Sequence[str], threshold: float, exempt: Sequence[Sequence[bool]]) -> np.ndarray:
    """Return for each text the position of the first earlier kept text that it nearly equals, or -1.

    Two texts are near-duplicates if the Jaccard similarity of their sets of character trigrams, punctuation aside,
    reaches the threshold, unless they are the same words in another order: a cat chasing a horse is not a horse
    chasing a cat. A text is kept if it is a near-duplicate of no kept text before it. The answer is exact. Only pairs
    that share one of their rarest trigrams are compared, as similar pairs must (prefix filtering, Chaudhuri et al.,
    ICDE 2006).

    The texts are normalized and not empty, the threshold is in (0, 1]. `exempt` holds sets of texts, each as one mark
    per text; texts of one set are never compared with each other.
    """
    twin = np.full(len(texts), -1)
    skip = np.array(exempt, dtype=bool).reshape(len(exempt), len(texts))
    if not len(texts) or skip.all(axis=1).any():
        return twin
    grams = CountVectorizer(analyzer="char_wb", ngram_range=(3, 3), binary=True, dtype=np.int32)
    # A text of nothing but punctuation is compared by that.
    inside = word_characters()
    punctuation, letter = re.compile(rf"[^\s{inside}]"), re.compile(rf"[{inside}]")
    words = [punctuation.sub(" ", text) if letter.search(text) else text for text in map(without_unseen_marks, texts)]
    rows = grams.fit_transform(words)
    sizes = np.diff(rows.indptr)
    for later, earlier in _candidates(rows, sizes, threshold):
        compared = ~(skip[:, later] & skip[:, earlier]).any(axis=0)
        later, earlier = later[compared], earlier[compared]
        for start in range(0, len(later), PAIRS):
            ones, others = later[start : start + PAIRS], earlier[start : start + PAIRS]
            shared = np.asarray(rows[ones].multiply(rows[others]).sum(axis=1)).ravel()
            close = shared >= threshold * (sizes[ones] + sizes[others] - shared)
            for one, other in zip(ones[close], others[close]):
                first, second = words[one].split(), words[other].split()
                reordered = first != second and sorted(first) == sorted(second)
                if twin[one] == -1 and twin[other] == -1 and not reordered:
                    twin[one] = other
    return twin


def _candidates(rows: csr_matrix, sizes: np.ndarray, threshold: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs that may be similar enough, sorted by the later text and then by the earlier.

    Sets of sizes m and n with a Jaccard similarity of t share at least t * max(m, n) elements, so each has a shared
    element among its first m - t * m + 1 in any common order; the rarest first gives the fewest pairs.
    """
    frequency = np.bincount(rows.indices, minlength=rows.shape[1])
    ordered = rows[:, np.argsort(frequency, kind="stable")]
    ordered.sort_indices()
    place = np.arange(ordered.nnz) - np.repeat(ordered.indptr[:-1], sizes)
    first = sizes - np.ceil(threshold * sizes - 1e-9).astype(int) + 1
    kept = place < np.repeat(first, sizes)
    prefixes = csr_matrix(
        (np.ones(int(kept.sum()), np.int32), ordered.indices[kept], np.concatenate([[0], np.cumsum(first)])),
        shape=rows.shape,
    )
    columns = prefixes.T.tocsr()
    for start in range(0, rows.shape[0], CHUNK):
        shared = (prefixes[start : start + CHUNK] @ columns).tocoo()
        later, earlier = shared.row + start, shared.col
        small, large = np.minimum(sizes[later], sizes[earlier]), np.maximum(sizes[later], sizes[earlier])
        near = (earlier < later) & (small >= threshold * large - 1e-9)
        order = np.lexsort((earlier[near], later[near]))
        yield later[near][order], earlier[near][order]
