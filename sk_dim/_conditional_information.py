"""What two variables tell of one another beyond what a third one tells."""

import math
import warnings
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length, check_random_state

from sk_dim._information._columns import (
    Reader,
    check_discrete,
    kind_of_samples,
    side_of_images,
    stack_numbers,
)
from sk_dim._information._features import Components, Encoder
from sk_dim._information._representations import check_representation
from sk_dim._information._values import read_columns, to_numbers, to_records
from sk_dim._mutual_information import NOTHING_FOUND, mutual_information

# How warnings of reading begin, of which the second of two estimates has no new ones.
SAID_BEFORE = r"X |Y \(column|Y is constant|\d+ \w+ are few|\d+ of \d+ rows are copies"
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
        columns of Y, followed by those of Z. Its `representation` is no transformer.

    Returns
    -------
    float
        At least 0. The difference of two lower bounds is none: the value is an
        estimate, and may be on either side of the truth. Not a number where Z and X
        share a continuous column.

    Raises
    ------
    ValueError or TypeError
        As :meth:`MutualInformationEstimator.fit` does, and for a transformer as
        `representation` of Y.

    See Also
    --------
    mutual_information : Without a condition.

    Notes
    -----
    By the chain rule, :math:`I(X; Y | Z) = I(X; (Y, Z)) - I(X; Z)`. Both are estimated
    on the same parts of the rows, with the same seeds, where no row is a copy.

    Images and series as Y or Z take part as 32 components of features that a small
    :class:`DeepInfomaxTransformer` learns from 1,500 of their rows, without X.

    Examples
    --------
    Neither of two coins tells anything of whether they are equal; both together do.

    >>> import numpy as np
    >>> X, Z = np.random.default_rng(0).integers(2, size=(2, 500))
    >>> Y = X == Z
    >>> value = conditional_mutual_information(X, Y, Z, max_iter=6, random_state=0)
    >>> round(value, 1)
    0.7
    """
    # The same for both, so that errors of the parts cancel in the difference.
    seed = check_random_state(params.get("random_state")).randint(2**31)
    params |= {"random_state": seed, "groups": groups}
    of_x, of_both = check_discrete(params.pop("discrete", "auto"))
    for_both = check_representation(params.get("representation", "auto"))[1]
    if not isinstance(for_both, str):
        raise ValueError(
            f"representation={type(for_both).__name__} for Y, which is joined with Z; "
            "transform Y before, or use 'auto', 'columns' or 'features'."
        )
    finds_images = isinstance(of_both, str) and for_both != "columns"
    of_y, of_z = (
        _named_columns(label, V, seed, finds_images=finds_images)
        for label, V in (("Y", Y), ("Z", Z))
    )
    check_consistent_length(X, of_y[0][1], of_z[0][1])
    is_each = not isinstance(of_both, str | bool | np.bool_)
    of_given = list(of_both)[len(of_y) :] if is_each else of_both
    with warnings.catch_warnings():
        # A part that tells nothing of X is no news here.
        warnings.filterwarnings("ignore", NOTHING_FOUND, UserWarning)
        both = mutual_information(
            X, to_records(of_y + of_z), discrete=(of_x, of_both), **params
        )
        # Of how X and Z are read all has been said, and Z may tell nothing.
        warnings.filterwarnings("ignore", SAID_BEFORE, UserWarning)
        given = mutual_information(
            X, to_records(of_z), discrete=(of_x, of_given), **params
        )
    if math.isinf(both):
        return math.nan if math.isinf(given) else math.inf
    return max(0.0, both - given)


def _named_columns(
    label: str, V: Any, seed: int, *, finds_images: bool
) -> list[tuple[str, np.ndarray]]:
    """Return the columns of a table, or components of features of images or series."""
    columns, titles = read_columns(label, V)
    if not isinstance(columns, np.ndarray):
        for column, title in zip(columns, titles, strict=True):
            if column.dtype.kind == "f":
                to_numbers(f"{label}{title}", column)  # refuses infinity by its name
        side = side_of_images(label, columns, titles) if finds_images else 0
        if not side:
            places = (
                title.removeprefix(" (column ").removesuffix(")") for title in titles
            )
            names = [f"{place} of {label}" if place else label for place in places]
            return list(zip(names, columns, strict=True))
        columns = stack_numbers(label, columns, titles).reshape(-1, side, side)
    images = Reader(label, "auto").fit(columns)
    encoder = Encoder(label, kind=kind_of_samples(columns.shape))
    features = encoder.fit(images.values, seed)(images)
    components = Components(features)(features)[:, :N_JOINED].numpy().T
    return [(f"component {i} of {label}", each) for i, each in enumerate(components)]
