"""MutualInformationEstimator: how much two variables tell of one another, in nats."""

import math
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from sk_dim._devices import available_device, choose_device
from sk_dim._information._certainty import interval_of
from sk_dim._information._columns import Variable, check_discrete
from sk_dim._information._component_critics import COMPONENT_CRITICS
from sk_dim._information._cross_fitting import Judged, cross_fit, judge_again
from sk_dim._information._held_out import TrainedCritic
from sk_dim._information._pair_critic import PAIR_CRITICS
from sk_dim._information._read_outs import READ_OUTS
from sk_dim._information._representations import (
    GIVEN,
    Representation,
    Side,
    check_representation,
)
from sk_dim._information._row_groups import MANY_COPIES, RowGroups
from sk_dim._information._variables import continuous_columns, counted_information
from sk_dim._inputs._groups import read_groups
from sk_dim._validation import (
    check_choice,
    check_integer,
    check_integer_or_auto,
    check_name,
    kept_on_failure,
    warn,
)

MIN_APART = 4  # rows, or groups, that can be cut into parts
FEW_ROWS = 50
AT_THE_CAP = 0.85  # share of the cap from which on a value sits at it
MIN_COUNTED = 0.1  # nats that counting must give for a comparison with it
FAR_BELOW = 0.5  # share of what counting gives below which it is warned
NOTHING_FOUND = "no dependence was found"  # how that warning begins


