"""PairwiseMutualInformation: what each column tells of each other one, in nats."""

import math
from typing import Any, Self

import numpy as np
from scipy.stats import entropy
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from sk_dim._devices import choose_device
from sk_dim._information._bins import columns_as_bins
from sk_dim._information._columns import Reader, Variable, check_discrete
from sk_dim._information._pairwise import MIN_GROUPS, estimate_pairs
from sk_dim._information._row_groups import MANY_COPIES, RowGroups
from sk_dim._information._values import names_of_columns
from sk_dim._information._variables import continuous_columns
from sk_dim._inputs._groups import read_groups
from sk_dim._validation import check_integer, kept_on_failure, warn

ROUNDED = 1.05  # distinct pairs for each distinct value, above which repeats are chance


class PairwiseMutualInformation(BaseEstimator):
    r"""Estimate the mutual information of every pair of columns, in one run.

    Each pair is scored by a table over the values of both columns: numbers in at most
    64 bins, names in 256. Tables maximise InfoNCE on four fifths of the rows and are
    judged on the others, in turn, so that values are lower bounds in expectation.

    Parameters
    ----------
    discrete : "auto", bool or pair, default="auto"
        Which columns hold names and not numbers, as in
        :class:`MutualInformationEstimator`.
    n_permutations : int, default=9999
        Random ways to pair the rows that p-values come from: they are below
        1 / (n_permutations + 1) where true pairs score above all.
    device : str or torch.device, default="auto"
        "auto" takes CUDA before MPS before the CPU.
    random_state : int, RandomState instance or None, default=None
        Seeds parts of the rows and permutations.

    Attributes
    ----------
    mutual_information_ : ndarray of shape (n_features, n_targets)
        In nats, at least 0: what each column of X and each of Y tell of one another.
        Without Y it is symmetric, and its diagonal holds the entropy of the rows at
        hand for columns that are told apart by value, and infinity for others.
    standard_error_ : ndarray of shape (n_features, n_targets)
        Of the mean over the rows, in nats.
    interval_ : ndarray of shape (n_features, n_targets, 2)
        Lower and upper ends, in nats, see :class:`MutualInformationEstimator`.
    p_value_ : ndarray of shape (n_features, n_targets)
        Probability of scores as good as these if both columns were independent.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X. Only defined where X is a frame with text for names.

    See Also
    --------
    column_information : For scikit-learn's `SelectKBest` and its like.
    MutualInformationEstimator : Of two variables of many columns each.
    sklearn.feature_selection.mutual_info_regression : Without interval and test.

    Notes
    -----
    *Scores* of a pair of bins are the log density ratio of normal variables of the same
    correlation, and a sum of products of functions of either column, whose weights
    maximise the bound. Their second derivatives are penalised, so much as serves one
    part of the rows best that is neither learnt from nor judged. Names have no order
    and so no derivatives; the 255 most frequent ones of a column are told apart.

    *Copies*. Rows of a pair that look like copies of others, though values are
    continuous, are in one part, unless `groups` are given. Where fewer than 10 rows
    differ, nothing is known of the pair: its value is 0, and its interval ends at
    infinity.

    *Interval*. The upper end allows for more than that of
    :class:`MutualInformationEstimator`: 3 (e^value - 1) / 64 nats where a column is
    ordered, for edges finer than bins, and what names may tell that share a bin. Where
    both columns have more values than bins, it is infinite from the logarithm of the
    number of bins on. A dependence that no table comes near, as below, can be above it.

    *Time*. A pair takes about 0.1 s on one thread of a CPU, with few rows or many.

    *Test*. Tables that three fifths of the rows teach are judged on up to 1,000 of the
    others, and on `n_permutations` ways to pair these. The p-value is exact where rows,
    or groups of them, are independent of one another.

    *Where it is too low*. Sharp edges, fast waves (a column of dates has 64 bins and
    32 functions, and does not show week days), many names of few rows, and columns that
    determine each other almost. No value can be above the logarithm of a fifth of the
    rows, or of the number of bins. Estimates by nearest neighbours are closer to the
    truth there, and further above 0 where columns are independent.

    References
    ----------
    A. van den Oord et al. (2018). Representation Learning with Contrastive Predictive
    Coding. arXiv:1807.03748.

    P. H. C. Eilers, B. D. Marx (1996). Flexible Smoothing with B-splines and Penalties.
    Statistical Science 11(2), 89-121.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 3))
    >>> y = X[:, 1] ** 2 + rng.normal(size=1000)
    >>> found = PairwiseMutualInformation(random_state=0).fit(X, y)
    >>> int(found.mutual_information_[:, 0].argmax())
    1
    """

    def __init__(
        self,
        *,
        discrete: Any = "auto",
        n_permutations: int = 9999,
        device: Any = "auto",
        random_state: Any = None,
    ) -> None:
        self.discrete = discrete
        self.n_permutations = n_permutations
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, Y: Any = None, *, groups: Any = None) -> Self:
        """Estimate every pair.

        Parameters
        ----------
        X : array-like of shape (n,) or (n, n_features)
            Columns of numbers, names or dates: arrays, frames or lists.
        Y : array-like of shape (n,) or (n, n_targets), default=None
            Columns of the same rows. None takes those of X.
        groups : array-like of shape (n,), default=None
            What rows belong to, such as the patient of a visit. Whole groups are in
            one part, and rows are weighed so that each group counts as one.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError or TypeError
            For images and series, values that are missing or not finite, X and Y of
            different length, and fewer than 10 rows or groups. The estimator is then
            as it was before the call.

        Warns
        -----
        UserWarning
            If many rows of a pair are copies, or names hardly repeat.
        """
        with kept_on_failure(self):
            return self._fit(X, Y, groups)

    def _fit(self, X: Any, Y: Any, groups: Any) -> Self:
        device = choose_device(self.device)
        choices = check_discrete(self.discrete)
        check_integer("n_permutations", self.n_permutations, 1)
        x = _read("X", X, choices[0])
        y = x if Y is None else _read("Y", Y, choices[1])
        check_consistent_length(x, y)
        given = read_groups(groups, len(x), n_least=1)
        apart = np.arange(len(x)) if given is None else given
        rows = RowGroups(apart, are_units=given is not None)
        if len(rows) < MIN_GROUPS:
            raise ValueError(
                f"{rows} cannot be cut into five parts of two; at least {MIN_GROUPS} "
                "are needed, and hundreds for a useful estimate."
            )
        validate_data(self, X, skip_check_array=True, ensure_2d=False)
        self.n_features_in_ = x.values.shape[1]
        self._is_symmetric = Y is None
        self._names = [
            names_of_columns(V, side.values.shape[1])
            for V, side in ((X, x), (X if Y is None else Y, y))
        ]
        known = _known_without_tables(x, y, is_same=Y is None)
        pairs = [
            (i, j)
            for i, j in np.argwhere(np.isnan(known)).tolist()
            if i < j or Y is not None
        ]
        of_x = columns_as_bins(x)
        of_y = of_x if Y is None else columns_as_bins(y)
        estimates = estimate_pairs(
            [(of_x[i], of_y[j]) for i, j in pairs],
            self._groups_of(pairs, x, y, rows),
            self.n_permutations,
            device,
            check_random_state(self.random_state).randint(2**31),
        )
        self.mutual_information_ = known
        self.standard_error_ = np.zeros(known.shape)
        self.interval_ = np.stack([known, known], axis=2)
        self.p_value_ = np.where(known > 0, 0.0, 1.0)
        for pair, estimate in zip(pairs, estimates, strict=True):
            for place in (pair, pair[::-1]) if Y is None else (pair,):
                self.mutual_information_[place] = estimate.value
                self.standard_error_[place] = estimate.error
                self.interval_[place] = estimate.interval
                self.p_value_[place] = estimate.p_value
        return self

    def _groups_of(
        self, pairs: list[tuple[int, int]], x: Variable, y: Variable, rows: RowGroups
    ) -> list[RowGroups]:
        """Give the rows of each pair groups, which copies are in together."""
        if rows.are_units:
            return [rows] * len(pairs)
        of_x, of_y = (
            [np.unique(column, return_inverse=True)[1] for column in V.values.T]
            for V in (x, y)
        )
        out, most, where = [], 0, (0, 0)
        for i, j in pairs:
            found = rows
            n_x, n_y = int(of_x[i].max()) + 1, int(of_y[j].max()) + 1
            n_distinct = len(np.unique(of_x[i] * n_y + of_y[j]))
            # Numbers that repeat because they are rounded do so beside other values of
            # the other column; those of copies do not.
            if n_distinct < len(x) and n_distinct <= ROUNDED * max(n_x, n_y):
                found = RowGroups.of(_column(x, i), _column(y, j))
            if found.n_copies > most:
                most, where = found.n_copies, (i, j)
            out.append(found)
        if most > MANY_COPIES * len(x):
            names = self._names[0][where[0]], self._names[1][where[1]]
            warn(
                f"{most} of {len(x)} rows are copies of others in columns {names[0]!r} "
                f"and {names[1]!r}, though values are continuous; they are held out "
                "together, and count as often as they are there. Leave out those that "
                "are no samples of their own.",
            )
        return out

    def ranking(self) -> list[dict[str, Any]]:
        """List pairs of different columns, the one that tells most first.

        Returns
        -------
        list of dict
            With the keys "x" and "y" (names of columns, else their numbers),
            "mutual_information", "low", "high" and "p_value". `pandas.DataFrame` takes
            it as it is.
        """
        check_is_fitted(self, "mutual_information_")
        names_x, names_y = self._names
        pairs = [
            (i, j)
            for i, j in np.ndindex(self.mutual_information_.shape)
            if i < j or not self._is_symmetric
        ]
        return [
            {
                "x": names_x[i],
                "y": names_y[j],
                "mutual_information": float(self.mutual_information_[i, j]),
                "low": float(self.interval_[i, j, 0]),
                "high": float(self.interval_[i, j, 1]),
                "p_value": float(self.p_value_[i, j]),
            }
            for i, j in sorted(pairs, key=lambda pair: -self.mutual_information_[pair])
        ]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags


