"""Tables whose columns are the pixels of square images."""

import math

import numpy as np

MIN_SIDE = 8
MAX_COMPARED = 2_000  # rows that suffice
PEAK = 0.1  # by which neighbours are more alike than pixels half a row apart


def find_side(table: np.ndarray) -> int:
    """Return the side of square images whose pixels the columns of a table are.

    Pixels below one another are as alike as neighbours in a row are; columns that are
    half a row apart are less so. 0 where it does not look like this.
    """
    n_columns = table.shape[1]
    side = math.isqrt(n_columns)
    if side < MIN_SIDE or side * side != n_columns:
        return 0
    with np.errstate(over="ignore", invalid="ignore"):
        deviations = table - table.mean(0)
        norms = np.sqrt(np.sum(deviations**2, axis=0))
    if not np.isfinite(norms).all():
        return 0
    deviations /= np.where(norms > 0, norms, 1.0)

    def alikeness(lag: int) -> float:
        both = (norms[lag:] > 0) & (norms[:-lag] > 0)
        if not both.any():
            return 0.0
        correlations = (deviations[:, lag:] * deviations[:, :-lag]).sum(0)
        return float(np.abs(correlations[both]).mean())

    between = max(alikeness(side // 2), alikeness(side + side // 2))
    return side if min(alikeness(1), alikeness(side)) > between + PEAK else 0
