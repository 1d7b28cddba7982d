"""DeepInfomaxClassifier: learn from all rows, then classes from a few labelled ones."""

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import (
    Tags,
    _safe_indexing,
    check_consistent_length,
    check_random_state,
    compute_class_weight,
)
from sklearn.utils.validation import check_is_fitted

from sk_dim._deep_infomax import DeepInfomaxTransformer
from sk_dim._devices import seeded
from sk_dim._fine_tuning import FineTuner, Recipe
from sk_dim._labels import encode_labels, hold_out, select_labelled
from sk_dim._model import prepare, rows_like
from sk_dim._probes import fit_probe
from sk_dim._validation import check_integer, check_name, check_real


class DeepInfomaxClassifier(ClassifierMixin, BaseEstimator):
    """Classify images, series or tables of which only a few rows have labels.

    Features are learnt from all rows without labels, by `DeepInfomaxTransformer`. Then
    a linear head learns classes from the labelled rows, and the encoder is fine-tuned
    with it: the unlabelled rows go on to be used, with the objective of Deep InfoMax
    and with the classes that the model itself gives them.

    Parameters
    ----------
    encoder : DeepInfomaxTransformer or FrozenEstimator of one, default=None
        An unfitted one is fitted, on all rows; None stands for one with its defaults. A
        fitted one is taken as it is. Either is copied and left unchanged. Cloning, as
        searches do, forgets a fit, unless the transformer is wrapped in a
        ``FrozenEstimator``. Its `augment` says which views the head learns from; its
        `output_layer` is without effect.
    pretrain : bool, default=True
        False trains from scratch, by cross-entropy alone: the weights of the encoder
        start anew, and only labelled rows are used.
    fine_tune : {"all", "head"}, default="all"
        "head" leaves the encoder as it is and fits logistic regression to its features,
        its regularisation chosen by cross-validation where each class has two rows or
        more. All parameters below but `class_weight` and `random_state` are then
        without effect.
    n_steps : int, default=500
        Steps of the fine-tuning.
    max_time : float, default=None
        Seconds for the fine-tuning, the learning rate annealed to them. With it,
        `n_steps` is without effect.
    batch_size : int, default=32
        Labelled rows a step, beside which there are four times as many unlabelled ones.
    learning_rate : float, default=1e-3
        Highest rate of AdamW, reached after a tenth of the fine-tuning.
    rate_decay : float, default=1.0
        Factor of the learning rate from each part of the encoder to the one before it,
        in the order of its children; less than 1 changes early layers less.
    infomax_weight : float, default=1.0
        Weight of the objective of Deep InfoMax beside the cross-entropy.
    unlabelled_weight : float, default=1.0
        Weight of the cross-entropy on views of unlabelled rows, to what the model said
        of other views of the row: averaged, brought to the frequencies of the labels,
        and sharpened. Without effect where the encoder has ``augment=None``.
    temperature : float, default=0.5
        Of those probabilities: less than 1 makes the model surer of them, 1 leaves them
        as they are.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the cross-entropy of labelled rows.
    early_stopping : bool, default=False
        Whether to hold out labelled rows, stop when accuracy on them is no better, and
        keep the best model.
    validation_fraction : float, default=0.2
        Share of the labelled rows to hold out.
    n_looks_no_change : int, default=5
        Looks at the held-out rows without a better accuracy that end the fine-tuning,
        whose full length has twenty.
    random_state : int, RandomState instance or None, default=None
        Seeds the fine-tuning, and the fit of an encoder that has no seed of its own.
    verbose : int, default=0
        1 prints up to twenty lines of the fine-tuning.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted; -1 is none of them.
    encoder_ : DeepInfomaxTransformer
        The fine-tuned transformer.
    coef_ : ndarray of shape (n_classes, n_components) or (1, n_components)
        Coefficients of the head, of the features of `encoder_`; one row for two
        classes.
    intercept_ : ndarray of shape (n_classes,) or (1,)
        Intercepts of the head.
    history_ : list of dict
        Up to twenty of the fine-tuning, with the keys "step", "loss", "supervised",
        "unlabelled" and "infomax" (in nats), "confidence" (mean probability of the
        class that unlabelled rows are taken to have), "valid_score" (accuracy, nan
        without held-out rows) and "seconds". Empty for ``fine_tune="head"``.
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
    ``y == -1`` marks rows without a label, in arrays of numbers, and among objects,
    where it may stand between strings. An array of strings is all labels. `score`
    leaves unlabelled rows out.

    What is learnt from the model's own classes can confirm its errors. Where most of
    those would be wrong, or classes are not as frequent as among the labels,
    ``unlabelled_weight=0`` and ``fine_tune="head"`` are safer.

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
    >>> given = y[:600].copy()
    >>> given[50:] = -1
    >>> recipe = DeepInfomaxTransformer(max_iter=3)
    >>> model = DeepInfomaxClassifier(recipe, n_steps=30, random_state=0)
    >>> model.fit(X[:600], given).score(X[600:], y[600:]) > 0.7
    True
    """

    def __init__(
        self,
        encoder: Any = None,
        *,
        pretrain: bool = True,
        fine_tune: str = "all",
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
        n_looks_no_change: int = 5,
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
        self.n_looks_no_change = n_looks_no_change
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn features, head and classes.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            As `DeepInfomaxTransformer` takes it; labelled rows and others.
        y : array-like of shape (n,)
            Labels, -1 where there is none.

        Returns
        -------
        DeepInfomaxClassifier

        Raises
        ------
        ValueError or TypeError
            Where X, y or a parameter cannot be used, before anything is trained; where
            the training diverges.
        """
        recipe = self._check_params()
        if y is None:
            # In the words that scikit-learn's checks look for.
            raise ValueError(
                "DeepInfomaxClassifier requires y to be passed, but the target y is "
                "None; -1 marks rows without a label."
            )
        classes, codes = encode_labels(y)
        check_consistent_length(X, codes)
        weights = self._weigh(classes, codes)
        rng = check_random_state(self.random_state)
        seed = int(rng.randint(2**31 - 1))
        if not self.pretrain:
            X = _safe_indexing(X, np.flatnonzero(codes >= 0))
            codes = codes[codes >= 0]
            recipe = replace(recipe, infomax_weight=0.0)
        held_out = None
        if self.early_stopping and self.fine_tune == "all":
            held_out = hold_out(codes, self.validation_fraction, seed)
        encoder = self._make_encoder(X, rng)
        history: list[dict[str, float]] = []
        if self.fine_tune == "head":
            coef, intercept = _fit_head(encoder, X, codes, weights)
        else:
            model = encoder.model_
            rows = rows_like(encoder, X, model.fmt, n_min=2).to(model.device)
            tuner = FineTuner(model.net, rows, codes, recipe, weights, held_out, seed)
            # Parts of the user may draw from torch's global generator (dropout, say).
            is_ours = model.net.is_ours
            with nullcontext() if is_ours else seeded(seed, encoder.device_):
                tuner.run(self.verbose)
            history = tuner.history
            coef, intercept = tuner.head.linear_map()
        if len(coef) == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        self.classes_ = classes
        self.encoder_ = encoder
        self.coef_ = coef
        self.intercept_ = intercept
        self.history_ = history
        self.n_features_in_ = encoder.n_features_in_
        if hasattr(encoder, "feature_names_in_"):
            self.feature_names_in_ = encoder.feature_names_in_
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_  # of a fit before
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
        """
        scores = self.decision_function(X)
        codes = scores > 0 if scores.ndim == 1 else scores.argmax(axis=1)
        return self.classes_[codes.astype(int)]

    def score(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Compute the accuracy on the labelled rows.

        Parameters
        ----------
        X : array-like of shape (n, ...)
            Samples of the shape that `fit` saw, or flattened rows of them.
        y : array-like of shape (n,)
            Labels; rows with -1 are left out.
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
        check_consistent_length(X, has_label, sample_weight)
        rows = np.flatnonzero(has_label)
        weights = None if sample_weight is None else _safe_indexing(sample_weight, rows)
        return super().score(_safe_indexing(X, rows), labels, weights)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _check_params(self) -> Recipe:
        """Check parameters, and return those of the fine-tuning."""
        check_name("fine_tune", self.fine_tune, ("all", "head"))
        if self.max_time is not None:
            check_real("max_time", self.max_time, exclusive=True)
        if self.early_stopping:
            check_real(
                "validation_fraction",
                self.validation_fraction,
                maximum=1.0,
                exclusive=True,
            )
        n_steps = check_integer("n_steps", self.n_steps, 1)
        return Recipe(
            n_steps=n_steps if self.max_time is None else None,
            max_time=self.max_time,
            batch_size=check_integer("batch_size", self.batch_size, 2),
            learning_rate=check_real(
                "learning_rate", self.learning_rate, exclusive=True
            ),
            rate_decay=check_real("rate_decay", self.rate_decay, exclusive=True),
            infomax_weight=check_real("infomax_weight", self.infomax_weight),
            unlabelled_weight=check_real("unlabelled_weight", self.unlabelled_weight),
            temperature=check_real("temperature", self.temperature, exclusive=True),
            n_looks_no_change=check_integer(
                "n_looks_no_change", self.n_looks_no_change, 1
            ),
        )

    def _weigh(self, classes: np.ndarray, codes: np.ndarray) -> np.ndarray | None:
        """Return the weights of the classes, or None where they are equal."""
        if self.class_weight is None:
            return None
        known = classes[codes[codes >= 0]]
        weights = compute_class_weight(self.class_weight, classes=classes, y=known)
        if not (weights > 0).all():
            raise ValueError(
                f"class_weight={self.class_weight!r} gives a class no weight; leave "
                "its rows out, or mark them by -1."
            )
        return None if np.ptp(weights) == 0 else weights

    def _make_encoder(
        self, X: ArrayLike, rng: np.random.RandomState
    ) -> DeepInfomaxTransformer:
        """Return a transformer of our own, fitted, or built for training from scratch.

        Raises
        ------
        TypeError
            If the encoder is no DeepInfomaxTransformer.
        NotFittedError
            If it is frozen but not fitted.
        """
        given = self.encoder
        is_frozen = isinstance(given, FrozenEstimator)
        if is_frozen:
            given = given.estimator
        if given is None:
            given = DeepInfomaxTransformer()
        if not isinstance(given, DeepInfomaxTransformer):
            raise TypeError(
                f"encoder={given!r} is no DeepInfomaxTransformer; pass one, fitted or "
                "not, a FrozenEstimator of a fitted one, or None. Features of other "
                "transformers can go into any classifier by a pipeline."
            )
        if self.pretrain and (is_frozen or hasattr(given, "model_")):
            check_is_fitted(given)
            encoder = copy.deepcopy(given)
        else:
            encoder = clone(given)
            if encoder.random_state is None:
                encoder.random_state = int(rng.randint(2**31 - 1))
        # The head is on the global features, whatever the one given returns, and how.
        encoder.set_params(output_layer="global").set_output(transform="default")
        if not self.pretrain:
            encoder.set_params(validation_fraction=0.0)
            _, encoder.model_ = prepare(encoder, X)
        elif not hasattr(encoder, "model_"):
            encoder.fit(X)
        return encoder


def _fit_head(
    encoder: DeepInfomaxTransformer,
    X: ArrayLike,
    codes: np.ndarray,
    class_weights: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit logistic regression to features; coefficients and intercepts for them."""
    rows = np.flatnonzero(codes >= 0)
    weights = None if class_weights is None else dict(enumerate(class_weights))
    Z = encoder.transform(_safe_indexing(X, rows))
    scaler, model = fit_probe(Z, codes[rows], weights)
    model = getattr(model, "best_estimator_", model)
    coef = model.coef_ / scaler.scale_
    return coef, model.intercept_ - coef @ scaler.mean_
