"""MutualInformationEstimator: how much two variables tell of one another, in nats."""

import math
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted

from sk_dim._devices import choose_device
from sk_dim._fold import Fold
from sk_dim._pair_critic import PAIR_CRITICS
from sk_dim._read_outs import READ_OUTS, ReadOut
from sk_dim._validation import check_choice, check_integer, check_name, warn
from sk_dim._variables import check_variable, continuous_columns, group_equal_rows

N_PARTS = 5  # of which each that is judged is held out once
N_JUDGED = 1_000  # rows that are judged at least, where there are as many
MAX_PART = 10_000  # rows
N_STOP = 2_000  # rows at most that stop a training
STOP_SHARE = 0.1  # of the rows of a training, to stop it by
FEW_ROWS = 50
AT_THE_CAP = 0.85  # share of the cap from which on a value sits at it
MANY_EQUAL = 0.05  # share of rows equal to others from which on it is warned


class MutualInformationEstimator(BaseEstimator):
    r"""Estimate the mutual information of two variables, by bounds that are learnt.

    A critic learns to tell pairs that belong together from pairs of different rows;
    how well it does so on rows that it has not seen bounds what one variable tells of
    the other. Every row is judged by a critic that neither trained on it nor was
    stopped by it. Each critic judges a fifth of the rows, and there are two of them, or
    as many as it takes to judge 1,000 rows: five for 1,000 rows and fewer.

    Parameters
    ----------
    bound : {"infonce", "donsker_varadhan", "nwj", "smile", "jsd"}, default="infonce"
        What is learnt and read out, see :mod:`sk_dim.bounds`. The first three are lower
        bounds; "donsker_varadhan" is trained with the moving average of MINE. "smile"
        and "jsd" are trained by the Jensen-Shannon bound and read out by `smile` and
        `donsker_varadhan`: estimates, which may lie on either side of the truth.
    critic : {"hybrid", "separable"} or callable, default="hybrid"
        "hybrid" sums the log density ratio of correlated normal variables, the dot
        product of two nets, and a net on both; "separable" leaves out the last, and is
        faster. Or ``critic(x_shape, y_shape) -> nn.Module`` whose forward takes
        batches (m, ...) and (n, ...) and returns scores (m, n).
    max_iter : int or "auto", default="auto"
        Epochs. "auto" takes some 1,000 steps of 128 rows, and at most 60 epochs; where
        the rows that stop a training show no gain for long, it ends before.
    device : str or torch.device, default="auto"
        "auto" takes CUDA before MPS before the CPU.
    random_state : int, RandomState instance or None, default=None
        Seeds folds, weights and batches.

    Attributes
    ----------
    mutual_information_ : float
        In nats. It may come out a little below 0 where variables are independent.
    standard_error_ : float
        Of the mean over the rows, in nats; what training leaves undone is not in it.
    cap_ : float
        Largest value that could have been found, in nats: the logarithm of the number
        of candidates for "infonce", and of the number of rows for the others, which
        nothing distribution-free from so many rows is sure to exceed.
    bound_kind_ : {"lower", "estimate"}
        Whether the value is a lower bound in expectation, or an estimate.
    bound_ : str
        The bound that was learnt, which `score` reads out too.
    history_ : list of dict
        One dict for each look at the rows that stop a training, with the keys "fold",
        "epoch", "train" and "stop" (bounds in nats) and "seconds".
    n_features_in_ : int
        Values of a row of X.

    Warns
    -----
    UserWarning
        If there are fewer than 50 rows, many equal ones, or only constant columns; if
        continuous columns are in both variables; if the value sits at its cap; if
        training diverged.

    See Also
    --------
    mutual_information : The value alone, in one call.
    sklearn.feature_selection.mutual_info_regression : Of single columns, by neighbours.

    Notes
    -----
    Columns are brought to a normal distribution by their ranks, which leaves mutual
    information as it is; strings, booleans and integers of up to 50 values are taken
    for names, of which the 255 most frequent are told apart. Images (three axes and
    more) are read by a convolutional net.

    The lower bounds hold in expectation for any critic: what is missing to the truth is
    what the critic did not learn. No estimate from n rows that assumes nothing of the
    distribution can be sure of more than log n.

    References
    ----------
    B. Poole et al. (2019). On Variational Bounds of Mutual Information.
    arXiv:1905.06922.

    D. McAllester, K. Stratos (2018). Formal Limitations on the Measurement of Mutual
    Information. arXiv:1811.04251.

    Examples
    --------
    >>> from sk_dim.datasets import make_normal_pairs
    >>> X, Y, information = make_normal_pairs(
    ...     1000, mutual_information=0.5, random_state=0
    ... )
    >>> estimator = MutualInformationEstimator(max_iter=5, random_state=0).fit(X, Y)
    >>> abs(estimator.mutual_information_ - information) < 0.1
    True
    """

    def __init__(
        self,
        bound: str = "infonce",
        *,
        critic: Any = "hybrid",
        max_iter: int | str = "auto",
        device: Any = "auto",
        random_state: Any = None,
    ) -> None:
        self.bound = bound
        self.critic = critic
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, Y: Any) -> Self:
        """Learn the critics, and estimate.

        Parameters
        ----------
        X, Y : array-like of shape (n,), (n, d) or (n, ...)
            Row i of both belongs together.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError or TypeError
            For parameters out of range, values that are missing or not finite, X and Y
            of different length, and fewer than 4 rows.
        """
        name = self.bound_ = check_name("bound", self.bound, READ_OUTS)
        build = check_choice("critic", self.critic, PAIR_CRITICS)
        n_epochs = self.max_iter
        if not (isinstance(n_epochs, str) and n_epochs == "auto"):
            n_epochs = check_integer("max_iter", n_epochs, 1)
        device = choose_device(self.device)
        X, Y = check_variable("X", X), check_variable("Y", Y)
        check_consistent_length(X, Y)
        if len(X) < 4:
            raise ValueError(
                f"{len(X)} rows leave nothing to hold out; at least 4 are needed, and "
                "hundreds for an estimate worth the name."
            )
        self.n_features_in_ = math.prod(X.shape[1:])
        self.shapes_ = X.shape[1:], Y.shape[1:]
        self.bound_kind_ = READ_OUTS[name].kind
        self.cap_ = math.log(len(X))
        self.history_: list[dict[str, float]] = []
        self.folds_: list[Fold] = []
        known = _known_without_training(X, Y)
        if known is not None:
            self.mutual_information_, self.standard_error_ = known, 0.0
            return self
        rng = check_random_state(self.random_state)
        self._cross_fit(X, Y, READ_OUTS[name], build, n_epochs, device, rng)
        self._warn_of_the_value()
        return self

    def _cross_fit(
        self,
        X: np.ndarray,
        Y: np.ndarray,
        read_out: ReadOut,
        build: Any,
        n_epochs: Any,
        device: torch.device,
        rng: np.random.RandomState,
    ) -> None:
        """Train a critic without each fold, and judge the fold by it."""
        folds = _draw_folds(X, Y, rng)
        shares = []
        caps = []
        for k in range(_n_judged(folds)):
            rows = rng.permutation(np.flatnonzero(folds != k))
            n_stop = max(1, min(N_STOP, round(STOP_SHARE * len(rows))))
            stop, train = rows[:n_stop], rows[n_stop:]
            fold = Fold(X[train], Y[train], build, device, seed=rng.randint(2**31))
            history = fold.train(
                (X[train], Y[train]), (X[stop], Y[stop]), read_out, n_epochs
            )
            self.history_ += [{"fold": k} | row for row in history]
            held_out = np.flatnonzero(folds == k)
            judged, n_candidates = fold.judge(X[held_out], Y[held_out], read_out)
            shares.append(judged)
            caps.append(math.log(n_candidates))
            self.folds_.append(fold)
        every = torch.cat(shares)
        self.mutual_information_ = float(every.mean())
        self.standard_error_ = float(every.std() / math.sqrt(len(every)))
        if read_out.is_capped_by_candidates:
            self.cap_ = float(np.mean(caps))

    def _warn_of_the_value(self) -> None:
        if self.mutual_information_ > AT_THE_CAP * self.cap_:
            warn(
                f"the estimate of {self.mutual_information_:.2f} nats sits at the cap "
                f"of {self.cap_:.2f} that so many rows allow: the truth may be any "
                "value from there on. More rows would tell.",
            )

    def score(self, X: Any, Y: Any) -> float:
        """Estimate on new rows, by the mean over the critics.

        Parameters
        ----------
        X, Y : array-like of shape (n,), (n, d) or (n, ...)
            Rows as in `fit`, at least two.

        Returns
        -------
        float
            In nats; `bound_kind_` says of what kind.

        Raises
        ------
        ValueError
            If rows are not as in `fit`.
        """
        check_is_fitted(self, "mutual_information_")
        X, Y = check_variable("X", X), check_variable("Y", Y)
        check_consistent_length(X, Y)
        for name, V, shape in zip("XY", (X, Y), self.shapes_, strict=True):
            if V.shape[1:] != shape:
                raise ValueError(
                    f"{name} has rows of shape {V.shape[1:]}, but had {shape} in fit."
                )
        if len(X) < 2:
            raise ValueError("one row has no other to be told from; pass two or more.")
        if not self.folds_:
            return self.mutual_information_
        read_out = READ_OUTS[self.bound_]
        values = [fold.judge(X, Y, read_out)[0].mean() for fold in self.folds_]
        return float(torch.stack(values).mean())


