"""DeepInfomaxClassifier: learn from all rows, then classes from a few labelled ones."""

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils import (
    Tags,
    _safe_indexing,
    check_consistent_length,
    check_random_state,
)
from sklearn.utils.validation import check_is_fitted

from sk_dim._deep_infomax import DeepInfomaxTransformer
from sk_dim._devices import seeded
from sk_dim._inputs._broken import leave_out_broken, refuse_nan
from sk_dim._inputs._groups import hold_out_groups, read_groups
from sk_dim._inputs._rows import read_array
from sk_dim._labels import (
    check_classes_left,
    encode_labels,
    hold_out,
    select_labelled,
    weigh_classes,
)
from sk_dim._training._fine_tuning import FineTuner
from sk_dim._training._head import guess_frequencies
from sk_dim._training._preparing import prepare, rows_like
from sk_dim._training._recipe import Recipe
from sk_dim._training._spreading import choose_rows, spread_labels
from sk_dim._validation import check_name, check_real, warn
from sk_dim.arrays import is_lazy
from sk_dim.encoders._contract import trait
from sk_dim.evaluation._probes import fit_probe

SPREAD_C = 0.1  # inverse strength of the regularisation, of standardised features
SPREAD_POWER = 3  # of the probability of a label that spread, which is its weight


