"""What to look at first: rows to label, near duplicates, strange rows.

All three take features, such as those that `transform` returns, and compare rows by
Euclidean distance. A shift, a rotation or another unit of the features changes nothing.
Scale columns of different units before.
"""

from collections.abc import Iterator
from hashlib import blake2b
from itertools import combinations, islice, product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.decomposition import PCA
from sklearn.utils import check_array, check_random_state
from sklearn.utils.random import sample_without_replacement

from sk_dim._validation import check_integer, check_real, warn

__all__ = ["near_duplicates", "outliers", "suggest_labels"]

Seed = int | np.random.RandomState | None

MANY_ROWS = 10_000  # that all rows are compared with, at most
MANY_COLUMNS = 128  # that the products of many rows are computed with, at most
MANY_STEPS = 2_000  # of suggestions, each of which takes the ones before into account
WIDTH = 0.35  # of the kernel, in mean squared distances between two rows
N_TOP = 64  # rows that are looked at anew in each step
BLOCK_ROWS = 2_048
BLOCK_VALUES = 2**23


def suggest_labels(
    Z: ArrayLike,
    n: int,
    labelled: ArrayLike | None = None,
    *,
    random_state: Seed = None,
) -> np.ndarray:
    r"""Suggest which rows to label first: typical ones, and unlike one another.

    Few labels are worth most where they are spread over all kinds of samples, and each
    on a sample that many others are like. Random rows leave kinds out, and spend labels
    on others twice.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_features)
        Features, such as those of `transform`. Rows with NaN, as those of files that
        could not be read, are never suggested. More dimensions are flattened.
    n : int
        Number of rows to suggest.
    labelled : array-like of int, or of bool and shape (n_samples,), default=None
        Rows that have labels already, by number or as a mask. What is like them is
        suggested later.
    random_state : int, RandomState instance or None, default=None
        Seed. It matters only for more than 10,000 rows, of which some are drawn, or
        more than 128 columns.

    Returns
    -------
    ndarray of int, of shape (n,)
        Row numbers, in the order in which to label them: the first k are the
        suggestion of k rows. Where all distinct rows are used up, copies follow.

    Raises
    ------
    TypeError
        If `n` is no integer, or `labelled` are neither row numbers nor truth values.
    ValueError
        If fewer than `n` rows are left, `labelled` names rows that there are not or one
        of them twice, or `Z` is empty, has one dimension or holds infinity.

    See Also
    --------
    sk_dim.plotting.SelectionDisplay : Draws the rows.
    sk_dim.DeepInfomaxClassifier : Learns from few labels and all other rows.

    Notes
    -----
    The rows are those that greedily raise the generalised coverage

    .. math:: C(S) = \sum_i \max_{s \in S} \exp(-d(i, s)^2 / (w D))

    where `i` runs over all distinct rows, `S` are the labelled and the suggested ones,
    `d` is the distance of centred features, `D` its mean square over all pairs, and `w`
    is 0.35. So a suggestion is near many rows that are not near an earlier one. The
    greedy choice has at least 63 % of the coverage of the best choice of as many rows,
    at each length.

    Of more than 10,000 distinct rows, the sum runs over 10,000 drawn ones, and of more
    rows than these and than twice `n`, as many candidates are drawn. Of more than 128
    columns, the leading 128 principal components are used. After 2,000 rows the others
    follow by what they would add to these. It takes some 10 s for 100,000 rows and
    `n` = 100, and no table of all pairs.

    References
    ----------
    W. Bae, J. Noh, D. J. Sutherland (2024). Generalized Coverage for More Robust
    Low-Budget Active Learning. ECCV. arXiv:2407.12212

    G. Hacohen, A. Dekel, D. Weinshall (2022). Active Learning on a Budget: Opposite
    Strategies Suit High and Low Budgets. ICML. arXiv:2202.02794

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sk_dim.selection import suggest_labels
    >>> Z, kind = make_blobs(200, n_features=8, centers=5, random_state=0)
    >>> rows = suggest_labels(Z, 5)
    >>> sorted(kind[rows].tolist())
    [0, 1, 2, 3, 4]
    >>> more = suggest_labels(Z, 5, labelled=rows)
    >>> set(more) & set(rows)
    set()
    """
    n = check_integer("n", n, 1)
    features, rows, n_samples = _read(Z)
    is_labelled = _read_labelled(labelled, n_samples)
    n_left = int((~is_labelled[rows]).sum())
    if n > n_left:
        raise ValueError(
            f"n={n} of {n_samples} rows, of which {is_labelled.sum()} are labelled and "
            f"{n_samples - len(rows)} hold NaN; it must be at most {n_left}."
        )
    is_known = is_labelled[rows]
    owners = _find_owners(features)
    known = np.unique(owners[is_known])
    distinct = np.setdiff1d(owners, known)
    centred, _ = _centre(features)
    rng = check_random_state(random_state)
    chosen = _cover(centred, distinct, known, n, rng)
    if len(chosen) < n:
        # Second copies of all rows come before third ones.
        others = np.setdiff1d(np.flatnonzero(~is_known), distinct)
        place = np.zeros(len(features), dtype=int)
        place[chosen] = np.arange(len(chosen))
        order = np.lexsort((place[owners[others]], _count_before(owners)[others]))
        chosen = np.concatenate([chosen, others[order][: n - len(chosen)]])
    return rows[chosen]


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
    features, rows, _ = _read(Z)
    n = len(rows)
    pairs, distances = np.empty((0, 2), dtype=int), np.empty(0)
    owners = _find_owners(features)
    kept = np.unique(owners)
    if len(kept) > 1:
        centred, unit = _centre(features)
        # Over all pairs of two different rows.
        typical = (2 * n / (n - 1) * _mean_square(centred)) ** 0.5
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


