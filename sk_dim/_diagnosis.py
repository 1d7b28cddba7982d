"""Whether a fitted estimator works, seen without labels."""

import math
import warnings
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_array, check_random_state

from sk_dim._model import rows_like
from sk_dim._probes import effective_rank

CAP = math.log(256)  # of score, in nats
MAX_ROWS = 2000  # that are looked at
FEW_DIRECTIONS = 8  # where they are less than half of what they were
COLLAPSED = 1e-3  # share of the median spread below which a column is flat


@dataclass(frozen=True)
class Diagnosis:
    """What can be seen of features without labels.

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
        Mean squared distance, there, of two views of a sample: lower where views agree.
        NaN where the estimator was trained on one view.
    score : float
        The bound of `score`, in nats; NaN without a local term.
    untrained : Diagnosis or None
        The same for the encoder as it was before its training.
    verdict : str
        One sentence: whether it works, else what to change.

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
        lines = [
            f"{'':14}{'trained':>10}" + f"{'untrained':>11}" * bool(self.untrained)
        ]
        for each in fields(self)[:-2]:
            line = f"{each.name:14}{getattr(self, each.name):>10.4g}"
            if self.untrained is not None:
                line += f"{getattr(self.untrained, each.name):>11.4g}"
            lines.append(line)
        return "\n".join([*lines, "", self.verdict])


def diagnose(estimator: Any, X: Any, *, random_state: Any = None) -> Diagnosis:
    """Look, without labels, whether an estimator learnt anything.

    Parameters
    ----------
    estimator : fitted DeepInfomaxTransformer
        It stays as it is.
    X : array-like of shape (n_samples, ...)
        Samples that it takes, best such as it has not seen; 2,000 of them are drawn if
        there are more.
    random_state : int, RandomState instance or None, default=None
        Of rows, views and the untrained encoder.

    Returns
    -------
    Diagnosis
        Figures, those of the untrained encoder, and a verdict; `print` shows all.

    Raises
    ------
    ValueError
        If there are fewer than 8 samples, or they are not as in `fit`.

    See Also
    --------
    linear_probe : Whether it is any good for labels that there are.

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
    X = check_array(X, dtype=None, allow_nd=True, ensure_min_samples=8)
    rng = check_random_state(random_state)
    if len(X) > MAX_ROWS:
        X = X[rng.permutation(len(X))[:MAX_ROWS]]
    seed = rng.randint(2**31)
    before = clone(estimator).set_params(
        max_iter=1, max_time=None, learning_rate=1e-12, callbacks=None, verbose=0,
        warm_start=False, random_state=seed,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the first fit gave them
        untrained = _look(before.fit(X), X, seed)
    found = _look(estimator, X, seed)
    figures = {each.name: getattr(found, each.name) for each in fields(found)[:-2]}
    verdict = _judge(found, untrained)
    return Diagnosis(**figures, untrained=untrained, verdict=verdict)


def _look(estimator: Any, X: np.ndarray, seed: int) -> Diagnosis:
    Z = estimator.transform(X).astype(float)
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
    if estimator.local_weight > 0:
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


def _judge(found: Diagnosis, untrained: Diagnosis) -> str:
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
    if found.score > 0.95 * CAP:
        return (
            f"The task is too easy: the bound of {found.score:.2f} nats sits at its "
            f"cap of {CAP:.2f}, so there is nothing more to learn; choose stronger "
            "views with augment."
        )
    if found.score < untrained.score + 0.1:
        return (
            f"It learnt next to nothing: the bound of {found.score:.2f} nats is that "
            f"of the untrained encoder, {untrained.score:.2f}; train longer with "
            "max_iter or max_time, or raise learning_rate."
        )
    if found.alignment > untrained.alignment:
        return (
            f"Two views of a sample are no nearer to one another than before training "
            f"({found.alignment:.2f} against {untrained.alignment:.2f}); train longer, "
            "or choose weaker views with augment."
        )
    return (
        f"It works: the bound rose from {untrained.score:.2f} to {found.score:.2f} "
        f"nats and the features use {found.rank:.0f} directions; whether they are good "
        "for your labels, a probe will tell."
    )