def mutual_information(X: Any, Y: Any, **params: Any) -> float:
    """Estimate the mutual information of two variables, in nats.

    Parameters
    ----------
    X, Y : array-like of shape (n,), (n, d) or (n, ...)
        Row i of both belongs together.
    **params
        Of :class:`MutualInformationEstimator`.

    Returns
    -------
    float
        A lower bound in expectation, unless `bound` asks for an estimate.

    Raises
    ------
    ValueError or TypeError
        As :meth:`MutualInformationEstimator.fit` does.

    See Also
    --------
    MutualInformationEstimator : With standard error, cap and history.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=500)
    >>> round(mutual_information(X, X > 0, max_iter=20, random_state=0), 1)
    0.7
    """
    return MutualInformationEstimator(**params).fit(X, Y).mutual_information_


def _draw_folds(X: np.ndarray, Y: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Assign each row to a fold, equal rows of continuous values to the same."""
    groups = group_equal_rows(X, Y)
    n_groups = groups.max() + 1
    # At least two in each, else there is nothing to tell a row from.
    n_folds = max(2, min(N_PARTS, n_groups // 2), -(-n_groups // MAX_PART))
    return (rng.permutation(n_groups) % n_folds)[groups]


def _n_judged(folds: np.ndarray) -> int:
    """Count the folds that it takes to judge as many rows as are wanted."""
    n_rows = np.cumsum(np.bincount(folds))
    return min(len(n_rows), max(2, 1 + int(np.sum(n_rows < N_JUDGED))))


def _known_without_training(X: np.ndarray, Y: np.ndarray) -> float | None:
    """Answer where a constant or a copy does, and warn of them and of few rows."""
    if len(X) < FEW_ROWS:
        warn(
            f"{len(X)} rows are few for a net to learn from and to be judged by: the "
            "value will be too low, and uncertain beyond its standard error.",
        )
    for name, V in (("X", X), ("Y", Y)):
        if all(len(np.unique(column)) == 1 for column in V.reshape(len(V), -1).T):
            warn(
                f"{name} is constant, so it tells nothing: mutual information is 0.",
            )
            return 0.0
    theirs = {column.tobytes() for column in continuous_columns(Y, len(Y))}
    if any(column.tobytes() in theirs for column in continuous_columns(X, len(X))):
        warn(
            "a continuous column is in both X and Y: they share all of its digits, and "
            "mutual information is infinite. Leave it out of one of them.",
        )
        return math.inf
    n_equal = len(X) - (group_equal_rows(X, Y).max() + 1)
    if n_equal > MANY_EQUAL * len(X):
        warn(
            f"{n_equal} of {len(X)} rows are copies of others, though values are "
            "continuous; they count as one when rows are held out, but the estimate "
            "is that of a distribution with such copies.",
        )
    return None
