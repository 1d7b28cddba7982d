"""How strange each row is."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state

from sk_dim._validation import check_integer
from sk_dim.selection._features import (
    BLOCK_VALUES,
    MANY_ROWS,
    Seed,
    centre,
    draw,
    read,
    slices,
    squared_distances,
)


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
    features, rows, n_samples = read(Z)
    scores = np.full(n_samples, np.nan)
    if not len(rows):
        return scores
    centred, _ = centre(features)
    rng = check_random_state(random_state)
    references = draw(np.arange(len(rows)), MANY_ROWS, rng)
    found = _mean_distances(centred, references, n_neighbors)
    # More than half of the rows may be copies, at distance 0.
    scores[rows] = found / (np.median(found) or found.mean() or 1.0)
    return scores


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
    for block in slices(len(centred), step):
        apart = squared_distances(centred[block], others)
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
