"""Judge a fitted estimator without labels."""

import math
import warnings
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state
from sklearn.utils.validation import _num_samples, check_is_fitted

from sk_dim._inputs._broken import leave_out_broken
from sk_dim._inputs._groups import read_groups
from sk_dim._training._preparing import rows_like
from sk_dim.evaluation._probes import effective_rank, take_rows

CAP = math.log(256)  # of score, in nats
LEAST_GAIN = 0.1  # nats that a bound rises by where anything is learnt
# Nats for the global term: those of untrained encoders have a deviation of 0.05.
LEAST_GLOBAL_GAIN = 0.2
MIN_ROWS, MAX_ROWS = 8, 2000  # samples to judge by
FEW_DIRECTIONS = 8  # where they are less than half of what they were
COLLAPSED = 1e-3  # share of the median spread below which a column is flat


@dataclass(frozen=True)
class Diagnosis:
    """Figures that tell without labels whether an estimator learnt anything.

    Parameters
    ----------
    n_components : int
        Columns.
    n_flat : int
        Columns that hardly vary.
    rank : float
        Effective rank of the features, see :func:`effective_rank`.
    uniformity : float
        Logarithm of the mean of exp(-2 d^2) over pairs of samples, d the distance of
        their centred features on the unit sphere: lower where they are spread evenly.
    alignment : float
        Mean squared distance of two views of a sample, on the same sphere: lower where
        views agree. NaN if the estimator was trained on one view.
    score : float
        The bound that `score` returns, in nats; NaN without a local term.
    untrained : Diagnosis or None
        The same figures for an encoder with random weights.
    verdict : str
        One sentence: whether training worked, else what to change. It compares the
        score with that of the untrained encoder; without a local term, the global term
        of the last epoch with that of an untrained one; without either it says that the
        training cannot be judged.

    Examples
    --------
    >>> import numpy as np
    >>> from sk_dim import DeepInfomaxTransformer
    >>> X = np.random.default_rng(0).normal(size=(64, 8, 8))
    >>> dim = DeepInfomaxTransformer(8, max_iter=1, random_state=0).fit(X)
    >>> diagnose(dim, X, random_state=0).n_flat
    0
    """

    n_components: int
    n_flat: int
    rank: float
    uniformity: float
    alignment: float
    score: float
    untrained: "Diagnosis | None" = None
    verdict: str = ""

    def __str__(self) -> str:
        """Return a table of the figures beside those of the untrained encoder."""
        head = f"{'':14}{'trained':>10}"
        if self.untrained is not None:
            head += f"{'untrained':>11}"
        lines = [head]
        for each in fields(self)[:-2]:
            line = f"{each.name:14}{getattr(self, each.name):>10.4g}"
            if self.untrained is not None:
                line += f"{getattr(self.untrained, each.name):>11.4g}"
            lines.append(line)
        return "\n".join([*lines, "", self.verdict])


def diagnose(
    estimator: Any, X: Any, *, groups: Any = None, random_state: Any = None
) -> Diagnosis:
    """Tell without labels whether an estimator learnt anything.

    Parameters
    ----------
    estimator : fitted DeepInfomaxTransformer
        It stays as it is, and its callbacks are not called. A `FrozenEstimator` of one
        will do.
    X : array-like of shape (n_samples, ...)
        At least 8 samples that it takes, best such as it was not trained on; 2,000 of
        them are drawn if there are more.
    groups : array-like of shape (n_samples,), default=None
        What samples belong to, as in `fit`, for the terms of the untrained encoder.
    random_state : int, RandomState instance or None, default=None
        Seeds the rows, the views and the untrained encoder.

    Returns
    -------
    Diagnosis
        Figures, those of an untrained encoder, and a verdict; `print` shows all.

    Raises
    ------
    ValueError
        If there are fewer than 8 samples, or they are not as in `fit`.
    TypeError
        If the estimator is none with local and global features.

    See Also
    --------
    linear_probe : How good the features are for labels that you have.

    References
    ----------
    T. Wang, P. Isola (2020). Understanding Contrastive Representation Learning through
    Alignment and Uniformity on the Hypersphere. arXiv:2005.10242.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_dim import DeepInfomaxTransformer
    >>> X = load_digits().images
    >>> dim = DeepInfomaxTransformer(16, max_iter=3, random_state=0).fit(X[:500])
    >>> found = diagnose(dim, X[500:800], random_state=0)
    >>> found.score > found.untrained.score
    True
    """
    estimator = _unwrap(estimator)
    check_is_fitted(estimator)
    n = _num_samples(X)
    if n < MIN_ROWS:
        raise ValueError(
            f"X has {n} samples, and a minimum of {MIN_ROWS} is required to diagnose."
        )
    rng = check_random_state(random_state)
    codes = read_groups(groups, n)
    if n > MAX_ROWS:
        drawn = rng.permutation(n)[:MAX_ROWS]
        X = take_rows(X, drawn)
        codes = None if codes is None else codes[drawn]
    X, codes = leave_out_broken(X, codes)
    seed = rng.randint(2**31)
    layout = estimator.model_.fmt.layout
    if np.ndim(X) == 2 and len(layout) > 1:
        X = np.asarray(X).reshape(-1, *layout)  # or the twin would see a table
    twin = _fit_untrained(estimator, X, codes, seed)
    untrained, found = _measure(twin, X, seed), _measure(estimator, X, seed)
    figures = {each.name: getattr(found, each.name) for each in fields(found)[:-2]}
    verdict = _judge(found, untrained, _global_term(estimator), _global_term(twin))
    return Diagnosis(**figures, untrained=untrained, verdict=verdict)


