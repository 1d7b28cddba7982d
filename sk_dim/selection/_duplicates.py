"""Pairs of rows that are nearly the same."""

from collections.abc import Iterator
from itertools import combinations, islice, product

import numpy as np
from numpy.typing import ArrayLike
from sklearn.decomposition import PCA

from sk_dim._validation import check_integer, check_real, warn
from sk_dim.selection._features import (
    BLOCK_ROWS,
    BLOCK_VALUES,
    centre,
    find_owners,
    mean_square,
    read,
    slices,
    squares,
)

FEW_COLUMNS = 64  # that all pairs are compared in
SOME_ROWS = 5_000  # that these are learnt from


def near_duplicates(
    Z: ArrayLike, threshold: float = 0.1, *, max_pairs: int = 100_000
) -> tuple[np.ndarray, np.ndarray]:
    """Find pairs of rows that are nearly or exactly the same.

    The same photo twice in other sizes, frames of one second, a row entered twice: such
    pairs waste labels, and make scores too good where they are divided between training
    and test rows.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_features)
        Features, such as those of `transform`. Rows with NaN are in no pair. More
        dimensions are flattened.
    threshold : float, default=0.1
        Largest distance of a pair, relative to the root mean square distance between
        two rows: 0 finds copies alone, and at 1 are rows that have nothing to do with
        one another.
    max_pairs : int, default=100_000
        Most pairs that are returned, the nearest ones.

    Returns
    -------
    pairs : ndarray of int, of shape (n_pairs, 2)
        Row numbers, the lower one first; the nearest pairs come first.
    distances : ndarray of float64, of shape (n_pairs,)
        Their distances, relative as that of `threshold`.

    Raises
    ------
    TypeError
        If `threshold` is no number, or `max_pairs` no integer.
    ValueError
        If `threshold` is negative or 1 and above, `max_pairs` is not positive, or `Z`
        is empty, has one dimension or holds infinity.

    Warns
    -----
    UserWarning
        If there are more than `max_pairs` pairs.

    Notes
    -----
    The search is exact. Distances in the leading principal components, together with
    the length of what these leave out, are never longer than those of all columns. They
    are computed in blocks, and those of the pairs that remain in all columns. Exact
    copies are found before, and take no part in it.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_dim.selection import near_duplicates
    >>> Z = np.random.default_rng(0).normal(size=(100, 8))
    >>> Z[7], Z[40] = Z[3], Z[90] + 0.01
    >>> pairs, distances = near_duplicates(Z)
    >>> pairs
    array([[ 3,  7],
           [40, 90]])
    >>> distances.round(2)
    array([0.  , 0.01])
    """
    threshold = check_real("threshold", threshold, maximum=1.0)
    max_pairs = check_integer("max_pairs", max_pairs, 1)
    features, rows, _ = read(Z)
    n = len(rows)
    pairs, distances = np.empty((0, 2), dtype=int), np.empty(0)
    owners = find_owners(features)
    kept = np.unique(owners)
    if len(kept) > 1:
        centred, unit = centre(features)
        # Over all pairs of two different rows.
        typical = (2 * n / (n - 1) * mean_square(centred)) ** 0.5
        pairs, distances = _search(
            features[kept], centred[kept], threshold, typical, unit, max_pairs + 1
        )
    copies = _with_copies(kept[pairs], distances, owners)
    found = list(islice(copies, max_pairs + 1))
    if len(found) > max_pairs:
        warn(
            f"more than max_pairs={max_pairs} pairs are nearer than "
            f"threshold={threshold:g}; the nearest are returned. Lower threshold, or "
            "raise max_pairs."
        )
    found = sorted(found, key=lambda pair: (pair[2], *pair[:2]))[:max_pairs]
    table = np.array(found, dtype=float).reshape(-1, 3)
    return rows[table[:, :2].astype(int)], table[:, 2]


def _shorten(centred: np.ndarray) -> np.ndarray:
    """Return fewer columns, in which no two rows are farther apart than before."""
    if centred.shape[1] <= FEW_COLUMNS:
        return centred
    some = centred[:: len(centred) // SOME_ROWS + 1]
    pca = PCA(min(FEW_COLUMNS, len(some)), svd_solver="randomized", random_state=0)
    kept = centred @ pca.fit(some).components_.T
    rest = np.maximum(squares(centred) - squares(kept), 0)
    return np.column_stack([kept, np.sqrt(rest)])


def _search(
    features: np.ndarray,
    centred: np.ndarray,
    threshold: float,
    typical: float,
    unit: float,
    max_pairs: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest pairs (m, 2) of distinct rows, and their distances (m,)."""
    short = _shorten(centred)
    # Rows of like length are in the same block, so that far blocks are passed over.
    order = np.argsort(squares(short), kind="stable")
    short = short[order]
    halves = squares(short) / 2
    lengths = np.sqrt(2 * halves)
    # Products of these are half the squared distance, negative.
    one = np.ones((len(short), 1), dtype=np.float32)
    left = np.hstack([short, halves[:, None], one])
    right = np.hstack([short, -one, -halves[:, None]])
    rounding = 4 * np.finfo(np.float32).eps * left.shape[1]
    pairs, distances = np.empty((0, 2), dtype=int), np.empty(0)
    blocks = slices(len(short), BLOCK_ROWS)
    for i, first in enumerate(blocks):
        for second in blocks[i:]:
            limit = threshold * typical
            slack = rounding * halves[second].max()
            gap = lengths[second].min() - lengths[first].max()
            if gap > limit + (2 * slack) ** 0.5:
                break
            near = left[first] @ right[second].T >= -(limit**2 / 2 + slack)
            if first == second:
                near = np.triu(near, 1)
            # Of one axis, which numpy searches several times as fast as two.
            rows, columns = np.divmod(np.flatnonzero(near), near.shape[1])
            found = np.column_stack([rows + first.start, columns + second.start])
            found = np.sort(order[found], axis=1)
            apart = _distances(features, found, unit) / typical
            pairs = np.concatenate([pairs, found[apart <= threshold]])
            distances = np.concatenate([distances, apart[apart <= threshold]])
            if len(pairs) > max_pairs:
                kept = np.lexsort((*pairs.T[::-1], distances))[:max_pairs]
                pairs, distances = pairs[kept], distances[kept]
                threshold = distances[-1]
    return pairs, distances


def _distances(features: np.ndarray, pairs: np.ndarray, unit: float) -> np.ndarray:
    """Return the distances of pairs of rows in all columns, (m,)."""
    found = np.empty(len(pairs))
    for block in slices(len(pairs), max(1, BLOCK_VALUES // features.shape[1])):
        first, second = pairs[block].T
        difference = features[first].astype(np.float64) - features[second]
        found[block] = np.sqrt(squares(difference / unit))
    return found


def _with_copies(
    pairs: np.ndarray, distances: np.ndarray, owners: np.ndarray
) -> Iterator[tuple[int, int, float]]:
    """Pairs of copies, then those of distinct rows and of all their copies."""
    members: dict[int, list[int]] = {}
    for row, owner in enumerate(owners.tolist()):
        members.setdefault(owner, []).append(row)
    for rows in members.values():
        yield from ((*pair, 0.0) for pair in combinations(rows, 2))
    nearest = np.argsort(distances, kind="stable")
    for (first, second), distance in zip(
        pairs[nearest].tolist(), distances[nearest].tolist(), strict=True
    ):
        for pair in product(members[first], members[second]):
            yield min(pair), max(pair), distance