class MutualInformationEstimator(BaseEstimator):
    r"""Estimate the mutual information of two variables by neural bounds.

    A critic, a small net, learns to tell pairs that belong together from pairs of
    different rows. How well it tells pairs that it has not seen bounds what one
    variable tells of the other. The rows are cut into five parts, or into parts of at
    most 10,000 rows. For each of two parts, or of as many as hold 1,000 rows, a critic
    is trained without that part, and then judged on it. With up to 1,000 rows all five
    parts are judged. Of rows in groups, groups are counted.

    Parameters
    ----------
    bound : {"infonce", "donsker_varadhan", "nwj", "smile", "jsd"}, default="infonce"
        Bound that is maximised and evaluated, see :mod:`sk_dim.bounds`. The first
        three are lower bounds; "donsker_varadhan" is trained with the moving average
        of MINE. "smile" and "jsd" are trained by the Jensen-Shannon bound and evaluated
        by `smile` and `donsker_varadhan`: estimates, which may lie on either side of
        the truth.
    critic : {"hybrid", "separable"} or callable, default="hybrid"
        "hybrid" sums the log density ratio of correlated normal variables, the dot
        product of two nets, and a net on both; "separable" leaves out the last, and is
        faster. Or ``critic(x_shape, y_shape) -> nn.Module`` whose forward takes
        batches (m, ...) and (n, ...) and returns scores (m, n).
    representation : str, transformer or pair, default="auto"
        What critics are shown of X and of Y. "columns" shows numbers, names and pixels
        as they are. "features" shows the principal components of a table, or of what a
        small :class:`DeepInfomaxTransformer` has learnt from images or series. "auto"
        takes features for images, series, and tables of 64 columns and more, unless
        `critic` is a callable. A fitted transformer is applied to samples as they are
        given; any other is fitted to training rows, in which names are numbered in
        sorted order. Of 64 features and more the principal components are shown, 128 at
        most. A pair is for X and for Y.
    discrete : "auto", bool or pair, default="auto"
        Which columns hold names (classes, codes) and not numbers. "auto" decides for
        each column, see Notes; True and False decide for all. A pair is for X and for
        Y: each "auto", True, False, or a list with one bool for each column. A list of
        two bools is such a pair. Has no effect where a transformer represents X or Y.
    max_iter : int or "auto", default="auto"
        Epochs at most. "auto" takes about 1,000 steps of 128 rows, and at most 60
        epochs. Early stopping may end a training before.
    n_permutations : int, default=9999
        Random ways to pair the rows that the p-value comes from: it is below
        1 / (n_permutations + 1) where the true one scores above all.
    device : str or torch.device, default="auto"
        "auto" takes CUDA before MPS before the CPU.
    random_state : int, RandomState instance or None, default=None
        Seeds folds, weights and batches.

    Attributes
    ----------
    mutual_information_ : float
        In nats, at least 0.
    standard_error_ : float
        Of the mean over the rows, in nats. It does not include what the critics did
        not learn.
    interval_ : tuple of float
        Lower and upper end, in nats, of an interval that held the truth in about nine
        of ten known tasks, see Notes.
    p_value_ : float
        Probability of a critic as good as this one if X and Y were independent.
    cap_ : float
        Largest value that can be relied on, in nats. For "infonce" it is the logarithm
        of the number of candidates, which no value exceeds; for the others log n, for
        no bound from n rows that assumes nothing of the distribution can be sure of
        more.
    bound_kind_ : {"lower", "estimate"}
        Whether the value is a lower bound in expectation, or an estimate.
        "donsker_varadhan" is one but for the logarithm of a mean, which makes it a
        little too high where few rows are held out and the value is large.
    bound_ : str
        Bound that was used in `fit`, which `score` uses too.
    history_ : list of dict
        One dict per early-stopping check, with the keys "fold", "critic" ("given",
        "mixture" or "tied mixture"; those of normal variables take no steps), "epoch",
        "train" and "stop" (bounds in nats) and "seconds".
    n_features_in_ : int
        Values per row of X, or of what a fitted transformer makes of it.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns of X. Only defined where X is a frame with text for names.

    Warns
    -----
    UserWarning
        If there are fewer than 50 rows, many copies of rows, only constant columns, or
        names that hardly repeat; if a continuous column is in both variables; if no
        dependence was found; if counting equal pairs gives more than twice the value;
        if the value is near its cap; if training diverged.

    See Also
    --------
    mutual_information : The value alone, in one call.
    sklearn.feature_selection.mutual_info_regression : Of single columns, by neighbours.

    Notes
    -----
    *Columns*. Text, booleans, pandas' categories, and whole numbers of up to 50 values
    that are there twice on average are taken for names, of which the 255 most frequent
    are told apart. Whether an array or a frame holds whole numbers as int, nullable
    Int64 or float makes no difference. Other numbers, dates and durations are brought
    to a normal distribution by their ranks, which leaves mutual information as it is;
    those of up to 255 values that are there five times on average are told apart by
    value too. Missing values are refused. Arrays of three axes are series (n, channels,
    length) where one side is below 8 or more than four times as long as the other, else
    images (n, H, W); arrays of four axes are images. Numbers in 64, 81, 100... columns
    that look like the pixels of square images are read as such, unless `discrete` or
    `representation` is given.

    *Features*. Whatever is made of X and Y each by itself tells no more of the other
    than they do, so lower bounds stay lower bounds. Encoders and components are learnt
    from rows that are not judged by them, and from extra ones. Three kinds of critics
    are tried on components: the given one; one that assumes normal variables; and one
    that looks for hidden classes that both have in common, by a net for each or, where
    X and Y are of one kind, by one for both. The rows that stop training choose, and
    critics that are behind are dropped: by more than three standard errors after a
    sixth of it, by more than one after a quarter. Where 500 rows or more are in no part
    that is judged, features are learnt from those once, they stop the trainings, and
    each part tries only critics that the part before kept. The given critic is shown
    the columns of a wide table as they are.

    *Interval*. The lower end is the mean over held-out rows less 1.645 standard errors.
    The upper end is as far above, and further by as much as critics do better on rows
    that they learnt from than on others, and by an allowance that falls with the rows.
    It is infinite where the value is near its cap. A truth that no critic comes near,
    with many columns and few rows, can be above it.

    *Test*. Up to 1,000 pairs of one held-out part are permuted `n_permutations` times.
    The p-value is exact for any critic, and says nothing of other rows, so a weak
    dependence can be seen in the value and not in it.

    *Bias*. The lower bounds hold in expectation for any critic. What is missing to the
    truth is what the critic did not learn; with many columns and few rows that is most
    of it. No lower bound from n rows that assumes nothing of the distribution can be
    sure of more than log n.

    *No critic*. A critic that is worse than none on the rows that stop its training, by
    more than a standard error, counts as none, which tells 0 nats. A mean below 0 is
    set to 0, with a warning.
    So where variables are independent, the mean over many samples is a little above 0,
    by less than a standard error.

    *Groups*. Each counts as one: its rows are in one part and no candidates for one
    another, a row of each other group is one candidate, by the mean over them, and what
    they add to the value is averaged in it. So the value is that of a random row of a
    random group. Of a group 64 rows at most are judged. Unless `groups` are given,
    rows that look like copies of others, though values are continuous, are held out
    together, and count as often as they are there.

    *Threads*. Critics of tables learn on one thread of a CPU: more would slow such
    small nets down. torch's number of threads is that of the whole process; it is set
    to 1 while `fit` and `score` compute, and then set back.

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
        representation: Any = "auto",
        discrete: Any = "auto",
        max_iter: int | str = "auto",
        n_permutations: int = 9999,
        device: Any = "auto",
        random_state: Any = None,
    ) -> None:
        self.bound = bound
        self.critic = critic
        self.representation = representation
        self.discrete = discrete
        self.max_iter = max_iter
        self.n_permutations = n_permutations
        self.device = device
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        Y: Any,
        *,
        groups: Any = None,
        X_extra: Any = None,
        Y_extra: Any = None,
    ) -> Self:
        """Train the critics, and estimate.

        Parameters
        ----------
        X, Y : array-like of shape (n,), (n, d) or (n, ...)
            Numbers, names, dates, images or series; row i of both belongs together.
            Arrays, frames and lists are all taken.
        groups : array-like of shape (n,), default=None
            What rows belong to, such as the patient of a visit: strings, numbers or
            anything else that can be hashed. Whole groups are held out, and each counts
            as one, with the mean over its rows, in the value, its standard error and
            cap. None means that rows are independent, but for copies, which are found
            and held out together.
        X_extra, Y_extra : array-like of shape (m, ...), default=None
            More rows of X, or of Y, that are in no pair. Representations and the scale
            of columns are learnt from them too; an encoder of images or series learns
            from 1,500 rows in all.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError or TypeError
            For parameters out of range, values that are missing or not finite, X and Y
            of different length, extra rows of another shape, a representation that
            does not fit the samples, a critic of the user that is none, and fewer than
            4 groups or rows that differ. The estimator is then as it was before the
            call.
        """
        with kept_on_failure(self):
            return self._fit(X, Y, groups, (X_extra, Y_extra))

    def _fit(self, X: Any, Y: Any, groups: Any, extra: tuple[Any, Any]) -> Self:
        name = check_name("bound", self.bound, READ_OUTS)
        build = check_choice("critic", self.critic, PAIR_CRITICS)
        check_integer_or_auto("max_iter", self.max_iter, 1)
        check_integer("n_permutations", self.n_permutations, 1)
        device = choose_device(self.device)
        self._check_given(Y)
        sides = self._choose_sides()
        x, y = sides[0].read_first(X), sides[1].read_first(Y)
        check_consistent_length(x, y)
        more = [
            None if rows is None else side.read(rows, f"{side.label}_extra")
            for side, rows in zip(sides, extra, strict=True)
        ]
        tries_others = isinstance(self.critic, str)
        representation = Representation(sides, more, tries_others=tries_others)
        row_groups = RowGroups.of(x, y, groups)
        row_groups.check_enough(MIN_APART)
        n_groups = len(row_groups)
        validate_data(self, X, skip_check_array=True, ensure_2d=False)
        self.n_features_in_ = math.prod(sides[0].reader.shape)
        self.bound_kind_ = READ_OUTS[name].kind
        self.bound_ = name
        self.cap_ = math.log(n_groups)
        self.history_: list[dict[str, Any]] = []
        self._sides = sides
        self._critics: list[TrainedCritic] = []
        self._built = self.critic
        self._device = str(device)
        known = _known_without_training(x, y, row_groups)
        if known is not None:
            self.mutual_information_, self.standard_error_ = known, 0.0
            self.interval_ = known, known
            self.p_value_ = 0.0 if known else 1.0
            return self
        judged = cross_fit(
            x,
            y,
            row_groups,
            representation,
            {GIVEN: build, **COMPONENT_CRITICS},
            READ_OUTS[name],
            self.max_iter,
            self.n_permutations,
            device,
            check_random_state(self.random_state),
        )
        is_capped = READ_OUTS[name].is_capped_by_candidates
        self._read_out(judged, n_groups, is_capped=is_capped)
        is_apart = not row_groups.n_copies and not row_groups.are_units
        self._warn_of_the_value(counted_information(x, y) if is_apart else 0.0)
        return self

    def _choose_sides(self) -> tuple[Side, Side]:
        """Say how each variable is read, and shown to critics."""
        of_x, of_y = check_discrete(self.discrete)
        for_x, for_y = (
            # A critic of the user is shown columns unless they say otherwise.
            "columns"
            if choice == "auto" and not isinstance(self.critic, str)
            else choice
            for choice in check_representation(self.representation)
        )
        return Side("X", of_x, for_x), Side("Y", of_y, for_y)

    def _read_out(self, judged: Judged, n_groups: int, *, is_capped: bool) -> None:
        shares = torch.cat(judged.shares)
        mean = float(shares.mean())
        self.mutual_information_ = _at_least_zero(mean, len(shares))
        self.standard_error_ = float(shares.std() / math.sqrt(len(shares)))
        counts = [len(each) for each in judged.shares]
        if is_capped:
            self.cap_ = float(np.average(judged.caps, weights=counts))
        on_training = float(np.average(judged.on_training, weights=counts))
        self.interval_ = interval_of(
            mean, self.standard_error_, on_training, self.cap_, n_groups
        )
        self.p_value_ = judged.p_value
        self.history_, self._critics = judged.history, judged.critics

    def _warn_of_the_value(self, counted: float) -> None:
        value = self.mutual_information_
        if value > AT_THE_CAP * self.cap_:
            warn(
                f"the estimate of {value:.2f} nats sits at the cap of {self.cap_:.2f} "
                "that so many rows allow: the truth may be any value from there on. "
                "More rows would tell.",
            )
        if counted > MIN_COUNTED and value < FAR_BELOW * counted:
            warn(
                f"the critics found {value:.2f} nats, but counting equal pairs gives "
                f"{counted:.2f}: numbers may be names, which discrete=True says.",
            )

    def _check_given(self, Y: Any) -> None:
        if Y is None:
            raise ValueError(
                "MutualInformationEstimator requires y to be passed, but the target y "
                "is None; pass the second variable as Y."
            )

    def score(
        self, X: Any, Y: Any = None, *, y: Any = None, groups: Any = None
    ) -> float:
        """Estimate on new rows, by the mean over the critics.

        Parameters
        ----------
        X, Y : array-like of shape (n,), (n, d) or (n, ...)
            Rows as in `fit`, at least two.
        y : array-like, default=None
            Y under the name that scikit-learn uses.
        groups : array-like of shape (n,), default=None
            What rows belong to, as in `fit`.

        Returns
        -------
        float
            In nats, at least 0; `bound_kind_` says of what kind. That of `fit` where a
            constant or copied column gave it without a critic.

        Raises
        ------
        ValueError
            If rows are not as in `fit`.

        Warns
        -----
        UserWarning
            If the critics are no better than none on these rows.
        """
        check_is_fitted(self, "mutual_information_")
        Y = y if Y is None else Y
        self._check_given(Y)
        validate_data(self, X, reset=False, skip_check_array=True, ensure_2d=False)
        x, y = self._sides[0].read(X), self._sides[1].read(Y)
        check_consistent_length(x, y)
        if len(x) < 2:
            raise ValueError("1 sample has no other to be told from; pass two or more.")
        numbers = read_groups(groups, len(x))
        if not self._critics:
            return self.mutual_information_
        value = judge_again(self._critics, x, y, numbers, READ_OUTS[self.bound_])
        return _at_least_zero(value, len(x))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.three_d_array = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags

    # Critics are not pickled as they are, but as the arrays they consist of.

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "_critics" in state:
            state["_critics"] = [critic.pack() for critic in state["_critics"]]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        packed = state.get("_critics")
        if not packed:
            return
        build = check_choice("critic", self._built, PAIR_CRITICS)
        builds = {GIVEN: build, **COMPONENT_CRITICS}
        device = torch.device(self._device)
        if device.type != "cpu":
            device = available_device(device)
            self._device = str(device)
        self._critics = [TrainedCritic.unpack(one, builds, device) for one in packed]


def mutual_information(X: Any, Y: Any, *, groups: Any = None, **params: Any) -> float:
    """Estimate the mutual information of two variables, in nats.

    Parameters
    ----------
    X, Y : array-like of shape (n,), (n, d) or (n, ...)
        Row i of both belongs together.
    groups : array-like of shape (n,), default=None
        What rows belong to, see :meth:`MutualInformationEstimator.fit`.
    **params
        Parameters of :class:`MutualInformationEstimator`.

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
    >>> round(mutual_information(X, X > 0, max_iter=10, random_state=0), 1)
    0.7
    """
    estimator = MutualInformationEstimator(**params).fit(X, Y, groups=groups)
    return estimator.mutual_information_


def _at_least_zero(mean: float, n_rows: int) -> float:
    if mean > 0:
        return mean
    warn(
        f"{NOTHING_FOUND}: on {n_rows} held-out rows the critics were no better than "
        f"none (a mean of {mean:.2g} nats), so the value is 0. It takes more rows to "
        "see a weak dependence.",
    )
    return 0.0


def _known_without_training(
    X: Variable, Y: Variable, row_groups: RowGroups
) -> float | None:
    """Answer where a constant or a copy does, and warn of them and of few rows."""
    n_copies = row_groups.n_copies
    if len(row_groups) < FEW_ROWS:
        warn(
            f"{row_groups} are few for a net to learn from and to be "
            "judged by: the value will be too low, and the truth may well be outside "
            "interval_.",
        )
    for name, V in (("X", X), ("Y", Y)):
        if V.is_constant:
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
    if n_copies > MANY_COPIES * len(X):
        warn(
            f"{n_copies} of {len(X)} rows are copies of others, though values are "
            "continuous; leave them out, or the estimate is that of a distribution "
            "with such copies.",
        )
    return None