def _unwrap(estimator: Any) -> Any:
    """Return the transformer to diagnose, or say where it is in what was given."""
    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    if _has_views(estimator):
        return estimator
    name = type(estimator).__name__
    advice = "its features can be judged by linear_probe and effective_rank"
    for attribute in ("encoder_", "best_estimator_"):
        if hasattr(estimator, attribute):
            advice = f"pass its {attribute}"
    if isinstance(estimator, Pipeline):
        for i, (step, each) in enumerate(estimator.steps):
            if _has_views(each) or isinstance(each, FrozenEstimator):
                advice = f"pass its step {step!r}"
                if i:
                    advice += f", and X as pipeline[:{i}].transform(X) returns it"
    raise TypeError(
        f"diagnose takes a fitted DeepInfomaxTransformer, not a {name}; {advice}."
    )


def _has_views(estimator: Any) -> bool:
    return hasattr(type(estimator), "local_scores")


def _fit_untrained(estimator: Any, X: Any, groups: np.ndarray | None, seed: int) -> Any:
    """Return an estimator like this one, with random weights.

    One epoch at a learning rate that moves nothing is what the statistics of batch
    normalisation and the terms of an untrained net come from.
    """
    # A new one and no clone, which would share the callbacks.
    twin = type(estimator)(
        **estimator.get_params(deep=False)
        | {
            "max_iter": 1,
            "max_time": None,
            "learning_rate": 1e-12,
            "validation_fraction": 0.0,
            "callbacks": None,
            "verbose": 0,
            "warm_start": False,
            "random_state": seed,
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the first fit gave them
        return twin.fit(X) if groups is None else twin.fit(X, groups=groups)


def _global_term(estimator: Any) -> float:
    """Return the global term of the last epoch in nats, NaN where there is none."""
    return estimator.history_[-1]["global"] if estimator.history_ else math.nan


def _measure(estimator: Any, X: Any, seed: int) -> Diagnosis:
    """Compute all figures of a fitted estimator."""
    Z = np.asarray(estimator.transform(X), dtype=float)
    spread = Z.std(axis=0)
    model = estimator.model_
    rows = rows_like(estimator, X, model.fmt)
    views = [view.astype(float) for view in model.encode_views(rows, seed)]
    center = np.mean(views, axis=(0, 1))
    directions = [_normalised(view - center) for view in views]
    alignment = math.nan
    if len(directions) == 2:
        distances = np.square(directions[0] - directions[1]).sum(axis=1)
        alignment = float(distances.mean())
    a = directions[0]
    squares = np.clip(2 - 2 * a @ a.T, 0, None)[np.triu_indices(len(a), 1)]
    score = math.nan
    if "local" in model.objective.critics:
        score = estimator.score(X)
    return Diagnosis(
        n_components=Z.shape[1],
        n_flat=int(np.sum(spread <= COLLAPSED * np.median(spread))),
        rank=effective_rank(Z),
        uniformity=float(np.log(np.mean(np.exp(-2 * squares)))),
        alignment=alignment,
        score=score,
    )


def _normalised(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _judge(
    found: Diagnosis, untrained: Diagnosis, global_: float, untrained_global: float
) -> str:
    """Say in one sentence what stands in the way first, or that nothing does."""
    if found.n_flat > found.n_components / 2:
        return (
            f"It collapsed: {found.n_flat} of {found.n_components} columns hardly "
            "vary; lower learning_rate, and see that X is not constant."
        )
    if found.rank < min(FEW_DIRECTIONS, untrained.rank / 2):
        return (
            f"It collapsed: the features use {found.rank:.0f} directions where the "
            f"untrained encoder's use {untrained.rank:.0f}; lower learning_rate, or "
            "choose weaker views with augment."
        )
    if not math.isnan(found.score):
        name, bound, before = "bound", found.score, untrained.score
        least = LEAST_GAIN
        if bound > 0.95 * CAP:
            return (
                f"The task is too easy: the bound of {bound:.2f} nats sits at its cap "
                f"of {CAP:.2f}, so there is nothing more to learn; choose stronger "
                "views with augment."
            )
    else:
        name, bound, before = "global term", global_, untrained_global
        least = LEAST_GLOBAL_GAIN
    if math.isnan(bound - before):
        return (
            f"It did not collapse, as the features use {found.rank:.0f} directions; "
            "whether it learnt anything cannot be judged without a local or global "
            "term, and a probe will tell whether the features are good for your labels."
        )
    # Below 0, bounds of untrained critics differ by chance, and none tells anything.
    if bound < max(before, 0.0) + least:
        return (
            f"It learnt next to nothing: the {name} of {bound:.2f} nats is about that "
            f"of the untrained encoder, {before:.2f}; train longer with max_iter or "
            "max_time, or raise learning_rate."
        )
    has_views = not math.isnan(found.alignment)
    if has_views and found.alignment > untrained.alignment:
        return (
            f"Two views of a sample are no nearer to one another than before training "
            f"({found.alignment:.2f} against {untrained.alignment:.2f}); train longer, "
            "or choose weaker views with augment."
        )
    return (
        f"It works: the {name} rose from {before:.2f} to {bound:.2f} nats and the "
        f"features use {found.rank:.0f} directions; whether they are good for your "
        "labels, a probe will tell."
    )
