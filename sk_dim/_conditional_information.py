"""What two variables tell of one another beyond what a third one tells."""

import math
import warnings
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length, check_random_state

from sk_dim._information._columns import Reader, check_discrete, kind_of_samples
from sk_dim._information._features import Components, Encoder
from sk_dim._information._values import read_columns, to_records
from sk_dim._mutual_information import NOTHING_FOUND, mutual_information

N_JOINED = 32  # components of images or series that are joined with other columns


def conditional_mutual_information(
    X: Any, Y: Any, Z: Any, *, groups: Any = None, **params: Any
) -> float:
    r"""Estimate what X and Y tell of one another beyond what Z tells, in nats.

    Parameters
    ----------
    X, Y, Z : array-like of shape (n,), (n, d) or (n, ...)
        Variables, as :meth:`MutualInformationEstimator.fit` takes them. Row i of all
        three belongs together.
    groups : array-like of shape (n,), default=None
        What rows belong to, see :meth:`MutualInformationEstimator.fit`.
    **params
        Parameters of :class:`MutualInformationEstimator`, in which Y stands for the
        columns of Y, followed by those of Z.

    Returns
    -------
    float
        At least 0. The difference of two lower bounds is none: the value is an
        estimate, and may be on either side of the truth. Not a number where Z and X
        share a continuous column.

    Raises
    ------
    ValueError or TypeError
        As :meth:`MutualInformationEstimator.fit` does.

    See Also
    --------
    mutual_information : Without a condition.

    Notes
    -----
    By the chain rule, :math:`I(X; Y | Z) = I(X; (Y, Z)) - I(X; Z)`. Both are estimated
    on the same parts of the rows, with the same seeds, where no row is a copy.

    Images and series as Y or Z take part as 32 components of features that a small
    :class:`DeepInfomaxTransformer` learns from all of their rows, without X.

    Examples
    --------
    Neither of two coins tells anything of whether they are equal; both together do.

    >>> import numpy as np
    >>> X, Z = np.random.default_rng(0).integers(2, size=(2, 500))
    >>> Y = X == Z
    >>> value = conditional_mutual_information(X, Y, Z, max_iter=20, random_state=0)
    >>> round(value, 1)
    0.7
    """
    # The same for both, so that errors of the parts cancel in the difference.
    seed = check_random_state(params.get("random_state")).randint(2**31)
    params |= {"random_state": seed, "groups": groups}
    columns = _columns_of("Y", Y, seed), _columns_of("Z", Z, seed)
    check_consistent_length(X, columns[0][0], columns[1][0])
    of_x, of_both = check_discrete(params.pop("discrete", "auto"))
    is_list = not isinstance(of_both, str | bool)
    of_z = list(of_both)[len(columns[0]) :] if is_list else of_both
    with warnings.catch_warnings():
        # A part that tells nothing of X is no news here.
        warnings.filterwarnings("ignore", NOTHING_FOUND, UserWarning)
        both, given = (
            mutual_information(X, to_records(*tables), discrete=(of_x, of_y), **params)
            for tables, of_y in ((columns, of_both), (columns[1:], of_z))
        )
    if math.isinf(both):
        return math.nan if math.isinf(given) else math.inf
    return max(0.0, both - given)


def _columns_of(label: str, V: Any, seed: int) -> list[np.ndarray]:
    """Return the columns of a table, or components of features of images or series."""
    columns, _ = read_columns(label, V)
    if not isinstance(columns, np.ndarray):
        return columns
    images = Reader(label, "auto").fit(columns)
    encoder = Encoder(label, kind=kind_of_samples(columns.shape))
    features = encoder.fit(images.values, seed)(images)
    return list(Components(features)(features)[:, :N_JOINED].numpy().T)