def outliers(
    Z: ArrayLike, n_neighbors: int = 10, *, random_state: Seed = None
) -> np.ndarray:
    """Score how strange each row is: how far it is from the rows nearest to it.

    Broken scans, photos of something else, sensors that failed: the first rows of
    ``np.argsort(-scores)`` are worth a look.

    Parameters
    ----------
    Z : array-like of shape (n_samples, n_features)
        Features, such as those of `transform`. More dimensions are flattened.
    n_neighbors : int, default=10
        Number of nearest rows that are looked at. A group of strange rows that are like
        one another stands out only if it is smaller.
    random_state : int, RandomState instance or None, default=None
        Seed of the rows that are drawn if there are more than 10,000.

    Returns
    -------
    ndarray of float64, of shape (n_samples,)
        Mean distance to the nearest rows, relative to its median over all rows: 1 is
        usual, 2 twice as far from the others. NaN for rows with NaN; zeros where all
        rows are the same.

    Raises
    ------
    TypeError
        If `n_neighbors` is no integer.
    ValueError
        If it is not positive, or `Z` is empty, has one dimension or holds infinity.

    See Also
    --------
    sklearn.neighbors.LocalOutlierFactor : Distances relative to those of neighbours.
    sklearn.ensemble.IsolationForest : Many rows of tables with few columns.

    Notes
    -----
    The distance is to neighbours and not to the centre, as features of several classes
    have nothing at their centre. It is not relative to the distances of the neighbours
    themselves, as that of the local outlier factor, for which a strange row beside
    strange ones is usual. Neighbours of more than 10,000 rows are looked for among as
    many drawn ones.

    References
    ----------
    F. Angiulli, C. Pizzuti (2002). Fast Outlier Detection in High Dimensional Spaces.
    PKDD.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_dim.selection import outliers
    >>> Z = np.random.default_rng(0).normal(size=(100, 8))
    >>> Z[7] *= 5
    >>> int(outliers(Z).argmax())
    7
    """
    n_neighbors = check_integer("n_neighbors", n_neighbors, 1)
    features, rows, n_samples = _read(Z)
    scores = np.full(n_samples, np.nan)
    if not len(rows):
        return scores
    centred, _ = _centre(features)
    rng = check_random_state(random_state)
    references = _draw(np.arange(len(rows)), MANY_ROWS, rng)
    found = _mean_distances(centred, references, n_neighbors)
    # More than half of the rows may be copies, at distance 0.
    scores[rows] = found / (np.median(found) or found.mean() or 1.0)
    return scores