def column_information(
    X: Any, y: Any, *, groups: Any = None, **params: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Score columns by what each tells of a target, for scikit-learn's selectors.

    With the default of 9,999 permutations p-values are good to .0001: a selector by
    p-value finds a single column for sure only if its `alpha` is above .0001 times the
    number of columns, for which `n_permutations` may be raised. `SelectKBest` goes by
    the scores.

    Parameters
    ----------
    X : array-like of shape (n, n_features)
        Columns of numbers, names or dates.
    y : array-like of shape (n,)
        Numbers, or names of classes.
    groups : array-like of shape (n,), default=None
        What rows belong to, see :meth:`PairwiseMutualInformation.fit`.
    **params
        Parameters of :class:`PairwiseMutualInformation`.

    Returns
    -------
    scores : ndarray of shape (n_features,)
        Mutual information, in nats.
    p_values : ndarray of shape (n_features,)
        Of independence.

    Raises
    ------
    ValueError or TypeError
        As :meth:`PairwiseMutualInformation.fit` does, and if y has several columns.

    See Also
    --------
    PairwiseMutualInformation : With intervals, and for several targets.

    Examples
    --------
    >>> from functools import partial
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.feature_selection import SelectKBest
    >>> X, y = load_iris(return_X_y=True)
    >>> select = SelectKBest(partial(column_information, random_state=0), k=2)
    >>> select.fit(X, y).get_support()
    array([False, False,  True,  True])
    """
    if y is None:
        raise ValueError("column_information requires y to be passed, the target.")
    found = PairwiseMutualInformation(**params).fit(X, y, groups=groups)
    n_targets = found.mutual_information_.shape[1]
    if n_targets > 1:
        raise ValueError(
            f"y has {n_targets} columns; pass one, or use PairwiseMutualInformation, "
            "which estimates each pair of columns."
        )
    return found.mutual_information_[:, 0], found.p_value_[:, 0]


def _read(label: str, V: Any, discrete: Any) -> Variable:
    variable = Reader(label, discrete).fit(V)
    if variable.is_image:
        raise ValueError(
            f"{label} has rows of shape {variable.values.shape[1:]}, which are no "
            "columns; pass features of images or series, such as "
            f"DeepInfomaxTransformer().fit_transform({label}), or use "
            "mutual_information for both variables as a whole."
        )
    return variable


def _column(V: Variable, i: int) -> Variable:
    return Variable(V.values[:, [i]], V.is_name[[i]], V.is_number[[i]])


def _known_without_tables(x: Variable, y: Variable, *, is_same: bool) -> np.ndarray:
    """Values that a constant or a copy gives, and NaN for others."""
    known = np.full((x.values.shape[1], y.values.shape[1]), np.nan)
    of_x, of_y = x.values.T, y.values.T
    continuous = {column.tobytes() for column in continuous_columns(x, len(x))}
    for i, column in enumerate(of_x):
        if is_same:
            counts = np.unique(column, return_counts=True)[1]
            known[i, i] = entropy(counts) if x.is_name[i] else math.inf
        if column.tobytes() in continuous:
            known[i, (of_y == column).all(1)] = math.inf
    known[(of_x == of_x[:, :1]).all(1)] = 0.0
    known[:, (of_y == of_y[:, :1]).all(1)] = 0.0
    return known