class DeepInfomaxClassifier(ClassifierMixin, BaseEstimator):
    """Classify images, series or tables of which only a few rows have labels.

    Rows without a label are marked in `y` by -1, None or NaN. So where one of your
    classes is named -1, rename it: its rows would count as unlabelled.

    Training has two stages. In pretraining, a `DeepInfomaxTransformer` learns features
    from all rows without using labels. In fine-tuning, a linear head learns the classes
    from the labelled rows, and the encoder is trained on with it. Unlabelled rows take
    part in that too: by the objective of Deep InfoMax, and by pseudo-labels, which are
    the classes that the model itself predicts for them.

    Parameters
    ----------
    encoder : DeepInfomaxTransformer or FrozenEstimator of one, default=None
        The transformer. If unfitted, it is pretrained on all rows. If fitted, it is
        used as it is. None means ``DeepInfomaxTransformer()``. A copy is trained; the
        one given never changes. Searches clone it, which forgets its fit, unless it is
        wrapped in a ``FrozenEstimator``. Its `augment` makes the views that the head
        learns from; its `output_layer` has no effect.
    pretrain : bool, default=True
        Whether to start from features learnt without labels. If False, the encoder
        starts from random weights, even if it is fitted, and learns by cross-entropy
        from the labelled rows alone, for comparison.
    fine_tune : {"auto", "all", "head", "spread"}, default="auto"
        "all" trains the encoder and the head. "head" leaves the encoder as it is, and
        fits logistic regression to its features, with the regularisation chosen by
        cross-validation if each class has two rows or more. "spread" leaves it as it is
        too: labels spread from the labelled rows over a graph of nearest neighbours in
        the features, and logistic regression is fitted to what all rows got, each with
        the weight of its probability to the power 3. "auto" is "spread" for encoders
        whose features training does not change, such as "series", where "all" would
        train the head alone; for all others it is "all". Of the parameters below, only
        `class_weight` and `random_state` have an effect on "head" and "spread".
    n_steps : int, default=500
        Number of optimiser steps of the fine-tuning.
    max_time : float, default=None
        Seconds for the fine-tuning, in place of `n_steps`. The learning rate reaches
        zero when they are over.
    batch_size : int, default=32
        Labelled rows in a step. Each step also takes four times as many rows without
        using their labels, or all rows if there are fewer.
    learning_rate : float, default=1e-3
        Highest learning rate of AdamW. It is reached after a tenth of the fine-tuning,
        and falls linearly to zero.
    rate_decay : float, default=1.0
        Factor from the learning rate of one layer of the encoder to that of the layer
        before it. Below 1, early layers change less than late ones.
    infomax_weight : float, default=1.0
        Weight of the objective of Deep InfoMax in the loss. The cross-entropy on
        labelled rows has weight 1.
    unlabelled_weight : float, default=1.0
        Weight of the self-training loss. The prediction for one view of an unlabelled
        row becomes its pseudo-label, and the loss is the cross-entropy between that and
        the prediction for another view. A pseudo-label is a vector of probabilities of
        the classes: the average of the predictions each time that the row was drawn,
        rescaled so that on the whole classes are as frequent as among the labels, then
        sharpened by `temperature`. 0 turns self-training off, and so does an encoder
        with ``augment=None``, which has no other view.
    temperature : float, default=0.5
        How sharp pseudo-labels are: their probabilities are raised to the power
        1 / `temperature`, and divided by their sum. Below 1, probable classes become
        more probable; 1 leaves the probabilities as they are.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the cross-entropy on labelled rows. "balanced" weighs
        rare classes more, so that all count the same.
    early_stopping : bool, default=False
        Whether to hold out a part of the labelled rows, to stop when the accuracy on
        them improves no more, and to keep the best model.
    validation_fraction : float, default=0.2
        Share of the labelled rows to hold out for early stopping.
    patience : int, default=5
        Number of checks in a row without a better accuracy on held-out rows after which
        fine-tuning stops; a full run has 20 checks. Used with `early_stopping` only.
    random_state : int, RandomState instance or None, default=None
        Seeds the fine-tuning, and the pretraining if the encoder has no seed itself.
    verbose : int, default=0
        1 prints a line for each record of `history_`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted; -1 is none of them. Of the type they have in `y`: integers of
        which some are missing stay integers, and an array of floats has float classes.
    encoder_ : DeepInfomaxTransformer
        The fine-tuned transformer.
    coef_ : ndarray of shape (n_classes, n_components) or (1, n_components)
        Coefficients of the head, of the features of `encoder_`; one row for two
        classes.
    intercept_ : ndarray of shape (n_classes,) or (1,)
        Intercepts of the head.
    history_ : list of dict
        At most 20 records of the fine-tuning, with the keys "step", "loss",
        "supervised", "unlabelled" and "infomax" (in nats), "confidence" (mean
        probability of the most probable class in pseudo-labels), "valid_score"
        (accuracy, nan without held-out rows) and "seconds". Empty unless the encoder
        was trained.
    n_features_in_ : int
        Values of a sample.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, where X has names that are all strings.

    See Also
    --------
    DeepInfomaxTransformer : Features alone, for models of any kind.
    sklearn.semi_supervised.LabelSpreading : Spreads labels over a graph of neighbours.

    Notes
    -----
    These count as no label, in arrays, lists and columns of data frames: the number -1,
    None, NaN, NaT, the NA of pandas, null, and masked values. In an array that can hold
    strings only, -1 turns into "-1" and None into "None", so these strings are refused,
    as are empty ones.
    `score` leaves unlabelled rows out.

    Ctrl-C ends the stage that is running, with a warning, and keeps the model. After
    pretraining comes the fine-tuning. What is kept of the fine-tuning is the model of
    its last step, or with `early_stopping` that of the best check, if there was one. A
    second Ctrl-C within two seconds is raised, as is one while logistic regression is
    fitted (``fine_tune="head"``); the classifier is then as it was before the call.

    Pseudo-labels can confirm the errors of the model. Where most of them would be
    wrong, or classes are not as frequent as among the labels, ``unlabelled_weight=0``
    and ``fine_tune="head"`` are safer.

    References
    ----------
    R. D. Hjelm et al. (2018). Learning deep representations by mutual information
    estimation and maximization. arXiv:1808.06670.

    S. Laine, T. Aila (2016). Temporal Ensembling for Semi-Supervised Learning.
    arXiv:1610.02242.

    D. Berthelot et al. (2019). MixMatch: A Holistic Approach to Semi-Supervised
    Learning. arXiv:1905.02249.

    D. Berthelot et al. (2019). ReMixMatch: Semi-Supervised Learning with Distribution
    Alignment and Augmentation Anchoring. arXiv:1911.09785.

    J. Howard, S. Ruder (2018). Universal Language Model Fine-tuning for Text
    Classification. arXiv:1801.06146.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sk_dim import DeepInfomaxClassifier, DeepInfomaxTransformer
    >>> X, y = load_digits().images, load_digits().target
    >>> given = y[:300].copy()
    >>> given[50:] = -1
    >>> recipe = DeepInfomaxTransformer(64, max_iter=3)
    >>> model = DeepInfomaxClassifier(recipe, n_steps=20, random_state=0)
    >>> model.fit(X[:300], given).score(X[300:600], y[300:600]) > 0.7
    True
    """

    def __init__(
        self,
        encoder: Any = None,
        *,
        pretrain: bool = True,
        fine_tune: str = "auto",
        n_steps: int = 500,
        max_time: float | None = None,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        rate_decay: float = 1.0,
        infomax_weight: float = 1.0,
        unlabelled_weight: float = 1.0,
        temperature: float = 0.5,
        class_weight: Mapping | str | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.2,
        patience: int = 5,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.encoder = encoder
        self.pretrain = pretrain
        self.fine_tune = fine_tune
        self.n_steps = n_steps
        self.max_time = max_time
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.rate_decay = rate_decay
        self.infomax_weight = infomax_weight
        self.unlabelled_weight = unlabelled_weight
        self.temperature = temperature
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self, X: ArrayLike, y: ArrayLike, *, groups: ArrayLike | None = None
    ) -> Self:
        """Learn features, head and classes.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            As `DeepInfomaxTransformer` takes it; labelled rows and others.
        y : array-like of shape (n,)
            Labels; -1, None or NaN where there is none.
        groups : array-like of shape (n,), default=None
            What samples belong to, such as the patient whose recording they were cut
            from. In pretraining and in the objective of Deep InfoMax, samples of one
            group are no negatives of one another. Early stopping holds out whole
            groups, and so do the folds that choose the regularisation for
            ``fine_tune="head"``, where groups suffice.

        Returns
        -------
        DeepInfomaxClassifier

        Raises
        ------
        ValueError or TypeError
            If X, y or a parameter cannot be used, before anything is trained, or if the
            training diverges. The estimator is then as it was before the call.
        """
        recipe = self._check_params()
        classes, class_ids = encode_labels(y)
        X = read_array(self._given(), X)
        check_consistent_length(X, class_ids)
        codes = read_groups(groups, len(class_ids))
        X, class_ids, codes = leave_out_broken(X, class_ids, codes)
        check_classes_left(classes, class_ids)
        weights = weigh_classes(self.class_weight, classes, class_ids)
        rng = check_random_state(self.random_state)
        seed = int(rng.randint(2**31 - 1))
        if not self.pretrain:
            X = _rows_of(X, np.flatnonzero(class_ids >= 0))
            codes = None if codes is None else codes[class_ids >= 0]
            class_ids = class_ids[class_ids >= 0]
            recipe = replace(recipe, infomax_weight=0.0)
        held_out = None
        if self.early_stopping and self.fine_tune in ("auto", "all"):
            held_out = self._hold_out(class_ids, codes, seed)
        encoder = self._make_encoder(X, rng, codes)
        how = self._how(encoder)
        history: list[dict[str, float]] = []
        if how == "head":
            coef, intercept = _fit_head(encoder, X, class_ids, weights, codes)
        elif how == "spread":
            coef, intercept = _fit_to_spread(encoder, X, class_ids, weights, seed)
        else:
            model = encoder.model_
            rows = model.source(
                rows_like(encoder, X, model.fmt, n_min=2),
                codes if recipe.infomax_weight else None,
            )
            tuner = FineTuner(
                model.net, rows, class_ids, recipe, weights, held_out, seed
            )
            # Parts of the user may draw from torch's global generator (dropout, say).
            may_draw = model.net.has_own_parts
            with seeded(seed, model.device) if may_draw else nullcontext():
                tuner.run(self.verbose)
            history = tuner.history
            coef, intercept = tuner.head.linear_map()
        if len(coef) == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        # Nothing fails from here on; until here an earlier fit was left as it was.
        self._forget()
        self.classes_ = classes
        self.encoder_ = encoder
        self.coef_ = coef
        self.intercept_ = intercept
        self.history_ = history
        self.n_features_in_ = encoder.n_features_in_
        if hasattr(encoder, "feature_names_in_"):
            self.feature_names_in_ = encoder.feature_names_in_
        return self

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Score the classes.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Samples of the shape that `fit` saw, or flattened rows of them.

        Returns
        -------
        ndarray of shape (n, n_classes), or (n,) for two classes
            Logarithms of probabilities up to a constant for each sample; for two
            classes the log odds of the second.
        """
        check_is_fitted(self)
        scores = self.encoder_.transform(X) @ self.coef_.T + self.intercept_
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """Compute probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Samples of the shape that `fit` saw, or flattened rows of them.

        Returns
        -------
        ndarray of shape (n, n_classes)
            In the order of `classes_`. They are not calibrated, which
            ``CalibratedClassifierCV(FrozenEstimator(model))`` does by other labelled
            rows.
        """
        scores = self.decision_function(X)
        if scores.ndim == 1:
            scores = np.stack([np.zeros_like(scores), scores], axis=1)
        return softmax(scores.astype(float), axis=1)

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Name the most probable class.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Samples of the shape that `fit` saw, or flattened rows of them.

        Returns
        -------
        ndarray of shape (n,)
            Labels of the type that `fit` saw.

        Raises
        ------
        ValueError
            If there are rows that cannot be read, see :class:`sk_dim.ImageLoader`;
            `predict_proba` is NaN for these.
        """
        scores = self.decision_function(X)
        refuse_nan(scores)
        class_ids = scores > 0 if scores.ndim == 1 else scores.argmax(axis=1)
        return self.classes_[class_ids.astype(int)]

    def score(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Compute the accuracy on the labelled rows.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Samples of the shape that `fit` saw, or flattened rows of them.
        y : array-like of shape (n,)
            Labels; rows without one, and rows that cannot be read, are left out.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows.

        Returns
        -------
        float
            Share of the labelled rows whose class was named.

        Raises
        ------
        ValueError
            If no row has a label.
        """
        has_label, labels = select_labelled(y)
        X = read_array(self._given(), X)
        check_consistent_length(X, has_label, sample_weight)
        rows = np.flatnonzero(has_label)
        weights = None if sample_weight is None else np.asarray(sample_weight)[rows]
        given = leave_out_broken(_rows_of(X, rows), labels, weights)
        return super().score(*given)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _forget(self) -> None:
        """Delete what an earlier fit learnt: one that fails leaves nothing behind."""
        for name in list(vars(self)):
            if name.endswith("_") and not name.startswith("_"):
                delattr(self, name)

    def _check_params(self) -> Recipe:
        """Check parameters, and return those of the fine-tuning."""
        check_name("fine_tune", self.fine_tune, ("auto", "all", "head", "spread"))
        if self.early_stopping:
            check_real(
                "validation_fraction",
                self.validation_fraction,
                maximum=1.0,
                exclusive=True,
            )
        return Recipe.from_params(vars(self))

    def _hold_out(
        self, class_ids: np.ndarray, groups: np.ndarray | None, seed: int
    ) -> np.ndarray:
        """Draw labelled rows to stop by, of whole groups if there are any."""
        if groups is None:
            return hold_out(class_ids, self.validation_fraction, seed)
        return hold_out_groups(class_ids, self.validation_fraction, seed, groups)

    def _given(self) -> DeepInfomaxTransformer:
        """Return the transformer that was given, out of its wrapping, or the default.

        Raises
        ------
        TypeError
            If the encoder is no DeepInfomaxTransformer.
        """
        given = self.encoder
        if isinstance(given, FrozenEstimator):
            given = given.estimator
        if given is None:
            given = DeepInfomaxTransformer()
        if not isinstance(given, DeepInfomaxTransformer):
            raise TypeError(
                f"encoder={given!r} is no DeepInfomaxTransformer; pass one, fitted or "
                "not, a FrozenEstimator of a fitted one, or None. Features of other "
                "transformers can go into any classifier by a pipeline."
            )
        return given

    def _how(self, encoder: DeepInfomaxTransformer) -> str:
        """Return how to fine-tune, which "auto" leaves to the encoder."""
        is_fixed = trait(encoder.encoder_, "has_fixed_part")
        if self.fine_tune == "all" and is_fixed:
            warn(
                "fine_tune='all' cannot train this encoder, whose features training "
                "does not change; only the head learns, from new views in each step, "
                "which takes minutes. 'spread' and 'head' take seconds, and 'auto' "
                "chooses 'spread'."
            )
        if self.fine_tune == "auto":
            return "spread" if is_fixed else "all"
        return self.fine_tune

    def _make_encoder(
        self, X: ArrayLike, rng: np.random.RandomState, groups: np.ndarray | None
    ) -> DeepInfomaxTransformer:
        """Return a transformer of our own, fitted, or built for training from scratch.

        Raises
        ------
        NotFittedError
            If it is frozen but not fitted.
        """
        given = self._given()
        is_frozen = isinstance(self.encoder, FrozenEstimator)
        if self.pretrain and (is_frozen or hasattr(given, "model_")):
            check_is_fitted(given)
            encoder = copy.deepcopy(given)
        else:
            encoder = clone(given)
            # Drawn anew, it would not be that of a checkpoint to go on from.
            if encoder.random_state is None and self.random_state is not None:
                encoder.random_state = int(rng.randint(2**31 - 1))
        # The head is on the global features, whatever the one given returns, and how.
        encoder.set_params(output_layer="global").set_output(transform="default")
        if not self.pretrain:
            encoder.set_params(validation_fraction=0.0)
            _, encoder.model_ = prepare(encoder, X)
        elif not hasattr(encoder, "model_"):
            encoder.fit(X, **({} if groups is None else {"groups": groups}))
        return encoder


def _rows_of(X: Any, rows: np.ndarray) -> Any:
    """Return some rows, in their order; of files and other lazy arrays as these do."""
    return X[rows] if is_lazy(X) else _safe_indexing(X, rows)


def _fit_head(
    encoder: DeepInfomaxTransformer,
    X: ArrayLike,
    class_ids: np.ndarray,
    class_weights: np.ndarray | None,
    groups: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit logistic regression to features; coefficients and intercepts for them."""
    rows = np.flatnonzero(class_ids >= 0)
    weights = None if class_weights is None else dict(enumerate(class_weights))
    Z = encoder.transform(_rows_of(X, rows))
    groups = None if groups is None else groups[rows]
    scaler, model = fit_probe(Z, class_ids[rows], weights, groups=groups)
    model = getattr(model, "best_estimator_", model)
    coef = model.coef_ / scaler.scale_
    return coef, model.intercept_ - coef @ scaler.mean_


def _fit_to_spread(
    encoder: DeepInfomaxTransformer,
    X: ArrayLike,
    class_ids: np.ndarray,
    class_weights: np.ndarray | None,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit logistic regression to features and labels that spread over all rows."""
    rows = choose_rows(class_ids, seed)
    counts = np.bincount(class_ids[class_ids >= 0])
    frequencies, _ = guess_frequencies(torch.from_numpy(counts).float(), None)
    Z = encoder.transform(_rows_of(X, rows))
    found = spread_labels(Z, class_ids[rows], frequencies.double().numpy())
    weights = None if class_weights is None else dict(enumerate(class_weights))
    scaler = StandardScaler().fit(Z)
    model = LogisticRegression(C=SPREAD_C, max_iter=1000, class_weight=weights)
    confidence = found.max(axis=1) ** SPREAD_POWER
    model.fit(scaler.transform(Z), found.argmax(axis=1), confidence)
    coef = model.coef_ / scaler.scale_
    return coef, model.intercept_ - coef @ scaler.mean_