def _read(Z: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """Return features (m, d) of the rows without NaN, their numbers, and all n."""
    shape = np.shape(Z)
    if len(shape) < 2:
        raise ValueError(
            f"Z has shape {shape}; it must be features of shape (n_samples, "
            "n_features), such as those that transform returns."
        )
    array = check_array(
        Z, dtype="numeric", allow_nd=True, ensure_all_finite="allow-nan", input_name="Z"
    )
    array = array.reshape(len(array), -1)
    # In float32 where that is exact, as for pixels.
    is_small = np.can_cast(array.dtype, np.float32)
    array = array.astype(np.float32 if is_small else np.float64, copy=False)
    blocks = _slices(len(array), BLOCK_ROWS)
    has_nan = np.concatenate([np.isnan(array[block]).any(axis=1) for block in blocks])
    rows = np.flatnonzero(~has_nan)
    return array if len(rows) == len(array) else array[rows], rows, len(array)


def _read_labelled(labelled: Any, n_samples: int) -> np.ndarray:
    """Return a mask (n_samples,) of the rows that are labelled."""
    mask = np.zeros(n_samples, dtype=bool)
    given = np.asarray([] if labelled is None else labelled)
    if given.dtype == bool and given.shape == (n_samples,):
        return given
    if given.dtype == bool or given.ndim != 1:
        raise ValueError(
            f"labelled has shape {given.shape} and type {given.dtype}; it must be row "
            f"numbers of shape (k,), or a mask of shape ({n_samples},)."
        )
    if not len(given):
        return mask
    if given.dtype.kind not in "iu":
        raise TypeError(
            f"labelled holds {given.dtype}; it must be row numbers, or a mask of truth "
            "values."
        )
    wrong = given[(given < 0) | (given >= n_samples)]
    if len(wrong):
        raise ValueError(
            f"labelled names row {wrong[0]}; the {n_samples} rows of Z are 0 to "
            f"{n_samples - 1}."
        )
    numbers, counts = np.unique(given, return_counts=True)
    if len(numbers) < len(given):
        raise ValueError(
            f"labelled names row {numbers[counts.argmax()]} {counts.max()} times; name "
            "each row once."
        )
    mask[given] = True
    return mask


def _slices(n: int, step: int) -> list[slice]:
    return [slice(start, start + step) for start in range(0, n, step)]


def _find_owners(features: np.ndarray) -> np.ndarray:
    """Return, for each row, the number of the first row of the same values, (n,)."""
    first: dict[bytes, int] = {}
    owners = np.empty(len(features), dtype=int)
    for i, row in enumerate(features):
        values = (row + 0).tobytes()  # of -0.0 makes 0.0
        owners[i] = first.setdefault(blake2b(values, digest_size=16).digest(), i)
    return owners


def _count_before(owners: np.ndarray) -> np.ndarray:
    """Return, for each row, how many earlier rows are copies of it, (n,)."""
    order = np.argsort(owners, kind="stable")
    _, starts, counts = np.unique(owners[order], return_index=True, return_counts=True)
    before = np.empty(len(owners), dtype=int)
    before[order] = np.arange(len(owners)) - np.repeat(starts, counts)
    return before


def _centre(features: np.ndarray) -> tuple[np.ndarray, float]:
    """Return centred features of at most 1 as float32, and what divided them."""
    first = _largest(features)
    centred = features / features.dtype.type(first)
    centred -= centred.mean(axis=0, dtype=np.float64).astype(centred.dtype)
    second = _largest(centred)
    centred /= centred.dtype.type(second)
    return centred.astype(np.float32, copy=False), first * second


def _largest(values: np.ndarray) -> float:
    """Return the largest absolute value, or 1 where all are 0."""
    return float(max(-values.min(), values.max())) or 1.0


def _mean_square(centred: np.ndarray) -> float:
    """Return the mean squared length of rows."""
    return float(_squares(centred).mean(dtype=np.float64))


def _squares(rows: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", rows, rows)


def _draw(rows: np.ndarray, n: int, rng: np.random.RandomState) -> np.ndarray:
    """Return the rows, or if there are more than n as many of them, in their order."""
    if len(rows) <= n:
        return rows
    return rows[np.sort(sample_without_replacement(len(rows), n, random_state=rng))]


def _squared_distances(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    found = rows @ others.T
    found *= -2
    found += _squares(rows)[:, None]
    found += _squares(others)
    return np.maximum(found, 0, out=found)


class _Coverage:
    """How near each reference is to a row that was chosen, by a kernel."""

    def __init__(self, references: np.ndarray) -> None:
        self.references = references
        self.width = 2 * WIDTH * _mean_square(references) or 1.0
        self.covered = np.zeros(len(references), dtype=np.float32)

    def kernel(self, rows: np.ndarray) -> np.ndarray:
        found = _squared_distances(rows, self.references)
        found /= -self.width
        return np.exp(found, out=found)

    def add(self, rows: np.ndarray) -> None:
        for block in _slices(len(rows), N_TOP):
            found = self.kernel(rows[block]).max(axis=0)
            np.maximum(self.covered, found, out=self.covered)

    def gains(self, rows: np.ndarray) -> np.ndarray:
        """Return how much each row would add, (m,)."""
        parts = []
        for block in _slices(len(rows), N_TOP):
            found = self.kernel(rows[block])
            found -= self.covered
            parts.append(np.maximum(found, 0, out=found).sum(axis=1))
        return np.concatenate(parts)


def _cover(
    centred: np.ndarray,
    candidates: np.ndarray,
    known: np.ndarray,
    n: int,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Return up to n of the candidates, by what each adds to the coverage.

    What a row adds only falls as others are chosen. So an earlier value is a bound, and
    only rows with the largest bounds are looked at anew.
    """
    if not len(candidates):
        return candidates
    references = _draw(np.union1d(candidates, known), MANY_ROWS, rng)
    candidates = _draw(candidates, max(MANY_ROWS, 2 * n), rng)
    pool = centred[candidates]
    centre = centred[references].mean(axis=0)
    if centred.shape[1] > MANY_COLUMNS and len(references) > MANY_COLUMNS:
        pca = PCA(MANY_COLUMNS, svd_solver="randomized", random_state=rng)
        axes = pca.fit(centred[references]).components_
    else:
        axes = np.eye(centred.shape[1], dtype=np.float32)
    pool = (pool - centre) @ axes.T
    coverage = _Coverage((centred[references] - centre) @ axes.T)
    for block in _slices(len(known), BLOCK_ROWS):
        coverage.add((centred[known[block]] - centre) @ axes.T)
    bounds = coverage.gains(pool)
    n = min(n, len(candidates))
    chosen: list[int] = []
    while len(chosen) < min(n, MANY_STEPS):
        top = np.sort(np.argpartition(-bounds, min(N_TOP, len(bounds)) - 1)[:N_TOP])
        bounds[top] = np.where(np.isin(top, chosen), -1, coverage.gains(pool[top]))
        best = top[bounds[top].argmax()]
        if bounds[best] >= bounds.max():
            chosen.append(int(best))
            coverage.add(pool[[best]])
            bounds[best] = -1
    rest = np.argsort(-bounds, kind="stable")[: n - len(chosen)]
    return candidates[np.concatenate([np.array(chosen, dtype=int), rest])]


def _shorten(centred: np.ndarray) -> np.ndarray:
    """Return fewer columns, in which no two rows are farther apart than before."""
    if centred.shape[1] <= MANY_COLUMNS // 2:
        return centred
    drawn = centred[:: len(centred) // (MANY_ROWS // 2) + 1]
    n_columns = min(MANY_COLUMNS // 2, len(drawn))
    axes = (
        PCA(n_columns, svd_solver="randomized", random_state=0).fit(drawn).components_
    )
    kept = centred @ axes.T
    rest = np.maximum(_squares(centred) - _squares(kept), 0)
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
    order = np.argsort(_squares(short), kind="stable")
    short = short[order]
    halves = _squares(short) / 2
    lengths = np.sqrt(2 * halves)
    # Products of these are half the squared distance, negative.
    one = np.ones((len(short), 1), dtype=np.float32)
    left = np.hstack([short, halves[:, None], one])
    right = np.hstack([short, -one, -halves[:, None]])
    rounding = 4 * np.finfo(np.float32).eps * left.shape[1]
    pairs, distances = np.empty((0, 2), dtype=int), np.empty(0)
    blocks = _slices(len(short), BLOCK_ROWS)
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
            start = np.array([first.start, second.start])
            found = order[np.argwhere(near) + start]
            found.sort(axis=1)
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
    for block in _slices(len(pairs), max(1, BLOCK_VALUES // features.shape[1])):
        first, second = pairs[block].T
        difference = features[first].astype(np.float64) - features[second]
        found[block] = np.sqrt(_squares(difference / unit))
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


def _mean_distances(
    centred: np.ndarray, references: np.ndarray, n_neighbors: int
) -> np.ndarray:
    """Return the mean distance of rows to their nearest references, (n,)."""
    n_nearest = min(n_neighbors, len(references) - 1)
    found = np.zeros(len(centred))
    if not n_nearest:
        return found
    others = centred[references]
    step = min(1024, max(1, BLOCK_VALUES // (n_nearest * centred.shape[1])))
    for block in _slices(len(centred), step):
        apart = _squared_distances(centred[block], others)
        # A row is no neighbour of its own; copies of it are.
        own = np.arange(len(centred))[block]
        at = np.minimum(np.searchsorted(references, own), len(references) - 1)
        is_own = references[at] == own
        apart[is_own, at[is_own]] = np.inf
        nearest = np.argpartition(apart, n_nearest - 1, axis=1)[:, :n_nearest]
        # Once more, without the rounding of products.
        difference = centred[block][:, None] - others[nearest]
        found[block] = np.linalg.norm(difference, axis=2).mean(axis=1)
    return found
